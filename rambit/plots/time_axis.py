"""Ticks of an axis of steps that stand where round times are: numbers, datetimes or timedeltas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit.plots.canvas import FONT, LARGEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The first and the last day that matplotlib knows, from 1970 on: of the years 1 and 9999.
DAYS = (-719162.0, 2932896.0)
#: Units that timedeltas are shown in, in seconds, the longest first.
_UNITS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def read_times(times: Any, count: int, steps: int) -> NDArray[Any]:
    """Times (T,) or (B, T) as (B, T). Errors: TypeError or ValueError naming ``times``."""
    array = np.asarray(times)
    if array.dtype.kind not in "iufmM":
        raise TypeError(f"times must be numbers, datetime64 or timedelta64, got {array.dtype}")
    if array.shape not in ((steps,), (count, steps)):
        raise ValueError(f"times must have the shape {(steps,)} or {(count, steps)}, given {array.shape}")
    return np.broadcast_to(array, (count, steps))


def show_times(axes: Any, times: NDArray[Any], unit: str | None, *, most: int) -> str:
    """Put about ``most`` ticks under the steps 0 … T-1 of an axis that have these times; the axis's title.

    Round times lie between steps where no step has them. Times that do not grow stand as they are under some steps.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator

    indices, labels, title = _ticks(times, unit, max(2, most))
    axes.xaxis.set_major_locator(FixedLocator(indices))
    axes.xaxis.set_major_formatter(FixedFormatter(labels))
    axes.tick_params(axis="x", labelsize=FONT)
    return title


def _ticks(times: NDArray[Any], unit: str | None, most: int) -> tuple[list[float], list[str], str]:
    title = "time" if unit is None else f"time ({unit})"
    if times.dtype.kind == "M":
        numbers = _days(times)
    elif times.dtype.kind == "m":
        numbers, title = _in_units(times)
    else:
        numbers = times.astype(np.float64)
    low, high = DAYS if times.dtype.kind == "M" else (-LARGEST, LARGEST)
    fits = bool(((numbers >= low) & (numbers <= high)).all())
    if len(times) < 2 or not fits or not bool((np.diff(numbers) > 0).all()):
        return _as_they_are(times, title, most)
    if times.dtype.kind == "M":
        at, labels, moment = _dates(numbers, most)
        first, last = np.datetime_as_string(times[[0, -1]], unit="D", casting="unsafe")
        title = f"time ({moment or first})" if first == last else f"time ({first} to {last})"
    else:
        at, labels = _round_numbers(numbers, most)
    return np.interp(at, numbers, np.arange(len(numbers))).tolist(), labels, title


def _days(times: NDArray[Any]) -> NDArray[np.float64]:
    from matplotlib.dates import date2num

    days: NDArray[np.float64] = np.asarray(date2num(times), dtype=np.float64)
    return days


def _dates(days: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], list[str], str]:
    """Round dates within days since 1970, with short labels, and what these leave out."""
    from datetime import timezone

    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, num2date

    zone = timezone.utc  # the times as they are, whatever zone matplotlib is set to
    locator = AutoDateLocator(tz=zone, minticks=2, maxticks=most + 1)
    found = np.asarray(locator.tick_values(num2date(days[0], tz=zone), num2date(days[-1], tz=zone)))
    at = found[(found >= days[0]) & (found <= days[-1])]
    formatter = ConciseDateFormatter(locator, tz=zone)
    return at, list(formatter.format_ticks(list(at))), formatter.get_offset()


def _round_numbers(numbers: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], list[str]]:
    from matplotlib.ticker import MaxNLocator

    found = np.asarray(MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(numbers[0], numbers[-1]))
    at = found[(found >= numbers[0]) & (found <= numbers[-1])]
    return at, [f"{value + 0.0:.10g}" for value in at]


def _in_units(times: NDArray[Any]) -> tuple[NDArray[np.float64], str]:
    """Timedeltas as numbers of the longest unit that most of them reach."""
    seconds = times / np.timedelta64(1, "s")
    longest = np.nanmax(np.abs(seconds), initial=0.0)
    name = next((name for name, size in _UNITS.items() if longest >= 2 * size), "ns")
    return seconds / _UNITS[name], f"time ({name})"


def _as_they_are(times: Sequence[Any] | NDArray[Any], title: str, most: int) -> tuple[list[float], list[str], str]:
    most = most if len(str(times[0])) <= 12 else 2
    shown = np.unique(np.linspace(0, len(times) - 1, min(most, len(times))).round().astype(int)).tolist()
    return [float(i) for i in shown], [str(times[i]) for i in shown], title
