"""Checks of arguments that several packages make, where the value comes back; warnings that name the caller's line."""

from __future__ import annotations

import math
import operator
import os
import reprlib
import sys
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Any, TypeVar

import numpy as np

Kind = TypeVar("Kind", bound=Enum)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """The value, if it is one of the allowed names; ValueError otherwise."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {reprlib.repr(value)}")
    return value


def member(name: str, value: Any, kind: type[Kind]) -> Kind:
    """The member of an enum that is given by itself or by its value; ValueError otherwise."""
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(one.value) for one in kind)
        raise ValueError(f"{name} must be one of {allowed}, got {reprlib.repr(value)}") from None


def count(name: str, value: Any, low: int = 1, high: int = 2**63 - 1) -> int:
    """An integer (NumPy's too) from ``low`` to ``high``; TypeError or ValueError otherwise."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # of arrays and tensors that hold none, or several
        raise TypeError(f"{name} must be an integer, got {reprlib.repr(value)}") from None
    if number < low:
        raise ValueError(f"{name} must be at least {low}, got {number}")
    if number > high:
        got = number if number.bit_length() < 128 else f"a number of {number.bit_length()} bits"
        raise ValueError(f"{name} must be at most {high}, got {got}")
    return number


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> float:
    """A finite number (NumPy's too) from ``low``, or ``above`` it, to ``high``; TypeError or ValueError otherwise."""
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{name} must be a number, got {reprlib.repr(value)}") from None
    if not math.isfinite(found) or found < low or found > high or (above and found == low):
        lowest = f"above {low:g}" if above else f"at least {low:g}"
        allowed = f"{lowest} and at most {high:g}" if high < math.inf else lowest if low > -math.inf else "finite"
        raise ValueError(f"{name} must be {allowed}, got {reprlib.repr(value)}")
    return found


def flag(name: str, value: Any) -> bool:
    """True or False (NumPy's too); TypeError otherwise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {reprlib.repr(value)}")
    return bool(value)


def check_saved(path: Any, given: Any, name: str, kind: type) -> None:
    """TypeError unless a path comes first, and then what is saved, of a ``kind``: the two are swapped easily."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path comes first, then {name}: got a {type(path).__name__} for path")
    if not isinstance(given, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got a {type(given).__name__}")


def has_channels_last(shape: Sequence[int | None]) -> bool:
    """Whether images (B, C, H, W) and volumes (B, C, Z, H, W) look as if their channels came last; None: any size."""
    usual = (1, 3, 4)
    return len(shape) in (4, 5) and shape[-1] in usual and shape[1] not in usual


def channels_first(name: str, shape: tuple[int, ...], otherwise: str = "") -> None:
    """Warn of images (B, C, H, W) and volumes (B, C, Z, H, W) that look as if their channels came last.

    ``otherwise``: what to write then, beside permuting the axes.
    """
    if has_channels_last(shape):
        order = ", ".join(map(str, (0, len(shape) - 1, *range(1, len(shape) - 1))))
        warn(
            f"{name} {tuple(shape)} is read as {shape[1]} channels, which are kept or replaced together: if its "
            f"{shape[-1]} channels come last, give {otherwise}{name}.permute({order}), and a model that reads that"
        )


def warn(message: str) -> None:
    """A UserWarning that points at the line outside this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
