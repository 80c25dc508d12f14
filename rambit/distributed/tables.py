"""Long tables whose series stand one after the other, read some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.datasets.dataset import padded
from rambit.datasets.sorted_rows import check_differ
from rambit.datasets.table_columns import Columns
from rambit.datasets.table_rows import Rows, Table, open_table, read_rows

Array = NDArray[Any]


def read_table(path: Path, block: int, columns: Columns) -> Iterator[dict[str, Tensor]]:
    """Batches of about ``block`` bytes: X (B, D, T) with T of the file's longest series, and lengths if they differ.

    Raises ValueError for columns or rows that are not as ``DataFile`` says, ImportError without pyarrow.
    """
    with open_table(path) as table:
        columns = columns.within(table.names)
        if columns.id is None:  # one series
            parts = list(read_rows(table, columns))
            if not parts:
                raise ValueError("the table has no rows")
            whole = _in_order(Rows.joined(parts, columns), columns)
            yield _batch([whole], whole.shape[1], with_lengths=False)
            return
        shortest, longest = _steps(table, columns)
        batch: list[Array] = []
        for rows in _by_series(table, columns):
            batch.append(_in_order(rows, columns))
            if len(batch) * batch[0].shape[0] * longest * 4 >= block:
                yield _batch(batch, longest, shortest < longest)
                batch = []
        if batch:
            yield _batch(batch, longest, shortest < longest)


def has_one_label(path: Path, columns: Columns) -> bool:
    """Whether there are labels, and none changes within its series."""
    with open_table(path) as table:
        found = columns.within(table.names)
        if found.label is None:
            return False
        seen: dict[Any, Any] = {}
        for rows in read_rows(table, Columns(id=found.id, label=found.label, features=()), labels=True):
            labels = rows.labels or []
            pairs = zip(rows.ids or [""] * len(labels), labels, strict=True)
            if any(seen.setdefault(one, label) != label for one, label in pairs):
                return False
        return bool(seen)


def _batch(series: list[Array], steps: int, with_lengths: bool) -> dict[str, Tensor]:
    X, lengths = padded(series, steps)
    batch = {"X": torch.from_numpy(X)}
    if with_lengths:
        batch["lengths"] = torch.from_numpy(lengths)
    return batch


def _steps(table: Table, columns: Columns) -> tuple[int, int]:
    """How many rows the shortest and the longest series have; only the column of ids is read for it."""
    shortest, longest = 0, 0
    for rows in _by_series(table, Columns(id=columns.id, features=())):
        shortest, longest = min(shortest or len(rows), len(rows)), max(longest, len(rows))
    if not longest:
        raise ValueError("the table has no rows")
    return shortest, longest


def _in_order(rows: Rows, columns: Columns) -> Array:
    """The values (D, T) float32 of one series in the order of time."""
    if rows.times is None:
        return rows.values
    order = np.argsort(rows.times, kind="stable")
    check_differ(np.zeros(len(rows), np.int64), rows.times[order], rows.ids)
    return rows.values[:, order]


def _by_series(table: Table, columns: Columns) -> Iterator[Rows]:
    """The rows of one series after the other. Raises ValueError where they don't stand together, in increasing order.

    Ids that are text increase as numbers do if the first is one.
    """
    held: list[Rows] = []  # the parts of the series that may go on
    numbers, last = False, None
    for rows in read_rows(table, columns):
        ids = rows.ids or []
        numbers = numbers or (last is None and _is_number(ids[0]))
        keys = np.array([_number(one) for one in ids] if numbers else ids, dtype=object)
        known = np.concatenate((keys[:1] if last is None else [last], keys[:-1]))
        starts, last = np.flatnonzero(keys != known), keys[-1]
        if not all(keys[i] > known[i] for i in starts):
            raise ValueError(
                f"series must stand together and in increasing order: sort the table by series (column {columns.id!r})"
            )
        for start, end in pairwise([0, *starts.tolist(), len(rows)]):
            if start in starts and held:
                yield Rows.joined(held, columns)
                held = []
            if start < end:
                held.append(rows.part(start, end))
    if held:
        yield Rows.joined(held, columns)


def _is_number(one: Any) -> bool:
    return isinstance(one, str) and one.strip().lstrip("-").isdecimal()


def _number(one: str) -> int:
    if not _is_number(one):
        raise ValueError(f"the first id of a series is a whole number, another {one[:40]!r}: sort the table by its ids")
    return int(one)
