"""Long tables in Parquet, one row for each series and time, read a few row groups at a time."""

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
from rambit.datasets.dataset_files import COLUMNS
from rambit.datasets.readers import parquet

Array = NDArray[Any]

#: Rows that are decoded at a time.
ROWS = 1 << 15


def read_table(path: Path, block: int) -> Iterator[dict[str, Tensor]]:
    """Batches of about ``block`` bytes: X (B, D, T) with T of the file's longest series, and lengths if they differ.

    Raises ValueError for columns or rows that are not as ``DataFile`` says, ImportError without pyarrow.
    """
    # Buffered, so that a row group of any size is decoded page by page.
    with parquet().ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
        names = table.schema_arrow.names
        features = [name for name in names if name not in COLUMNS]
        if names[:2] != list(COLUMNS[:2]) or not features:
            raise ValueError(f"the columns must be {', '.join(COLUMNS[:2])}, then the features; got {', '.join(names)}")
        shortest, longest = _steps(table)
        batch: list[Array] = []
        for values in _series(table, features):
            batch.append(values)
            if len(batch) * len(features) * longest * 4 >= block:
                yield _batch(batch, longest, shortest < longest)
                batch = []
        if batch:
            yield _batch(batch, longest, shortest < longest)


def _batch(series: list[Array], steps: int, with_lengths: bool) -> dict[str, Tensor]:
    X, lengths = padded(series, steps)
    batch = {"X": torch.from_numpy(X)}
    if with_lengths:
        batch["lengths"] = torch.from_numpy(lengths)
    return batch


def _steps(table: Any) -> tuple[int, int]:
    """How many rows the shortest and the longest series have; only the column of ids is read for it."""
    shortest, longest = 0, 0
    for rows in _by_series(table, ["series"]):
        steps = len(rows["series"])
        shortest, longest = min(shortest or steps, steps), max(longest, steps)
    if not longest:
        raise ValueError("the table has no rows")
    return shortest, longest


def _series(table: Any, features: list[str]) -> Iterator[Array]:
    """The values (D, T) float32 of one series after the other, in the order of time."""
    for rows in _by_series(table, ["series", "time", *features]):
        name, time = rows["series"][0], rows["time"].astype(np.float64)
        if not np.isfinite(time).all():
            raise ValueError(f"series {name}: time holds an empty or infinite value")
        order = np.argsort(time, kind="stable")
        if (np.diff(time[order]) == 0).any():
            raise ValueError(f"series {name} has the same time twice")
        with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and that is refused
            yield np.stack([rows[feature][order].astype(np.float32) for feature in features])


def _by_series(table: Any, columns: list[str]) -> Iterator[dict[str, Array]]:
    """The rows of one series after the other."""
    held: list[dict[str, Array]] = []  # the parts of the series that may go on
    for part in table.iter_batches(batch_size=ROWS, columns=columns):
        rows = {name: _column(name, part.column(name)) for name in columns}
        ids = rows["series"]
        before = held[-1]["series"][-1:] if held else ids[:1]
        known = np.concatenate((before, ids[:-1]))
        starts = np.flatnonzero(ids != known)
        if not bool((ids[starts] > known[starts]).all()):
            raise ValueError("series must stand together and in increasing order: sort the table by series")
        for piece in _split(rows, starts):
            if held and piece["series"][0] != held[0]["series"][0]:
                yield _one(held)
                held = []
            held.append(piece)
    if held:
        yield _one(held)


def _split(rows: dict[str, Array], starts: NDArray[np.intp]) -> Iterator[dict[str, Array]]:
    """The rows before each start and after the last one; none that are empty."""
    bounds = [0, *starts.tolist(), len(rows["series"])]
    for start, end in pairwise(bounds):
        if start < end:
            yield {name: column[start:end] for name, column in rows.items()}


def _one(parts: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _column(name: str, column: Any) -> Array:
    """One column as an array; empty values are NaN, except among ids."""
    if name == "series" and column.null_count:
        raise ValueError("series holds an empty value")
    array: Array = column.to_numpy(zero_copy_only=False)
    if name == "series" and len(array) and np.ndim(array[0]):
        raise ValueError("series must hold numbers or text, got lists")
    if name != "series" and array.dtype.kind not in "fiu":
        raise ValueError(f"column {name!r} must hold numbers, got {array.dtype}")
    return array
