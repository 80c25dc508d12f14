"""All masks by increasing size, below that of a mask that is known to do."""

from __future__ import annotations

import math
from itertools import chain, combinations, islice

import numpy as np
import torch
from torch import Tensor

from rambit.sufficiency.search.task import Search, Task

MAX_EXACT = 24


def by_size(task: Task, mask: Tensor) -> Search:
    """The smallest feasible mask, of these the tightest; ``mask`` itself if none is smaller."""
    for size in range(int(mask.sum())):
        best, least = mask, torch.inf
        chosen = combinations(range(task.players), size)
        for _ in range(0, math.comb(task.players, size), task.width):
            masks = _masks(list(islice(chosen, task.width)), task.players, size)
            margins = yield masks
            tightest = int(torch.where(margins >= 0, margins, torch.inf).argmin())
            if 0 <= margins[tightest] < least:
                best, least = masks[tightest], float(margins[tightest])
        if least < torch.inf:
            return best
    return mask


def _masks(chosen: list[tuple[int, ...]], players: int, size: int) -> Tensor:
    index = np.fromiter(chain.from_iterable(chosen), dtype=np.int64).reshape(len(chosen), size)
    masks = torch.zeros(len(chosen), players, dtype=torch.bool)
    return masks.scatter_(1, torch.from_numpy(index), True)
