"""Strategies by name: fixed ones give one set of values (S, B, D, T), conditional ones depend on what a row keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import arrays, memory, ops
from rambit.checks import number
from rambit.counterfactuals.background import read_background
from rambit.counterfactuals.counterfactual import STRATEGIES, Counterfactual
from rambit.store import resume_key

#: No normal deviate of ours is larger: they are made of numbers in (0, 1) that are multiples of 2**-53.
LARGEST_DEVIATE = 8.3


def _drawn(x: Tensor, ids: Tensor, count: int, kind: ops.Draw, seed: int, first: int, **source: Any) -> Tensor:
    """Draws (count, B, D, T) like x from the native generator; ``source`` is the background, or two numbers."""
    out = memory.empty((count, *x.shape), x)
    return ops.draw(out, ids, kind, seed=seed, first_draw=first, **source)


@STRATEGIES.register("zero")
class Zero(Counterfactual):
    """Zero everywhere."""

    single = True

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return memory.zeros((count, *x.shape), x)


@STRATEGIES.register("constant")
class Constant(Counterfactual):
    """The same values in all series: a number, or values (D,) or (D, T)."""

    single = True
    serves_categories = True
    value: float | Tensor

    def __init__(self, value: Any = 0.0) -> None:
        if not arrays.is_array(value) or isinstance(value, np.generic):
            self.value = number("counterfactuals", value)
            return
        tensor = arrays.floating("counterfactuals", _numbers(arrays.whole("counterfactuals", value)))
        if tensor.ndim > 2 or tensor.numel() == 0:
            shapes = "(D,), (D, T), (B, D, T) or (S, B, D, T)"
            raise ValueError(f"counterfactuals must be a number, or values {shapes}, got {tuple(tensor.shape)}")
        if not bool(tensor.isfinite().all()):
            raise ValueError("counterfactuals must be finite")
        self.value = tensor if tensor.ndim else float(tensor)

    def check(self, D: int, T: int) -> None:
        if isinstance(self.value, Tensor) and self.value.shape[0] != D:
            raise ValueError(f"counterfactuals must have {D} features for this X, got {tuple(self.value.shape)}")

    def within(self, needed: Tensor) -> Counterfactual:
        T = needed.shape[2]
        if isinstance(self.value, Tensor) and self.value.ndim == 2 and self.value.shape[1] != T:
            raise ValueError(f"counterfactuals must have {T} steps for this X, got {tuple(self.value.shape)}")
        return self

    def given(self, features: Sequence[int]) -> Tensor:
        return self.value[list(features)] if isinstance(self.value, Tensor) else torch.tensor(self.value).double()

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        value = torch.as_tensor(self.value, dtype=torch.float64)
        value = value[:, None] if value.ndim == 1 else value[:, : x.shape[2]] if value.ndim == 2 else value
        cast = value.to(x.device, x.dtype)
        if not bool(cast.isfinite().all()):
            raise ValueError(f"counterfactuals hold values beyond {x.dtype}, the type in which the model is evaluated")
        return memory.empty((count, *x.shape), x).copy_(cast)


def _numbers(values: Tensor) -> Tensor:
    """Given values, if they are real numbers; booleans are none."""
    if values.dtype not in arrays.FLOATS and not arrays.holds_integers(values):
        raise TypeError(f"counterfactuals must hold real numbers, got {values.dtype}")
    return values


class FromBackground(Counterfactual):
    """``background``: what `read_background` takes; kept as (N, D, T), NaN where a value is missing."""

    serves_categories = True

    def __init__(self, background: Any) -> None:
        data = read_background(background)
        if data is None:
            raise ValueError(
                f"counterfactuals={type(self).__name__.lower()!r} needs background=, reference data (N, D, T)"
            )
        self.background = data
        seen = ~data.isnan()
        #: How many values each feature has, (D,); None if none is missing.
        self.number = None if bool(seen.all()) else seen.sum(dim=(0, 2))
        self._made: dict[tuple[object, ...], Tensor] = {}

    def check(self, D: int, T: int) -> None:
        _check_features(self.background, D)

    def given(self, features: Sequence[int]) -> Tensor:
        return self.background[:, list(features)]

    def extent(self) -> Tensor:
        key = ("extent",)
        if key not in self._made:
            known = (one if self.number is None else one[~one.isnan()] for one in self.background.unbind(1))
            self._made[key] = torch.stack([torch.stack(values.aminmax()) for values in known])
        return self._made[key]

    def _for(self, x: Tensor, steps: int | None, make: Callable[[], Tensor]) -> Tensor:
        """What series like x are drawn from; made once for each device and type, beside the background itself."""
        key = (x.device, x.dtype, steps)
        if key not in self._made:
            self._made[key] = _check_within(make())
        return self._made[key]

    def describe(self) -> dict[str, object]:
        return {**super().describe(), "background": self._key}

    @cached_property
    def _key(self) -> str:
        """Which reference data these are."""
        return resume_key(background=self.background)[:16]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_made": {}}


def _check_within(background: Tensor) -> Tensor:
    if bool(background.isinf().any()):
        raise ValueError(f"background holds values beyond {background.dtype}, the type in which the model is evaluated")
    return background


def _check_features(background: Tensor | None, D: int) -> None:
    if background is not None and background.shape[1] != D:
        raise ValueError(f"background has {background.shape[1]} features, but X has {D}")


@STRATEGIES.register("mean")
class Mean(Counterfactual):
    """The mean over time of the same feature of the same series, or of the background if one is given.

    Missing values do not count.
    """

    single = True

    def __init__(self, background: Any = None) -> None:
        self.background = read_background(background)

    def check(self, D: int, T: int) -> None:
        _check_features(self.background, D)

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        if self.background is not None:
            mean = self.background.to(x.device, torch.float64).nanmean(dim=(0, 2))[None, :, None]
            _check_within(mean.to(x.dtype))
        elif observed is None:
            mean = x.double().mean(dim=2, keepdim=True)
        else:
            seen = torch.where(observed, x.double(), 0.0).sum(dim=2, keepdim=True)
            mean = seen / observed.sum(dim=2, keepdim=True).clamp(min=1)
        return mean.to(x.dtype).expand(count, *x.shape).contiguous()


@STRATEGIES.register("marginal")
class Marginal(FromBackground):
    """Each cell from the background's values of the same feature, at any time. Missing values are not drawn."""

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        if self.number is None:
            background = self._for(x, None, lambda: self.background.to(x.device, x.dtype).contiguous())
            return _drawn(x, ids, count, ops.Draw.MARGINAL, seed, first, background=background)
        number = self.number.to(x.device)[:, None]
        table = self._for(x, None, lambda: _values_first(self.background).to(x.device, x.dtype))
        out = memory.empty((count, *x.shape), x)
        place = memory.empty((1, *x.shape), x, torch.float64)
        for k in range(count):  # one draw at a time, since places are wider than values
            ops.draw(place, ids, ops.Draw.UNIFORM, seed=seed, first_draw=first + k, low=0.0, high=1.0)
            index = torch.minimum((place[0] * number).long(), number - 1)
            torch.gather(table.expand(len(x), -1, -1), 2, index, out=out[k])
        return out


