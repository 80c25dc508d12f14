"""How much each player seems to matter: what the searches rank by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rambit import checks, ops
from rambit.game import shapley_values
from rambit.registry import Registry
from rambit.structure.masks import ScoreMask
from rambit.sufficiency.decisions import Decisions, differentiable, gradients

Scores = list[Tensor]  # (players,) float64 of each problem

START_SPREAD = 0.1


class _Heuristics(Registry[Callable[..., Scores]]):
    """Functions (decisions, num_samples, seed, *, options) by name; text gives options: ``gnn:steps=50,size=0.01``."""

    def parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        return {key: of for key, of in super().parameters(name).items() if of.kind is of.KEYWORD_ONLY}

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        """The name and the options of a text. Raises ValueError; integers are at least 1, numbers at least 0."""
        name, options = super().parse(text)
        for key, value in options.items():
            what = f"heuristic {name}: {key}"
            options[key] = checks.count(what, value) if isinstance(value, int) else checks.number(what, value, 0.0)
        return name, options


HEURISTICS = _Heuristics("heuristic")


@HEURISTICS.register("const")
def const(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """All equal: the order of the players."""
    return [torch.zeros(problem.players, dtype=torch.float64) for problem in decisions.problems]


@HEURISTICS.register("random")
def random(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """Uniform."""
    return [uniform(decisions, number, 1, seed)[0] for number in range(len(decisions.problems))]


@HEURISTICS.register("grad")
def grad(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """|∂ probability of the target / ∂ mask| where everything is kept; or of the criterion, or of regression values."""
    masks = [torch.ones(1, problem.players, dtype=torch.float64, requires_grad=True) for problem in decisions.problems]
    with torch.enable_grad():
        total = sum(score.sum() for score in _of_masks(decisions, masks, decisions.criterion.score))
        assert isinstance(total, Tensor)
        return [gradient[0].abs() for gradient in gradients(total, masks)]


@HEURISTICS.register("gnn")
def gnn(
    decisions: Decisions,
    num_samples: int,
    seed: int,
    *,
    steps: int = 200,
    lr: float = 0.01,
    size: float = 0.005,
    entropy: float = 1.0,
) -> Scores:
    """The mask σ(m) that keeps the decision, is small and is sure of itself, by ``steps`` of Adam with rate ``lr``.

    The loss is the cross-entropy (of a criterion: minus its value; of regression: the squared distance) + ``size`` ×
    the mask's sum + ``entropy`` × its mean entropy. Source: Ying et al., GNNExplainer, NeurIPS 2019.
    """
    learned = []
    for number in range(len(decisions.problems)):
        start = uniform(decisions, number, 1, seed)
        learned.append(torch.special.ndtri(start.clamp(1e-12, 1 - 1e-12)).mul(START_SPREAD).requires_grad_())
    optimiser = torch.optim.Adam(learned, lr=lr, betas=(0.5, 0.999))
    with torch.enable_grad():
        for _ in range(steps):
            masks = [m.sigmoid() for m in learned]
            total = sum(loss.sum() for loss in _of_masks(decisions, masks, decisions.criterion.loss))
            assert isinstance(total, Tensor)
            differentiable(total)
            loss = total + sum(size * mask.sum() + entropy * _entropy(mask) for mask in masks)
            for m, gradient in zip(learned, gradients(loss, learned), strict=True):
                m.grad = gradient
            optimiser.step()
    return [m.detach().sigmoid()[0] for m in learned]


def _entropy(mask: Tensor) -> Tensor:
    """Mean entropy of values in (0, 1)."""
    return -(torch.xlogy(mask, mask) + torch.xlogy(1 - mask, 1 - mask)).mean()


def _of_masks(
    decisions: Decisions, masks: Sequence[Tensor], measure: Callable[[Tensor, Sequence[int]], Tensor]
) -> list[Tensor]:
    """(1, samples) of the outputs for one soft mask (1, players) of each problem."""
    found = decisions.outputs(list(enumerate(masks)))
    return [measure(outputs, problem.samples) for outputs, problem in zip(found, decisions.problems, strict=True)]


@HEURISTICS.register("daf")
def daf(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """Mean gap with a player minus without it over random masks, of those in which it participates."""
    return _sampled(decisions, num_samples, seed, participating=True)


@HEURISTICS.register("banzhaf")
def banzhaf(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """The same over all random masks; a player that does not participate counts as not kept (Banzhaf, 1965)."""
    return _sampled(decisions, num_samples, seed, participating=False)


def _sampled(decisions: Decisions, num_samples: int, seed: int, *, participating: bool) -> Scores:
    """Masks that keep each player with p = ½; what is found for a sample counts for its own players alone."""
    scores = [[ScoreMask.full(problem.players) for _ in problem.samples] for problem in decisions.problems]
    piece = _piece(decisions, num_samples)
    for first in range(0, num_samples, piece):
        count = min(piece, num_samples - first)
        masks = [uniform(decisions, n, count, seed, first) < 0.5 for n in range(len(decisions.problems))]
        for number, (mask, found) in enumerate(zip(masks, decisions.gaps(list(enumerate(masks))), strict=True)):
            inside = decisions.participating(number, mask)
            for place, score in enumerate(scores[number]):
                counted = inside if participating else None
                score.update(mask & inside, found[:, place, None], counted)
    return [
        _own(decisions, number, torch.stack([score.heuristic() for score in of], dim=1))
        for number, of in enumerate(scores)
    ]


@HEURISTICS.register("shapley")
def shapley(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """What a player adds to the gap when it joins, mean over ``num_samples`` random orders (Castro et al., 2009)."""
    total = [torch.zeros(p.players, len(p.samples), dtype=torch.float64) for p in decisions.problems]
    piece = _piece(decisions, num_samples, each=1 + max(p.players for p in decisions.problems))
    for first in range(0, num_samples, piece):
        orders = [
            shapley_values.orders(min(piece, num_samples - first), p.players, seed=seed, first=first)
            for p in decisions.problems
        ]
        coalitions = [shapley_values.prefixes(order).flatten(0, 1) for order in orders]
        found = decisions.gaps(list(enumerate(coalitions)))
        for number, (order, gaps) in enumerate(zip(orders, found, strict=True)):
            total[number] += shapley_values.gains(order, gaps.view(len(order), -1, gaps.shape[1])).sum(dim=0)
    return [_own(decisions, number, of / num_samples) for number, of in enumerate(total)]


def _own(decisions: Decisions, number: int, found: Tensor) -> Tensor:
    """(players,): the sum of scores (players, samples) over the samples in which each player has terms."""
    return (found * decisions.problems[number].membership).sum(dim=1)


def uniform(decisions: Decisions, number: int, count: int, seed: int, first: int = 0) -> Tensor:
    """(count, players) float64 in [0, 1): keyed by seed, first sample of the problem, draw and player."""
    problem = decisions.problems[number]
    out = torch.empty(count, 1, 1, problem.players, dtype=torch.float64)
    own = ops.stream(seed, "heuristics")
    ops.draw(out, torch.tensor(problem.samples[:1]), ops.Draw.UNIFORM, seed=own, first_draw=first)
    return out[:, 0, 0]


def _piece(decisions: Decisions, most: int, each: int = 1) -> int:
    """How many draws of ``each`` masks fit into a quarter of the memory, with masks and numbers of all problems."""
    row = 32 * sum(problem.players * len(problem.samples) for problem in decisions.problems) * each
    return max(1, min(most, decisions.max_memory // 4 // max(1, row)))


#: Those that need outputs with gradients.
SOFT = ("grad", "gnn")


def rows_of(text: str, num_samples: int, players: int) -> int:
    """How many rows of each sample a heuristic evaluates."""
    name, options = HEURISTICS.parse(text)
    steps = options.get("steps", HEURISTICS.parameters("gnn")["steps"].default)
    rows = {"grad": 1, "gnn": steps, "daf": num_samples, "banzhaf": num_samples}
    return int({**rows, "shapley": num_samples * (players + 1)}.get(name, 0))
