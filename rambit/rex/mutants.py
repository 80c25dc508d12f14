"""Mutants, seen one at a time, and which of them are looked into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from rambit.checks import member
from rambit.rex import kernels
from rambit.rex.boxes import Box
from rambit.rex.settings import Queue

MaskingFunction = Callable[[Tensor, Tensor], Tensor]
M = TypeVar("M", bound="Mutant")
#: How the kernel prunes for each queue; DC drops repeats, of which the mutants of one box have none.
TECHNIQUES = {
    Queue.All: kernels.KEEP_ALL,
    Queue.DC: kernels.KEEP_ALL,
    Queue.Area: kernels.SMALLEST,
    Queue.Intersection: kernels.INTERSECTION,
}


def get_combinations() -> list[list[int]]:
    """The 14 proper, non-empty subsets of four children, by size and then in lexicographic order."""
    return [[child for child in range(4) if subset >> child & 1] for subset in kernels.SUBSETS.tolist()]


@dataclass(eq=False)
class Mutant:
    """An input (1, C, …) of which some boxes are kept: ``active`` children of one box, and ``static`` other boxes.

    ``masking_func`` says what replaces the rest: a number, or a function of (mask over the grid, data). ``prediction``
    is the model's (class, confidence) once it was evaluated.
    """

    data: Tensor
    static: Sequence[Box]
    active: Sequence[Box]
    masking_func: float | MaskingFunction = 0.0
    prediction: tuple[int, float] | None = None

    @property
    def mask(self) -> Tensor:
        """What is kept, bool over the grid of ``data``."""
        grid = self.data.shape[2:]
        mask = torch.zeros((1,) * (3 - len(grid)) + tuple(grid), dtype=torch.bool, device=self.data.device)
        for box in (*self.static, *self.active):
            z0, z1, y0, y1, x0, x1 = box.bounds().tolist()
            mask[z0:z1, y0:y1, x0:x1] = True
        return mask.reshape(grid)

    @property
    def depth(self) -> int:
        """The depth of the deepest box."""
        return max((box.depth for box in (*self.static, *self.active)), default=0)

    def area(self) -> int:
        """How many positions are kept."""
        return int(self.mask.sum())

    def get_active_boxes(self) -> list[str]:
        """The names of the active boxes."""
        return [box.name for box in self.active]

    def get_name(self) -> str:
        """The names of the active boxes, joined by underscores."""
        return "_".join(self.get_active_boxes())

    def masked(self) -> Tensor:
        """The input with what is not kept replaced."""
        if callable(self.masking_func):
            return self.masking_func(self.mask, self.data)
        return torch.where(self.mask, self.data, self.masking_func)


def prune(mutants: Sequence[M], technique: Queue | str = Queue.Intersection, keep: int | None = None) -> list[M]:
    """The passing mutants that are looked into, in order.

    All and DC keep all. Area: the ``keep`` of smallest area. Intersection: the same of those whose active boxes
    contain the first non-empty intersection over the mutants i, i + 1, … . ``keep`` None keeps all.
    """
    technique = member("technique", technique, Queue)
    area = np.array([mutant.area() for mutant in mutants], np.int64)
    numbers: dict[str, int] = {}
    names = [[numbers.setdefault(name, len(numbers)) for name in m.get_active_boxes()] for m in mutants]
    offsets = np.cumsum([0, *map(len, names)], dtype=np.int64)
    every = np.array([number for own in names for number in own], np.int64)
    kept = kernels.prune(area, offsets, every, TECHNIQUES[technique], -1 if keep is None else keep)
    return [mutants[i] for i in kept]
