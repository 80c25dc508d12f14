"""Which series, targets, features and times a user means: by number, by name and by time."""

from __future__ import annotations

import datetime
import operator
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambit.text import closest_first, listed


def by_number(name: str, wanted: Any, size: int) -> list[int]:
    """The indices that an integer, a slice or a list of integers means, as in Python. Errors: TypeError, ValueError."""
    if isinstance(wanted, slice):
        found = list(range(*wanted.indices(size)))
        if not found:
            raise ValueError(f"{name}={wanted} means none of 0 to {size - 1}")
        return found
    found = []
    for one in wanted if is_several(wanted) else [wanted]:
        try:
            number = operator.index(one)
        except TypeError:
            raise TypeError(f"{name} must be integers or a slice, given {reprlib.repr(wanted)}") from None
        if isinstance(one, (bool, np.bool_)):
            raise TypeError(f"{name} must be integers, given {one!r}")
        if not -size <= number < size:
            raise ValueError(f"{name} must be {-size} to {size - 1}, given {number}")
        found.append(number % size)
    if not found:
        raise ValueError(f"{name} must mean at least one, given {wanted!r}")
    return found


def by_name(name: str, wanted: Any, names: Sequence[Any]) -> list[int]:
    """The indices of a name, of a list of names, or (a slice) of those from one to another, the last included.

    Errors: ValueError naming one that is not there.
    """
    texts = [str(one) for one in names]

    def where(one: Any) -> list[int]:
        found = [i for i, text in enumerate(texts) if text == str(one)]
        if not found:
            raise ValueError(f"{name} must be among {listed(closest_first(str(one), texts))}; given {one!r}")
        return found

    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise ValueError(f"{name}={wanted}: a slice of names has no step")
        begin = 0 if wanted.start is None else where(wanted.start)[0]
        end = len(texts) if wanted.stop is None else where(wanted.stop)[-1] + 1
        return by_number(name, slice(begin, end), len(texts))
    return [i for one in (wanted if is_several(wanted) else [wanted]) for i in where(one)]


def by_time(wanted: Any, times: NDArray[Any]) -> list[int]:
    """The indices of a time, of several, or (a slice) of those from one to another, both included. ``times`` (T,).

    A date means all of it: "2024-03" is that month. Errors: TypeError, ValueError.
    """
    kept = np.zeros(len(times), dtype=bool)
    if isinstance(wanted, slice):
        if wanted.step is not None:
            raise ValueError(f"time={wanted}: a slice of times has no step")
        kept = ~np.isnan(times) if times.dtype.kind == "f" else ~np.isnat(times) if times.dtype.kind in "mM" else ~kept
        if wanted.start is not None:
            at = _moment(wanted.start, times)
            kept &= _to_unit(times, at) >= at
        if wanted.stop is not None:
            at = _moment(wanted.stop, times)
            kept &= _to_unit(times, at) <= at
    else:
        for one in wanted if is_several(wanted) else [wanted]:
            at = _moment(one, times)
            here = _to_unit(times, at) == at
            if not here.any():
                raise ValueError(f"time must be among {times[0]} … {times[-1]}; given {one!r}")
            kept |= here
    if not kept.any():
        raise ValueError(f"time={wanted} means none of {times[0]} … {times[-1]}")
    found: list[int] = np.flatnonzero(kept).tolist()
    return found


def _moment(value: Any, times: NDArray[Any]) -> Any:
    """A time in the type that it can be compared in. TypeError where it is of another kind than the times."""
    for name in ("to_datetime64", "to_timedelta64"):  # of pandas, whose own conversion drops nanoseconds
        value = getattr(value, name)() if hasattr(value, name) else value
    kind = times.dtype.kind
    if kind == "M" and isinstance(value, (str, datetime.date, np.datetime64)):
        if getattr(value, "tzinfo", None) is not None:
            raise TypeError(f"time has no time zone here, given {value!r}: convert it, and leave the zone out")
        return np.datetime64(value)
    if kind == "m" and isinstance(value, (datetime.timedelta, np.timedelta64)):
        return np.timedelta64(value)
    if kind in "if" and isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return value
    expected = {"M": "dates, or texts like '2024-03-01T12:00'", "m": "timedeltas"}.get(kind, "numbers")
    raise TypeError(f"time must be given as {expected}, given {value!r}")


def _to_unit(times: NDArray[Any], at: Any) -> NDArray[Any]:
    """Datetimes in the unit of a coarser one, so that a day means all of its times."""
    if times.dtype.kind == "M" and np.promote_types(times.dtype, at.dtype) == times.dtype:
        return times.astype(at.dtype)
    return times


def is_several(value: Any) -> bool:
    """Whether a list, a range, a slice or an array is meant, and not one thing."""
    return isinstance(value, (list, tuple, range, slice)) or (hasattr(value, "tolist") and np.ndim(value) > 0)
