"""What a user hands to ``attribute``: checked before any work, and split into series of equal length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.game import TensorSample
from rambit.predictors import Predictor


def integers(name: str, value: Any, B: int, low: int, high: int) -> Tensor:
    """A (B,) int64 tensor of values in low … high, from a tensor, array or list."""
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must hold integers, got {value!r}") from None
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must hold integers, got {tensor.dtype}")
    if tensor.shape != (B,):
        raise ValueError(f"{name} must have one value a series, ({B},), got {tuple(tensor.shape)}")
    tensor = tensor.to("cpu", torch.int64)
    if B and (int(tensor.min()) < low or int(tensor.max()) > high):
        raise ValueError(f"{name} must lie between {low} and {high}, got {int(tensor.min())} … {int(tensor.max())}")
    return tensor


@dataclass(frozen=True)
class Batch:
    """Series (B, D, T) on the model's device, with ids (B,) and, where given, lengths, observed and target."""

    x: Tensor
    ids: Tensor
    lengths: Tensor | None
    observed: Tensor | None
    target: Tensor | None
    like: Tensor
    layout: str

    @staticmethod
    def read(
        X: Any,
        predictor: Predictor,
        layout: str,
        *,
        target: Any = None,
        lengths: Any = None,
        observed: Any = None,
        ids: Any = None,
    ) -> Batch:
        """Check everything that a user gave. Raises TypeError or ValueError naming the argument."""
        axes = "(B, D, T)" if layout == "BDT" else "(B, T, D)"
        if isinstance(X, np.ndarray):
            X = torch.from_numpy(X)
        if not isinstance(X, Tensor):
            many = "; rambit.distributed.attribute_many takes batches" if hasattr(X, "__iter__") else ""
            raise TypeError(f"X must be a tensor or NumPy array {axes}, got {type(X).__name__}{many}")
        if X.ndim != 3:
            raise ValueError(f"X must be {axes}, got {X.ndim} dimensions: {tuple(X.shape)}")
        if X.dtype not in (torch.float32, torch.float64):
            raise TypeError(f"X must be float32 or float64, got {X.dtype}")
        if X.numel() == 0:
            raise ValueError(f"X is empty: {tuple(X.shape)}")
        if X.device.type == "cuda" and predictor.device.type == "cpu":
            raise ValueError(
                f"X is on {X.device}, but the model is on {predictor.device}: pass device={str(X.device)!r} or move X"
            )
        like = X
        x = X.detach().to(predictor.device)
        x = x.transpose(1, 2) if layout == "BTD" else x
        B, _, T = x.shape
        seen = None
        if observed is not None:
            seen = torch.as_tensor(observed)
            if seen.dtype != torch.bool or seen.shape != X.shape:
                raise ValueError(
                    f"observed must be a bool tensor like X, {tuple(X.shape)}, got {seen.dtype} {tuple(seen.shape)}"
                )
            seen = seen.to(predictor.device)
            seen = (seen.transpose(1, 2) if layout == "BTD" else seen).contiguous()
        length = None if lengths is None else integers("lengths", lengths, B, 1, T)
        finite = torch.isfinite(x)
        if bool(torch.isinf(x).any()):
            raise ValueError(f"X holds infinite values, first at {_first(torch.isinf(x))}")
        needed = torch.ones_like(finite) if seen is None else seen
        if length is not None:
            needed = needed & (torch.arange(T, device=x.device) < length.to(x.device)[:, None, None])
        if bool((~finite & needed).any()):
            raise ValueError(f"X holds NaN where observed does not say so, first at {_first(~finite & needed)}")
        return Batch(
            x,
            torch.arange(B) if ids is None else integers("ids", ids, B, 0, 2**32 - 1),
            length,
            seen,
            _target(target, B),
            like,
            layout,
        )

    def by_length(self) -> Iterator[tuple[Tensor, TensorSample]]:
        """Series of equal length together, shortest first: their places (b,) and the sample."""
        B, T = self.x.shape[0], self.x.shape[2]
        lengths = torch.full((B,), T) if self.lengths is None else self.lengths
        for length in sorted(set(lengths.tolist())):
            places = torch.nonzero(lengths == length)[:, 0]
            here = places.to(self.x.device)
            observed = None if self.observed is None else self.observed[here]
            x = self.x[here]
            if length < T:  # padding may hold anything; the model must not see NaN there
                x[:, :, length:] = torch.nan_to_num(x[:, :, length:], nan=0.0)
            yield places, TensorSample(x, self.ids[places].to(self.x.device), observed, None if length == T else length)

    def restore(self, values: Tensor) -> Tensor:
        """Scores (B, D, T) in X's layout, dtype and device."""
        values = values.transpose(1, 2) if self.layout == "BTD" else values  # windows (B, D, T, W) too
        return values.to(self.like.device, self.like.dtype).contiguous()


def _first(where: Tensor) -> str:
    b, d, t = torch.nonzero(where)[0].tolist()
    return f"series {b}, feature {d}, time {t}"


def _target(target: Any, B: int) -> Tensor | None:
    if target is None:
        return None
    if np.ndim(target) == 0:
        target = [target] * B
    return integers("target", target, B, 0, 2**31 - 1)
