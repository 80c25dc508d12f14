"""Data of the user's own: .npz, .safetensors, .parquet, .csv, and .pt (weights only). Nothing is ever unpickled."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from rambit.datasets.dataset import Array, Dataset, numbered, padded
from rambit.datasets.readers import NAMES, READERS, check_holds, naming
from rambit.store import atomic_write, read_file

#: The kinds of files that hold a data set.
KINDS = (".npz", ".safetensors", ".parquet", ".csv", ".pt")
COLUMNS = ("series", "time", "label")


def load_file(path: str | Path, *, x: str = "X", y: str | None = "y", layout: str = "BDT") -> Dataset:
    """A data set from a file; `y=None` says that it has no labels.

    Arrays (.npz, .safetensors, and .pt read with `weights_only=True`): `x` and `y` name the series and the labels;
    `salient`, `lengths`, `feature_names` and `class_names` are read if they are there. layout: the axes of the file's
    series (and `salient`), "BDT" or "BTD". Floating values become float32. Integer, bool and text labels are classes,
    floating ones are regression.

    Tables (.csv, .parquet), one row for each series and time: the columns `series` (any id), `time` (a number, in any
    order), `label` (absent with `y=None`), then one column for each feature. A label that changes within a series
    makes labels for each step. Series that differ in length are padded with zeros (labels too), and `lengths` is set.
    An empty value is missing: NaN.

    Raises ValueError, naming the file, where it cannot be read as said; OSError where there is none; ImportError for
    .parquet without pyarrow.
    """
    path = Path(path)
    if path.suffix not in KINDS:
        raise ValueError(f"{path}: the name must end in one of {', '.join(KINDS)}")
    if layout not in ("BDT", "BTD"):
        raise ValueError(f"layout must be 'BDT' or 'BTD', got {layout!r}")
    table = path.suffix in (".csv", ".parquet")
    if table and (x != "X" or y not in ("y", None) or layout != "BDT"):
        raise ValueError(f"{path}: x, y and layout are for arrays; a table has the columns {', '.join(COLUMNS)}, ...")
    data = read_file(path)
    with naming(path):
        fields = READERS[path.suffix](data)
        arguments = _from_table(fields, y is not None) if table else _from_arrays(fields, x, y, layout)
        return Dataset(path.stem, **arguments)


def save_file(path: str | Path, dataset: Dataset) -> None:
    """Writes a data set that `load_file` reads back as it was, but for its name, which is then the file's.

    Raises ValueError if the name does not end in .npz or .safetensors.
    """
    path = Path(path)
    arrays = {"X": dataset.X, "y": dataset.y, "salient": dataset.salient, "lengths": dataset.lengths}
    known: dict[str, Any] = {name: np.ascontiguousarray(value) for name, value in arrays.items() if value is not None}
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        known |= {name: np.array(getattr(dataset, name), dtype=str) for name in NAMES}
        np.savez_compressed(buffer, **known)
        atomic_write(path, buffer.getvalue())
    elif path.suffix == ".safetensors":
        metadata = {name: json.dumps(getattr(dataset, name)) for name in NAMES}
        atomic_write(path, safetensors.numpy.save(known, metadata))
    else:
        raise ValueError(f"{path}: the name must end in .npz or .safetensors")


def _from_arrays(fields: Mapping[str, Any], x: str, y: str | None, layout: str) -> dict[str, Any]:
    """The arguments of a Dataset from named arrays."""
    for name in (x, y):
        if name is not None:
            check_holds(fields, name)
    X = _floats(x, _array(x, fields[x]))
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
        arguments["lengths"] = _integers("lengths", _array("lengths", fields["lengths"]))
    if layout == "BTD":
        X = X.transpose(0, 2, 1)
        if "salient" in arguments:
            arguments["salient"] = arguments["salient"].transpose(0, 2, 1)
    arguments["X"], arguments["y"] = X, None
    if y is not None:
        arguments["y"], classes = _labels(y, _array(y, fields[y]))
        if classes:  # text names itself
            arguments["class_names"] = classes
    return arguments


def _from_table(columns: Mapping[str, Sequence[Any]], labelled: bool) -> dict[str, Any]:
    """The arguments of a Dataset from a long table."""
    wanted = COLUMNS if labelled else COLUMNS[:2]
    if tuple(columns)[: len(wanted)] != wanted or len(columns) == len(wanted):
        raise ValueError(f"the columns must be {', '.join(wanted)}, then the features; got {', '.join(columns)}")
    features = [name for name in columns if name not in COLUMNS]
    values = np.stack([_floats(name, _numbers(name, columns[name])) for name in features])
    time = _numbers("time", columns["time"])
    if not len(time):
        raise ValueError("the table has no rows")
    if not np.isfinite(time).all():
        raise ValueError("time holds an empty or infinite value")

    rows: dict[Any, list[int]] = {}
    for row, series in enumerate(columns["series"]):
        if series in ("", None):
            raise ValueError("series holds an empty value")
        rows.setdefault(series, []).append(row)
    order = [np.array(of)[np.argsort(time[of], kind="stable")] for of in rows.values()]
    for series, of in zip(rows, order, strict=True):
        if (np.diff(time[of]) == 0).any():
            raise ValueError(f"series {series!r} has the same time twice")

    X, lengths = padded([values[:, of] for of in order])
    arguments: dict[str, Any] = {"X": X, "y": None, "feature_names": tuple(features)}
    if lengths.min() < X.shape[2]:
        arguments["lengths"] = lengths
    if labelled:
        labels, arguments["class_names"] = _labels("label", _parsed(columns["label"]))
        if all((labels[of] == labels[of[0]]).all() for of in order):
            arguments["y"] = labels[[of[0] for of in order]]
        else:
            arguments["y"] = np.zeros((len(order), X.shape[2]), dtype=labels.dtype)
            for i, of in enumerate(order):
                arguments["y"][i, : len(of)] = labels[of]
    return arguments


def _array(name: str, value: Any) -> Array:
    if isinstance(value, torch.Tensor):
        value = value.detach()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name!r} must be an array, got {type(value).__name__}")
    return value


def _floats(name: str, value: Array) -> Array:
    if value.dtype.kind not in "fiu":
        raise ValueError(f"{name!r} must hold real numbers, got {value.dtype}")
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and that is refused
        return value.astype(np.float32)


def _integers(name: str, value: Array) -> Array:
    if value.dtype.kind not in "iu":
        raise ValueError(f"{name!r} must hold integers, got {value.dtype}")
    return value.astype(np.int64)


def _labels(name: str, value: Array) -> tuple[Array, tuple[str, ...]]:
    """Labels as int64 classes or float32 values, and the names of classes that were text."""
    if value.dtype.kind == "U":
        names = numbered(value.ravel().tolist())
        number = {label: i for i, label in enumerate(names)}
        return np.array([number[label] for label in value.ravel()], dtype=np.int64).reshape(value.shape), names
    if value.dtype.kind == "f":
        return _floats(name, value), ()
    return _integers(name, value.astype(np.int64) if value.dtype.kind == "b" else value), ()


def _numbers(name: str, values: Sequence[Any]) -> Array:
    try:
        return np.array([np.nan if value in ("", None) else float(value) for value in values], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r}: {error}") from None


def _parsed(values: Sequence[Any]) -> Array:
    """A column of labels; text becomes the narrowest of integers, floating numbers and text that holds all of it."""
    if any(value in ("", None) for value in values):
        raise ValueError("label holds an empty value")
    if isinstance(values[0], str):
        for kind in (int, float):
            with suppress(ValueError):
                return np.array([kind(value) for value in values])
    return np.array(values)