def _values_first(background: Tensor) -> Tensor:
    """(D, N * T): the values of each feature in order, those that are missing behind them."""
    flat = background.transpose(0, 1).flatten(1)
    return flat.gather(1, flat.isnan().byte().argsort(dim=1, stable=True))


@STRATEGIES.register("joint")
class Joint(FromBackground):
    """A whole other series of the background, the same for all cells of one draw.

    Only series without a missing value in as many steps as X has are drawn.
    """

    def check(self, D: int, T: int) -> None:
        super().check(D, T)
        if self.background.shape[2] < T:
            raise ValueError(
                f"background has {self.background.shape[2]} steps, but X has {T}; joint draws need as many"
            )
        if not bool(self._complete(T).any()):
            raise ValueError(f"background has no series without missing values in {T} steps; joint draws need one")

    def _complete(self, T: int) -> Tensor:
        return ~self.background[:, :, :T].isnan().flatten(1).any(dim=1)

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        T = x.shape[2]

        def make() -> Tensor:
            return self.background[self._complete(T), :, :T].to(x.device, x.dtype).contiguous()

        return _drawn(x, ids, count, ops.Draw.JOINT, seed, first, background=self._for(x, T, make))


def _check_numbers(**given: object) -> None:
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r}")


@STRATEGIES.register("uniform")
class Uniform(Counterfactual):
    """Uniform on (lo, hi)."""

    def __init__(self, lo: float = -3.0, hi: float = 3.0) -> None:
        _check_numbers(lo=lo, hi=hi)
        if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
            raise ValueError(f"uniform needs finite lo < hi, got lo={lo}, hi={hi}")
        self.lo, self.hi = float(lo), float(hi)

    def extent(self) -> Tensor:
        return torch.tensor([[self.lo, self.hi]])

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return _drawn(x, ids, count, ops.Draw.UNIFORM, seed, first, low=self.lo, high=self.hi)


@STRATEGIES.register("gaussian")
class Gaussian(Counterfactual):
    """Normal noise with the given mean and standard deviation."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        _check_numbers(mean=mean, std=std)
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ValueError(f"gaussian needs a finite mean and a positive std, got mean={mean}, std={std}")
        self.mean, self.std = float(mean), float(std)

    def extent(self) -> Tensor:
        return self.mean + self.std * torch.tensor([[-LARGEST_DEVIATE, LARGEST_DEVIATE]])

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return _drawn(x, ids, count, ops.Draw.GAUSSIAN, seed, first, low=self.mean, high=self.std)


@STRATEGIES.register("carry_forward")
class CarryForward(Counterfactual):
    """The last kept value of the same feature; before the first kept one, that one; 0 where nothing is kept."""

    fill = ops.Fill.CARRY_FORWARD
    single = True
    serves_categories = True

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return torch.empty(0, *x.shape, dtype=x.dtype, device=x.device)

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        if observed is not None:
            raise ValueError("counterfactuals='carry_forward' in windows needs complete series: do not pass observed")
        before = torch.cat((x[:, :, 1:2] if x.shape[2] > 1 else x, x[:, :, :-1]), dim=2)  # time 0 takes the next value
        return before[None, ..., None].expand(1, *x.shape, window)


@STRATEGIES.register("interpolate")
class Interpolate(Counterfactual):
    """A straight line between the kept neighbours of the same feature, plus normal noise of deviation ``noise``.

    At the ends, the nearest kept value; 0 where nothing is kept.
    """

    fill = ops.Fill.INTERPOLATE

    def __init__(self, noise: float = 0.0) -> None:
        _check_numbers(noise=noise)
        if not (math.isfinite(noise) and noise >= 0):
            raise ValueError(f"noise must be a standard deviation, got {noise}")
        self.noise = float(noise)
        self.single = noise == 0

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        if self.noise == 0:
            return torch.empty(0, *x.shape, dtype=x.dtype, device=x.device)
        return _drawn(x, ids, count, ops.Draw.GAUSSIAN, seed, first, low=0.0, high=self.noise)

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        raise ValueError("counterfactuals='interpolate' looks beyond the end of a window; use carry_forward")
