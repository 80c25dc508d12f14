"""Random batches of series, counterfactual values and masks, as the arguments of a call and as the twins need them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit.counterfactuals import (
    STRATEGIES,
    CarryForward,
    Constant,
    FeatureGenerator,
    Gaussian,
    Generated,
    Interpolate,
    Joint,
    JointGenerator,
    Marginal,
    Mean,
    Replay,
    Uniform,
    Zero,
)
from tests.naive import ops as naive
from tests.soak.engine import TOLERANCE, Draw
from tests.soak.models import KINDS, Evaluated, series_model

#: Models that look at the whole batch through one callable, so that another layout is one transposition.
TRANSPOSABLE = ("gru", "gru2", "lstm", "view_state", "exact", "opaque", "writes", "writes_steps")
CLASS_METRICS = ("pd", "kl", "js", "l2", "diff")


class Transposed(nn.Module):
    """The same model for (N, w, D)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.transpose(1, 2))


class TransposedSteps(Transposed):
    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        return self.model(x.transpose(1, 2), return_all=return_all)

    def advance(self, x: Tensor, state: Any) -> Any:
        return self.model.advance(x.transpose(1, 2), state)


@dataclass
class Series:
    """``X`` (B, D, T) and the model; ``given``: X as it is passed, in its layout and place in memory."""

    X: Tensor
    evaluated: Evaluated
    given: Any
    dtype: torch.dtype
    layout: str = "BDT"
    lengths: Tensor | None = None
    observed: Tensor | None = None
    ids: Tensor = field(default_factory=lambda: torch.zeros(0))
    metric: str = "auto"
    target: Any = None
    #: What the twins are asked with: the class or output of each series, or None.
    aim: Tensor | None = None

    @property
    def model(self) -> Any:
        return self.evaluated.model

    @property
    def measure(self) -> str:
        """The metric that ``auto`` stands for."""
        return ("abs" if self.evaluated.regression else "pd") if self.metric == "auto" else self.metric

    def common(self) -> dict[str, Any]:
        """The arguments of an attributor that say what the model is."""
        return {"output": self.evaluated.output, "layout": self.layout, "distance": self.metric}

    def options(self) -> dict[str, Any]:
        """The arguments of a call beside X."""
        found: dict[str, Any] = {}
        if self.lengths is not None:
            found["lengths"] = self.lengths
        if self.observed is not None:
            found["observed"] = turned(self.observed, self.layout)
        if not torch.equal(self.ids, torch.arange(len(self.X))):
            found["ids"] = self.ids
        if self.target is not None:
            found["target"] = self.target
        return found

    def parts(self) -> Iterator[tuple[list[int], int]]:
        """Places of the series of equal length, and that length, shortest first."""
        T = self.X.shape[2]
        lengths = [T] * len(self.X) if self.lengths is None else self.lengths.tolist()
        for length in sorted(set(lengths)):
            yield [b for b, n in enumerate(lengths) if n == length], length

    def cut(self, places: list[int], length: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """X, observed and aims of some series, without their padding."""
        x = self.X[places, :, :length]
        seen = None if self.observed is None else self.observed[places, :, :length]
        return x, seen, None if self.aim is None else self.aim[places]

    def close(self, draw: Draw, found: Any, expected: Any, cf: Values, what: str = "the scores") -> None:
        """``found`` in the layout of X, ``expected`` (B, D, T, ...)."""
        found = turned(torch.as_tensor(found), self.layout)
        rtol, atol = TOLERANCE[torch.float32 if cf.name in RUNS[1:] else self.dtype]  # generators answer in float32
        draw.close(found, expected, rtol, atol, what=what)


def turned(values: Tensor, layout: str) -> Tensor:
    """(B, D, T, ...) in a layout, and back."""
    return values.transpose(1, 2) if layout == "BTD" else values


def series(
    draw: Draw,
    *,
    most: int = 40,
    kinds: tuple[str, ...] | None = None,
    missing: bool = True,
    lengths: bool = True,
    target: bool = True,
    dtype: torch.dtype | None = None,
    features: int = 4,
    shortest: int = 1,
) -> Series:
    """Random series of at most so many cells each, for a random model, with a random metric."""
    dtype = dtype or draw.of(torch.float32, torch.float64)
    D = draw.whole(1, features)
    T = draw.whole(shortest, max(shortest, min(10, most // D)))
    B = draw.whole(1, 3)
    layout = "BTD" if draw.chance(0.15) else "BDT"
    evaluated = series_model(draw, D, T, dtype, TRANSPOSABLE if layout == "BTD" else kinds or tuple(KINDS))
    X = draw.normal(B, D, T, dtype=dtype) * draw.of(1.0, 1.0, 1.0, 0.01, 5.0) + draw.of(0.0, 0.0, 2.0)
    if draw.chance(0.1):
        X = X.round()  # equal values, among them zeros
    if evaluated.kind == "looks_ahead":
        X[:, 0] = X[:, 0].abs() + 0.1  # there is something to see, so that the claim can be found out
    found = Series(X, evaluated, X, dtype, layout, ids=torch.arange(B))
    if lengths and draw.chance(0.25):
        found.lengths = draw.integers(1, T, B)
    if missing and draw.chance(0.7 if evaluated.kind == "gaps" else 0.25):
        found.observed = draw.bools(B, D, T, p=0.7)
        if evaluated.kind == "gaps":
            X[~found.observed] = torch.nan
    if draw.chance(0.2):
        found.ids = torch.tensor(draw.rng.choice(1000, B, replace=False))
    _choose_metric(draw, found, target)
    if layout == "BTD":
        evaluated.model = (TransposedSteps if "causal" in evaluated.modes else Transposed)(evaluated.model)
    found.given = draw.placed(turned(X, layout))
    if draw.chance(0.1):
        found.given = found.given.numpy()
    draw.note(
        shape=(B, D, T), dtype=dtype, layout=layout, metric=found.metric, target=found.target, lengths=found.lengths,
        observed=found.observed is not None, ids=found.ids.tolist(),
    )  # fmt: skip
    return found


def _choose_metric(draw: Draw, found: Series, target: bool) -> None:
    evaluated, B = found.evaluated, len(found.X)
    if evaluated.regression:
        found.metric = draw.of("auto", "abs", "l2", "diff")
    else:
        found.metric = draw.of("auto", *CLASS_METRICS)
    if found.metric == "diff" and evaluated.kind == "single":
        found.metric = "auto"  # which class the one column is of is said elsewhere
    if found.metric == "diff" and (evaluated.classes > 1 if evaluated.regression else draw.chance()):
        chosen = draw.integers(0, evaluated.classes - 1, B) if target else torch.zeros(B, dtype=torch.int64)
        one = draw.chance(0.3)
        found.target = int(chosen[0]) if one else draw.of(chosen, chosen.tolist(), chosen.numpy())
        found.aim = chosen[:1].expand(B) if one else chosen


# -- counterfactual values ---------------------------------------------------------------------------------------------


@dataclass
class Values:
    """``given`` and ``background`` are what an attributor takes; ``twin`` gives (kind, draws) for the twins.

    ``count``: how many draws are asked for. ``refused``: what the call is refused with.
    """

    name: str
    given: Any
    background: Any
    count: int
    refused: str | None
    twin: Any

    @property
    def single(self) -> bool:
        return self.name in ("zero", "constant", "mean", "carry_forward", "interpolate")

    @property
    def random(self) -> bool:
        return not self.single and self.name not in ("exact", "runs")


FIXED = ("zero", "constant", "mean", "marginal", "joint", "uniform", "gaussian", "exact")
GAPS = ("carry_forward", "interpolate", "noisy")
RUNS = ("runs", "generator", "joint_generator")


def values(draw: Draw, s: Series, seed: int, kinds: tuple[str, ...] = FIXED + GAPS + RUNS, most: int = 2) -> Values:
    """A random strategy, with what the twins need to know of its values."""
    new = set(STRATEGIES) - {*FIXED, *GAPS, "conditional"}  # which game.counterfactuals compares
    draw.equal(new, set(), what="the strategies of which nothing is known here")
    name, count = draw.of(*kinds), draw.whole(1, most)
    B, D, T = s.X.shape
    background = draw.normal(draw.whole(1, 4), D, T + draw.whole(0, 2), dtype=s.dtype)
    lo, std, noise = draw.number(-2, 0), draw.number(0.1, 2), draw.number(0.05, 1)
    draw.note(counterfactuals=name, num_samples=count)
    given: Any = name
    still = draw.normal(*draw.of((), (D,), (D, T)), dtype=s.dtype)
    passed = background if name in ("marginal", "joint") or (name == "mean" and draw.chance()) else None
    refused = None

    def drawn(kind: str, x: Tensor, places: list[int], first: int, **source: Any) -> list[Tensor]:
        ids = s.ids[places].tolist()
        return list(naive.draw(kind, count, ids, *x.shape[1:], x.dtype, first=first * count, seed=seed, **source))

    def twin(places: list[int], length: int, first: int = 0) -> tuple[str, list[Any]]:
        x, seen, _ = s.cut(places, length)
        if name == "zero":
            return "fixed", [torch.zeros_like(x)]
        if name == "constant":
            steps = still[..., :length] if still.ndim == 2 else still[..., None]
            return "fixed", [steps.expand(x.shape).to(x.dtype)]
        if name == "mean":
            return "fixed", [means(x, seen, passed)]
        if name == "marginal":
            return "fixed", drawn("MARGINAL", x, places, first, background=background)
        if name == "joint":
            return "fixed", drawn("JOINT", x, places, first, background=background)
        if name == "uniform":
            return "fixed", drawn("UNIFORM", x, places, first, low=lo, high=lo + 3)
        if name == "gaussian":
            return "fixed", drawn("GAUSSIAN", x, places, first, low=lo, high=std)
        if name in ("carry_forward", "interpolate"):
            return name, [None]
        if name == "noisy":
            return "interpolate", drawn("GAUSSIAN", x, places, first, low=0.0, high=noise)
        if name in ("exact", "runs"):
            return ("fixed" if name == "exact" else "windows"), [one[places, :, :length] for one in exact]
        runs = given.generator if isinstance(given, Generated) else given
        return "windows", list(runs.draw(x, s.ids[places], count, seed, first * count).to(x.dtype))

    if name == "uniform":
        given = Uniform(lo, lo + 3)
    elif name == "gaussian":
        given = Gaussian(lo, std)
    elif name == "constant":
        plain = still.mT if still.ndim == 2 and s.layout == "BTD" else still
        given = draw.of(Constant(still), plain, plain.numpy() if still.ndim else float(still))
    elif name == "noisy":
        given = Interpolate(noise)
    elif name in ("exact", "runs"):
        exact = draw.normal(count, B, D, T, *(() if name == "exact" else (draw.whole(1, 4),)), dtype=s.dtype)
        given = exact if s.layout == "BDT" else exact.transpose(2, 3)
        given = given if draw.chance() or s.layout == "BTD" else Replay(given)
    elif name in ("generator", "joint_generator"):
        kind = FeatureGenerator if name == "generator" else JointGenerator
        given = kind(D, prediction_size=draw.whole(1, 3), seed=draw.seed % 1000)
        seen = [s.cut(places, length)[1] for places, length in s.parts()]
        if any(part is not None and _has_holes(part) for part in seen):
            refused = "generator needs complete series"
        given = given if draw.chance() else Generated(given)
    elif draw.chance(0.3):
        made = {
            "zero": Zero, "mean": lambda: Mean(passed), "marginal": lambda: Marginal(background),
            "joint": lambda: Joint(background), "carry_forward": CarryForward, "interpolate": Interpolate,
        }  # fmt: skip
        given = made[name]()
    beside = passed if isinstance(given, str) else None  # a strategy has its own
    return Values(name, given, _background(draw, s, beside), count, refused, twin)


def _has_holes(seen: Tensor) -> bool:
    """Whether a value is missing before the last one of its feature."""
    return bool((seen[..., 1:] & ~seen[..., :-1]).any()) or not bool(seen[..., 0].all())


def _background(draw: Draw, s: Series, passed: Tensor | None) -> Any:
    """Reference data as users have it: a tensor, an array, or a loader of batches."""
    if passed is None:
        return None
    there = turned(passed, s.layout)
    pairs = torch.utils.data.TensorDataset(there, torch.zeros(len(there)))
    # Torch's loader draws a number whenever it is read, from the global generator unless it has one of its own.
    loader = torch.utils.data.DataLoader(pairs, batch_size=2, generator=torch.Generator())
    return draw.of(draw.placed(there), there.numpy(), loader, list(there.split(1)))


def means(x: Tensor, seen: Tensor | None, background: Tensor | None) -> Tensor:
    """The mean over time of each feature, of what is seen of it (0 where nothing is), or of the background."""
    out = torch.zeros_like(x)
    for b, d in np.ndindex(*x.shape[:2]):
        if background is not None:
            out[b, d] = float(background[:, d].double().mean())
            continue
        known = [float(v) for t, v in enumerate(x[b, d]) if seen is None or bool(seen[b, d, t])]
        out[b, d] = sum(known) / len(known) if known else 0.0
    return out
