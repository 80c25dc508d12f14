"""What a game explains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rambit import arrays


@dataclass(frozen=True)
class TensorSample:
    """Series of one length: ``x`` (B, D, T), ``ids`` (B,) int64, ``observed`` (B, D, T) bool or None.

    The terms are the cells (d, t). Where ``observed`` is False the value is missing: it is passed through and never
    replaced. ``length`` < T means that the steps from there on are padding, passed on to models that take lengths.

    ``extra``: further inputs of the model by name, (B, …) of any type; they go with their series and are never
    replaced.

    Images and volumes (see ``spatial``) have ``shape``, what the model reads of each, e.g. (C, H, W); ``x`` is then
    (B, C, positions), and the terms are the positions: all channels of one are kept or replaced together.

    ``tokens``: x (B, 1, T) holds the ids of tokens (see ``of_tokens``), of which the model reads (N, T) int64.
    """

    x: Tensor
    ids: Tensor
    observed: Tensor | None = None
    length: int | None = None
    shape: tuple[int, ...] | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    tokens: bool = False

    @staticmethod
    def of_tokens(x: Tensor, ids: Tensor | None = None) -> TensorSample:
        """Integer ids of tokens (B, T), of at most 53 bits: float64, in which rows are made, holds those exactly."""
        if x.ndim != 2 or not arrays.holds_integers(x):
            raise ValueError(f"x must be integer tokens (B, T), got {x.dtype} {tuple(x.shape)}")
        ids = torch.arange(len(x), device=x.device) if ids is None else ids
        return TensorSample(arrays.floating("x", x)[:, None], ids, tokens=True)

    @staticmethod
    def spatial(x: Tensor, ids: Tensor | None = None) -> TensorSample:
        """Images (B, C, H, W) or volumes (B, C, Z, H, W); ids (B,) default to 0 … B-1."""
        if x.ndim not in (4, 5):
            raise ValueError(f"x must be images (B, C, H, W) or volumes (B, C, Z, H, W), got {tuple(x.shape)}")
        ids = torch.arange(len(x), device=x.device) if ids is None else ids
        return TensorSample(x.flatten(2), ids, shape=tuple(x.shape[1:]))

    @property
    def grid(self) -> tuple[int, int, int]:
        """The terms as (Z, Y, X): (1, D, T) of a series, (1, H, W) of an image."""
        Z, Y, X = ((1, 1, 1) + (tuple(self.x.shape[1:]) if self.shape is None else self.shape[1:]))[-3:]
        return Z, Y, X

    @property
    def terms(self) -> int:
        """How many cells a series has, or positions an image."""
        return math.prod(self.grid)

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, index: slice | Tensor) -> TensorSample:
        """The given series."""
        observed = None if self.observed is None else self.observed[index]
        extra = {name: values[index] for name, values in self.extra.items()}
        return replace(self, x=self.x[index], ids=self.ids[index], observed=observed, extra=extra)

    def cut(self) -> TensorSample:
        """Without the padding."""
        if self.length is None or self.length == self.x.shape[2]:
            return replace(self, length=None)
        observed = None if self.observed is None else self.observed[:, :, : self.length]
        return replace(self, x=self.x[:, :, : self.length], observed=observed, length=None)

    def padded(self) -> TensorSample:
        """With the padding marked as missing, so that it is never replaced and scores 0."""
        if self.length is None or self.length == self.x.shape[2]:
            return self
        inside = torch.arange(self.x.shape[2], device=self.x.device) < self.length
        observed = inside.expand(self.x.shape) if self.observed is None else self.observed & inside
        return replace(self, observed=observed.contiguous())

    def in_memory_order(self, features_last: bool) -> TensorSample:
        """The same values, stored in the order in which the model reads them."""
        x = self.x.transpose(1, 2).contiguous().transpose(1, 2) if features_last else self.x.contiguous()
        return replace(self, x=x)
