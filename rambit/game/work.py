"""What flips cost in each mode, and how long that takes: what ``evaluation="auto"`` compares.

Everything here follows from shapes and settings, never from a clock: equal settings choose the same mode on every run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rambit.game.horizons import HorizonRule
from rambit.game.questions import Flips

Ints = npt.NDArray[np.int64]
#: Masks times steps that are looked at, at most.
MOST = 1 << 21
#: Rows are run whole, by a step of ours, or by the model's own ``advance``.
Way = Literal["whole", "own", "advance"]


@dataclass(frozen=True)
class Price:
    """Seconds of a call, of each step in it, of each step of a row, and of each weight that a row's step reads."""

    call: float
    step: float
    row_step: float
    weight: float


#: By device type. "cpu": fitted to GRU, LSTM and RNN of 8 to 200 units and 1 to 3 layers by ``python -m
#: bench.mode_costs`` (two shared cores, torch 2.13). "cuda": solved from what GRU-50 and GRU-200 took on
#: an H200; a step of a walk is bound by its launches there. In 13 of 91 cases
#: the slower mode was taken there, at most 2.1 times as slow; prices fitted to those did so in 13 others, at most 2.4.
PRICES: dict[str, dict[Way, Price]] = {
    "cpu": {
        "whole": Price(170e-6, 15e-6, 0.11e-6, 46e-12),
        "own": Price(130e-6, 0.0, 0.06e-6, 37e-12),
        "advance": Price(210e-6, 0.0, 0.11e-6, 48e-12),
    },
    "cuda": {
        "whole": Price(700e-6, 15e-6, 1.8e-9, 7e-14),
        "own": Price(430e-6, 0.0, 1.8e-9, 7e-14),
        "advance": Price(430e-6, 0.0, 1.8e-9, 7e-14),
    },
}


#: How many times as many multiplications a device does in a second as a core, of networks large enough to be traced.
SPEED = {"cpu": 1, "cuda": 80}


@dataclass(frozen=True)
class Work:
    """Calls of a model, the time steps that they take one after another, and the time steps of all their rows."""

    calls: int = 0
    steps: int = 0
    row_steps: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.calls + other.calls, self.steps + other.steps, self.row_steps + other.row_steps)

    def times(self, count: int) -> Work:
        """The same work, so many times."""
        return Work(self.calls * count, self.steps * count, self.row_steps * count)

    def seconds(self, price: Price, weights: int) -> float:
        """How long it takes a model of so many weights."""
        row_step = price.row_step + weights * price.weight
        return self.calls * price.call + self.steps * price.step + self.row_steps * row_step


