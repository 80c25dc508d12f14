"""Fine-tuning: a walk through masks near a feasible one, in search of a smaller one."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from rambit.sufficiency.search import removing
from rambit.sufficiency.search.task import Search, Task, evaluate_switched, where

#: How many players at most are removed, or added, before the walk turns.
MOST = 5


class _Visited:
    """The masks that the walk stood on, and the best that it saw: the smallest feasible one, of these the tightest."""

    def __init__(self, mask: Tensor) -> None:
        self.best, self.margin = mask, torch.inf
        self._seen: set[bytes] = set()

    def see(self, masks: Tensor, margins: Tensor) -> None:
        """Note rows that were evaluated."""
        masks, margins = masks[margins >= 0], margins[margins >= 0]
        if not len(masks):
            return
        sizes = masks.sum(dim=1)
        smallest = sizes == sizes.min()
        masks, margins = masks[smallest], margins[smallest]
        tightest = int(margins.argmin())
        if (int(sizes.min()), float(margins[tightest])) < (int(self.best.sum()), self.margin):
            self.best, self.margin = masks[tightest].clone(), float(margins[tightest])

    def stand(self, mask: Tensor) -> None:
        self._seen.add(mask.numpy().tobytes())

    def new(self, masks: Tensor) -> Tensor:
        """Which of the masks (n, players) the walk never stood on."""
        return torch.tensor([mask.numpy().tobytes() not in self._seen for mask in masks], dtype=torch.bool)


def finely(task: Task, mask: Tensor) -> Search:
    """From an irreducible mask: remove n and add until feasible again; add n and remove what can go; n = 1 … 5.

    Each step takes the player that leaves the largest margin, among the masks on which the walk has not stood. A
    smaller mask starts anew with n = 1. Irreducible in the end.
    """
    visited = _Visited(mask)
    visited.stand(mask)
    n = 1
    while n <= MOST:
        size = int(visited.best.sum())
        for turn in (_remove_and_add, _add_and_remove):
            found = yield from turn(task, mask, n, visited)
            if int(found.sum()) <= int(mask.sum()):
                mask = found
        n = 1 if int(visited.best.sum()) < size else n + 1
        if int(visited.best.sum()) < int(mask.sum()):
            mask = visited.best
    return (yield from removing.randomly(task, visited.best))


def _remove_and_add(task: Task, mask: Tensor, n: int, visited: _Visited) -> Search:
    margin = torch.inf
    for _ in range(min(n, int(mask.sum()))):
        mask, margin = yield from _step(task, mask, where(mask), visited)
    while margin < 0 and not bool(mask.all()):
        mask, margin = yield from _step(task, mask, where(~mask), visited)
    return mask


def _add_and_remove(task: Task, mask: Tensor, n: int, visited: _Visited) -> Search:
    for _ in range(min(n, int((~mask).sum()))):
        mask, _ = yield from _step(task, mask, where(~mask), visited)
    margin, before = torch.inf, mask
    while margin >= 0 and bool(mask.any()):
        before = mask
        mask, margin = yield from _step(task, mask, where(mask), visited)
    return before


def _step(
    task: Task, mask: Tensor, players: Tensor, visited: _Visited
) -> Generator[Tensor, Tensor, tuple[Tensor, float]]:
    """The mask with the best of these players switched, and its margin."""
    margins = yield from evaluate_switched(mask, players, task.width)
    rows = mask.repeat(len(players), 1)
    place = torch.arange(len(players)), players
    rows[place] = ~rows[place]
    visited.see(rows, margins)
    fresh = visited.new(rows)
    best = int(torch.where(fresh, margins, -torch.inf).argmax()) if bool(fresh.any()) else int(margins.argmax())
    visited.stand(rows[best])
    return rows[best], float(margins[best])
