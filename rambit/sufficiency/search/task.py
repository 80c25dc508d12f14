"""What a search knows, and how it evaluates."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

#: Yields masks (n, players) bool, receives their margins (n,) float64 (0 or more: feasible), returns one mask.
#: A soft search yields float masks and receives margins with their gradients, (n, 1 + players).
Search = Generator[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """``scores`` (players,): the heuristic. ``rank`` (players,): a random order. ``width``: masks evaluated at once."""

    scores: Tensor
    rank: Tensor
    width: int

    @property
    def players(self) -> int:
        return len(self.scores)

    def take(self, players: Tensor) -> Task:
        """The same for some of the players."""
        return replace(self, scores=self.scores[players], rank=self.rank[players])


def evaluate_each(count: int, masks: Callable[[Tensor], Tensor], width: int) -> Generator[Tensor, Tensor, Tensor]:
    """The margins (count,) of ``masks(numbers)``, for numbers 0 … count - 1, at most ``width`` at once."""
    found = torch.empty(count, dtype=torch.float64)
    for begin in range(0, count, width):
        end = min(count, begin + width)
        found[begin:end] = yield masks(torch.arange(begin, end))
    return found


def evaluate_switched(mask: Tensor, players: Tensor, width: int) -> Generator[Tensor, Tensor, Tensor]:
    """The margins (len(players),) of ``mask`` with each of these players switched."""

    def masks(numbers: Tensor) -> Tensor:
        rows = mask.repeat(len(numbers), 1)
        place = torch.arange(len(numbers)), players[numbers]
        rows[place] = ~rows[place]
        return rows

    return (yield from evaluate_each(len(players), masks, width))


def where(mask: Tensor) -> Tensor:
    """The numbers of the players that a mask (players,) keeps."""
    return mask.nonzero()[:, 0]
