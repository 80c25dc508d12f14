"""Checks of what a result holds, given by a caller or found in a file."""

from __future__ import annotations

import math
import re
import sys
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from rambit import arrays
from rambit.labels import Labels

#: The types of scores and maps; those of 8 bits are none, which nothing can be computed with.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAX = sys.float_info.max
_HEX = re.compile("[0-9a-f]{16,128}")


def check_integer(name: str, value: Any, low: int | None = 0) -> None:
    """TypeError or ValueError unless an entry of a record is a whole number (NumPy's too) of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, given {value!r}")
    if low is not None and int(value) < low:
        raise ValueError(f"{name} must be at least {low}, given {value}")


def check_number(name: str, value: Any, low: float = -_MAX, high: float = _MAX) -> None:
    """TypeError or ValueError unless an entry of a record is a number from ``low`` to ``high``: by default, finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, given {value!r}")
    number: Any = value
    if not low <= number <= high:
        bounds = ["finite"] * (high == _MAX) + [f"at least {low}"] * (low > -_MAX) + [f"at most {high}"] * (high < _MAX)
        raise ValueError(f"{name} must be {' and '.join(bounds)}, given {value}")


def check_settings(value: Any) -> None:
    """TypeError unless it is a dictionary; what is in it is checked where it is written."""
    if not isinstance(value, dict):
        raise TypeError(f"settings must be a dictionary, given {value!r}")


def check_hash(name: str, value: Any) -> None:
    """TypeError or ValueError unless it is None or the hexadecimal text of a hash."""
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be the text of a hash, given {value!r}")
    if not _HEX.fullmatch(value):
        raise ValueError(f"{name} must be the hexadecimal text of a hash, given {value!r}")


def check_run(result: Any) -> None:
    """TypeError or ValueError naming what is wrong of how a result says that its scores were computed."""
    for name, low in (("rows", 0), ("row_steps", 0), ("seed", None)):
        check_integer(name, getattr(result, name), low)
    check_number("seconds", result.seconds, 0, math.inf)
    check_settings(result.settings)
    if not isinstance(result.mode, str):
        raise TypeError(f"mode must be text, given {result.mode!r}")
    check_hash("model", result.model)


def check_tensor(name: str, value: Any, kinds: tuple[torch.dtype, ...]) -> None:
    """TypeError unless it is a tensor of one of these types."""
    if not isinstance(value, Tensor) or value.dtype not in kinds:
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a tensor of {' or '.join(map(str, kinds))}, given {given}")


def check_by_series(name: str, value: Any, series: int, *, pairs: bool = False) -> None:
    """TypeError or ValueError unless there is one whole number from 0 on for each series, or (``pairs``) two."""
    numbers = arrays.whole(name, value, holds="integers")
    if tuple(numbers.shape) != (series,) and not (pairs and tuple(numbers.shape) == (series, 2)):
        raise ValueError(f"{name} must hold one number for each of {series} series, given {value}")
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, given {numbers.dtype}")
    if bool((numbers.to(torch.int64) < 0).any()):
        raise ValueError(f"{name} must be at least 0, given {value}")


def check_outputs(value: Any, *, series: int | None = None) -> None:
    """TypeError or ValueError unless these are a model's outputs (B, C), or (B, H, Q); without ``series``, of one."""
    check_tensor("outputs", value, FLOATS)
    axes = (1, 2) if series is None else (2, 3)
    if value.ndim not in axes or (series is not None and len(value) != series):
        raise ValueError(
            f"outputs must be {'(C,)' if series is None else f'({series}, C)'}, given the shape {tuple(value.shape)}"
        )


def check_input(name: str, value: Any, shape: tuple[int, ...] | None = None) -> None:
    """TypeError or ValueError unless it is a tensor of real numbers, of this shape if one is given."""
    if not isinstance(value, Tensor) or value.dtype == torch.bool or value.is_complex():
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a tensor of real numbers, given {given}")
    if shape is not None and tuple(value.shape) != shape:
        raise ValueError(f"{name} must have the shape {shape}, given {tuple(value.shape)}")


def check_grid_labels(labels: Labels, grid: tuple[int, ...]) -> None:
    """ValueError unless names of features and times fit a map over (D, T), or none are given."""
    if labels.features is None and labels.times is None:
        return
    if len(grid) != 2:
        raise ValueError(f"labels of features and times are for series (D, T), given a grid {grid}")
    labels.check(1, *grid)


def check_explained(labels: Any, outputs: Any, x: Any, model: Any, grid: tuple[int, ...]) -> Labels:
    """The labels of a result of one input, checked together with what else it knows; ``grid`` (D, T) of a series."""
    if outputs is not None:
        check_outputs(outputs)
    if x is not None:
        check_input("x", x)
    check_hash("model", model)
    named = Labels.of(labels)
    check_grid_labels(named, grid)
    if outputs is not None:
        named.check_outputs(len(outputs))
    return named


def read_targets(value: Any) -> list[Any]:
    """Targets as a list of whole numbers, or of [h, q] pairs of them. Errors: TypeError, ValueError."""
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"targets must be a list of outputs, given {value!r}")
    found: list[Any] = []
    for i, one in enumerate(value):
        parts = list(one) if isinstance(one, (list, tuple)) else [one]
        if isinstance(one, (list, tuple)) and len(parts) != 2:
            raise ValueError(f"targets[{i}] must be an integer or a pair [h, q], given {one!r}")
        for part in parts:
            check_integer(f"targets[{i}]", part)
        found.append([int(part) for part in parts] if isinstance(one, (list, tuple)) else int(one))
    if not found:
        raise ValueError("targets must name at least one output")
    return found
