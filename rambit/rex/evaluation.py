"""How good an explanation is: small, sharp, and faithful to the model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import trapezoid
from torch import Tensor

from rambit.checks import count
from rambit.counterfactuals import Uniform
from rambit.game import Coalitions, Game
from rambit.game.prefixes import prefix_masks
from rambit.rex.decision import Decision
from rambit.rex.extraction.bar import width
from rambit.rex.extraction.ranking import rank
from rambit.rex.rex_explanation import RexExplanation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """How an explanation does.

    area: the kept share, less is better. entropy: see `responsibility_entropy`; NaN for a map with negative values, or
    zero everywhere.
    insertion, deletion: areas under `curves`, relative to the target's confidence; more and less are better.
    robustness: see there, more is better. points: shares of the positions, from 0 to 1, and over them the
    probabilities of both curves.
    """

    area: float
    entropy: float
    insertion: float
    deletion: float
    robustness: float
    points: tuple[tuple[float, ...], ...] = field(repr=False)

    def measures(self) -> dict[str, float | None]:
        """Every measure by its name, None for NaN and infinity, which JSON does not have."""
        named = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "points"}
        return {name: value if math.isfinite(value) else None for name, value in named.items()}

    def plot(self, path: str | Path | None = None, *, ax: Any = None) -> Figure:
        """The curves of insertion and deletion (see `plots.drop_curve`), saved if `path` is given.

        ``ax``: the matplotlib Axes to draw into. Errors: ImportError without matplotlib.
        """
        from rambit import plots

        shares, insertion, deletion = self.points
        lines = {f"insertion: {self.insertion:.2f}": insertion, f"deletion: {self.deletion:.2f}": deletion}
        xlabel = "positions kept (insertion) or replaced (deletion), %"
        return plots.drop_curve(shares, lines, path, xlabel=xlabel, ylabel="probability of the class", ax=ax)


def evaluate(
    decision: Decision, explanation: RexExplanation, *, step: int = 100, repeats: int = 50, seed: int = 0
) -> Evaluation:
    """Every measure of an explanation of a decision (see `ReX.evaluate`).

    step: positions between two points of the curves. repeats, seed: of the noise. Errors: ValueError naming it.
    """
    sizes, insertion, deletion = curves(decision, explanation.responsibility, step=step)
    share = sizes / sizes[-1]
    return Evaluation(
        area=area_ratio(explanation.mask),
        entropy=_entropy(explanation.responsibility),
        insertion=float(trapezoid(insertion, share)) / decision.confidence,
        deletion=float(trapezoid(deletion, share)) / decision.confidence,
        robustness=robustness(decision, explanation.mask, repeats=repeats, seed=seed),
        points=tuple(tuple(one.tolist()) for one in (share, insertion, deletion)),
    )


def _entropy(responsibility: Tensor) -> float:
    """NaN where other classes' maps were subtracted and left negative values, or nothing."""
    nothing = not bool(responsibility.any())
    return math.nan if nothing or bool((responsibility < 0).any()) else responsibility_entropy(responsibility)


def area_ratio(mask: Tensor) -> float:
    """The kept share of a mask, 0 to 1."""
    return float(mask.double().mean())


def responsibility_entropy(responsibility: Tensor) -> float:
    """The relative entropy, in bits, of a uniform map to this one: 0 where all positions are equally responsible.

    As ReX computes it. Infinite where a position has no responsibility at all. Errors: ValueError for a map that has
    negative values or sums to zero.
    """
    share = responsibility.detach().cpu().double().flatten()
    if bool((share < 0).any()) or float(share.sum()) <= 0:
        raise ValueError("responsibility must be non-negative and not zero everywhere to have an entropy")
    share = share / share.sum()
    return float(-(share * len(share)).log2().mean())


def curves(decision: Decision, responsibility: Tensor, *, step: int = 100) -> tuple[Curve, Curve, Curve]:
    """How many of the most responsible positions are concerned, 0, step, …, all; and the target's probability when only
    they are kept (insertion) and when only they are replaced (deletion), each float64 of that length.

    Errors: ValueError for a step that is not positive.
    """
    count("step", step)
    ranking = rank(responsibility).to(decision.game.device)
    step = min(step, len(ranking))
    sizes = torch.arange(0, len(ranking) + step, step).clamp(max=len(ranking))
    outputs, most = [], width(decision)
    for begin in range(0, len(sizes), most):
        masks = prefix_masks(ranking, sizes[begin : begin + most])
        both = decision.probabilities(torch.cat((masks, ~masks)))[:, decision.target]
        outputs.append(both.view(2, -1))
    insertion, deletion = decision.game.to_host(torch.cat(outputs, dim=1).double()).numpy()
    return sizes.double().numpy(), insertion, deletion


def robustness(
    decision: Decision,
    mask: Tensor,
    *,
    lower: float | None = None,
    upper: float | None = None,
    repeats: int = 50,
    seed: int = 0,
) -> float:
    """The share of draws of uniform noise outside the mask in which the model still says the target.

    lower, upper: of the noise; default: the least and the greatest value of the input, in one of which there is no
    noise: 1. Errors: ValueError.
    """
    count("repeats", repeats)
    game = decision.game
    x = game.sample.x
    low = float(x.min()) if lower is None else lower
    high = float(x.max()) if upper is None else upper
    if lower is None and upper is None and low == high:
        return 1.0  # whatever is drawn, the input stays what it is
    if not low < high:
        raise ValueError(f"lower must be below upper, given {low} and {high}")
    says, piece = 0, max(1, game.max_memory // 4 // (x.numel() * x.element_size()))
    for first in range(0, repeats, piece):
        noisy = Game(
            game.predictor,
            game.sample,
            _Noise(low, high, first),
            draws=min(piece, repeats - first),
            evaluation="full",
            max_memory=game.max_memory,
            seed=seed,
        )
        [outputs] = noisy.evaluate(Coalitions(mask.reshape(1, -1)))  # (1, draws, 1, C)
        says += int(noisy.to_host((game.predictor.predicted(outputs[0, :, 0]) == decision.target).sum()))
    return says / repeats


class _Noise(Uniform):
    """Uniform draws from number ``first`` on: so many at a time as fit."""

    def __init__(self, lo: float, hi: float, first: int) -> None:
        super().__init__(lo, hi)
        self.first = first

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        return super().draws(x, observed, ids, count, seed=seed, first=self.first + first)
