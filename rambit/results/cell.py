"""One cell of a result: four numbers, as a tuple, and what they are called."""

from __future__ import annotations

from typing import Any, NamedTuple


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
