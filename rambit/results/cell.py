"""One cell of a result: four numbers, as a tuple, and what they are called."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class _Numbers(NamedTuple):
    series: int
    feature: int
    time: int
    score: float


class Cell(_Numbers):
    """One cell and its score: series and time count from 0, the feature too.

    A tuple of these four. What they are called stands beside it, None where nobody said: ``series_name``,
    ``feature_name`` and ``time_label`` (a number, datetime64 or timedelta64).
    """

    series_name: str | None = None
    feature_name: str | None = None
    time_label: Any = None

    def named(self, *, series: str | None = None, feature: str | None = None, time: Any = None) -> Cell:
        """The same cell with these names."""
        cell = Cell(*self)
        cell.series_name, cell.feature_name, cell.time_label = series, feature, time
        return cell

    def __repr__(self) -> str:
        names = [f"{name}={value!r}" for name, value in vars(self).items() if value is not None]
        return f"{super().__repr__()[:-1]}{''.join(f', {name}' for name in names)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a notebook shows, in a few words."""
        series = f"series {self.series}" if self.series_name is None else self.series_name
        feature = f"feature {self.feature}" if self.feature_name is None else self.feature_name
        time = self.time if self.time_label is None else _short_time(self.time_label)
        printer.text(f"{feature} at {time} of {series}: {self.score:.4g}")


def _short_time(label: Any) -> str:
    """Datetimes to the coarsest unit that says all of them."""
    for unit in ("D", "m", "s", "ms", "us") if isinstance(label, np.datetime64) else ():
        if label.astype(f"M8[{unit}]") == label:
            return str(label.astype(f"M8[{unit}]")).replace("T", " ")
    return str(label)
