"""JSON values as documents hold them, and what people have in their place: NumPy's scalars, tuples, decimals, dates."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np

from rambit.structure.schema import Path

Json = Any

MAX_DEPTH = 100
"""Documents nested deeper than this are refused: a model would have as many layers."""

LARGEST = 2**53
"""Up to here a float64 holds every integer."""

MAX_BITS = 1024
"""Integers of more bits are refused, as floats of that size are infinite."""

_KINDS = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}


def plain(document: Any, number: int) -> Json:
    """A copy of document ``number`` that holds JSON alone, dates and times in ISO 8601.

    Raises ValueError, naming the place, for what is not JSON, a cycle and more than ``MAX_DEPTH`` levels.
    """
    place: list[str | int] = []
    around: set[int] = set()

    def fail(reason: str) -> ValueError:
        where = "".join(f"[{key!r}]" for key in place[:10]) + (" …" if len(place) > 10 else "")
        return ValueError(f"document {number}{where and ' at ' + where}: {reason}")

    def below(key: str | int, value: Any) -> Json:
        place.append(key)
        copied = copy(value)
        place.pop()
        return copied

    def copy(value: Any) -> Json:
        value = _of_python(value)
        if isinstance(value, list | tuple | dict):
            if id(value) in around:
                raise fail("it contains itself")
            if len(place) >= MAX_DEPTH:
                raise fail(f"it has more than {MAX_DEPTH} levels")
            around.add(id(value))
            copied: Json
            if isinstance(value, dict):
                if other := [key for key in value if not isinstance(key, str)]:
                    raise fail(f"keys must be strings, got {other[0]!r}")
                copied = {str(key): below(key, child) for key, child in value.items()}
            else:
                copied = [below(i, child) for i, child in enumerate(value)]
            around.remove(id(value))
            return copied
        if isinstance(value, int | float):
            if value.bit_length() > MAX_BITS if isinstance(value, int) else not math.isfinite(value):
                raise fail(f"numbers must be finite, and integers of at most {MAX_BITS} bits, got {_shown(value)}")
        elif value is not None and not isinstance(value, str):
            raise fail(f"it must be JSON, got {type(value).__name__}")
        return value

    return copy(document)


def _of_python(value: Any) -> Any:
    """The JSON value that a scalar or array of another type stands for; anything else as it is."""
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Decimal):
        close = float(value)
        return int(value) if math.isfinite(close) and value == value.to_integral_value() else close
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value


def kind_of(value: Json) -> str:
    """The JSON type of a value that is not null."""
    return next(name for cls, name in _KINDS.items() if isinstance(value, cls))


def is_empty(value: Json) -> bool:
    """Whether there is nothing in a value."""
    if isinstance(value, dict):
        return all(map(is_empty, value.values()))
    return value is None or (isinstance(value, list) and all(map(is_empty, value)))


def is_large(value: Json) -> bool:
    """Whether a value is an integer that float64 may not hold."""
    return isinstance(value, int) and abs(value) > LARGEST


def is_number(value: Json) -> bool:
    """Whether a value is a number that float64 holds, or nothing."""
    return is_empty(value) or (kind_of(value) == "number" and not is_large(value))


def misfit(number: int, path: Path, expected: str, value: Json) -> ValueError:
    """The error of a document in which ``value`` stands where something else is expected."""
    text = _shown(value)
    return ValueError(f"document {number} does not fit the schema at {path}: expected {expected}, got {text}")


def _shown(value: Json) -> str:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        return f"one of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def check_documents(documents: Any) -> None:
    """Raise TypeError for one document, or text, in the place of several documents."""
    if isinstance(documents, (str, bytes, Mapping)):
        what = "a path or JSON as text, which json.load reads" if not isinstance(documents, Mapping) else "one document"
        raise TypeError(f"documents must be a sequence of documents, got {what}: write [document] for one")
