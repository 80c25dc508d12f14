"""`rambit export`: stored results as one Parquet table."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rambit.cli import common
from rambit.cli.file_kinds import check_result
from rambit.labels import TIMES, typed_times
from rambit.store import Store, atomic_write, load_tensors

EPILOG = """\
example:
  rambit export results --out results.parquet

One row for each result: its name, every recorded number and text, and every tensor as a list of numbers beside its
shape (the columns responsibility and responsibility_shape, for instance). Records within records become columns with
a dot in their names (stats.rows, labels.features); lists become JSON text, datetimes (labels.times) timestamps.
"""
#: Tensor types that Parquet has no numbers for are widened.
_WIDER = ("bfloat16", "float16")


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "export",
        help="write stored results as a Parquet table",
        usage="rambit export RESULTS --out FILE [options]",
        description="Writes the results of a store, a folder of result files or one file as a Parquet table.",
        epilog=EPILOG,
    )
    parser.add_argument("results", metavar="RESULTS", help="a folder that rambit wrote, or result files (.safetensors)")
    parser.add_argument("--out", metavar="FILE", required=True, help="the table (.parquet)")
    common.add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read every result and write the table."""
    common.check_suffix("--out", args.out, ".parquet")
    with common.reserved((args.out,), force=args.force, inputs=(args.results,)) as place:
        _export(args, place)


def _export(args: argparse.Namespace, place: common.Place) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError("tables need pyarrow: pip install 'rambit[tables]'") from error
    rows = [_row(name, tensors, record) for name, tensors, record in _results(Path(args.results))]
    if not rows:
        raise ValueError(f"{args.results} holds no results")
    columns = list(dict.fromkeys(name for row in rows for name in row))
    try:
        table = pyarrow.table({name: _column([row.get(name) for row in rows]) for name in columns})
    except (pyarrow.ArrowException, OverflowError) as error:  # the latter for integers beyond 64 bits
        raise ValueError(f"the results of {args.results} don't fit one table: {error}") from error
    data = io.BytesIO()
    pyarrow.parquet.write_table(table, data)
    path = place(args.out)
    atomic_write(path, data.getvalue())
    print(common.table([("results", len(rows)), ("columns", ", ".join(columns)), ("wrote", path)]))


def _results(path: Path) -> Iterator[tuple[str, dict[str, Tensor], dict[str, Any]]]:
    """Name, tensors and record of each result."""
    if path.is_dir() and (path / "manifest.json").exists():
        with Store(path, read_only=True) as store:
            for name in store.names():
                yield name, *store.get(name)
        return
    if not path.is_dir():
        check_result(path)
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        tensors, metadata = load_tensors(file)
        yield file.stem, tensors, _record(metadata, file)


def _record(metadata: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The record of a result file: the one JSON entry of its metadata."""
    try:
        [text] = metadata.values()
        record = json.loads(text)
        if not isinstance(record, dict):
            raise TypeError(f"it is a {type(record).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{file} is not a result file: {error}") from error
    return record


def _row(name: str, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, **_flat(record)}
    for key, tensor in tensors.items():
        if key == TIMES:
            row[key] = _times(tensor, row.get(TIMES))
            row[f"{key}_shape"] = list(tensor.shape)
            continue
        plain = tensor.float() if str(tensor.dtype).removeprefix("torch.") in _WIDER else tensor
        row[key] = plain.flatten().numpy()
        row[f"{key}_shape"] = list(tensor.shape)
    return row


def _times(tensor: Tensor, kind: Any) -> NDArray[Any]:
    """Times in a unit that Parquet knows."""
    times = typed_times(tensor.flatten(), kind)
    coarse = times.dtype.kind in "mM" and np.datetime_data(times.dtype)[0] not in ("s", "ms", "us", "ns")
    return times.astype(f"{times.dtype.kind}8[s]") if coarse else times


def _column(values: list[Any]) -> list[Any]:
    """The values of a column; arrays of different precision in the widest, which holds them all."""
    types = {value.dtype for value in values if isinstance(value, np.ndarray)}
    if len(types) < 2 or len({kind.kind for kind in types}) > 1:
        return values
    widest = np.result_type(*types)
    return [value.astype(widest) if isinstance(value, np.ndarray) else value for value in values]


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return flat
