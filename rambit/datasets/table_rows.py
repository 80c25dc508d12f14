"""Long tables (.csv, .tsv, .parquet), read some rows at a time: the one reader of tables. Nothing is ever unpickled."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rambit.datasets.readers import parquet
from rambit.datasets.table_columns import Columns, described
from rambit.datasets.table_times import joined, read_times
from rambit.store import open_file
from rambit.text import shortened

Array = NDArray[Any]

#: Rows that are decoded at a time, and those by which an error says what the columns of text hold.
ROWS, SAMPLE = 1 << 15, 1000
#: What stands in text where a value is missing; "nan" is read as a number.
MISSING = ("", "NA", "N/A", "NULL", "null", "None", "<NA>")
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class Table(Protocol):
    """A file with named columns."""

    @property
    def names(self) -> Sequence[str]: ...
    def kinds(self) -> dict[str, str]:
        """What each column holds, in words."""

    def batches(self, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[Any] | Array]]:
        """Some of the columns, a number of rows at a time: text, or typed arrays."""


@dataclass(frozen=True)
class Rows:
    """Some rows of a table: values (D, r) float32, NaN where one is missing, and what their series are called."""

    values: Array
    ids: list[Any] | None = None
    times: Array | None = None
    labels: list[Any] | None = None

    def __len__(self) -> int:
        return int(self.values.shape[1])

    def part(self, start: int, end: int) -> Rows:
        """The rows from start up to end."""
        ids, times, labels = (None if one is None else one[start:end] for one in (self.ids, self.times, self.labels))
        return Rows(self.values[:, start:end], ids, times, labels)  # type: ignore[arg-type]

    @staticmethod
    def joined(parts: Sequence[Rows], columns: Columns) -> Rows:
        """All rows of the parts."""
        first = parts[0]
        with in_column(columns.time):
            times = None if first.times is None else joined([part.times for part in parts if part.times is not None])
        ids = None if first.ids is None else [one for part in parts for one in part.ids or ()]
        labels = None if first.labels is None else [one for part in parts for one in part.labels or ()]
        return Rows(np.concatenate([part.values for part in parts], axis=1), ids, times, labels)


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """The table in a file, by the suffix of its name. Raises OSError, ImportError or ValueError."""
    if path.suffix == ".parquet":
        open_file(path).close()  # no pipe, which it would wait on
        # Buffered, so that a row group of any size is decoded page by page.
        with parquet().ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            yield _Parquet(file)
    else:
        with open_file(path) as file:
            yield _Text(io.TextIOWrapper(file, "utf-8-sig", newline=""), _SEPARATORS[path.suffix])


def read_rows(table: Table, columns: Columns, *, labels: bool = False) -> Iterator[Rows]:
    """The rows as they stand. Raises ValueError naming a column that does not hold what it should.

    ``columns``: those of ``Columns.within``. Values beyond float32 become infinite.
    """
    roles = (columns.id, columns.time, columns.label if labels else None)
    features = columns.features or ()
    for part in table.batches([*(name for name in roles if name is not None), *features]):
        ids, times, label = (None if name is None else part[name] for name in roles)
        with np.errstate(over="ignore"):
            values = np.array([_numbers(table, name, part[name]) for name in features], np.float32)
        with in_column(columns.time):
            read = None if times is None else read_times(times)
        values = values.reshape(len(features), len(next(iter(part.values()))))  # of no features too
        yield Rows(values, _ids(columns.id, ids), read, None if label is None else list(label))


@contextmanager
def in_column(name: str | None) -> Iterator[None]:
    """What is wrong with a column is said with its name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None


def _ids(name: str | None, values: Sequence[Any] | Array | None) -> list[Any] | None:
    """Numbers or text, none of them empty."""
    if values is None:
        return None
    found = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if any(isinstance(one, (list, dict, np.ndarray)) for one in found):
        raise ValueError(f"{name} must hold numbers or text, got lists")
    if any(one is None or one != one or one == "" for one in found):
        raise ValueError(f"{name} holds an empty value")
    return found


def _numbers(table: Table, name: str, values: Sequence[Any] | Array) -> Array:
    """The values of a feature as they are, NaN where one is missing."""
    if isinstance(values, np.ndarray):
        if values.dtype.kind in "fiu":
            return values
        if all(value is None for value in values):
            return np.full(len(values), np.nan)
        got = str(values.dtype)
    else:
        try:
            return np.fromiter(map(float, values), np.float64, len(values))
        except ValueError:
            pass
        found = [_number(value) for value in values]
        if None not in found:
            return np.array(found, np.float64)
        got = shortened(repr(values[found.index(None)]), 40)
    raise ValueError(
        f"column {name!r} must hold numbers, got {got}; columns that are no features are named as id, time or label, "
        f"or left out by naming the features. There are {described(table.kinds())}"
    )


def _number(text: str) -> float | None:
    """The number in a cell, NaN in one where it is missing; None where there is something else."""
    try:
        return math.nan if text.strip() in MISSING else float(text)
    except ValueError:
        return None


class _Text:
    """Values with separators between them, and quotes where there are some within; the first line names the columns."""

    def __init__(self, file: io.TextIOWrapper, separator: str) -> None:
        self.file, self.separator = file, separator
        self.names = [name.strip() for name in next(self._lines(), [])]
        if not self.names:
            raise ValueError("it is empty: the first line must name the columns")

    def _lines(self) -> Iterator[list[str]]:
        """From the first line on, without those that are empty."""
        self.file.seek(0)
        return filter(None, csv.reader(self.file, delimiter=self.separator, strict=True))

    def kinds(self) -> dict[str, str]:
        rows = list(islice(self._lines(), 1, SAMPLE + 1))
        columns = zip(*rows, strict=True) if rows else [()] * len(self.names)
        return {name: _kind(values) for name, values in zip(self.names, columns, strict=True)}

    def batches(self, names: Sequence[str]) -> Iterator[Mapping[str, Sequence[str]]]:
        lines, width, done = self._lines(), len(self.names), 0
        next(lines)
        indices = [self.names.index(name) for name in names]
        while rows := list(islice(lines, ROWS)):
            for number, row in enumerate(rows, start=done + 1):
                if len(row) != width:
                    raise ValueError(f"row {number} has {len(row)} values, the header {width}")
            done += len(rows)
            columns = list(zip(*rows, strict=True))
            yield {name: columns[i] for name, i in zip(names, indices, strict=True)}


def _kind(values: Sequence[str]) -> str:
    """What a column of text holds, in words."""
    there = [value.strip() for value in values if value.strip() not in MISSING]
    if not there:
        return "empty"
    try:
        return {"i": "whole numbers", "f": "numbers"}.get(read_times(there).dtype.kind, "dates")
    except ValueError:
        return f"text such as {there[0][:20]!r}"


class _Parquet:
    """Typed columns."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.names: list[str] = file.schema_arrow.names

    def kinds(self) -> dict[str, str]:
        return {field.name: str(field.type) for field in self.file.schema_arrow}

    def batches(self, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        for part in self.file.iter_batches(batch_size=ROWS, columns=list(names)):
            if len(part):
                yield {name: part.column(name).to_numpy(zero_copy_only=False) for name in names}
