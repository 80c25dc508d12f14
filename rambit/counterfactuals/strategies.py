"""Fixed strategies give one set of values (S, B, D, T); conditional ones depend on what a row keeps."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import arrays, frames, memory, ops
from rambit.checks import number
from rambit.counterfactuals.generator import GeneratorModel
from rambit.registry import Registry


class Counterfactual(ABC):
    """A rule for the values that replace what is not kept. Draws are keyed by (seed, series id, draw, position)."""

    #: How a row is filled; anything but FIXED depends on what the row keeps.
    fill = ops.Fill.FIXED
    #: More draws would only repeat the first.
    single = False
    #: Its values are whole numbers where those of the data, or the given ones, are: it serves categories and tokens.
    serves_categories = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "runs" in vars(cls) and "windows" not in vars(cls):  # the older name, in strategies of users
            warnings.warn(f"{cls.__name__}.runs is called windows now", DeprecationWarning, stacklevel=2)
            cls.windows = cls.runs  # type: ignore[attr-defined, method-assign]

    @property
    def fixed(self) -> bool:
        """Whether the values are the same for every mask (the sweep needs that)."""
        return self.fill == ops.Fill.FIXED

    @property
    def looks_ahead(self) -> bool:
        """Whether a value can depend on what is kept later."""
        return self.fill in (ops.Fill.CARRY_FORWARD, ops.Fill.INTERPOLATE)

    @abstractmethod
    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        """Values (count, B, D, T) for series x (B, D, T) with ids (B,): draws ``first`` … ``first + count - 1``."""

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        """Values (count, B, D, T, window) of a replaced window by its start and the steps since; None: by time alone.

        Raises ValueError where a window's values would depend on what comes after it.
        """
        return None

    def check(self, D: int, T: int) -> None:  # noqa: B027  most strategies serve any series
        """Raise ValueError when the strategy cannot serve series of D features and T steps."""

    def within(self, needed: Tensor) -> Counterfactual:
        """The strategy for series whose cells (B, D, T) may be replaced where ``needed`` says so, bool.

        Raises ValueError where its values do not fit them.
        """
        return self

    def given(self, features: Sequence[int]) -> Tensor:
        """All values of these features that it may take from what was given to it, NaN where there is none."""
        return torch.empty(0)

    def describe(self) -> dict[str, object]:
        """Name and parameters, for settings and result files."""
        return {
            "name": type(self).__name__,
            **{k: v for k, v in vars(self).items() if isinstance(v, (int, float, str))},
        }

    def tensors(self) -> dict[str, Tensor]:
        """The data that the values depend on, for resume keys."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


#: Strategies by name. One whose constructor takes ``background`` is given it.
STRATEGIES: Registry[type[Counterfactual]] = Registry("strategy")


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


class _FromBackground(Counterfactual):
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

    def _for(self, x: Tensor, steps: int | None, make: Callable[[], Tensor]) -> Tensor:
        """What series like x are drawn from; made once for each device and type, beside the background itself."""
        key = (x.device, x.dtype, steps)
        if key not in self._made:
            self._made[key] = _check_within(make())
        return self._made[key]

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
class Marginal(_FromBackground):
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
class Joint(_FromBackground):
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
        if observed is not None and not bool(observed.all()):
            raise ValueError("a generator needs complete series: do not pass observed")
        return self.generator.draw(x, ids, count, seed, first).to(x.device, x.dtype)

    def describe(self) -> dict[str, object]:
        return {"name": "Generated", **self.generator.config()}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.generator.state_dict())


def check_categories(strategy: Counterfactual, features: Sequence[int], what: str) -> None:
    """Raise ValueError for a strategy whose values of these features, ``what``, need not be whole numbers."""
    if not strategy.serves_categories:
        names = ", ".join(name for name in STRATEGIES if STRATEGIES[name].serves_categories)
        raise ValueError(
            f"counterfactuals={type(strategy).__name__} does not serve {what}, whose values must be those of the data "
            f"or given: use {names}, or give values"
        )
    values = strategy.given(features)
    wrong = values[(values != values.round()) & ~values.isnan()]
    if len(wrong):
        raise ValueError(f"counterfactuals of {what} must be whole numbers, got {float(wrong[0]):g}")


