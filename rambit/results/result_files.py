"""How results of attributions stand in files: tensors by name, and a record of everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rambit.labels import Labels
from rambit.store import json_dict, save_result


def save(
    path: str | Path,
    form: str,
    result: Any,
    *,
    numbers: Mapping[str, type],
    tensors: Iterable[str],
    optional: Mapping[str, Any],
    force: bool,
) -> None:
    """Write a result's fields: ``numbers`` by name and type, settings, labels, and those ``tensors`` that it has.

    ``optional``: further JSON values, left out where they are None. Errors: those of `store.save_result`.
    """
    record: dict[str, Any] = {name: kind(getattr(result, name)) for name, kind in numbers.items()}
    record["settings"] = json_dict(result.settings, "settings")
    more = {**optional, "labels": result.labels.record() or None}
    record |= {name: value for name, value in more.items() if value is not None}
    given = {name: getattr(result, name) for name in tensors if getattr(result, name) is not None}
    found = {name: torch.as_tensor(value) for name, value in given.items()}
    save_result(path, form, found | result.labels.tensors(), record, force=force)


def fields(tensors: dict[str, Tensor], record: dict[str, Any], numbers: Mapping[str, type]) -> dict[str, Any]:
    """The fields of a result with these tensors and this record. Errors: TypeError for a number of another type."""
    for name, kind in {**numbers, "settings": dict}.items():
        if type(record[name]) is not kind:
            raise TypeError(f"{name} is {record[name]!r}")
    labels = Labels.read(tensors, record.pop("labels", {}))
    return {"stderr": None, **tensors, **record, "labels": labels}
