"""Inputs that go with each series beside its values: static and future covariates, and which series it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rambit import arrays

#: By name, (B, …) of any type; those passed by position are called *0, *1, …
Extra = Mapping[str, Tensor]
#: The argument of a predictor's calls that says which series each row is of.
SERIES = "series"


def read_extra(extra: Any, B: int, device: torch.device, kind: torch.dtype | None = None) -> dict[str, Tensor]:
    """Extra inputs of B series, by name, from a dictionary or (by position) a tuple. TypeError or ValueError.

    ``kind``: the type of the model's weights, if they have one, to which floating values are cast, as series are.
    """
    if extra is None:
        return {}
    if not isinstance(extra, (Mapping, tuple)):
        raise TypeError(f"extra must be a dictionary of arrays (B, …), or a tuple of them, got {type(extra).__name__}")
    found = {}
    for key, value in extra.items() if isinstance(extra, Mapping) else enumerate(extra):
        if isinstance(extra, Mapping) and not (isinstance(key, str) and key.isidentifier()):
            raise TypeError(f"extra must have names of arguments as keys, got {key!r}")
        name, called = key if isinstance(key, str) else f"*{key}", f"extra[{key!r}]"
        tensor = arrays.whole(called, value)
        if tensor.ndim == 0 or len(tensor) != B:
            raise ValueError(f"{called} must have one entry for each of {B} series, got {tuple(tensor.shape)}")
        found[name] = tensor.to(device, kind if tensor.is_floating_point() else None)
    return found


def split(given: Extra) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What is passed by position, and what by name."""
    places = sorted((name for name in given if name.startswith("*")), key=lambda name: int(name[1:]))
    return [given[name] for name in places], {name: t for name, t in given.items() if not name.startswith("*")}
