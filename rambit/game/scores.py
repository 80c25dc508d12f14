"""What becomes of the outputs of flips: running sums for the mean over masks and its standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game import draws as draws_of
from rambit.game.distinct_masks import DistinctMasks, Group, Int32
from rambit.game.group_flips import first_steps
from rambit.game.horizons import HorizonRule


class FlipScores:
    """Sums of contributions over masks, for B series of one length: the reduction of ``Flips``.

    ``target`` (K, B): the outputs that are explained, K of each series; all are read from the same rows. ``metric``
    compares outputs, ``reduce`` joins a cell's horizons; ``normalize="visible"`` divides by the masks that
    can see a cell. ``draws``: how many random draws all masks share, 0 where each mask has its own, or none are random.
    ``groups`` (D, T): those of the question; sums are kept by group then, and every cell has its group's score.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        metric: ops.Metric,
        reduce: ops.Reduce,
        normalize: str,
        target: Tensor,
        device: torch.device,
        draws: int = 0,
        groups: npt.NDArray[np.int64] | None = None,
    ) -> None:
        B, D, T = shape
        self.groups = groups
        #: From which step on a slot, a cell or a group, is there to be seen.
        self.time = np.tile(np.arange(T), D) if groups is None else first_steps(groups)
        self.metric, self.reduce, self.normalize = metric, reduce, normalize
        self.target = target.to(device)
        self.shape = (len(target), B, D, T)
        self.sum = memory.zeros((len(target), B, len(self.time)), self.target, torch.float64)
        self.squares = memory.zeros(self.sum.shape, self.sum)
        self.draws = draws
        #: Sums by group of draws (G, K, B, cells), for the spread between them.
        self.by_draw = memory.zeros((draws_of.groups(draws) if draws > 1 else 0, *self.sum.shape), self.sum)
        self.weight = np.zeros(len(self.time))  # total weight of the masks that count for a cell
        self.count = np.zeros(len(self.time))  # how many masks that is
        self.exact = False

    def expect(self, distinct: DistinctMasks, rule: HorizonRule, exact: bool) -> None:
        """Count the masks of a question before it is evaluated."""
        self.exact = exact
        time = self.time
        h0, h1 = rule.of_masks(distinct.end)
        for u in range(len(distinct)):
            cells = slice(None) if distinct.target_cells is None else distinct.target_cells[u]
            visible = (
                (h0[u] < h1[u]) & (time[cells] < h1[u]) if self.normalize == "visible" else np.ones_like(time[cells])
            )
            self.weight[cells] += distinct.weight[u] * visible
            self.count[cells] += distinct.count[u] * visible

    def add(
        self,
        series: slice,
        contributions: Tensor,
        distinct: DistinctMasks,
        group: Group,
        to_device: Callable[[npt.NDArray[Any]], Tensor],
    ) -> None:
        """Add the contributions (K, M, S, B, slots) of a group, in the order of the distinct masks."""
        index, here = to_device(group.index), to_device(group.weight)
        weight, count = to_device(distinct.weight[group.index]), to_device(distinct.count[group.index])
        cells = None if group.target_cells is None else to_device(group.target_cells)
        # One mask after the other, never by atomics or in pieces: so a sum has the same bits however rows were chunked.
        for total, squares, part in zip(self.sum, self.squares, contributions, strict=True):
            ops.accumulate(total[series], squares[series], part, index, here, weight, count, cells)
        if len(self.by_draw) > 0:
            self._add_by_draw(series, contributions, distinct.weight[group.index] * group.weight, group.target_cells)

    def _add_by_draw(
        self, series: slice, contributions: Tensor, weight: npt.NDArray[np.float64], target_cells: Int32 | None
    ) -> None:
        total = self.by_draw[:, :, series]
        for m, factor in enumerate(weight.tolist()):  # one at a time: the order of a sum does not depend on the groups
            here = total if target_cells is None else total[..., target_cells[m] : target_cells[m] + 1]
            for first in range(0, contributions.shape[2], len(total)):
                part = contributions[:, m, first : first + len(total)].transpose(0, 1)
                here[: len(part)].add_(part, alpha=factor)

    def values(self) -> Tensor:
        """Scores (K, B, D, T) float64: the weighted mean over masks."""
        weight = torch.from_numpy(np.maximum(self.weight, np.finfo(float).tiny)).to(self.sum.device)
        return self._of_cells(self.sum / weight)

    def seen(self) -> Tensor:
        """Which cells (1, D, T) some mask counts for."""
        return self._of_cells(torch.from_numpy(self.count > 0).to(self.sum.device)[None])

    def _of_cells(self, slots: Tensor) -> Tensor:
        """What each cell (…, D, T) has from its slot (…, slots)."""
        if self.groups is not None:
            slots = slots[..., torch.from_numpy(self.groups.ravel()).to(slots.device)]
        return slots.view(*slots.shape[:-1], *self.shape[2:])

    def stderr(self) -> Tensor | None:
        """Standard error (K, B, D, T) float64 of the mean over masks and draws; None where it cannot be told.

        Over masks it is zero for an exact family, and unknown with fewer than two masks. Draws that all masks share add
        the variance of the mean over draws, which is unknown with one draw.
        """
        over_masks, over_draws = self._over_masks(), self.over_draws()
        if over_masks is None or over_draws is None:
            return None
        return self._of_cells((over_masks + over_draws).sqrt())

    def _over_masks(self) -> Tensor | None:
        if self.exact:
            return memory.zeros(self.sum.shape, self.sum)
        if self.count.max(initial=0) < 2:
            return None
        n = torch.from_numpy(np.maximum(self.count, 2.0)).to(self.sum.device)
        return (self.squares - self.sum**2 / n).clamp(min=0) / (n - 1) / n

    def over_draws(self) -> Tensor | None:
        """Variance (K, B, cells) of the score over the draws, which no further mask makes smaller."""
        if self.draws == 0:
            return memory.zeros(self.sum.shape, self.sum)
        if self.draws == 1:
            return None
        weight = torch.from_numpy(np.maximum(self.weight, np.finfo(float).tiny)).to(self.sum.device)
        each = draws_of.sizes(self.draws).to(weight.device)[:, None, None, None] * weight
        return draws_of.variance(self.by_draw / each, self.draws)
