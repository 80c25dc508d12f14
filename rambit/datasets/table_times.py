"""Times of rows: numbers, or ISO dates, as arrays that sort and compare exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ISO = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d([.,]\d{1,9})?)?)?)?)?")
_ZONE = re.compile(r"(?<=[T ])([\d:.,]+)(Z|[+-]\d\d(?::?\d\d)?)$")
#: The years of datetime64[ns].
_FIRST, _LAST = np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s")


def read_times(values: Sequence[Any] | Array) -> Array:
    """Text or an array as int64, float64, datetime64[ns] (of dates with a zone in UTC) or timedelta64[ns], (R,).

    Whole numbers stay exact: nanoseconds since 1970 do not fit into floats. Raises ValueError for an empty or infinite
    value, and naming one that is no time.
    """
    array = values if isinstance(values, np.ndarray) and values.dtype != object else _from_objects(list(values))
    if array.dtype.kind in "mM":
        array = _nanoseconds(array)
        empty = np.isnat(array)
    elif array.dtype.kind in "iu" and array.dtype.itemsize <= 8:
        array, empty = array.astype(np.int64 if array.dtype != np.uint64 else np.float64), np.zeros(len(array), bool)
    elif array.dtype.kind == "f":
        array = array.astype(np.float64)
        empty = ~np.isfinite(array)
    else:
        raise ValueError(f"must hold numbers or dates, got {array.dtype}")
    if empty.any():
        raise ValueError("holds an empty or infinite value")
    return array


def joined(parts: Sequence[Array]) -> Array:
    """The parts as one array. Raises ValueError where some are dates and some are numbers."""
    kinds = {"number" if part.dtype.kind in "if" else str(part.dtype) for part in parts}
    if len(kinds) > 1:
        raise ValueError("holds numbers in some rows and dates in others")
    return np.concatenate(parts)


def _from_objects(values: list[Any]) -> Array:
    """An array of the narrowest type that holds all of a column of text."""
    if not all(isinstance(value, str) for value in values):
        if any(value is None for value in values):
            raise ValueError("holds an empty or infinite value")
        return np.array(values)
    for kind, dtype in ((int, np.int64), (float, np.float64)):
        with suppress(ValueError, OverflowError):
            return np.fromiter(map(kind, values), dtype, len(values))
    return _dates([value.strip() for value in values])


def _dates(values: list[str]) -> Array:
    offsets = None
    if any(_ZONE.search(value) for value in values):
        found = [_ZONE.search(value) for value in values]
        if not all(found):
            raise ValueError("holds dates with a zone and dates without")
        offsets = np.array([_minutes(zone[2]) for zone in found if zone], dtype="timedelta64[m]")
        values = [value[: zone.start(2)] for value, zone in zip(values, found, strict=True) if zone]
    dates = _nanoseconds(np.array([_date(value) for value in values]))
    return dates if offsets is None else dates - offsets


def _date(text: str) -> np.datetime64:
    """One ISO date. (Of others, NumPy would read words such as now, too.)"""
    if text in ("", "NaT", "nan", "None"):
        raise ValueError("holds an empty or infinite value")
    with suppress(ValueError):
        if _ISO.fullmatch(text):
            return np.datetime64(text.replace(",", "."))
    raise ValueError(f"holds {text[:40]!r}, which is neither a number nor a date such as 2024-01-31 12:30:00")


def _minutes(zone: str) -> int:
    """How far a zone such as +02:00 is ahead of UTC."""
    if zone == "Z":
        return 0
    digits = zone[1:].replace(":", "")
    return int(f"{zone[0]}1") * (int(digits[:2]) * 60 + int(digits[2:] or 0))


def _nanoseconds(array: Array) -> Array:
    """Dates, or differences of times, in ns. Raises ValueError for years that do not fit."""
    if array.dtype.kind == "m":
        return array.astype("timedelta64[ns]")
    seconds = array.astype("datetime64[s]")
    if bool(((seconds < _FIRST) | (seconds > _LAST)).any()):
        raise ValueError("holds dates before 1678 or after 2262")
    return array.astype("datetime64[ns]")
