"""The rows of a long table as series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rambit.datasets.array_values import labels_of, parsed
from rambit.datasets.dataset import Array
from rambit.datasets.table_columns import Columns
from rambit.datasets.table_rows import Rows, Table, in_column, read_rows


@dataclass(frozen=True)
class SortedRows:
    """The rows of a table in the order of their series and times.

    rows: as they stand. order: of them, (R,). series, step: to which series each sorted row belongs, and as which of
    its steps, (R,). lengths: of the series, (N,).
    """

    columns: Columns
    rows: Rows
    names: tuple[Any, ...]
    order: Array
    series: Array
    step: Array
    lengths: Array

    @staticmethod
    def read(table: Table, columns: Columns, *, labels: bool) -> SortedRows:
        """All rows of a table. Raises ValueError for one without rows, or with the same series and time twice."""
        parts = list(read_rows(table, columns, labels=labels))
        if not parts:
            raise ValueError("the table has no rows")
        rows = Rows.joined(parts, columns)
        names: dict[Any, int] = {}
        series = np.array([names.setdefault(one, len(names)) for one in rows.ids or [""] * len(rows)])
        order = np.argsort(series, kind="stable") if rows.times is None else np.lexsort((rows.times, series))
        series, lengths = series[order], np.bincount(series)
        if rows.times is not None:
            check_differ(series, rows.times[order], list(names) if rows.ids else None)
        step = np.arange(len(series)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return SortedRows(columns, rows, tuple(names), order, series, step, lengths)

    def arguments(self) -> dict[str, Any]:
        """The arguments of a Dataset, but for its labels."""
        found: dict[str, Any] = {"X": self._spread(self.rows.values), "feature_names": self.columns.features}
        if self._unequal:
            found["lengths"] = self.lengths
        if self.rows.ids is not None:
            found["series_names"] = tuple(map(str, self.names))
        if self.rows.times is not None:
            found["times"] = self._times(self.rows.times)
        return found

    def labels(self) -> dict[str, Any]:
        """The labels of a Dataset: one for each series where none changes, else one for each step."""
        with in_column(self.columns.label):
            labels, classes = labels_of(str(self.columns.label), parsed(self.rows.labels or []))
        first = labels[self.order[self.step == 0]]
        changing = bool((labels[self.order] != first[self.series]).any())
        return {"y": self._spread(labels) if changing else first, "class_names": classes}

    @property
    def _unequal(self) -> bool:
        return bool(self.lengths.min() < self.lengths.max())

    def _spread(self, values: Array, padding: Any = 0) -> Array:
        """Series (N, …, T) from what each row holds, (…, R)."""
        spread = np.full((len(self.lengths), self.lengths.max(), *values.shape[:-1]), padding, values.dtype)
        spread[self.series, self.step] = np.moveaxis(values[..., self.order], -1, 0)
        return np.ascontiguousarray(np.moveaxis(spread, 1, -1))

    def _times(self, times: Array) -> Array:
        """(T,) where all series have the same, else (N, T) with NaT or NaN in the padding."""
        if self._unequal:
            dates = times.dtype.kind in "mM"
            return self._spread(times, "NaT") if dates else self._spread(times.astype(np.float64), np.nan)
        spread = self._spread(times)
        return spread[0] if bool((spread == spread[0]).all()) else spread


def check_differ(series: Array, times: Array, names: Sequence[Any] | None) -> None:
    """Raise ValueError where sorted rows have the same series and time twice; ``names``: of the series, if any."""
    twice = np.flatnonzero((np.diff(series) == 0) & (times[1:] == times[:-1]))
    if not len(twice):
        return
    whose = "the table has" if names is None else f"series {names[series[twice[0]]]!r} has"
    more = f", and {len(twice) - 1} more rows repeat one" if len(twice) > 1 else ""
    hint = "; if it holds several series, name the column that tells them apart as id" if names is None else ""
    raise ValueError(f"{whose} the same time twice: {times[twice[0]]}{more}{hint}")
