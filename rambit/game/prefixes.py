"""Growing prefixes of a ranking, and the first that passes. The searches are generators: see lockstep.py."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from rambit import memory


def ranking_of(scores: Tensor) -> Tensor:
    """Term numbers in descending order of their scores, ties in the order of the terms."""
    return scores.flatten().argsort(descending=True, stable=True)


def prefix_masks(ranking: Tensor, sizes: Tensor) -> Tensor:
    """Masks (n, terms) bool: the first sizes[i] terms of the ranking are kept."""
    return _first(_places(ranking), sizes)


def _places(ranking: Tensor) -> Tensor:
    """The place of each term in the ranking; in int32, which is compared twice as fast."""
    place = memory.empty(ranking.shape, ranking, torch.int32)
    place[ranking] = torch.arange(len(ranking), dtype=torch.int32, device=ranking.device)
    return place


def _first(place: Tensor, sizes: Tensor) -> Tensor:
    return place[None] < sizes.to(place)[:, None]


def first_passing(ranking: Tensor, sizes: Tensor, *, width: int) -> Generator[Tensor, Tensor, int | None]:
    """The place in ``sizes`` of the first prefix that passes, or None.

    Yields masks (n, terms), receives which passed (n,) bool. Evaluates 8, 16, … up to ``width`` of them at a time: most
    searches end early, and none calls the model for one mask at a time.
    """
    place, begin, count = _places(ranking), 0, min(8, width)
    while begin < len(sizes):
        passed = yield _first(place, sizes[begin : begin + count])
        if bool(passed.any()):
            return begin + int(passed.int().argmax())
        begin, count = begin + count, min(2 * count, width)
    return None


def shortest_by_bisection(ranking: Tensor, *, width: int) -> Generator[Tensor, Tensor, int | None]:
    """The length of a prefix that passes while the one-shorter does not, or None if not even the whole passes.

    Each round cuts the interval at ``width`` places at once. Yields and receives as ``first_passing``. The empty
    prefix is tried first: it is the result if it passes.
    """
    place, n = _places(ranking), len(ranking)
    passed = yield _first(place, torch.tensor([0, n]))
    if bool(passed[0]):
        return 0
    if not bool(passed[1]):
        return None
    fails, passes = 0, n
    while passes - fails > 1:
        count = min(width, passes - fails - 1)
        cuts = fails + (torch.arange(1, count + 1) * (passes - fails)) // (count + 1)
        passed = (yield _first(place, cuts)).cpu()
        first = int(passed.int().argmax()) if bool(passed.any()) else count
        if first < count:
            passes = int(cuts[first])
        if first > 0:
            fails = int(cuts[first - 1])
    return passes