def read_background(background: object, *, layout: str = "BDT") -> Tensor | None:
    """Reference data as one tensor (N, D, T), NaN where a value is missing.

    From a tensor, an array, a frame (``rambit.frames``), or batches of them (a DataLoader or any iterable; what follows
    x in a tuple is not read). Integers are read as numbers; (N, T) of them are tokens, (N, 1, T). Missing values are
    declared: a masked array, or a dict with ``X`` and, as in a call of ``explain``, ``observed`` (bool like X) or
    ``lengths`` (N,). ValueError or TypeError for anything else, and for a feature without any value.
    """
    if background is None:
        return None
    axes = "(N, D, T)" if layout == "BDT" else "(N, T, D)"
    if isinstance(background, Mapping) or arrays.is_array(background) or frames.is_frame(background):
        data = _one_background(background, axes)
    elif isinstance(background, Iterable):
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed from torch's generator
            batches = [batch[0] if isinstance(batch, (tuple, list)) and batch else batch for batch in background]
        if not batches:
            raise ValueError("background is empty")
        if not all(isinstance(batch, Mapping) or arrays.is_array(batch) or frames.is_frame(batch) for batch in batches):
            raise TypeError(f"background must give tensors {axes}, or tuples or dicts that start with one")
        parts = [_one_background(batch, axes) for batch in batches]
        if len({part.shape[1:] for part in parts}) > 1:
            found = ", ".join(sorted({str(tuple(part.shape[1:])) for part in parts}))
            raise ValueError(
                f"background gives batches of different shapes: {found}; all must be {axes}: pad them to one length, "
                "and give each as a dict with X and lengths"
            )
        data = torch.cat(parts)
    else:
        raise TypeError(f"background must be a tensor {axes} or a DataLoader, got {type(background).__name__}")
    data = data.transpose(1, 2) if layout == "BTD" else data
    empty = data.isnan().all(dim=2).all(dim=0)
    if bool(empty.any()):
        raise ValueError(f"background has no value of feature {int(empty.int().argmax())}: all are missing")
    return data


def declared(background: Tensor | None) -> Any:
    """What `read_background` gave, as it takes it."""
    if background is None or not bool(background.isnan().any()):
        return background
    return {"X": background, "observed": ~background.isnan()}


def _one_background(batch: Any, axes: str) -> Tensor:
    """One tensor of series, NaN where it is declared that there is no value."""
    given: dict[str, Any] = dict(batch) if isinstance(batch, Mapping) else {"X": batch}
    unknown = given.keys() - {"X", "observed", "lengths"}
    if unknown or "X" not in given:
        names = ", ".join(map(str, given))
        raise ValueError(f"background as a dict must have X, and may have observed and lengths; it has {names}")
    time_last = axes.endswith("T)")
    data, masked, lengths = _background_values(given["X"], time_last)
    if lengths is not None and given.get("lengths") is not None:
        raise ValueError("background's lengths: X says itself where each of its series ends; leave lengths out")
    given["lengths"] = given.get("lengths") if lengths is None else lengths
    if data.ndim != 3 or data.dtype not in arrays.FLOATS:
        raise ValueError(f"background must be a floating tensor {axes}, got {data.dtype} {tuple(data.shape)}")
    if data.numel() == 0:
        raise ValueError(f"background is empty: {tuple(data.shape)}")
    missing = torch.zeros_like(data, dtype=torch.bool) if masked is None else masked.to(data.device)
    if given.get("observed") is not None:
        missing = missing | ~_observed_background(given["observed"], data, time_last)
    if given.get("lengths") is not None:
        missing = missing | _padding(given["lengths"], data, time_last)
    wrong = ~data.isfinite() & ~missing
    if bool(wrong.any()):
        where = tuple(torch.nonzero(wrong)[0].tolist())
        raise ValueError(
            f"background holds NaN or infinite values, the first at {where}; missing values are declared: "
            "background={'X': X, 'observed': ~X.isnan()}, and they are not drawn"
        )
    return data.masked_fill(missing, math.nan) if bool(missing.any()) else data


