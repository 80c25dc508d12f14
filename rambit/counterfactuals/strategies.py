"""Fixed strategies give one set of values (S, B, D, T); conditional ones depend on what a row keeps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from rambit import memory, ops
from rambit.counterfactuals.generator import GeneratorModel


class Counterfactual(ABC):
    """A rule for the values that replace what is not kept. Draws are keyed by (seed, series id, draw, position)."""

    #: How a row is filled; anything but FIXED depends on what the row keeps.
    fill = ops.Fill.FIXED
    #: More draws would only repeat the first.
    single = False

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

    def runs(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        """Values (count, B, D, T, window) of a replaced run by its start and the steps since; None: by time alone.

        Raises ValueError where a run's values would depend on what comes after it.
        """
        return None

    def check(self, D: int, T: int) -> None:  # noqa: B027  most strategies serve any series
        """Raise ValueError when the strategy cannot serve series of D features and T steps."""

    def describe(self) -> dict[str, object]:
        """Name and parameters, for settings and result files."""
        return {
            "name": type(self).__name__,
            **{k: v for k, v in vars(self).items() if isinstance(v, (int, float, str))},
        }

    def tensors(self) -> dict[str, Tensor]:
        """The data that the values depend on, for resume keys."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


def _drawn(x: Tensor, ids: Tensor, count: int, kind: ops.Draw, seed: int, first: int, **source: Any) -> Tensor:
    """Draws (count, B, D, T) like x from the native generator; ``source`` is the background, or two numbers."""
    out = memory.empty((count, *x.shape), x)
    return ops.draw(out, ids, kind, seed=seed, first_draw=first, **source)


class Zero(Counterfactual):
    """Zero everywhere."""

    single = True

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return memory.zeros((count, *x.shape), x)


class _FromBackground(Counterfactual):
    def __init__(self, background: Tensor | None) -> None:
        data = read_background(background)
        if data is None:
            raise ValueError(
                f"counterfactuals={type(self).__name__.lower()!r} needs background=, reference data (N, D, T)"
            )
        self.background = data

    def check(self, D: int, T: int) -> None:
        if self.background.shape[1] != D:
            raise ValueError(f"background has {self.background.shape[1]} features, but X has {D}")

    def _like(self, x: Tensor) -> Tensor:
        if (
            self.background.dtype != x.dtype
            or self.background.device != x.device
            or not self.background.is_contiguous()
        ):
            self.background = self.background.to(x.device, x.dtype).contiguous()
        return self.background


class Mean(Counterfactual):
    """The mean over time of the same feature of the same series, or of the background if one is given."""

    single = True

    def __init__(self, background: Tensor | None = None) -> None:
        self.background = read_background(background)

    def check(self, D: int, T: int) -> None:
        if self.background is not None and self.background.shape[1] != D:
            raise ValueError(f"background has {self.background.shape[1]} features, but X has {D}")

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        if self.background is not None:
            mean = self.background.to(x.device, torch.float64).mean(dim=(0, 2))[None, :, None]
        elif observed is None:
            mean = x.double().mean(dim=2, keepdim=True)
        else:
            seen = torch.where(observed, x.double(), 0.0).sum(dim=2, keepdim=True)
            mean = seen / observed.sum(dim=2, keepdim=True).clamp(min=1)
        return mean.to(x.dtype).expand(count, *x.shape).contiguous()


class Marginal(_FromBackground):
    """Each cell from the background's values of the same feature, at any time."""

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return _drawn(x, ids, count, ops.Draw.MARGINAL, seed, first, background=self._like(x))


class Joint(_FromBackground):
    """A whole other series of the background, the same for all cells of one draw."""

    def check(self, D: int, T: int) -> None:
        super().check(D, T)
        if self.background.shape[2] < T:
            raise ValueError(
                f"background has {self.background.shape[2]} steps, but X has {T}; joint draws need as many"
            )

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return _drawn(x, ids, count, ops.Draw.JOINT, seed, first, background=self._like(x))


def _check_numbers(**given: object) -> None:
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, got {value!r}")


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


