"""What a user hands to ``attribute``: checked before any work, and split into series of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, frames, memory
from rambit.attribution.targets import Targets
from rambit.game import TensorSample
from rambit.labels import Labels
from rambit.predictors import Predictor
from rambit.predictors.extra import read_extra

#: Where a stream of batches belongs.
MANY = "; rambit.distributed.attribute_many takes batches"


def observations(name: str, value: Any, masked: Tensor | None, shape: torch.Size) -> Tensor | None:
    """A bool tensor of this shape, False where ``value`` says so or an array was masked; None if neither is given."""
    if value is None:
        return None if masked is None else ~masked
    if frames.is_frame(value):
        seen = frames.read(name, value).values
    else:
        seen = arrays.whole(name, value, holds="booleans")
    if seen.dtype != torch.bool or seen.shape != shape:
        raise ValueError(f"{name} must be a bool tensor like X, {tuple(shape)}, got {seen.dtype} {tuple(seen.shape)}")
    return seen if masked is None else seen & ~masked.to(seen.device)


@dataclass(frozen=True)
class Batch:
    """Series (B, D, T) on the model's device, with ids (B,), what is explained and, if given, lengths and observed.

    ``like``: what was given, in its layout. ``labels``: what their axes are called. ``tokens``: it is (B, T) integers;
    x holds them as (B, 1, T) float64.
    """

    x: Tensor
    ids: Tensor
    lengths: Tensor | None
    observed: Tensor | None
    targets: Targets
    like: Tensor
    layout: str
    extra: Mapping[str, Tensor]
    labels: Labels = field(default_factory=Labels)
    tokens: bool = False

    @staticmethod
    def read(
        X: Any,
        predictor: Predictor,
        layout: str,
        *,
        target: Any = None,
        targets: Any = None,
        lengths: Any = None,
        observed: Any = None,
        ids: Any = None,
        extra: Any = None,
        labels: Any = None,
    ) -> Batch:
        """Check everything that a user gave. Raises TypeError or ValueError naming the argument."""
        like, masked, ends, of_frame = _series(X, layout)
        tokens = like.ndim == 2
        rows = arrays.floating("X", like) if tokens else arrays.as_rows("X", like, predictor.module)
        like = like if tokens or like.is_floating_point() else rows
        if ends is not None and lengths is not None:
            raise ValueError("lengths: X says itself where each of its series ends; leave lengths out")
        lengths = ends if lengths is None else lengths
        device = predictor.device_for(like)
        if like.device.type == "cuda" and device.type == "cpu":
            raise ValueError(
                f"X is on {like.device}, but the model is on {device}: pass device={str(like.device)!r} or move X"
            )
        x = rows.to(device, (not tokens and arrays.model_type(predictor.module)) or rows.dtype)
        if frames.is_frame(observed):
            given = frames.read("observed", observed)
            if frames.is_frame(X):
                frames.check_like("observed", given, of_frame, ends)
            observed = given.in_layout(layout)
        seen = observations("observed", observed, masked, like.shape)
        seen = None if seen is None else seen.to(device)
        if tokens:
            x, seen = x[:, None], None if seen is None else seen[:, None]
        elif layout == "BTD":
            x, seen = x.transpose(1, 2), None if seen is None else seen.transpose(1, 2)
        seen = None if seen is None else seen.contiguous()
        B, _, T = x.shape
        length = None if lengths is None else arrays.integers("lengths", lengths, B, 1, T)
        ids = torch.arange(B) if ids is None else arrays.integers("ids", ids, B, 0, 2**32 - 1)
        beside = read_extra(extra, B, device, arrays.model_type(predictor.module))
        named = of_frame if labels is None else Labels.of(labels).over(of_frame)
        named.check(*x.shape)
        explained = Targets.read(target, targets, B, named.outputs or predictor.class_names)
        batch = Batch(x, ids, length, seen, explained, like, layout, beside, named, tokens)
        predictor.check_extra(batch.extra)
        wrong = ~torch.isfinite(x) & batch.needed()
        if bool(wrong.any()):
            raise ValueError(f"X holds {batch._not_finite(wrong)}")
        if predictor.categorical and not tokens:
            batch._check_categories(predictor.categorical, predictor.categorical_name)
        return batch

    def _check_categories(self, features: tuple[int, ...], name: str | None) -> None:
        """ValueError unless these features are some of X, and hold whole numbers that rows hold exactly.

        With the ``name`` by which the model takes them, none may be missing: integers know no NaN.
        """
        D = self.x.shape[1]
        if max(features) >= D:
            raise ValueError(f"categorical must be features of X, 0 … {D - 1}, got {list(features)}")
        given = (self.like.transpose(1, 2) if self.layout == "BTD" else self.like).to(self.x.device).double()
        wrong = (given != given.round()) | (given != self.x.double())
        wrong &= self.needed() if name is None else replace(self, observed=None).needed()
        of = list(features)
        if bool(wrong[:, of].any()):
            b, k, t = torch.nonzero(wrong[:, of])[0].tolist()
            d = features[k]
            raise ValueError(
                f"X holds {float(given[b, d, t]):.17g} at series {b}, feature {d}, time {t}: categorical features hold "
                f"whole numbers that {self.x.dtype} holds exactly"
            )

    def needed(self) -> Tensor:
        """(B, D, T) bool, False for what is declared to hold no value: missing cells, and the padding."""
        needed = torch.ones_like(self.x, dtype=torch.bool) if self.observed is None else self.observed
        if self.lengths is None:
            return needed
        steps = torch.arange(self.x.shape[2], device=self.x.device)
        return needed & (steps < self.lengths.to(self.x.device)[:, None, None])

    def evaluated(self, scored: Tensor) -> Tensor | None:
        """Which cells have a score, bool like X: those ``scored`` (B, D, T), but the missing ones. None: all."""
        scored = scored if self.observed is None else scored & self.observed
        return None if bool(scored.all()) else self._like(scored)

    def given(self) -> Tensor:
        """A copy of X as it was given, NaN where it is declared to hold no value."""
        missing = ~self._like(self.needed())
        if not bool(missing.any()):
            return self.like.clone()
        return (self.like.double() if self.tokens else self.like).masked_fill(missing, torch.nan)

    def _not_finite(self, wrong: Tensor) -> str:
        """What is wrong with the first of these cells (B, D, T)."""
        b, d, t = torch.nonzero(wrong)[0].tolist()
        where = f"first at series {b}, feature {d}, time {t}"
        if bool(self.x[b, d, t].isnan()):
            return f"NaN where observed does not say so, {where}: observed=~X.isnan(), of a frame frame.notna()"
        given = self.like[(b, t, d) if self.layout == "BTD" else (b, d, t)]
        return f"{'values beyond ' + str(self.x.dtype) if given.isfinite() else 'infinite values'}, {where}"

    def by_length(self) -> Iterator[tuple[Tensor, TensorSample]]:
        """Series of equal length together, shortest first: their places (b,) and the sample."""
        B, T = self.x.shape[0], self.x.shape[2]
        lengths = torch.full((B,), T) if self.lengths is None else self.lengths
        for length in sorted(set(lengths.tolist())):
            indices = torch.nonzero(lengths == length)[:, 0]
            here = indices.to(self.x.device)
            observed = None if self.observed is None else self.observed[here]
            x = self.x[here]
            if length < T:  # padding may hold anything; the model must see numbers there
                padding = x[:, :, length:]
                padding.masked_fill_(~padding.isfinite(), 0.0)
            yield (
                indices,
                TensorSample(
                    x,
                    self.ids[indices].to(self.x.device),
                    observed,
                    None if length == T else length,
                    extra={name: values[here] for name, values in self.extra.items()},
                    tokens=self.tokens,
                ),
            )

    def restore(self, values: Tensor | None) -> Tensor | None:
        """Scores (K, B, D, T) in X's layout, dtype and device: (B, K, D, T) of several targets, else (B, D, T).

        Those of tokens are float32, and have no axis D.
        """
        if values is None:
            return None
        values = self._like(values, 2)
        values = values.transpose(0, 1) if self.targets.many else values[0]
        return values.contiguous().to(torch.float32 if self.tokens else self.like.dtype)

    def _like(self, values: Tensor, axis: int = 1) -> Tensor:
        if self.tokens:
            values = values.squeeze(axis)
        elif self.layout == "BTD":
            values = values.transpose(axis, axis + 1)  # windows (…, D, T, W) too
        if values.dtype == torch.float64 and self.like.device.type in memory.WITHOUT_FLOAT64:
            values = values.float()
        return values.to(self.like.device).contiguous()


def _series(X: Any, layout: str) -> tuple[Tensor, Tensor | None, Tensor | None, Labels]:
    """X as a tensor of three axes, or of two of tokens; where it is masked; lengths and names, if it says them."""
    if frames.is_frame(X):
        found = frames.read("X", X)
        return found.in_layout(layout), None, found.lengths, found.labels
    axes = "(B, D, T)" if layout == "BDT" else "(B, T, D)"
    if not isinstance(X, (list, tuple)) and not arrays.is_array(X):
        many = "" if isinstance(X, (str, Mapping)) or not hasattr(X, "__iter__") else MANY
        raise TypeError(f"X must be a tensor or NumPy array {axes}, got {type(X).__name__}{many}")
    x, masked = arrays.read("X", X)
    tokens = x.ndim == 2 and arrays.holds_integers(x)
    if not tokens and x.ndim != 3 and isinstance(X, (list, tuple)):
        raise TypeError(f"X must be a tensor or NumPy array {axes}, got {type(X).__name__}{MANY}")
    if not tokens and x.ndim != 3:
        raise ValueError(f"X must be {axes}, or integer tokens (B, T), got {x.ndim} dimensions: {tuple(x.shape)}")
    if x.numel() == 0:
        raise ValueError(f"X is empty: {tuple(x.shape)}")
    return x, masked, None, Labels()