def _background_values(given: Any, time_last: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Series, where they are masked, and their lengths, if they say them."""
    if frames.is_frame(given):
        found = frames.read("background", given)
        return found.in_layout("BDT" if time_last else "BTD"), None, found.lengths
    data, masked = arrays.read("background", given)
    if data.ndim == 2 and arrays.holds_integers(data):
        axis = 1 if time_last else 2
        data, masked = data.unsqueeze(axis), None if masked is None else masked.unsqueeze(axis)
    return arrays.floating("background", data), masked, None


def _observed_background(observed: Any, data: Tensor, time_last: bool) -> Tensor:
    if frames.is_frame(observed):
        seen = frames.read("background's observed", observed).in_layout("BDT" if time_last else "BTD").to(data.device)
    else:
        seen = arrays.whole("background's observed", observed, holds="booleans").to(data.device)
    if seen.dtype != torch.bool or seen.shape != data.shape:
        raise ValueError(
            f"background's observed must be a bool tensor {tuple(data.shape)}, got {seen.dtype} {tuple(seen.shape)}"
        )
    return seen


def _padding(lengths: Any, data: Tensor, time_last: bool) -> Tensor:
    """Like data, True behind the end of each series."""
    ends = arrays.whole("background's lengths", lengths, holds="integers").to(data.device)
    T = data.shape[2 if time_last else 1]
    whole = not (ends.is_floating_point() or ends.is_complex() or ends.dtype == torch.bool)
    if not whole or ends.shape != (len(data),) or not bool(((ends >= 1) & (ends <= T)).all()):
        raise ValueError(f"background's lengths must be ({len(data)},) integers from 1 to {T}, got {lengths}")
    behind = torch.arange(T, device=data.device) >= ends[:, None]
    return (behind[:, None] if time_last else behind[:, :, None]).expand_as(data)


#: What an attributor takes as ``counterfactuals=``: a strategy, its name, a number, values, or a trained generator.
CounterfactualLike = str | float | Tensor | GeneratorModel | Counterfactual


def resolve(counterfactuals: CounterfactualLike | None, background: Tensor | None = None) -> Counterfactual:
    """The strategy that a user named; None means marginal draws if a background is given, else zero.

    A number, and values (D,) or (D, T), are constants; (B, D, T) and (S, B, D, T) are replayed by position in the
    batch. ``background``: what `read_background` gave.
    """
    if isinstance(counterfactuals, Counterfactual):
        return counterfactuals
    if isinstance(counterfactuals, (int, float, np.number)) and not isinstance(counterfactuals, bool):
        return Constant(counterfactuals)
    if isinstance(counterfactuals, Tensor):
        if counterfactuals.ndim < 3:
            return Constant(counterfactuals)
        return Replay(counterfactuals[None] if counterfactuals.ndim == 3 else counterfactuals)
    if isinstance(counterfactuals, GeneratorModel):
        return Generated(counterfactuals)
    if counterfactuals is None:
        counterfactuals = "zero" if background is None else "marginal"
    if not isinstance(counterfactuals, str):
        raise TypeError(
            f"counterfactuals must be a strategy, its name, a number or a tensor, got {type(counterfactuals).__name__}"
            + arrays.hint("counterfactuals", counterfactuals)
        )
    strategy: Counterfactual = STRATEGIES.make_for("counterfactuals", counterfactuals, background=declared(background))
    return strategy


def reads_background(counterfactuals: CounterfactualLike | None) -> bool:
    """Whether what a user named takes reference data."""
    if counterfactuals is None:
        return True
    if not isinstance(counterfactuals, str):
        return False
    name = counterfactuals.partition(":")[0]
    return name not in STRATEGIES or "background" in STRATEGIES.parameters(name)


def needs_background(counterfactuals: str) -> bool:
    """Whether a strategy, by its name, cannot do without reference data."""
    takes = STRATEGIES.parameters(counterfactuals.partition(":")[0])
    return "background" in takes and takes["background"].default is inspect.Parameter.empty
