"""Flips of groups: all cells of a group replaced, or all kept, the others as the mask says.

The two rows of a group are base rows of other masks: the mask without the group, and the mask with it. So every mode
evaluates them as it evaluates base rows; this file says which of them are needed, and compares them. (Groups of cells
have numbers here; a ``Group`` is, as elsewhere, one of masks that are evaluated together.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.flips import FlipEvaluation
from rambit.game.rows import base_rows
from rambit.masks.families import span

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


def first_steps(groups: Int64) -> Int64:
    """(n,) the step of the earliest cell of each of the groups 0 … n-1, which cells (D, T) belong to."""
    return _steps(groups, np.minimum, groups.shape[1])


def last_steps(groups: Int64) -> Int64:
    """(n,) the step of each group's latest cell."""
    return _steps(groups, np.maximum, -1)


def base_distances(evaluation: FlipEvaluation, group: Group, draw_base: Int32, needed: Bool) -> Tensor:
    """Distances (targets, M, S * B, T) of base rows that are ``needed`` (M, S or 1, B or 1), 0 for the others."""
    K, M, S, B = len(evaluation.target), len(group), evaluation.S, evaluation.B
    rows = np.flatnonzero(np.broadcast_to(needed, (M, S, B)))
    distances = evaluation.zeros((K, M * S * B, evaluation.T))
    if len(rows) > 0:
        found = evaluation.evaluate_base(group, base_rows(draw_base, S, B)[rows])
        if not evaluation.runner.dry:
            distances[:, evaluation.runner.to_device(rows)] = found
    return distances.view(K, M, S * B, evaluation.T)


