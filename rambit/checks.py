"""Checks of arguments that several packages make, where the value comes back; warnings that name the caller's line."""

from __future__ import annotations

import operator
import sys
import warnings
from typing import Any


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """The value, if it is one of the allowed names; ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def count(name: str, value: Any, low: int = 1) -> int:
    """An integer (NumPy's too) of at least ``low`` and below 2**63; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    if value >= 2**63:  # what tensors count with
        raise ValueError(f"{name} must be below 2**63, got a number of {operator.index(value).bit_length()} bits")
    return operator.index(value)


def channels_first(name: str, shape: tuple[int, ...]) -> None:
    """Warn of images (B, C, H, W) and volumes (B, C, Z, H, W) that look as if their channels came last."""
    last = len(shape) in (4, 5) and min(shape[1], shape[-2]) > 4
    if last and (shape[-1] in (3, 4) or (shape[-1] == 1 and shape[1] == shape[-2])):
        order = ", ".join(map(str, (0, len(shape) - 1, *range(1, len(shape) - 1))))
        warn(
            f"{name} {tuple(shape)} is read as {shape[1]} channels, which are kept or replaced together: if its "
            f"{shape[-1]} channels come last, give {name}.permute({order}), and a model that reads that"
        )


def warn(message: str) -> None:
    """A UserWarning that points at the line outside this package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
