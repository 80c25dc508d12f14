"""The decisions that are explained, and the one place where sufficiency evaluates masks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rambit.sufficiency.criteria import Criterion
from rambit.sufficiency.subjects import Subject

#: Rows of one soft question: what a model remembers for its gradient is not part of ``max_memory``.
SOFT_ROWS = 64


@dataclass(frozen=True)
class Problem:
    """One search: ``players`` units of one sample, or of several that share clusters.

    ``samples``: their numbers. ``index``: for each of them the player of each of its terms, (terms,) int64.
    """

    players: int
    samples: tuple[int, ...]
    index: tuple[Tensor, ...]

    @property
    def membership(self) -> Tensor:
        """(players, samples) bool: whose terms each player has."""
        inside = torch.zeros(self.players, len(self.samples), dtype=torch.bool)
        for place, index in enumerate(self.index):
            inside[index, place] = True
        return inside

    def on_players(self, values: Sequence[Tensor]) -> Tensor:
        """(players,) float64: the sums of values (terms,) of each sample over each player's terms."""
        total = torch.zeros(self.players, dtype=torch.float64)
        for index, of_terms in zip(self.index, values, strict=True):
            total.index_add_(0, index, of_terms.double())
        return total


def joined(players: Sequence[Tensor]) -> list[Problem]:
    """The problems of samples whose terms belong to ``players`` (terms,) int64: those that share a player are one."""
    problems: dict[int, list[int]] = {}
    first: dict[int, int] = {}  # the problem that a player was first seen in
    for sample, of in enumerate(players):
        numbers = of.unique().tolist()  # type: ignore[no-untyped-call]
        met = sorted({first[number] for number in numbers if number in first})
        into = met[0] if met else sample
        members = [member for problem in met for member in problems.pop(problem)]
        problems[into] = sorted([*members, sample])
        first.update(dict.fromkeys(numbers, into))
        if len(met) > 1:
            first.update({number: into for number, problem in first.items() if problem in met})
    return [_problem(players, tuple(samples)) for samples in problems.values()]


def _problem(players: Sequence[Tensor], samples: tuple[int, ...]) -> Problem:
    ids, number = torch.cat([players[sample] for sample in samples]).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    return Problem(len(ids), samples, torch.split_with_sizes(number, [len(players[sample]) for sample in samples]))


def gradients(of: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of a sum of outputs with respect to soft masks. Raises ValueError where there are none."""
    differentiable(of)
    return list(torch.autograd.grad(of, masks, allow_unused=True, materialize_grads=True))


def differentiable(outputs: Tensor) -> None:
    """ValueError unless outputs for soft masks have gradients."""
    if not outputs.requires_grad:
        raise ValueError(
            "model: grad, gnn and gradient need outputs that torch can differentiate, but these do not depend on the "
            "values, or not in a way that torch follows"
        )


class Decisions:
    """Samples, what is to be kept of their ``whole`` outputs (B, C), thresholds (B,), and the problems to search.

    Two values of the same row may differ by ``rounding`` (B,), so searches demand that much more than the threshold.
    ``rows`` (B,) counts the rows of each sample.
    """

    def __init__(
        self,
        subject: Subject,
        problems: Sequence[Problem],
        criterion: Criterion,
        threshold: Tensor,
        rounding: Tensor | float,
        whole: Tensor,
    ) -> None:
        self.subject, self.problems = subject, list(problems)
        self.criterion, self.threshold, self.whole = criterion, threshold, whole
        self.bar = threshold + rounding
        self.rows = torch.zeros(len(whole), dtype=torch.int64)

    @property
    def max_memory(self) -> int:
        """Bytes that a round of questions may take."""
        return self.subject.game.max_memory

    def outputs(self, questions: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """Outputs (n, samples, C) for each pair of a problem's number and masks (n, players); soft masks are float."""
        rows = []
        for number, masks in questions:
            problem = self.problems[number]
            for sample, index in zip(problem.samples, problem.index, strict=True):
                rows.append((sample, masks[:, index]))
                self.rows[sample] += len(masks)
        flat = self.subject.outputs(rows)
        found, begin = [], 0
        for number, masks in questions:
            count = len(self.problems[number].samples)
            end = begin + count * len(masks)
            found.append(flat[begin:end].view(count, len(masks), -1).transpose(0, 1))
            begin = end
        return found

    def gaps(self, questions: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
        """What is kept (n, samples) float64 for each pair of a problem's number and masks (n, players)."""
        found = self.outputs(questions)
        return [
            self.criterion.values(outputs.double(), self.problems[number].samples)
            for (number, _), outputs in zip(questions, found, strict=True)
        ]

    def margins(self, masks: Tensor, owner: Tensor) -> Tensor:
        """How far rows of masks, each of one problem (lockstep's question), are above all of its thresholds: (N,)."""
        questions = self._by_problem(masks, owner)
        found = self.gaps(questions)
        return torch.cat([self._margin(number, of) for (number, _), of in zip(questions, found, strict=True)])

    def _margin(self, number: int, found: Tensor) -> Tensor:
        """(n,) for gaps (n, samples); a search must do for all samples of its problem."""
        margin: Tensor = (found - self.bar[list(self.problems[number].samples)].to(found.device)).amin(dim=1)
        return margin

    def soft_margins(self, masks: Tensor, owner: Tensor) -> Tensor:
        """For rows of float masks: the margin, then its gradient with respect to the row's mask, (N, 1 + width)."""
        parts = []
        for begin in range(0, len(masks), SOFT_ROWS):
            leaf = masks[begin : begin + SOFT_ROWS].clone().requires_grad_()
            with torch.enable_grad():
                questions = self._by_problem(leaf, owner[begin : begin + SOFT_ROWS])
                margin = torch.cat(
                    [self._margin(n, of) for (n, _), of in zip(questions, self.gaps(questions), strict=True)]
                )
                # A constant model has no gradient; where everything is feasible nobody needs one.
                needless = not margin.requires_grad and bool((margin >= 0).all())
                gradient = torch.zeros_like(leaf) if needless else gradients(margin.sum(), [leaf])[0]
            parts.append(torch.cat((margin.detach().cpu()[:, None], gradient.double()), dim=1))
        return torch.cat(parts)

    def _by_problem(self, masks: Tensor, owner: Tensor) -> list[tuple[int, Tensor]]:
        numbers, counts = owner.unique_consecutive(return_counts=True)  # type: ignore[no-untyped-call]
        pieces = torch.split_with_sizes(masks, counts.tolist())
        return [
            (number, piece[:, : self.problems[number].players])
            for number, piece in zip(numbers.tolist(), pieces, strict=True)
        ]

    def participating(self, number: int, masks: Tensor) -> Tensor:
        """(n, players) bool: players of which some term participates under masks (n, players)."""
        problem = self.problems[number]
        found = torch.zeros_like(masks, dtype=torch.int32)
        for sample, index in zip(problem.samples, problem.index, strict=True):
            inside = self.subject.participating(sample, masks[:, index])
            found.index_add_(1, index, inside.int())
        return found > 0

    def levels(self, number: int) -> Tensor:
        """(players,) int64: the depth of each player, that of its topmost term."""
        problem = self.problems[number]
        found = torch.full((problem.players,), torch.iinfo(torch.int64).max)
        for sample, index in zip(problem.samples, problem.index, strict=True):
            found.scatter_reduce_(0, index, self.subject.levels(sample), "amin")
        return found
