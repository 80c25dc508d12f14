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
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.group_flips import first_steps
from rambit.game.horizons import HorizonRule

TINY = np.finfo(float).tiny


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
        #: Sums of squares (1, K, B, cells) of the masks' means by group, averaged over the groups by their sizes.
        self.draw_squares = memory.zeros((min(1, len(self.by_draw)), *self.sum.shape), self.sum)
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
            self._add_by_draw(series, contributions, distinct, group)

    def _add_by_draw(self, series: slice, contributions: Tensor, distinct: DistinctMasks, group: Group) -> None:
        """One distinct mask after the other: the order of a sum does not depend on how they were grouped."""
        by_draw, squares = self.by_draw[:, :, series], self.draw_squares[0, :, series]
        sizes = draws_of.sizes(self.draws).to(self.sum.device)[:, None, None, None]
        number = len(by_draw)
        total = memory.zeros((number, *contributions[:, 0, 0].shape), contributions)  # of one distinct mask
        last = np.append(group.index[1:] != group.index[:-1], True)
        for m, (u, weight) in enumerate(zip(group.index.tolist(), group.weight.tolist(), strict=True)):
            for first in range(0, contributions.shape[2], number):
                part = contributions[:, m, first : first + number].transpose(0, 1)
                total[: len(part)].add_(part, alpha=weight)
            if not last[m]:  # another window shift of the same mask
                continue
            c = None if group.target_cells is None else group.target_cells[m]
            cell = slice(None) if c is None else slice(c, c + 1)
            by_draw[..., cell].add_(total, alpha=distinct.weight[u])
            squares[..., cell].add_(total.square_().div_(sizes).sum(dim=0), alpha=distinct.count[u] / self.draws)
            total.zero_()

    def values(self) -> Tensor:
        """Scores (K, B, D, T) float64: the weighted mean over masks."""
        weight = torch.from_numpy(np.maximum(self.weight, TINY)).to(self.sum.device)
        return self.of_cells(self.sum / weight)

    def seen(self) -> Tensor:
        """Which cells (1, D, T) some mask counts for."""
        return self.of_cells(torch.from_numpy(self.count > 0).to(self.sum.device)[None])

    def of_cells(self, slots: Tensor) -> Tensor:
        """What each cell (…, D, T) has from its slot (…, slots)."""
        if self.groups is not None:
            slots = slots[..., torch.from_numpy(self.groups.ravel()).to(slots.device)]
        return slots.view(*slots.shape[:-1], *self.shape[2:])

    def error(self) -> draws_of.Error | None:
        """How sure the scores of the slots (K, B, slots) are, as means over masks and draws; None where nothing tells.

        Over masks they are certain for an exact family; one mask tells nothing, nor does one draw that all masks share.
        Where some slots have more masks, the variance of those with one is infinite.
        """
        if self.draws == 1 or (not self.exact and self.count.max(initial=0) < 2):
            return None
        count = torch.from_numpy(self.count).to(self.sum.device)
        over_masks = self._over_masks(self.sum**2, self.squares, count)
        freedom = (count - 1).clamp(min=1)
        if self.draws == 0:
            return draws_of.error_over_masks(over_masks, freedom)
        sizes = draws_of.sizes(self.draws).to(self.sum.device)[:, None, None, None]
        means = self.by_draw / (sizes * torch.from_numpy(np.maximum(self.weight, TINY)).to(self.sum.device))
        one = self._over_masks((self.by_draw**2 / (sizes * self.draws)).sum(dim=0), self.draw_squares[0], count)
        return draws_of.error_over_both(over_masks, freedom, one, means, self.draws)

    def _over_masks(self, squared_sum: Tensor, squares: Tensor, count: Tensor) -> Tensor:
        """Variance of the mean over masks."""
        if self.exact:
            return memory.zeros(squares.shape, squares)
        n = count.clamp(min=2)
        variance = (squares - squared_sum / n).clamp(min=0) / (n - 1) / n
        return variance.masked_fill(count == 1, torch.inf)
