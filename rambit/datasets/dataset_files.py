"""Data of the user's own: arrays (.npz, .safetensors, .pt: weights only) and tables. Nothing is ever unpickled."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from rambit.checks import check_saved, warn
from rambit.datasets.array_values import floats, integers, labels_of
from rambit.datasets.dataset import Array, Dataset
from rambit.datasets.readers import NAMES, READERS, check_holds, naming
from rambit.datasets.sorted_rows import SortedRows
from rambit.datasets.table_columns import Columns
from rambit.datasets.table_rows import open_table
from rambit.store import atomic_write, open_file, read_file

#: The kinds of files that hold a data set, and those of them that are tables.
TABLES = (".parquet", ".csv", ".tsv")
KINDS = (".npz", ".safetensors", *TABLES, ".pt")


def load_file(
    path: str | Path,
    *,
    x: str = "X",
    y: str | None = "y",
    layout: str = "BDT",
    columns: Columns | None = None,
    need_labels: bool = True,
) -> Dataset:
    """A data set from a file; `y=None` says that its labels are not read.

    Arrays (.npz, .safetensors, and .pt read with `weights_only=True`): `x` and `y` name the series and the labels;
    `salient`, `lengths`, `feature_names`, `class_names`, `series_names` and `times` are read if they are there. layout:
    the axes of the file's series (and `salient`), "BDT" or "BTD". Floating values become float32. Integer, bool and
    text labels are classes, floating ones are regression.

    Tables (.csv, .tsv, .parquet), one row for each series and time, in any order: `columns` says which column is the
    series' id, the time and the label, and which are features; what it does not name are the columns `series`, `time`
    and `label`, and all others. Series come in the order in which they first appear. A label that changes within a
    series makes labels for each step. Series that differ in length are padded with zeros (labels too), and `lengths`
    is set. An empty value (NA, null and None in text) is missing: NaN.

    need_labels: False takes a file without labels too, and warns of labels that can't be read.

    Raises ValueError, naming the file, where it cannot be read as said; OSError where there is none; ImportError for
    .parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: the name must end in one of {', '.join(KINDS)}")
    if layout not in ("BDT", "BTD"):
        raise ValueError(f"layout must be 'BDT' or 'BTD', got {layout!r}")
    if path.suffix not in TABLES:
        if columns is not None:
            raise ValueError(f"{path}: columns are for tables ({', '.join(TABLES)})")
        data = read_file(path)
        with naming(path):
            fields = READERS[path.suffix](data)
            y = y if need_labels or y in fields else None
            arguments = _from_arrays(fields, x, layout)
            return _labelled(path, arguments, None if y is None else partial(_array_labels, fields, y), need_labels)
    if x != "X" or y not in ("y", None) or layout != "BDT":
        raise ValueError(f"{path}: x, y and layout are for arrays; of a table, name the columns")
    open_file(path).close()  # no such file, or no right to read it: the system's own words
    with naming(path), open_table(path) as table:
        found = (columns or Columns()).within(table.names)
        if y is not None and need_labels and found.label is None:
            raise ValueError(f"there is no column 'label', and none is named; it holds {', '.join(table.names)}")
        sorted_rows = SortedRows.read(table, found, labels=y is not None and found.label is not None)
        labels = sorted_rows.labels if sorted_rows.rows.labels is not None else None
        return _labelled(path, sorted_rows.arguments(), labels, need_labels)


def _labelled(
    path: Path, arguments: Mapping[str, Any], labels: Callable[[], dict[str, Any]] | None, needed: bool
) -> Dataset:
    """The data set with its labels; if they are not needed, without those that can't be read."""
    if labels is not None:
        try:
            return Dataset(path.stem, **{**arguments, **labels()})
        except (ValueError, TypeError) as error:
            if needed:
                raise
            problem = error
    data = Dataset(path.stem, y=None, **arguments)
    if labels is not None:
        warn(f"{path}: its labels are not read: {problem}")
    return data


def save_file(path: str | Path, dataset: Dataset) -> None:
    """Writes a data set that `load_file` reads back as it was, but for its name, which is then the file's.

    Raises ValueError if the name does not end in .npz or .safetensors, TypeError for something else than a Dataset.
    """
    check_saved(path, dataset, "dataset", Dataset)
    path = Path(path)
    arrays = {name: getattr(dataset, name) for name in ("X", "y", "salient", "lengths", "times")}
    known: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in arrays.items() if value is not None}
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        known |= {name: np.array(getattr(dataset, name), dtype=str) for name in NAMES}
        np.savez_compressed(buffer, **known)
        atomic_write(path, buffer.getvalue())
    elif path.suffix == ".safetensors":
        metadata = {name: json.dumps(getattr(dataset, name)) for name in NAMES}
        if dataset.times is not None and dataset.times.dtype.kind in "mM":  # which the format does not have
            metadata["times_type"], known["times"] = dataset.times.dtype.str, known["times"].view(np.int64)
        atomic_write(path, safetensors.numpy.save(known, metadata))
    else:
        raise ValueError(f"{path}: the name must end in .npz or .safetensors")


def _from_arrays(fields: Mapping[str, Any], x: str, layout: str) -> dict[str, Any]:
    """The arguments of a Dataset from named arrays, but for its labels."""
    check_holds(fields, x)
    X = floats(x, _array(x, fields[x]))
    arguments: dict[str, Any] = {}
    for name in NAMES:
        if name in fields:
            names = fields[name]
            arguments[name] = tuple(map(str, json.loads(names) if isinstance(names, str) else names))
    if X.ndim != 3:
        raise ValueError(f"{x!r} must have 3 axes ({layout}), got shape {X.shape}; for one feature add an axis of 1")
    if "salient" in fields:
        arguments["salient"] = _array("salient", fields["salient"])
    if "lengths" in fields:
        arguments["lengths"] = integers("lengths", _array("lengths", fields["lengths"]))
    if "times" in fields:
        times = _array("times", fields["times"])
        arguments["times"] = times.view(fields["times_type"]) if "times_type" in fields else times
    if layout == "BTD":
        X = X.transpose(0, 2, 1)
        if "salient" in arguments:
            arguments["salient"] = arguments["salient"].transpose(0, 2, 1)
    arguments["X"] = X
    return arguments


def _array_labels(fields: Mapping[str, Any], y: str) -> dict[str, Any]:
    """The labels of a Dataset from named arrays."""
    check_holds(fields, y)
    labels, classes = labels_of(y, _array(y, fields[y]))
    return {"y": labels, "class_names": classes} if classes else {"y": labels}  # text names itself


def _array(name: str, value: Any) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name!r} must be an array, got {type(value).__name__}")
    return value
