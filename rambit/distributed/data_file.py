"""Files larger than memory: series read from their beginning to their end, a block at a time."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors
import torch
from torch import Tensor

from rambit.datasets.dataset_files import TABLES
from rambit.datasets.readers import check_holds, naming
from rambit.datasets.table_columns import Columns
from rambit.distributed.pieces import EXTRA
from rambit.distributed.tables import has_one_label, read_table
from rambit.store import open_file, read_header

#: Bytes of one block, at least one series.
BLOCK = 4 << 20
_SAFETENSORS = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
}


@dataclass(frozen=True)
class DataFile:
    """The series of a data file as batches of a few MiB, whatever the file's size; nothing is ever unpickled.

    Every iteration yields ``{"X": (B, D, T) float32}`` with ``lengths`` (B,) and ``observed`` like X where the file
    has them (NaN in X is a missing value). As in ``rambit.datasets.load_file``:

    * .npy, .npz (compressed or not) and .safetensors: ``x`` names the array of series, ``layout`` its axes; ``lengths``
      is read if it is there, and arrays called ``extra.NAME`` as inputs beside the series (``explain(extra=…)``).
    * .parquet, .csv, .tsv: ``columns`` says which are the id, the time and the features; labels are not read. The rows
      of a series stand together, and the ids of series increase; shorter series are padded with zeros to the longest of
      the file. Where there is no id, the table is one series.

    Raises ValueError, naming the file, where it cannot be read as said; OSError where there is none; ImportError for
    .parquet without pyarrow.
    """

    path: str | Path
    x: str = "X"
    layout: str = "BDT"
    columns: Columns | None = None

    def __post_init__(self) -> None:
        suffix = Path(self.path).suffix
        if suffix not in READERS:
            raise ValueError(f"{self.path}: the name must end in one of {', '.join(READERS)} to be read piece by piece")
        if self.layout not in ("BDT", "BTD"):
            raise ValueError(f"layout must be 'BDT' or 'BTD', got {self.layout!r}")
        if suffix in TABLES and (self.x, self.layout) != ("X", "BDT"):
            raise ValueError(f"{self.path}: x and layout are for arrays; of a table, name the columns")
        if suffix not in TABLES and self.columns is not None:
            raise ValueError(f"{self.path}: columns are for tables ({', '.join(TABLES)})")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        path = Path(self.path)
        open_file(path).close()  # no such file, or no right to read it: the system's own words
        with naming(path):
            for batch in READERS[path.suffix](path, self):
                yield _checked(batch)

    def features(self) -> int:
        """How many features the series have."""
        return int(next(iter(self))["X"].shape[1])

    def has_one_label(self) -> bool:
        """Whether there are labels, as ``load_file`` reads them, and one for each series; only they are read."""
        path = Path(self.path)
        open_file(path).close()
        with naming(path):
            if path.suffix in TABLES:
                return has_one_label(path, self.columns or Columns())
            if path.suffix == ".npy":
                return False
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return "y" in arrays and arrays["y"].ndim == 1
            with safetensors.safe_open(path, "pt") as arrays:
                return "y" in arrays.keys() and len(arrays.get_slice("y").get_shape()) == 1  # noqa: SIM118


def _checked(batch: dict[str, Any]) -> dict[str, Any]:
    x = batch["X"]
    infinite = x.isinf()
    if "lengths" in batch:  # padding may hold anything
        infinite &= torch.arange(x.shape[2]) < batch["lengths"][:, None, None]
    if bool(infinite.any()):
        raise ValueError("X holds infinite values")
    if bool(x.isnan().any()):
        batch["observed"] = ~x.isnan()
    return batch


@dataclass
class _Rows:
    """One array of a file, read from its first entry to its last."""

    name: str
    file: IO[bytes]
    dtype: np.dtype[Any] | torch.dtype
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.shape or any(type(size) is not int or size < 1 for size in self.shape):
            raise ValueError(f"{self.name!r} is empty: {self.shape}")
        self.row_bytes = prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, n: int) -> Tensor:
        """The next n entries."""
        size = n * self.row_bytes
        # An archive hands over what it really holds, so that a claim alone takes no memory.
        data = bytearray(self.file.read(size))
        if len(data) < size:
            raise ValueError(f"{self.name!r} is truncated")
        if isinstance(self.dtype, torch.dtype):
            flat = torch.frombuffer(data, dtype=self.dtype)
        else:
            array = np.frombuffer(data, self.dtype)
            flat = torch.from_numpy(array.astype(self.dtype.newbyteorder("="), copy=False))
        return flat.reshape(n, *self.shape[1:])


def _npy(name: str, file: IO[bytes], size: int) -> _Rows:
    """An array as np.save writes it, ``size`` bytes in all. Its header is text that NumPy never runs as code."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"{name!r} has version {version} of NumPy's format; 1.0 and 2.0 are read")
    shape, fortran, dtype = read(file)
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"{name!r} must hold real numbers, got {dtype}")
    if fortran and len(shape) > 1:
        raise ValueError(f"{name!r} is stored with its first axis innermost; save np.ascontiguousarray of it")
    rows = _Rows(name, file, dtype, shape)
    if file.tell() + shape[0] * rows.row_bytes > size:
        raise ValueError(f"{name!r} is truncated: {shape} of {dtype} need more than its {size} bytes")
    return rows


