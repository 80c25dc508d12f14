"""Values that a user gives, or that a trained generator makes, by time or by window."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, ops
from rambit.counterfactuals.counterfactual import Counterfactual
from rambit.counterfactuals.generator import GeneratorModel


class Replay(Counterfactual):
    """Given values, replayed as they are by position in the batch: (S, B, D, T) by time, or (S, B, D, T, W) by window.

    In the second form entry [..., p, j] stands at step p + j of a replaced window that starts at p. What would stand in
    the padding of a series, or where its value is missing, is never used and may be NaN.
    """

    serves_categories = True

    def __init__(self, values: Any) -> None:
        if arrays.is_array(values):
            values = arrays.whole("counterfactuals", values)
            values = arrays.floating("counterfactuals", values) if arrays.holds_integers(values) else values
        if (
            not isinstance(values, Tensor)
            or values.ndim not in (4, 5)
            or values.dtype not in arrays.FLOATS
            or values.numel() == 0
        ):
            got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"counterfactuals must be a floating tensor (S, B, D, T), got {got}")
        if not bool(torch.isfinite(values).any()):
            raise ValueError("counterfactuals must be finite")
        self.values = values
        self.fill = ops.Fill.FIXED if values.ndim == 4 else ops.Fill.WINDOWS

    def within(self, needed: Tensor) -> Replay:
        """The values for series whose cells (B, D, T) bool may be replaced where ``needed`` says so, 0 elsewhere.

        Raises ValueError for another number of series, features or steps, and for a value that is needed but not
        finite.
        """
        if self.values.shape[1:4] != needed.shape:
            B, D, T = needed.shape
            raise ValueError(f"counterfactuals must be (S, {B}, {D}, {T}) for this X, got {tuple(self.values.shape)}")
        values = _needed_only(self.values, needed.to(self.values.device))
        return self if values is self.values else Replay(values)

    def given(self, features: Sequence[int]) -> Tensor:
        return self.values[:, :, list(features)]

    def extent(self) -> Tensor:
        # What is not finite is never used.
        return torch.stack([torch.stack(one.nan_to_num(0.0, 0.0, 0.0).aminmax()) for one in self.values.unbind(2)])

    def take(self, series: Tensor | slice, steps: int) -> Replay:
        """The values of some series, cut or padded with zeros to a number of steps."""
        taken = copy.copy(self)
        taken.values = self.values[:, series, :, :steps]
        missing = steps - taken.values.shape[3]
        if missing > 0:  # padding is never replaced
            padding = taken.values.new_zeros(*taken.values.shape[:3], missing, *taken.values.shape[4:])
            taken.values = torch.cat((taken.values, padding), dim=3)
        return taken

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return self._like(x, observed) if self.values.ndim == 4 else x.new_empty(0, *x.shape)

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        return self._like(x, observed) if self.values.ndim == 5 else None

    def _like(self, x: Tensor, observed: Tensor | None) -> Tensor:
        needed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
        return _needed_only(self.values.to(x.device, x.dtype), needed)


def _needed_only(values: Tensor, needed: Tensor) -> Tensor:
    """Values (S, B, D, T) or by window (S, B, D, T, W) with 0 where a cell (B, D, T) of theirs is not needed.

    They are handed back as they are if all are finite; ValueError if one is not that is needed.
    """
    finite = torch.isfinite(values)
    if bool(finite.all()):
        return values
    if values.ndim == 5:  # entry p, j of a window stands at step p + j
        W = values.shape[4]
        needed = torch.nn.functional.pad(needed, (0, W - 1)).unfold(2, W, 1)
    if bool((wrong := ~finite & needed).any()):
        s, b, d, t = torch.nonzero(wrong)[0].tolist()[:4]
        raise ValueError(
            "counterfactuals must be finite wherever a value is replaced, and in the type that the model reads; "
            f"the first that is not: draw {s}, series {b}, feature {d}, time {t}"
        )
    return values.masked_fill(~needed, 0.0)


class Generated(Counterfactual):
    """Values from a trained generator: a replaced window of a feature that starts at p continues the series before p.

    The generator is evaluated once for all prefixes of a series. In a window longer than its ``prediction_size`` the
    last predicted step goes on.
    """

    fill = ops.Fill.WINDOWS

    def __init__(self, generator: GeneratorModel) -> None:
        self.generator = generator

    def check(self, D: int, T: int) -> None:
        if self.generator.num_features != D:
            raise ValueError(f"the generator was made for {self.generator.num_features} features, but X has {D}")

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return torch.empty(0, *x.shape, dtype=x.dtype, device=x.device)

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        if observed is not None and bool((observed[..., 1:] & ~observed[..., :-1]).any() | ~observed[..., 0].all()):
            raise ValueError("a generator needs complete series: do not pass observed")  # padding at the end is none
        x = x if observed is None else x.masked_fill(~observed, 0.0)
        return self.generator.draw(x, ids, count, seed, first).to(x.device, x.dtype)

    def describe(self) -> dict[str, object]:
        return {"name": "Generated", **self.generator.config()}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.generator.state_dict())
