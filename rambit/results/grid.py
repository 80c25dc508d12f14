"""The cells of a result by series, target, feature and time: as a table, as arrays with names, and their means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rambit.results.names import Names
from rambit.results.tables import library

AXES = ("series", "target", "feature", "time")


@dataclass(frozen=True)
class Grid:
    """Scores (B, K, D, T), K = 1 without targets, which of them are ``known``, bool, and what stands beside them.

    Not known are padding and cells that were not evaluated. ``value`` (B, 1, D, T): the input.
    """

    score: Tensor
    known: Tensor
    stderr: Tensor | None
    value: Tensor | None
    names: Names

    def columns(self) -> dict[str, NDArray[Any]]:
        """A table: the columns have an entry for each known cell."""
        b, k, d, t = (where.numpy() for where in self.known.nonzero(as_tuple=True))
        names, times = self.names, self.names.labels.times
        several = {} if names.targets is None else {"target": _column(names.of_targets())[k]}
        columns: dict[str, NDArray[Any]] = {
            "series": _column(names.of_series())[b],
            **several,
            "feature": _column(names.of_features())[d],
            "time": t if times is None else times[t] if times.ndim == 1 else times[b, t],
            "score": as_array(self.score)[b, k, d, t],
        }
        if self.stderr is not None:
            columns["stderr"] = as_array(self.stderr)[b, k, d, t]
        if self.value is not None:
            columns["value"] = as_array(self.value)[b, 0, d, t]
        return columns

    def dataset(self, outputs: Tensor | None, attrs: dict[str, Any]) -> Any:
        """An xarray Dataset of the same and of outputs (B, …). ImportError without xarray."""
        names, labels = self.names, self.names.labels
        several = names.targets is not None
        known = {True: self.known.numpy(), False: self.known.any(dim=1, keepdim=True).numpy()}
        found: dict[str, Any] = {}
        for name, tensor in (("score", self.score), ("stderr", self.stderr), ("value", self.value)):
            if tensor is not None:
                array = np.where(known[name != "value"], as_array(tensor), np.nan)
                wide = several and name != "value"
                found[name] = (AXES, array) if wide else (AXES[:1] + AXES[2:], array[:, 0])
        coords: dict[str, Any] = {"series": names.of_series(), "feature": names.of_features()}
        if several:
            coords["target"] = names.of_targets()
        if labels.times is not None and labels.times.ndim == 1:
            coords["time"] = labels.times
        elif labels.times is not None:
            found["times"] = (("series", "time"), labels.times)
        if outputs is not None:
            found["outputs"] = (("series", "output"), as_array(outputs).reshape(len(outputs), -1))
            coords |= {} if labels.outputs is None else {"output": list(labels.outputs)}
        return library("xarray").Dataset(found, coords, attrs)

    def mean_size(self, axis: int) -> Tensor:
        """The mean of |score| over an axis, without what is not known and NaN; (B, K, …) with targets, else (B, …)."""
        sizes = self.score.double().abs().masked_fill(~self.known, math.nan).nanmean(dim=axis)
        return sizes if self.names.targets is not None else sizes[:, 0]


def as_array(tensor: Tensor) -> NDArray[Any]:
    """On the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    return array


def _column(names: list[Any]) -> NDArray[Any]:
    """Numbers as numbers, texts as objects: each is held once, however often it stands in a column."""
    return np.array(names, dtype=object if any(isinstance(name, str) for name in names) else np.int64)
