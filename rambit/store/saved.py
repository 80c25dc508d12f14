"""One result in one file: tensors and a JSON record in safetensors, with a SHA-256 of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from rambit.store.atomic_files import Build, Result, atomic_write, encode, load_record
from rambit.store.keys import resume_key


def save_result(
    path: str | Path, form: str, tensors: dict[str, Tensor], record: dict[str, Any], *, force: bool = False
) -> None:
    """Write tensors and record under the name of their format. Errors: FileExistsError without ``force``."""
    path = Path(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; force=True overwrites it")
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