class CarryForward(Counterfactual):
    """The last kept value of the same feature; before the first kept one, that one; 0 where nothing is kept."""

    fill = ops.Fill.CARRY_FORWARD
    single = True

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return torch.empty(0, *x.shape, dtype=x.dtype, device=x.device)

    def runs(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        if observed is not None:
            raise ValueError("counterfactuals='carry_forward' in runs needs complete series: do not pass observed")
        before = torch.cat((x[:, :, 1:2] if x.shape[2] > 1 else x, x[:, :, :-1]), dim=2)  # time 0 takes the next value
        return before[None, ..., None].expand(1, *x.shape, window)


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

    def runs(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        raise ValueError("counterfactuals='interpolate' looks beyond the end of a run; use carry_forward")


class Replay(Counterfactual):
    """Given values, replayed as they are by position in the batch: (S, B, D, T) by time, or (S, B, D, T, W) by run.

    In the second form entry [..., p, j] stands at step p + j of a replaced run that starts at p.
    """

    def __init__(self, values: Tensor) -> None:
        if (
            not isinstance(values, Tensor)
            or values.ndim not in (4, 5)
            or not values.is_floating_point()
            or values.numel() == 0
        ):
            got = f"{values.dtype} {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"counterfactuals must be a floating tensor (S, B, D, T), got {got}")
        if not bool(torch.isfinite(values).all()):
            raise ValueError("counterfactuals must be finite")
        self.values = values
        self.fill = ops.Fill.FIXED if values.ndim == 4 else ops.Fill.RUNS

    def take(self, series: Tensor | slice, steps: int) -> Replay:
        """The values of some series, cut or padded with zeros to a number of steps."""
        values = self.values[:, series, :, :steps]
        missing = steps - values.shape[3]
        if missing > 0:  # padding is never replaced
            values = torch.cat((values, values.new_zeros(*values.shape[:3], missing, *values.shape[4:])), dim=3)
        return Replay(values)

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        values = self.values.to(x.device, x.dtype)
        return values if values.ndim == 4 else values.new_empty(0, *x.shape)

    def runs(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        return self.values.to(x.device, x.dtype) if self.values.ndim == 5 else None


class Generated(Counterfactual):
    """Values from a trained generator: a replaced run of a feature that starts at p continues the series before p.

    The generator is asked once for all prefixes of a series. In a run longer than its ``prediction_size`` the last
    predicted step goes on.
    """

    fill = ops.Fill.RUNS

    def __init__(self, generator: GeneratorModel) -> None:
        self.generator = generator

    def check(self, D: int, T: int) -> None:
        if self.generator.num_features != D:
            raise ValueError(f"the generator was made for {self.generator.num_features} features, but X has {D}")

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return torch.empty(0, *x.shape, dtype=x.dtype, device=x.device)

    def runs(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        if observed is not None and not bool(observed.all()):
            raise ValueError("a generator needs complete series: do not pass observed")
        return self.generator.draw(x, ids, count, seed, first).to(x.dtype)

    def describe(self) -> dict[str, object]:
        return {"name": "Generated", **self.generator.config()}

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.generator.state_dict())


def read_background(background: object, *, layout: str = "BDT") -> Tensor | None:
    """Reference data as one (N, D, T) tensor, from a tensor, an array or a DataLoader of (x, …) batches."""
    if background is None:
        return None
    if isinstance(background, Tensor) or hasattr(background, "__array__"):
        data = torch.as_tensor(background)
    elif isinstance(background, Iterable):
        batches = [batch[0] if isinstance(batch, (tuple, list)) else batch for batch in background]
        if not batches:
            raise ValueError("background is empty")
        if not all(isinstance(batch, Tensor) or hasattr(batch, "__array__") for batch in batches):
            raise TypeError("background must give tensors (N, D, T), or tuples that start with one")
        parts = [torch.as_tensor(batch) for batch in batches]
        if len({part.shape[1:] for part in parts}) > 1:
            found = ", ".join(sorted({str(tuple(part.shape[1:])) for part in parts}))
            raise ValueError(f"background gives batches of different shapes: {found}; all must be (N, D, T)")
        data = torch.cat(parts)
    else:
        raise TypeError(f"background must be a tensor (N, D, T) or a DataLoader, got {type(background).__name__}")
    if data.ndim != 3 or not data.is_floating_point():
        raise ValueError(f"background must be a floating tensor (N, D, T), got {data.dtype} {tuple(data.shape)}")
    if data.numel() == 0:
        raise ValueError(f"background is empty: {tuple(data.shape)}")
    if not bool(torch.isfinite(data).all()):
        raise ValueError("background holds NaN or infinite values")
    return data.transpose(1, 2) if layout == "BTD" else data


#: What an attributor takes as ``counterfactuals=``: a strategy, its name, exact values, or a trained generator.
CounterfactualLike = str | Tensor | GeneratorModel | Counterfactual


def resolve(counterfactuals: CounterfactualLike | None, background: Tensor | None = None) -> Counterfactual:
    """The strategy that a user named; None means marginal draws if a background is given, else zero."""
    if isinstance(counterfactuals, Counterfactual):
        return counterfactuals
    if isinstance(counterfactuals, Tensor):
        return Replay(counterfactuals)
    if isinstance(counterfactuals, GeneratorModel):
        return Generated(counterfactuals)
    if counterfactuals is None:
        counterfactuals = "zero" if background is None else "marginal"
    named: dict[str, Callable[[], Counterfactual]] = {
        "zero": Zero,
        "mean": lambda: Mean(background),
        "marginal": lambda: Marginal(background),
        "joint": lambda: Joint(background),
        "uniform": Uniform,
        "gaussian": Gaussian,
        "carry_forward": CarryForward,
        "interpolate": Interpolate,
    }
    if not isinstance(counterfactuals, str):
        raise TypeError(
            f"counterfactuals must be a strategy, its name or a tensor, got {type(counterfactuals).__name__}"
        )
    if counterfactuals not in named:
        raise ValueError(f"counterfactuals: unknown strategy {counterfactuals!r}; known: {', '.join(sorted(named))}")
    return named[counterfactuals]()
