"""When a run that adds masks ends: `tolerance=` as it was given, and whether the scores are precise enough for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rambit.checks import count, number
from rambit.game.draws import Error

#: How probable it must be that the highest cells are the true ones.
STABLE = 0.95


class Tolerance(Protocol):
    """A rule for scores (K, B, cells) with their error, on the host; ``known`` (B, cells): which cells there are."""

    def holds(self, scores: Tensor, error: Error, known: Tensor) -> bool:
        """Whether the scores are precise enough."""


@dataclass(frozen=True)
class LargestError:
    """The largest standard error, relative to the largest score, is at most ``share``."""

    share: float

    def holds(self, scores: Tensor, error: Error, known: Tensor) -> bool:
        return float(error.stderr().max()) <= self.share * float(scores.abs().max())

    def __str__(self) -> str:
        return str(self.share)


@dataclass(frozen=True)
class StableTop:
    """The ``k`` highest cells of every series are the true ones, each with a probability of at least ``STABLE``.

    Half-way between the k-th score and the next lies a bound. Unless some cell's expected score lies on the other side
    of it, the k are the true ones; so the probability that they are not is at most the sum of the cells' (Boole), each
    by Student's distribution. That holds however the errors depend on each other.
    """

    k: int

    def holds(self, scores: Tensor, error: Error, known: Tensor) -> bool:
        from scipy.special import stdtr  # which takes as long to import as rambit does

        scores = scores.masked_fill(~known, -torch.inf)
        if scores.shape[2] <= self.k:
            return True
        next_two = scores.topk(self.k + 1).values[..., -2:]
        distance = (scores - next_two.mean(dim=2, keepdim=True)).abs()
        stderr = error.stderr()
        # A cell that never varied is taken as certain, a series of at most k cells as stable.
        uncertain = known & (stderr > 0) & next_two.isfinite().all(dim=2, keepdim=True)
        beyond = torch.from_numpy(stdtr(error.freedom.numpy(), -(distance / stderr).numpy()))
        wrong = torch.where(uncertain, beyond, 0.0).sum(dim=2)
        return float(wrong.max()) <= 1 - STABLE

    def __str__(self) -> str:
        return f"top:{self.k}"


def read(tolerance: object, cells: int) -> LargestError | StableTop:
    """A tolerance as it was given for series of this many cells: a number, or "top:k".

    Raises TypeError or ValueError naming it, what was given and what is allowed.
    """
    if not isinstance(tolerance, str):
        return LargestError(number("tolerance", tolerance, 0, above=True))
    found = re.fullmatch(r"top:([0-9]{1,18})", tolerance)
    if found is None:
        raise ValueError(f"tolerance must be a number above 0, or 'top:k' as in 'top:10', got {tolerance!r}")
    if cells < 2:
        raise ValueError(f"tolerance={tolerance!r} ranks the cells of a series, and these have {cells}")
    return StableTop(count("tolerance's k", int(found[1]), 1, cells - 1))
