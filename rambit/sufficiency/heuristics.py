"""How much each player seems to matter: what the searches rank by."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rambit import ops
from rambit.game import shapley_values
from rambit.structure.masks import ScoreMask
from rambit.sufficiency.decisions import Decisions, differentiable, gradients

Scores = list[Tensor]  # (players,) float64 of each problem

# gnn: learned masks (Ying et al., GNNExplainer, NeurIPS 2019)
LEARNING_STEPS = 200
LEARNING_RATE = 0.01
BETAS = (0.5, 0.999)
SIZE_WEIGHT = 0.005
START_SPREAD = 0.1


def const(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """All equal: the order of the players."""
    return [torch.zeros(problem.players, dtype=torch.float64) for problem in decisions.problems]


def random(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """Uniform."""
    return [uniform(decisions, number, 1, seed)[0] for number in range(len(decisions.problems))]


def grad(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """|∂ probability of the target / ∂ mask| where everything is kept."""
    masks = [torch.ones(1, problem.players, dtype=torch.float64, requires_grad=True) for problem in decisions.problems]
    with torch.enable_grad():
        total = sum(p.sum() for p in _probabilities(decisions, masks))
        assert isinstance(total, Tensor)
        return [gradient[0].abs() for gradient in gradients(total, masks)]


def gnn(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """The mask σ(m) that keeps the decision, is small and is sure of itself: cross-entropy, size, entropy; by Adam."""
    learned = []
    for number in range(len(decisions.problems)):
        start = uniform(decisions, number, 1, seed)
        learned.append(torch.special.ndtri(start.clamp(1e-12, 1 - 1e-12)).mul(START_SPREAD).requires_grad_())
    optimiser = torch.optim.Adam(learned, lr=LEARNING_RATE, betas=BETAS)
    with torch.enable_grad():
        for _ in range(LEARNING_STEPS):
            masks = [m.sigmoid() for m in learned]
            total = sum((-p.clamp(min=1e-12).log()).sum() for p in _probabilities(decisions, masks))
            assert isinstance(total, Tensor)
            differentiable(total)
            loss = total + sum(SIZE_WEIGHT * mask.sum() + _entropy(mask) for mask in masks)
            for m, gradient in zip(learned, gradients(loss, learned), strict=True):
                m.grad = gradient
            optimiser.step()
    return [m.detach().sigmoid()[0] for m in learned]


def _entropy(mask: Tensor) -> Tensor:
    """Mean entropy of values in (0, 1)."""
    return -(torch.xlogy(mask, mask) + torch.xlogy(1 - mask, 1 - mask)).mean()


def _probabilities(decisions: Decisions, masks: Sequence[Tensor]) -> list[Tensor]:
    """The targets' probabilities (1, samples) under one soft mask (1, players) of each problem."""
    found = decisions.outputs(list(enumerate(masks)))
    chosen = [decisions.targets(number, outputs)[..., None] for number, outputs in enumerate(found)]
    return [outputs.gather(-1, target)[..., 0] for outputs, target in zip(found, chosen, strict=True)]


def daf(decisions: Decisions, num_samples: int, seed: int) -> Scores:
    """Mean gap with a player minus without it over random masks, of those in which it participates."""
    return _sampled(decisions, num_samples, seed, participating=True)


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


HEURISTICS: dict[str, Callable[[Decisions, int, int], Scores]] = {
    "const": const,
    "random": random,
    "grad": grad,
    "gnn": gnn,
    "daf": daf,
    "banzhaf": banzhaf,
    "shapley": shapley,
}
#: Those that need outputs with gradients.
SOFT = ("grad", "gnn")


def rows_of(name: str, num_samples: int, players: int) -> int:
    """How many rows of each sample a heuristic evaluates."""
    rows = {"grad": 1, "gnn": LEARNING_STEPS, "daf": num_samples, "banzhaf": num_samples}
    return {**rows, "shapley": num_samples * (players + 1)}.get(name, 0)