def masks_at_once(evaluation: FlipEvaluation, max_memory: int) -> int:
    """How many masks may be evaluated as base rows together: what the memory holds and indices count."""
    index_limit = (2**31 - 1) // (evaluation.S * evaluation.B * evaluation.T * 2)
    return max(1, min(max_memory // 4 // evaluation.mask_bytes(), index_limit))


def _steps(groups: Int64, extreme: Any, start: int) -> Int64:
    found = np.full(int(groups.max()) + 1, start, dtype=np.int64)
    extreme.at(found, groups.ravel(), np.tile(np.arange(groups.shape[1]), len(groups)))
    return found


@dataclass(frozen=True)
class Switches:
    """What switching each group beside each mask changes, (M, S or 1, B or 1, n) bool, and its horizons, (M, n) int32.

    ``removes``: some kept cell is replaced; ``restores``: some replaced cell is kept. ``last``: no other is replaced,
    so that the row with the group kept is the original.
    """

    removes: Bool
    restores: Bool
    last: Bool
    h0: Int32
    h1: Int32

    @property
    def base(self) -> Bool:
        """For which groups one of the two rows is the mask's own, and that is not the original."""
        return (self.removes & ~self.restores & ~self.last) | (self.restores & ~self.removes)

    def pairs(self, size: int) -> list[tuple[Int64, Int64]]:
        """Masks and groups, two (P,) each, of which a row has to be evaluated, at most ``size`` at a time."""
        m, g = np.nonzero((self.removes | self.restores).any(axis=(1, 2)))
        return [(m[begin : begin + size], g[begin : begin + size]) for begin in range(0, len(m), size)]


class GroupFlips:
    """Evaluates the flips of groups of cells for one chunk of series, by means of an evaluation of base rows.

    ``groups`` (D, T): which of the groups 0 … n-1 each cell belongs to. ``max_memory`` bounds how many rows are
    evaluated together, and changes no bit.
    """

    def __init__(self, evaluation: FlipEvaluation, groups: Int64, max_memory: int) -> None:
        self.evaluation, self.max_memory = evaluation, max_memory
        self.group_of_cell = groups.ravel()
        #: When a group is: with anchor cell it is compared from its latest cell on, else it is seen from its first.
        self.times = last_steps(groups) if evaluation.rule.anchor == "cell" else first_steps(groups)
        self._cells_by_group = np.argsort(self.group_of_cell, kind="stable")
        self._first_of_group = np.searchsorted(self.group_of_cell[self._cells_by_group], np.arange(len(self.times)))

    def prepare(self, distinct: DistinctMasks) -> None:
        """Evaluate what all masks share: the original series, at the times that are compared for some group."""
        h0, h1 = self.evaluation.rule.of_masks(distinct.end)
        if self.evaluation.rule.anchor == "cell":  # those of the groups, whatever the mask
            h0, h1 = (horizons[0] for horizons in self._horizons(h0[:1], h1[:1]))
        self.evaluation.compare_at(h0, h1)

    def group(self, group: Group, draw_base: Int32, target_cells: Int32 | None, low: Int32, high: Int32) -> Tensor:
        """Contributions (targets, M, S, B, n) of groups whose time lies in [low, high); 0 where none was evaluated."""
        assert target_cells is None, "masks with target cells are for single cells"
        evaluation = self.evaluation
        K, M, S, B = len(evaluation.target), len(group), evaluation.S, evaluation.B
        kept = evaluation.runner.to_host(group.masks).numpy()
        switches = self._switches(group, kept.reshape(M, -1), low, high)
        contributions = evaluation.zeros((K, M, S, B, len(self.times)))
        base = self._base_distances(group, draw_base, switches)
        for m, g in switches.pairs(max(1, masks_at_once(evaluation, self.max_memory) // 2)):
            replaced, restored = self._pair_distances(group, draw_base, kept, switches, base, m, g)
            if not evaluation.runner.dry:
                values = self._contributions(replaced, restored, switches.h0[m, g], switches.h1[m, g])
                for found, value in zip(contributions, values, strict=True):
                    found[self._device(m), :, :, self._device(g)] = value.view(-1, S, B)
        evaluation.runner.settle(evaluation.inputs)
        return contributions

    # -- what has to be evaluated ---------------------------------------------------------------------------------

    def _horizons(self, h0: Int32, h1: Int32) -> tuple[Int32, Int32]:
        """The horizons [h0, h1) of each group beside masks that have these, two (M, n)."""
        rule, shape = self.evaluation.rule, (len(h0), len(self.times))
        if rule.anchor == "cell":
            h0, h1 = (np.minimum(time, rule.T).astype(np.int32) for time in (self.times, self.times + rule.window))
        else:
            h0, h1 = h0[:, None], h1[:, None]
        return np.broadcast_to(h0, shape), np.broadcast_to(h1, shape)

    def _switches(self, group: Group, kept: Bool, low: Int32, high: Int32) -> Switches:
        """Of masks (M, cells), for the groups whose time lies in [low, high)."""
        h0, h1 = self._horizons(group.h0, group.h1)
        due = ((h0 < h1) & (self.times >= low[:, None]) & (self.times < high[:, None]))[:, None, None]
        matters = self._matters(group)
        of_kept, of_replaced = self._counts(kept, matters), self._counts(~kept, matters)
        last = of_replaced == of_replaced.sum(axis=-1, keepdims=True)
        return Switches((of_kept > 0) & due, (of_replaced > 0) & due, last, h0, h1)

    def _matters(self, group: Group) -> Bool:
        """(M or 1, S or 1, B or 1, cells): whether it can change an output that a cell is kept or replaced."""
        evaluation = self.evaluation
        matters = np.ones((1, 1, 1, evaluation.cells), dtype=bool)
        if evaluation.known is not None:
            matters = (evaluation.known == 0)[None]
        # Later cells change no earlier output, unless values that stand in are read off what is kept after them.
        if evaluation.rule.anchor != "cell" and not evaluation.looks_ahead:
            seen = np.arange(evaluation.T) < group.h1[:, None]
            matters = matters & np.tile(seen, evaluation.D)[:, None, None]
        return matters

    def _counts(self, cells: Bool, matters: Bool) -> Int32:
        """How many of these cells (M, cells) that matter each group has, (M, S or 1, B or 1, n)."""
        sorted_cells = (cells[:, None, None] & matters)[..., self._cells_by_group]
        return np.add.reduceat(sorted_cells, self._first_of_group, axis=-1, dtype=np.int32)

    # -- distances ------------------------------------------------------------------------------------------------

    def _base_distances(self, group: Group, draw_base: Int32, switches: Switches) -> Tensor:
        """Those (targets, M, S * B, T) of the masks' own rows, where some group is compared with them."""
        used = switches.base
        compared = used.any(axis=(1, 2))
        h0 = np.where(compared, switches.h0, self.evaluation.T).min(axis=1)
        h1 = np.where(compared, switches.h1, 0).max(axis=1)
        needed = np.logical_or.reduce(used, axis=-1)
        return base_distances(self.evaluation, replace(group, h0=h0, h1=h1), draw_base, needed)

    def _pair_distances(
        self, group: Group, draw_base: Int32, kept: Bool, switches: Switches, base: Tensor, m: Int64, g: Int64
    ) -> tuple[Tensor, Tensor]:
        """Those (targets, P, S * B, T) of masks m with the groups g replaced, and with them kept."""
        evaluation = self.evaluation
        inside = (self.group_of_cell == g[:, None]).reshape(-1, evaluation.D, evaluation.T)
        masks = np.concatenate((kept[m] & ~inside, kept[m] | inside))
        both = np.concatenate((m, m))
        switched = Group(
            evaluation.runner.to_device(masks),
            group.index[both],
            group.start[both],
            span(torch.from_numpy(masks))[0].numpy(),
            np.concatenate((switches.h0[m, g],) * 2),
            np.concatenate((switches.h1[m, g],) * 2),
            group.weight[both],
            None,
        )
        removes, restores = switches.removes[m, :, :, g], switches.restores[m, :, :, g]
        changed: Bool = np.concatenate((removes, restores))
        needed: Bool = np.concatenate((removes, restores & ~switches.last[m, :, :, g]))
        distances = base_distances(evaluation, switched, draw_base[both], needed)
        if not evaluation.runner.dry:  # what changes nothing is the mask's own row
            own = np.broadcast_to(~changed, (len(both), evaluation.S, evaluation.B)).reshape(len(both), -1)
            at, rows = (self._device(numbers) for numbers in np.nonzero(own))
            distances[:, at, rows] = base[:, self._device(both)[at], rows]
        return distances[:, : len(m)], distances[:, len(m) :]

    def _contributions(self, replaced: Tensor, kept: Tensor, h0: Int32, h1: Int32) -> Tensor:
        """i1 - i2 (targets, P, S * B) over the horizons [h0, h1) of each pair, added in order, as for cells."""
        total = memory.zeros(replaced.shape[:3], replaced)
        first, count = self._device(h0.astype(np.int64))[:, None], self._device(h1 - h0)[:, None]
        for step in range(int((h1 - h0).max())):
            at = (first + step).clamp(max=self.evaluation.T - 1).expand(total.shape)[..., None]
            difference = (replaced.gather(3, at) - kept.gather(3, at))[..., 0]
            if self.evaluation.reduce == ops.Reduce.MEAN:
                total += torch.where(step < count, difference / count, 0.0)
            else:
                larger = (difference.abs() > total.abs()) | difference.isnan()
                total = torch.where((step < count) & larger, difference, total)
        return total

    def _device(self, array: npt.NDArray[Any]) -> Tensor:
        return self.evaluation.runner.to_device(array)
