"""One module in one file that holds no code: weights in safetensors and, in their metadata, what to build them into."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from rambit.store.atomic_files import Build, Result, atomic_write, encode, load_record

Module = TypeVar("Module", bound=nn.Module)


def save_module(path: str | Path, form: str, module: nn.Module, document: dict[str, Any]) -> None:
    """Write the weights of ``module`` and, as JSON in their metadata, the name of their format and ``document``.

    For people, the same JSON goes into a file beside it whose name ends in .json instead of .safetensors.
    Errors: ValueError for another ending of ``path``, TypeError or ValueError if ``document`` is not JSON, OSError.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: the name must end in .safetensors")
    text = json.dumps({"format": form, **document}, indent=2, allow_nan=False)
    atomic_write(path, encode(module.state_dict(), {"rambit": text}))
    atomic_write(path.with_suffix(".json"), (text + "\n").encode())


def load_module(path: str | Path, form: str, what: str, build: Build[Result]) -> Result:
    """What ``build`` makes (with ``fill``) of the weights and the document that ``save_module`` wrote.

    Errors: ValueError naming the file if it is damaged or not ``what`` it should be, OSError if there is none.
    """

    def checked(weights: dict[str, Tensor], document: dict[str, Any]) -> Result:
        if document["format"] != form:
            raise ValueError(f"its format is {document['format']!r}, this version reads {form!r}")
        return build(weights, document)

    return load_record(path, "rambit", what, checked)


def fill(make: Callable[[], Module], weights: dict[str, Tensor]) -> Module:
    """The module that ``make`` makes, with these weights in their precision, on the CPU and in evaluation mode.

    No random number is drawn. Errors: ValueError naming a weight that does not fit, or if not all are of one precision.
    """
    kinds = {value.dtype for value in weights.values() if value.is_floating_point()}
    if len(kinds) != 1 or not kinds <= {torch.float16, torch.bfloat16, torch.float32, torch.float64}:
        raise ValueError("its weights are not of one floating type")
    with torch.device("meta"):  # so that a wrong size costs nothing before it is compared
        module = make()
    parts = module.to(kinds.pop()).state_dict(), weights
    wanted, found = ({name: f"{value.dtype} {tuple(value.shape)}" for name, value in part.items()} for part in parts)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name} should be {wanted.get(name)}, the file has {found.get(name)}")
    # Copies, because these may lean on the bytes of the file.
    module.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    return module.eval()
