"""One result in one file: tensors and a JSON record in safetensors, with a SHA-256 of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from rambit.store.files import atomic_write, encode, load_tensors
from rambit.store.keys import resume_key

Result = TypeVar("Result")


def save_result(
    path: str | Path, form: str, tensors: dict[str, Tensor], record: dict[str, Any], *, force: bool = False
) -> None:
    """Write tensors and record under the name of their format. Errors: FileExistsError without ``force``."""
    path = Path(path)
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; force=True overwrites it")
    record = {**record, "sha256": resume_key(tensors=tensors, record=record)}
    atomic_write(path, encode(tensors, {form: json.dumps(record)}))


def load_result(
    path: str | Path, form: str, what: str, build: Callable[[dict[str, Tensor], dict[str, Any]], Result]
) -> Result:
    """What ``build`` makes of the tensors, on the CPU, and the record that ``save_result`` wrote.

    Errors: ValueError naming the file if it is corrupt or not ``what`` it should be.
    """
    tensors, metadata = load_tensors(path)
    if form not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not a saved {what}")
    try:
        record = json.loads(metadata[form])
        if record.pop("sha256") != resume_key(tensors=tensors, record=record):
            raise ValueError("its SHA-256 differs")
        return build(tensors, record)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is corrupt or not a saved {what}: {error}") from error
