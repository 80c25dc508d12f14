"""What files hold, as the types of a Dataset: float32 values, int64 numbers, classes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from rambit.datasets.dataset import Array, numbered


def floats(name: str, value: Array) -> Array:
    if value.dtype.kind not in "fiu":
        raise ValueError(f"{name!r} must hold real numbers, got {value.dtype}")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and that is refused
        return value.astype(np.float32)


def integers(name: str, value: Array) -> Array:
    if value.dtype.kind not in "iu":
        raise ValueError(f"{name!r} must hold integers, got {value.dtype}")
    return value.astype(np.int64)


def labels_of(name: str, value: Array) -> tuple[Array, tuple[str, ...]]:
    """Labels as int64 classes or float32 values, and the names of classes that were text."""
    if value.dtype.kind == "U":
        names = numbered(value.ravel().tolist())
        number = {label: i for i, label in enumerate(names)}
        return np.array([number[label] for label in value.ravel()], dtype=np.int64).reshape(value.shape), names
    if value.dtype.kind == "f":
        return floats(name, value), ()
    return integers(name, value.astype(np.int64) if value.dtype.kind == "b" else value), ()


def parsed(values: Sequence[Any]) -> Array:
    """A column of labels; text becomes the narrowest of integers, floating numbers and text that holds all of it."""
    if any(value in ("", None) or value != value for value in values):
        raise ValueError("holds an empty value")
    if isinstance(values[0], str):
        for kind in (int, float):
            with suppress(ValueError):
                return np.array([kind(value) for value in values])
    return np.array(values)
