"""Flips of pairs of sets of cells: beside each mask both sets are replaced, the first alone, the second alone, neither.

Each of these four sides is a base row of another mask, and most belong to many pairs: beside a mask that keeps both
sets, "neither" is the mask itself and "the first alone" one flip of the first set, whatever the second is. So rows are
named by what they switch, and each name is evaluated once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.flips import FlipEvaluation
from rambit.game.group_flips import base_distances, masks_at_once
from rambit.game.questions import Pairs
from rambit.masks.families import span

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

#: What a pair is scored by, in the order of the slots.
MEASURES = ("values", "joint", "first", "second")
#: Which of a pair's sets each side replaces.
SIDES = ((True, True), (True, False), (False, True), (False, False))


class PairFlips:
    """Evaluates pairs for one chunk of series, by means of an evaluation of base rows.

    ``max_memory`` bounds how many rows are evaluated together, and changes no bit.
    """

    def __init__(self, evaluation: FlipEvaluation, pairs: Pairs, max_memory: int) -> None:
        self.evaluation, self.pairs, self.max_memory = evaluation, pairs, max_memory
        latest = np.maximum.reduceat(pairs.cells % evaluation.T, pairs.offsets[:-1])
        #: The step of each pair's latest cell, from which on anchor ``cell`` compares it.
        self.pair_times = latest[pairs.index].max(axis=1)
        #: The same by slot: pair p's measure k is slot k * P + p.
        self.times = np.tile(self.pair_times, len(MEASURES))

    def prepare(self, distinct: DistinctMasks) -> None:
        """Evaluate what all masks share: the original series, at the times that are compared for some pair."""
        horizons = self._horizons(self.evaluation.rule.of_masks(distinct.end), 0)
        self.evaluation.compare_at(*np.unique(horizons, axis=1))

    def group(self, group: Group, draw_base: Int32, target_cells: Int32 | None, low: Int32, high: Int32) -> Tensor:
        """Contributions (targets, M, S, B, slots) of pairs whose time lies in [low, high); 0 where none was evaluated.

        The slots are those of ``MEASURES``: the second difference, both sets' replacement together, each one's alone.
        """
        assert target_cells is None, "masks with target cells are for single cells"
        evaluation, P = self.evaluation, len(self.pairs)
        K, M, S, B = len(evaluation.target), len(group), evaluation.S, evaluation.B
        kept = evaluation.runner.to_host(group.masks).numpy().reshape(M, -1)
        contributions = evaluation.zeros((K, M, S, B, len(self.times)))
        by_measure = contributions.view(K, M, S, B, len(MEASURES), P) if not evaluation.runner.dry else contributions
        for m in range(M):
            h0, h1 = self._horizons((group.h0, group.h1), m)
            due = np.flatnonzero((h0 < h1) & (self.pair_times >= low[m]) & (self.pair_times < high[m]))
            if len(due) == 0:
                continue
            both, first, second, neither = self._sides(group, m, draw_base, kept[m], due, h0[due], h1[due])
            if evaluation.runner.dry:
                continue
            measures = (both - first - second + neither, both - neither, first - neither, second - neither)
            by_measure[:, m][..., self._device(due)] = torch.stack(measures, dim=-2)
        evaluation.runner.settle(evaluation.inputs)
        return contributions

    def _horizons(self, of_masks: tuple[Int32, Int32], m: int) -> tuple[Int32, Int32]:
        """The horizons [h0, h1) of each pair beside mask m, two (P,)."""
        rule, shape = self.evaluation.rule, self.pair_times.shape
        if rule.anchor == "cell":
            h0, h1 = self.pair_times, np.minimum(self.pair_times + rule.window, rule.T)
            return h0.astype(np.int32), h1.astype(np.int32)
        h0, h1 = (np.broadcast_to(horizons[m], shape) for horizons in of_masks)
        return h0, h1

    # -- rows -----------------------------------------------------------------------------------------------------

    def _sides(
        self, group: Group, m: int, draw_base: Int32, kept: Bool, due: Int64, h0: Int32, h1: Int32
    ) -> tuple[Tensor, ...]:
        """Distances (targets, S, B, due), mean over the horizons [h0, h1), of each side of the pairs that are due."""
        evaluation = self.evaluation
        names = self._names(kept, due)
        total = evaluation.zeros((len(SIDES), len(evaluation.target), evaluation.S, evaluation.B, len(due)))
        for chosen, first, last in self._calls(h0, h1):
            rows, which = np.unique(names[..., chosen], return_inverse=True)
            which = which.reshape(names[..., chosen].shape)
            low, high, needed = self._needed(len(rows), which, first, last)
            size = masks_at_once(evaluation, self.max_memory)
            for begin in range(0, len(rows), size):
                part = slice(begin, begin + size)
                switched = self._switched(group, m, kept, rows[part], low[part], high[part])
                distances = base_distances(evaluation, switched, draw_base[[m] * len(switched)], needed[part])
                if not evaluation.runner.dry:
                    self._add(total, distances, which - begin, chosen, first, last, h1 - h0)
        return tuple(total)

    def _calls(self, h0: Int32, h1: Int32) -> Iterator[tuple[Int64, Int32, Int32]]:
        """Pairs whose rows are evaluated together, and the horizons [first, last) of each that these answer for.

        A row answers for all horizons, but where each is a call of its own: there none is asked between two that count.
        """
        if not self.evaluation.per_horizon:
            yield np.arange(len(h0)), h0, h1
            return
        for h in range(int(h0.min()), int(h1.max())):
            chosen = np.flatnonzero((h0 <= h) & (h < h1))
            if len(chosen) > 0:
                yield chosen, np.full(len(chosen), h, dtype=np.int32), np.full(len(chosen), h + 1, dtype=np.int32)

    def _needed(self, rows: int, which: Int64, first: Int32, last: Int32) -> tuple[Int32, Int32, Bool]:
        """Of each row the horizons [low, high) that its pairs have, and for which draws and series they need it."""
        low, high = np.full(rows, self.evaluation.T, dtype=np.int32), np.zeros(rows, dtype=np.int32)
        # Written out: NumPy's ``at`` reads beyond values that it has to broadcast.
        np.minimum.at(low, which.ravel(), np.broadcast_to(first, which.shape).ravel())
        np.maximum.at(high, which.ravel(), np.broadcast_to(last, which.shape).ravel())
        needed = np.zeros((rows, *which.shape[:2]), dtype=bool)
        s, b, _, _ = np.ix_(*map(range, which.shape))
        needed[which, s, b] = True
        return low, high, needed

    def _names(self, kept: Bool, due: Int64) -> Int64:
        """(S or 1, B or 1, sides, due): what the row of each side switches beside a mask (cells,), as one number.

        A set that is replaced in it and not by the mask is number + 1, one that is kept in it alone -(number + 1), and
        0 none; the two of a pair, in ascending order, make a name. Cells that cannot change an output do not count.
        """
        pairs, known = self.pairs, self.evaluation.known
        matters = np.ones((1, 1, len(kept)), dtype=bool) if known is None else known == 0
        first = pairs.offsets[:-1]
        removes, restores = (
            np.logical_or.reduceat((cells & matters)[..., pairs.cells], first, axis=-1) for cells in (kept, ~kept)
        )
        number = np.arange(1, len(first) + 1)
        of_set = np.where(removes, number, 0), np.where(restores, -number, 0)  # replaced, kept
        sides = [np.stack([of_set[0 if side[k] else 1][..., pairs.index[due, k]] for k in (0, 1)]) for side in SIDES]
        switched = np.sort(np.stack(sides, axis=-2), axis=0)  # (2, S, B, sides, due)
        found: Int64 = switched[0] * (2 * len(first) + 2) + switched[1]
        return found

    def _switched(self, group: Group, m: int, kept: Bool, names: Int64, h0: Int32, h1: Int32) -> Group:
        """The masks (r, D, T) of rows with these names beside mask m."""
        evaluation, base = self.evaluation, 2 * len(self.pairs.offsets)
        masks = np.repeat(kept[None], len(names), axis=0)
        second = (names + base // 2) % base - base // 2  # from -base / 2 on
        for sets in ((names - second) // base, second):
            rows = np.flatnonzero(sets)
            row, cell = self._cells_of(np.abs(sets[rows]) - 1)
            masks[rows[row], cell] = sets[rows[row]] < 0
        shaped = torch.from_numpy(masks.reshape(-1, evaluation.D, evaluation.T))
        one = [m] * len(names)
        return Group(
            evaluation.runner.to_device(shaped.numpy()),
            group.index[one],
            group.start[one],
            span(shaped)[0].numpy(),
            h0,
            h1,
            group.weight[one],
            None,
        )

    def _cells_of(self, sets: Int64) -> tuple[Int64, Int64]:
        """The cells of these sets (r,), and which of the r each belongs to."""
        begin = self.pairs.offsets[sets]
        size = self.pairs.offsets[sets + 1] - begin
        row = np.repeat(np.arange(len(sets)), size)
        within = np.arange(len(row)) - np.repeat(np.cumsum(size) - size, size)
        return row, self.pairs.cells[begin[row] + within]

    # -- distances ------------------------------------------------------------------------------------------------

    def _add(
        self, total: Tensor, distances: Tensor, which: Int64, chosen: Int64, first: Int32, last: Int32, count: Int32
    ) -> None:
        """Add the mean of a chunk's distances (targets, r, S * B, T) to the sides (sides, targets, S, B, due).

        ``which`` (S or 1, B or 1, sides, chosen): the row in the chunk, if it lies in it. ``count`` (due,): how many
        horizons a pair has. They are added in order, each side from one row, so that chunks change no bit.
        """
        S, B = total.shape[2:4]
        here = np.broadcast_to(which, (S, B, *which.shape[2:]))
        s, b, side, pair = np.nonzero((here >= 0) & (here < distances.shape[1]))
        row, column, place = (self._device(n) for n in (here[s, b, side, pair], s * B + b, chosen[pair]))
        at = self._device(side), slice(None), self._device(s), self._device(b), place
        found = memory.zeros((len(s), len(distances)), distances)
        number = self._device(count[chosen[pair]].astype(np.int64))[:, None]
        for step in range(int((last - first).max(initial=0))):
            valid = self._device(first[pair] + step < last[pair])[:, None]
            horizon = self._device(np.minimum(first[pair] + step, distances.shape[3] - 1).astype(np.int64))
            found += torch.where(valid, distances[:, row, column, horizon].T / number, 0.0)
        total[at] += found

    def _device(self, array: npt.NDArray[np.generic]) -> Tensor:
        return self.evaluation.runner.to_device(array)
