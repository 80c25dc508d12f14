"""What a game explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorSample:
    """Series of one length: ``x`` (B, D, T), ``ids`` (B,) int64, ``observed`` (B, D, T) bool or None.

    The terms are the cells (d, t). Where ``observed`` is False the value is missing: it is passed through and never
    replaced. ``length`` < T means that the steps from there on are padding, passed on to models that take lengths.
    """

    x: Tensor
    ids: Tensor
    observed: Tensor | None = None
    length: int | None = None

    @property
    def terms(self) -> int:
        """How many cells a series has."""
        return self.x.shape[1] * self.x.shape[2]

    def __len__(self) -> int:
        return self.x.shape[0]

    def take(self, index: slice | Tensor) -> TensorSample:
        """The given series."""
        observed = None if self.observed is None else self.observed[index]
        return TensorSample(self.x[index], self.ids[index], observed, self.length)

    def cut(self) -> TensorSample:
        """Without the padding."""
        if self.length is None or self.length == self.x.shape[2]:
            return TensorSample(self.x, self.ids, self.observed)
        observed = None if self.observed is None else self.observed[:, :, : self.length]
        return TensorSample(self.x[:, :, : self.length], self.ids, observed)

    def padded(self) -> TensorSample:
        """With the padding marked as missing, so that it is never replaced and scores 0."""
        if self.length is None or self.length == self.x.shape[2]:
            return self
        inside = torch.arange(self.x.shape[2], device=self.x.device) < self.length
        observed = inside.expand(self.x.shape) if self.observed is None else self.observed & inside
        return TensorSample(self.x, self.ids, observed.contiguous(), self.length)

    def in_memory_order(self, features_last: bool) -> TensorSample:
        """The same values, stored in the order in which the model reads them."""
        x = self.x.transpose(1, 2).contiguous().transpose(1, 2) if features_last else self.x.contiguous()
        return TensorSample(x, self.ids, self.observed, self.length)
