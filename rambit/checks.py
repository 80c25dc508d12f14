"""Checks of arguments that several packages make; the value comes back."""

from __future__ import annotations

from typing import Any


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """The value, if it is one of the allowed names; ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def count(name: str, value: Any, low: int = 1) -> int:
    """An integer of at least ``low``; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return value