def _read_npy(path: Path, options: DataFile) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        yield from _blocks({"X": _npy("X", file, path.stat().st_size)}, options.layout)


def _read_npz(path: Path, options: DataFile) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        rows = {}
        for name in _wanted(options.x, members):
            file = stack.enter_context(archive.open(members[name]))
            rows["X" if name == options.x else name] = _npy(name, file, members[name].file_size)
        yield from _blocks(rows, options.layout)


def _read_safetensors(path: Path, options: DataFile) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        header, begin = read_header(file, "it"), file.tell()
    with safetensors.safe_open(path, "pt"):
        pass  # the library's checks of the header: offsets without gaps or overlaps, and the file's size
    with ExitStack() as stack:
        rows = {}
        for name in _wanted(options.x, header):
            entry = header[name]
            if entry["dtype"] not in _SAFETENSORS:
                raise ValueError(f"{name!r} must hold real numbers, got {entry['dtype']}")
            part = stack.enter_context(open(path, "rb"))
            part.seek(begin + entry["data_offsets"][0])
            rows["X" if name == options.x else name] = _Rows(
                name, part, _SAFETENSORS[entry["dtype"]], tuple(entry["shape"])
            )
        yield from _blocks(rows, options.layout)


def _wanted(x: str, names: Any) -> list[str]:
    check_holds([name for name in names if name[:2] != "__"], x)
    beside = [name for name in names if name == "lengths" or name.startswith(EXTRA)]
    return [x, *(name for name in beside if name != x)]


def _blocks(rows: dict[str, _Rows], layout: str) -> Iterator[dict[str, Any]]:
    """All arrays side by side, some entries at a time."""
    x, lengths = rows["X"], rows.get("lengths")
    if len(x.shape) != 3:
        raise ValueError(f"{x.name!r} must have 3 axes ({layout}), got shape {x.shape}")
    if lengths is not None and lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths must have shape {x.shape[:1]}, got {lengths.shape}")
    extra = {name: array for name, array in rows.items() if name.startswith(EXTRA)}
    for name, array in extra.items():
        if array.shape[0] != x.shape[0]:
            raise ValueError(f"{name} must have one entry for each of {x.shape[0]} series, got {array.shape}")
    step = max(1, BLOCK // x.row_bytes)
    for start in range(0, x.shape[0], step):
        n = min(step, x.shape[0] - start)
        values = x.read(n).to(torch.float32)
        batch: dict[str, Any] = {"X": values.transpose(1, 2).contiguous() if layout == "BTD" else values}
        if lengths is not None:
            batch["lengths"] = lengths.read(n)
        if extra:
            batch["extra"] = {name.removeprefix(EXTRA): array.read(n) for name, array in extra.items()}
        yield batch


def _read_table(path: Path, options: DataFile) -> Iterator[dict[str, Any]]:
    yield from read_table(path, BLOCK, options.columns or Columns())


READERS: dict[str, Callable[[Path, DataFile], Iterator[dict[str, Any]]]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".safetensors": _read_safetensors,
    **dict.fromkeys(TABLES, _read_table),
}
