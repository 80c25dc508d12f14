"""Searches that start with nothing and add players until the decision stands."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import torch
from torch import Tensor

from rambit.game.prefixes import prefix_masks, ranking_of, shortest_by_bisection
from rambit.sufficiency.search.task import Search, Task, evaluate_switched, where

Result = TypeVar("Result")
#: At how many places at once a bisection cuts.
CUTS = 32


def passing(search: Generator[Tensor, Tensor, Result]) -> Generator[Tensor, Tensor, Result]:
    """A search that receives which masks pass, among searches that receive margins."""
    try:
        masks = next(search)
        while True:
            masks = search.send((yield masks) >= 0)
    except StopIteration as stop:
        result: Result = stop.value
        return result


def by_ranking(task: Task, mask: Tensor) -> Search:
    """A prefix of the heuristic's ranking that is feasible while the one-shorter prefix is not."""
    ranking = ranking_of(task.scores)
    size = yield from passing(shortest_by_bisection(ranking, width=min(CUTS, task.width)))
    return prefix_masks(ranking, torch.tensor([task.players if size is None else size]))[0]


def greedily(task: Task, mask: Tensor) -> Search:
    """Adds the player with which the margin is largest, until it is feasible."""
    mask = torch.zeros(task.players, dtype=torch.bool)
    margin = (yield mask[None])[0]
    while margin < 0 and not bool(mask.all()):
        absent = where(~mask)
        margins = yield from evaluate_switched(mask, absent, task.width)
        best = int(margins.argmax())
        mask[absent[best]], margin = True, margins[best]
    return mask


def by_gradient(task: Task, mask: Tensor) -> Search:
    """Adds the player along which the soft margin grows fastest, until it is feasible. A soft search."""
    mask = torch.zeros(task.players, dtype=torch.bool)
    margins = (yield mask[None].double())[0]
    while margins[0] < 0 and not bool(mask.all()):
        mask[margins[1:].masked_fill(mask, -torch.inf).argmax()] = True
        margins = (yield mask[None].double())[0]
    return mask