@dataclass(frozen=True)
class Flipped:
    """The single-cell flips that a game will be asked for, beside masks in the order of their first replaced steps.

    ``first``, ``end`` (M,): the extent of each mask, T and 0 of one that replaces nothing. ``times`` (M,): that of the
    one cell that each mask scores, None where all are scored. ``features``: cells of a time; ``draws``, ``series``:
    rows of a cell; ``batch``: rows of a call. ``shared``: the masks share their values, and so what no block changes.
    ``every``: how many masks each of them stands for.
    """

    rule: HorizonRule
    first: Ints
    end: Ints
    times: Ints | None
    features: int
    draws: int
    series: int
    batch: int
    shared: bool
    every: int = 1

    @staticmethod
    def of(
        question: Flips | None,
        rule: HorizonRule,
        *,
        features: int,
        draws: int,
        series: int,
        batch: int,
        fixed: bool,
        to_host: Callable[[Tensor], Tensor],
    ) -> Flipped:
        """Those of a question; ``fixed``: values depend on no mask. Of very many masks every so-manieth is looked at.

        None: beside no mask; for anchor ``mask``, whose horizons need one, beside a block of the middle step.
        """
        if question is None:
            middle = rule.T // 2
            extent = np.array([[middle], [middle + 1]] if rule.anchor == "mask" else [[rule.T], [0]])
            return Flipped(rule, extent[0], extent[1], None, features, draws, series, batch, fixed)
        first, end = (to_host(extent).numpy().astype(np.int64) for extent in question.masks.span())
        cells, times = question.masks.target_cells, None
        if question.pairs is not None:  # as if they were spread over time: a row of each pair, one of each set
            features = max(1, -(-(len(question.pairs) + len(question.pairs.offsets) - 1) // rule.T))
        elif question.groups is not None:
            features = -(-int(question.groups.max() + 1) // rule.T)
        elif cells is not None:
            times = to_host(cells).numpy().astype(np.int64) % question.masks.masks.shape[2]
        first, shared = np.where(end > 0, first, rule.T), fixed and not question.fresh_draws
        every = -(-len(first) * rule.T * (rule.window if rule.anchor == "end" else 1) // MOST)
        order = np.argsort(first, kind="stable")[::every]
        times = None if times is None else times[order]
        return Flipped(rule, first[order], end[order], times, features, draws, series, batch, shared, every)

    def work(self, mode: str) -> Work:
        """What a mode does: row-steps as the engine counts them, calls and steps nearly so.

        What is known without evaluation (a value that is missing, or replaces itself) is not left out, and a value that
        depends on its neighbours is taken to change one step only.
        """
        masks = self._masks()
        if mode == "stateful":
            beside_masks = self._base_walks(masks) + self._branches(masks)
            return self._original_walk(masks) + self._sweep(masks) + beside_masks.times(self.every)
        at_once = mode == "causal"  # a call answers for all horizons of a row
        beside_masks = self._base_calls(masks, at_once) + self._flips(masks, at_once)
        return self._original_calls(masks, at_once) + beside_masks.times(self.every)

    @property
    def _copies(self) -> int:
        return self.draws * self.series

    @property
    def _sweeps(self) -> bool:
        return self.shared and self.rule.anchor != "cell"

    def _masks(self) -> Masks:
        """The masks as they are evaluated, one for each shift of a block; beside the last, none, what all share."""
        rule, T = self.rule, self.rule.T
        number, shift = np.arange(len(self.first)), np.zeros(len(self.first), dtype=np.int64)
        if rule.anchor == "end" and rule.window > 1:
            shifts = 1 + np.where(self.end > 0, np.minimum(rule.length - self.end, rule.window - 1), 0)
            number = np.repeat(number, shifts)
            shift = np.arange(len(number)) - np.repeat(np.cumsum(shifts) - shifts, shifts)
        rows = self._copies * (self.features if self.times is None else 1)
        group = number // max(1, -(-2 * self.batch // rows))  # the engine takes enough for two batches
        start, (h0, h1) = self.first[number], rule.of_masks(self.end[number] + shift)
        low, high = np.zeros_like(h1), h1
        if self.shared and rule.anchor == "cell":  # what is over before the block is what it is beside no mask
            low = np.where(start < T, np.maximum(start - rule.window + 1, 0), T)
        over = int(low.max())
        if self.times is not None:
            low, high = np.maximum(low, self.times[number]), np.minimum(high, self.times[number] + 1)
        table = np.stack((group, start, start + shift, h0, h1, low, high, np.full_like(start, rows)))
        if over > 0:
            unmasked = np.array([[group[-1] + 1, T, T, 0, T, 0, over, self._copies * self.features]])
            table = np.append(table, unmasked.T, axis=1)
        return Masks(*table)

    # -- whole rows -------------------------------------------------------------------------------------------------

    def _original_calls(self, masks: Masks, at_once: bool) -> Work:
        widths = np.flatnonzero(masks.compared(self.rule.T).any(axis=0)) + 1
        return self._called(widths[-1:] if at_once else widths, self.series, 0)

    def _base_calls(self, masks: Masks, at_once: bool) -> Work:
        m, h = np.nonzero(masks.compared(self.rule.T) & (np.arange(self.rule.T) >= masks.first[:, None]))
        if at_once:
            m = np.unique(m)
            h = masks.h1[m] - 1
        return self._called(h + 1, self._copies, masks.group[m])

    def _flips(self, masks: Masks, at_once: bool) -> Work:
        m, _, begin, end = self._flipped(masks)
        if at_once:
            return self._called(end, masks.rows[m], masks.group[m])
        horizon = [(begin + k + 1, begin + k < end) for k in range(int((end - begin).max(initial=0)))]
        widths = np.concatenate([width[here] for width, here in horizon]) if horizon else end
        which = np.concatenate([m[here] for _, here in horizon]) if horizon else m
        return self._called(widths, masks.rows[which], masks.group[which])

    def _flipped(self, masks: Masks) -> tuple[Ints, Ints, Ints, Ints]:
        """The times of all flips: of which mask (n,), when, and the first and one past the last horizon."""
        t = np.arange(self.rule.T)
        m, time = np.nonzero((masks.low[:, None] <= t) & (t < masks.high[:, None]) & (masks.h0 < masks.h1)[:, None])
        if self.rule.anchor == "cell":
            return m, time, time, np.minimum(time + self.rule.window, self.rule.T)
        return m, time, np.maximum(time, masks.h0[m]), masks.h1[m]

    def _called(self, widths: Ints, rows: Ints | int, group: Ints | int) -> Work:
        """Rows of one width of one group in as few calls as the batch allows."""
        key = np.asarray(group) * (self.rule.T + 1) + widths
        total = np.bincount(key, np.broadcast_to(rows, key.shape)).astype(np.int64)
        width, calls = np.arange(len(total)) % (self.rule.T + 1), -(-total // self.batch)
        return Work(int(calls.sum()), int((calls * width).sum()), int((total * width).sum()))

    # -- from states ------------------------------------------------------------------------------------------------

    def _original_walk(self, masks: Masks) -> Work:
        compared = np.flatnonzero(masks.compared(self.rule.T).any(axis=0))
        return self._stepped(np.full(int(compared[-1]) + 1 if len(compared) else 1, self.series))

    def _base_walks(self, masks: Masks) -> Work:
        """Each group's rows from the first replaced step to the last horizon."""
        t = np.arange(self.rule.T)
        m, time = np.nonzero((masks.first[:, None] <= t) & (t < np.where(masks.h0 < masks.h1, masks.h1, 0)[:, None]))
        return self._stepped(np.bincount(masks.group[m] * self.rule.T + time) * self._copies)

    def _sweep(self, masks: Masks) -> Work:
        """Every flip of the original, on to where the last block begins."""
        began = masks.start[(masks.h0 < masks.h1) & (masks.start < self.rule.T)]
        last = int(began.max(initial=0)) if self._sweeps else 0
        return self._stepped((np.arange(last) + 1) * self.features * self._copies)

    def _branches(self, masks: Masks) -> Work:
        """Flips from their own step, or from where their mask's block leaves the sweep, to their last horizon."""
        m, time, _, end = self._flipped(masks)
        carried = (time < masks.start[m]) & (masks.start[m] < self.rule.T) & self._sweeps
        begin = np.where(carried, masks.start[m], time)
        width = end - begin
        # Those of one group that leave the sweep together walk together, and so do all others that begin from a state.
        together = np.where(carried, begin + 1, (begin == 0).astype(np.int64))
        _, key = np.unique(masks.group[m] * (self.rule.T + 1) + together, return_inverse=True)
        rows, row_steps = np.bincount(key, masks.rows[m]), np.bincount(key, masks.rows[m] * width)
        longest = np.zeros(len(rows))
        np.maximum.at(longest, key, width)
        # The first batch has the longest rows, the others those of the mean.
        steps = int((longest + (np.ceil(rows / self.batch) - 1) * row_steps / rows).sum())
        return Work(steps, steps, int(row_steps.sum()))

    def _stepped(self, rows: Ints) -> Work:
        """A walk that takes so many rows on by one step each time."""
        calls = int((-(-rows // self.batch)).sum())
        return Work(calls, calls, int(rows.sum()))


@dataclass(frozen=True)
class Masks:
    """Masks as they are evaluated, (M,) each: those of one ``group`` together.

    ``start``, ``first``: first replaced step of the mask, before and after its shift. ``h0``, ``h1``: its horizons.
    Flips at ``low`` … ``high`` - 1 are evaluated, in so many ``rows`` for each time.
    """

    group: Ints
    start: Ints
    first: Ints
    h0: Ints
    h1: Ints
    low: Ints
    high: Ints
    rows: Ints

    def compared(self, T: int) -> npt.NDArray[np.bool_]:
        """(M, T): whether the outputs at a time are compared."""
        t = np.arange(T)
        return (self.h0[:, None] <= t) & (t < self.h1[:, None])
