"""One reader for each kind of file with arrays; broken files are named. Nothing is ever unpickled."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rambit.store import decode

#: What a .safetensors file keeps as JSON in its metadata.
NAMES = ("feature_names", "class_names", "series_names")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What a broken file makes its reader raise, which may be anything, becomes a ValueError that names the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # MemoryError too
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from error


def check_holds(fields: Collection[Any], name: str) -> None:
    """Raise ValueError unless that name is among the fields of a file."""
    if name not in fields:
        raise ValueError(f"there is no {name!r}; it holds {', '.join(map(str, fields)) or 'nothing'}")


def parquet() -> Any:
    """The module pyarrow.parquet. Raises ImportError saying what to install."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(f".parquet files need pyarrow: pip install rambit[tables] ({error})") from error
    return parquet


def _read_npy(data: bytes) -> Mapping[str, Any]:
    return {"X": np.load(io.BytesIO(data), allow_pickle=False)}


def _read_npz(data: bytes) -> Mapping[str, Any]:
    archive = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(archive, Mapping):
        raise ValueError("is not an archive of arrays")
    return archive  # it reads an array when it is wanted, so one that nobody needs takes no memory


def _read_safetensors(data: bytes) -> Mapping[str, Any]:
    # As torch tensors, because NumPy has no bfloat16.
    fields, metadata = decode(data, "it")
    return fields | {name: metadata[name] for name in (*NAMES, "times_type") if name in metadata}


def _read_pt(data: bytes) -> Mapping[str, Any]:
    fields = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    if not isinstance(fields, Mapping):
        raise ValueError(f"must hold a dictionary of tensors, got {type(fields).__name__}")
    for name, value in fields.items():
        if isinstance(value, torch.Tensor) and value.numel() * value.element_size() > len(data):
            raise ValueError(f"{name!r} claims the shape {tuple(value.shape)}, for which the file is too small")
    return fields


#: From a file's bytes to the arrays that it holds by name. A .npy file has one, which is X.
READERS: dict[str, Callable[[bytes], Mapping[str, Any]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_pt,
}
