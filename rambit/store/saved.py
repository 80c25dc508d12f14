"""One result in one file: tensors and a JSON record in safetensors, with a SHA-256 of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from rambit.store.atomic_files import Build, Result, atomic_write, encode, load_record
from rambit.store.keys import resume_key

#: Endings of files of other kinds, in which nobody would look for safetensors.
_OTHERS = frozenset(
    f".{name}"
    for names in (
        (
            "arff",
            "avro",
            "csv",
            "db",
            "feather",
            "json",
            "jsonl",
            "orc",
            "parquet",
            "toml",
            "tsv",
            "xls",
            "xlsx",
            "xml",
        ),
        ("h5", "hdf", "hdf5", "mat", "nc", "npy", "npz", "onnx", "pickle", "pkl", "pt", "pt2", "pth", "zarr", "zip"),
        ("html", "jpeg", "jpg", "md", "pdf", "png", "svg", "txt", "webp", "yaml", "yml"),
    )
    for name in names
)

_INSTEAD = (
    ": results are written as safetensors (an attribution's to_csv and to_frame make tables, plot makes pictures)"
)


def check_kind(path: str | Path, suffix: str, instead: str = "") -> Path:
    """The path, unless it ends like a file of another kind than ``suffix``: ValueError, with what to do ``instead``."""
    path = Path(path)
    ending = path.suffix.lower()
    if ending != suffix and ending in _OTHERS | {".safetensors"}:
        raise ValueError(f"path must end in {suffix}, or in no file type, given {str(path)!r}{instead}")
    return path


def _free(path: Path, force: bool) -> Path:
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; force=True overwrites it")
    return path


def save_text(path: str | Path, data: bytes, suffix: str, *, force: bool = False) -> None:
    """Write text for other programs. Errors: FileExistsError without ``force``, ValueError for another file type."""
    atomic_write(_free(check_kind(path, suffix), force), data)


def save_result(
    path: str | Path, form: str, tensors: dict[str, Tensor], record: dict[str, Any], *, force: bool = False
) -> None:
    """Write tensors and record under the name of their format.

    Errors: FileExistsError without ``force``, ValueError for a path that ends like a file of another kind.
    """
    path = _free(check_kind(path, ".safetensors", _INSTEAD), force)
    record = {**record, "sha256": resume_key(tensors=tensors, record=record)}
    atomic_write(path, encode(tensors, {form: json.dumps(record)}))


def load_result(path: str | Path, form: str, what: str, build: Build[Result]) -> Result:
    """What ``build`` makes of the tensors, on the CPU, and the record that ``save_result`` wrote.

    Errors: ValueError naming the file if it is corrupt or not ``what`` it should be.
    """

    def checked(tensors: dict[str, Tensor], record: dict[str, Any]) -> Result:
        if record.pop("sha256") != resume_key(tensors=tensors, record=record):
            raise ValueError("its SHA-256 differs")
        return build(tensors, record)

    return load_record(path, form, f"a saved {what}", checked)
