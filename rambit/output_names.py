"""Outputs of a model that are given by name where a number is expected."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from rambit.text import closest_first, listed


def are_names(outputs: Any) -> bool:
    """Whether outputs are given by name: one text, or several things of which one is a text."""
    return any(isinstance(one, str) for one in _each(outputs))


def numbers_of(argument: str, outputs: Any, names: Sequence[str] | None) -> Any:
    """The number of an output that is given by its name, or those of several; ``names``: of all of them, None: unknown.

    Errors: TypeError where outputs have no names, or for names beside numbers; ValueError for a name that is none of
    them, or several.
    """
    if not names:
        raise TypeError(
            f"{argument} must be given by number, got {reprlib.repr(outputs)}: the outputs have no names, which "
            "labels={'outputs': [...]} would give them"
        )
    numbers = [_number_of(argument, one, names) for one in _each(outputs)]
    return numbers[0] if isinstance(outputs, str) else numbers


def _number_of(argument: str, name: Any, names: Sequence[str]) -> int:
    if not isinstance(name, str):
        raise TypeError(f"{argument} must hold names or numbers, not both, got {name!r} beside names")
    found = [i for i, one in enumerate(names) if one == name]
    if not found:
        raise ValueError(f"{argument} must be one of {listed(closest_first(name, names))}, got {name!r}")
    if len(found) > 1:
        raise ValueError(f"{argument}={name!r} is the name of {len(found)} outputs, {found}: give the number of one")
    return found[0]


def _each(outputs: Any) -> list[Any]:
    """The parts of a list or array, or the one thing itself."""
    plain = outputs.tolist() if isinstance(outputs, np.ndarray) or hasattr(outputs, "iloc") else outputs
    return list(plain) if isinstance(plain, (list, tuple)) else [plain]
