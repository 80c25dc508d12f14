"""Flips of a model that advances from a state: restart where a row first differs, or carry every flip along.

The sweep is the one evaluation that is more than bookkeeping; the comment on each class says what it saves.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory
from rambit._plan import FlipPlan
from rambit.game import states
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.flips import FlipEvaluation, Int32, Scored
from rambit.game.rows import Column, StartRule, StateRule
from rambit.predictors import Walk


class StatefulEvaluation(FlipEvaluation):
    """Rows restart from the state of their base row just before their first changed step.

    ``states`` holds the state before each step: first of the original series at t * B + b, then of the group's base
    rows at T * B + t * R + r. Where no cell before it is replaced, a base row's state is the original's.
    """

    start_rule = StartRule.CELL
    state_rule = StateRule.BASE

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.original_states: states.State | None = None

    def mask_bytes(self, slots: int | None = None) -> int:
        per_state = 0 if self.original_states is None else states.row_bytes(self.original_states)
        return super().mask_bytes(slots) + self.S * self.B * self.T * per_state

    def evaluate_original(self, needed: npt.NDArray[np.bool_]) -> None:
        stop = int(np.flatnonzero(needed)[-1]) + 1 if needed.any() else 1
        for piece in self.runner.pieces(self.B, stop):
            with piece:
                walk = self.runner.predictor.walk(self.inputs.x)
                waiting: list[Tensor] = []  # of steps on end
                together = max(1, self.runner.batch // len(piece))
                for t, (hidden, state) in enumerate(walk.trace(self.inputs.original(piece.rows, stop))):
                    if self.original_states is None:
                        self.original_states = states.table(state, self.T * self.B)
                    if t + 1 < self.T:
                        after = (t + 1) * self.B
                        states.put(self.original_states, slice(after + piece.begin, after + piece.end), state)
                    if needed[t]:
                        waiting.append(hidden)
                    if waiting and (len(waiting) == together or t + 1 == stop or not needed[t + 1]):
                        found = walk.outputs(torch.cat(waiting))[:, :, 0]
                        found = found.view(len(waiting), len(piece), -1).permute(1, 2, 0)
                        self.set_reference(found, piece.rows, slice(t + 1 - len(waiting), t + 1))
                        waiting = []

    def use_original_states(self) -> None:
        self.states = self.original_states

    def evaluate_base(self, group: Group, rows: Int32) -> Tensor:
        R, TB = len(rows), self.T * self.B
        base = self.zeros((len(self.target), R, self.T))
        walk: Walk | None = None
        if not self.runner.dry:
            walk = self.runner.predictor.walk(self.inputs.x)
            self.states = states.table(self.original_states, TB + self.T * R)
            states.put(self.states, slice(0, TB), self.original_states)
        mask_of, stop = rows[:, Column.MASK], np.where(group.h0 < group.h1, group.h1, 0)
        started: set[int] = set()
        for t in range(int(group.first.min(initial=self.T)), int(stop.max(initial=0))):
            due = np.flatnonzero(((group.first <= t) & (t < stop))[mask_of])
            if len(due) == 0:
                continue
            here = rows[due]
            here[:, Column.START] = t
            here[:, Column.STATE] = np.where(
                group.first[mask_of[due]] == t, t * self.B + here[:, Column.SERIES], TB + t * R + due
            )
            device_rows, index = self.runner.to_device(here), self.runner.to_device(due)
            compared = bool((group.h0[mask_of[due]] <= t).any())
            new = len(due) - len(started.intersection(due.tolist()))
            started.update(due.tolist())
            for piece in self.runner.pieces(len(due), 1, new_rows=new):
                with piece:
                    assert walk is not None
                    part, indices = device_rows[piece.rows], index[piece.rows]
                    state = None if t == 0 else states.take(self.states, part[:, Column.STATE])
                    hidden, after = walk.step(self.runner.build(self.inputs, group.masks, part, 1), state)
                    if compared:
                        base[:, indices, t] = self.distances(walk.outputs(hidden), part, slice(t, t + 1))[:, :, 0]
                    if t + 1 < self.T:
                        states.put(self.states, TB + (t + 1) * R + indices, after)
        return base

    def outputs(self, x: Tensor, rows: Tensor, table: states.State | None) -> Tensor:
        state = None if table is None else states.take(table, rows[:, Column.STATE])
        return self.runner.predictor.advance(x, state)[0]

    def evaluate(self, plan: FlipPlan, scored: Scored) -> None:
        """As in other modes, but small chunks of different widths walk together: as many steps as the longest has."""
        waiting: list[tuple[Int32, Tensor, int]] = []
        together = 0
        for host_rows, rows, width in self.runner.planned(plan):
            alone = 2 * len(rows) > self.runner.batch or self.runner.predictor.long_state
            if host_rows[0, Column.START] == 0 or alone:
                self.evaluate_chunk(host_rows, rows, width, scored)
                continue
            if together + len(rows) > self.runner.batch:
                self._evaluate_together(waiting, scored)
                waiting, together = [], 0
            waiting.append((host_rows, rows, width))
            together += len(rows)
        if waiting:
            self._evaluate_together(waiting, scored)

    def _evaluate_together(self, chunks: list[tuple[Int32, Tensor, int]], scored: Scored) -> None:
        """Step by step, the longest rows first, so that those under way are always a prefix."""
        chunks = sorted(chunks, key=lambda chunk: -chunk[2])
        rows = torch.cat([r for _, r, _ in chunks])
        widths = np.repeat([w for _, _, w in chunks], [len(r) for r, _, _ in chunks])
        waits = np.concatenate([r[:, Column.HORIZON] - r[:, Column.START] for r, _, _ in chunks])
        for piece in self.runner.pieces(len(rows), 0, row_steps=int(widths.sum())):
            with piece:
                part, width = rows[piece.rows], widths[piece.rows]
                outputs = self._walk_together(part, width, waits[piece.rows], scored)
                last = 0
                for w in np.unique(width)[::-1].tolist():
                    first, last = last, int(np.searchsorted(-width, -w, side="right"))
                    self.score(outputs[first:last, :, :w], part[first:last], w, scored)

    def _walk_together(self, rows: Tensor, width: Int32, waits: Int32, scored: Scored) -> Tensor:
        """Checked outputs (n, C, longest) of rows in the order of their widths, from each row's first compared step on.

        Outputs are computed where rows compare them, those of several steps together.
        """
        walk, state = self.runner.predictor.walk(self.inputs.x), states.take(scored.states, rows[:, Column.STATE])
        here, outputs = rows.clone(), None
        start = here[:, Column.START]
        pending: list[tuple[int, int, int, Tensor]] = []
        size, longest = 0, int(width[0])
        under_way = np.searchsorted(-width, -np.arange(longest)).tolist()  # rows longer than k steps
        for k, n in enumerate(under_way):
            x = self.runner.build(self.inputs, scored.masks, here[:n], 1)
            start.add_(1)
            hidden, state = walk.step(x, states.part(state, 0, n))
            compared = np.flatnonzero(waits[:n] <= k)
            if len(compared) > 0:
                first = int(compared[0])
                pending.append((first, n, k, hidden[first:].clone() if first > 0 else hidden))
                size += n - first
            if not pending or (k + 1 < longest and size < len(rows)):
                continue
            found = walk.outputs(torch.cat([h for *_, h in pending]))
            self.runner.check(found, torch.cat([rows[first:end] for first, end, *_ in pending]), self.inputs)
            if outputs is None:
                outputs = memory.zeros((len(rows), found.shape[1], longest), found)
            begin = 0
            for first, end, at, _ in pending:
                outputs[first:end, :, at] = found[begin : begin + end - first, :, 0]
                begin += end - first
            pending, size = [], 0
        assert outputs is not None
        return outputs


class SweepEvaluation(StatefulEvaluation):
    """One walk through time carries every single-cell flip of the original; each mask branches off at its block.

    Slots hold the carried states in the order ((t * D + d) * S + s) * B + b, so that those under way are a prefix.
    Needs counterfactual values that all masks share.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.time = 0
        self.slots: states.State | None = None
        self.no_mask = memory.full((1, self.D, self.T), self.inputs.x, True, torch.bool)
        self._slot_rows: Tensor | None = None
        self._walk: Walk | None = None

    def local_low(self, group: Group) -> Int32:
        # A mask that replaces nothing has no block.
        return np.where(group.start < self.T, group.start, 0).astype(np.int32)

    def prepare(self, distinct: DistinctMasks) -> None:
        super().prepare(distinct)
        h0, h1 = self.rule.of_masks(distinct.end)
        last = int(distinct.first[(h0 < h1) & (distinct.first < self.T)].max(initial=0))
        if self.runner.dry or last == 0:
            return
        self.slots = states.table(self.original_states, last * self.D * self.S * self.B)
        t, d, s, b = np.meshgrid(
            np.arange(last), np.arange(self.D), np.arange(self.S), np.arange(self.B), indexing="ij"
        )
        rows = np.zeros((t.size, len(Column)), dtype=np.int32)
        rows[:, Column.SERIES], rows[:, Column.DRAW] = b.ravel(), s.ravel()
        rows[:, Column.CELL] = (d * self.T + t).ravel()
        self._slot_rows, self._walk = self.runner.to_device(rows), self.runner.predictor.walk(self.inputs.x)

    def carry_to(self, to: int) -> None:
        """Carry the flips on to just before step ``to``."""
        step = self.D * self.S * self.B
        while self.time < to:
            t, n = self.time, (self.time + 1) * step
            if not self.runner.dry and t > 0:
                original = t * self.B + torch.arange(self.B, device=self.runner.device).repeat(self.D * self.S)
                states.put(self.slots, slice(t * step, n), states.take(self.original_states, original))
            # The flips of step t start from the original's state; those of earlier steps go on from their own. They are
            # the first n slots, so that the flips under way are one block of the table.
            for piece in self.runner.pieces(n, 1, new_rows=step):
                with piece:
                    self._carry(piece.rows, t)
            self.time += 1

    def _carry(self, slots: slice, t: int) -> None:
        """Step t of these carried flips."""
        assert self._slot_rows is not None
        assert self._walk is not None
        rows = self._slot_rows[slots]
        rows[:, Column.START] = t
        x = self.runner.build(self.inputs, self.no_mask, rows, 1)
        # A copy, where a model may write over the state that it is given, and then run out of memory.
        own = states.part if self._walk.spares_state else states.copy
        state = None if t == 0 else own(self.slots, slots.start, slots.stop)
        states.put(self.slots, slots, self._walk.step(x, state)[1])

    def earlier_flips(self, group: Group, draw_base: Int32, target_cells: Int32 | None, scored: Scored) -> None:
        for start in map(int, np.unique(group.start[(group.h0 < group.h1) & (group.start < self.T)])):
            if start == 0:
                continue
            # Before its block a masked row is the original, so the flips there are those that the sweep has carried:
            # every mask that begins at this step branches off the same states.
            self.carry_to(start)
            here = group.start == start
            low = np.where(here, 0, self.T).astype(np.int32)
            plan = self.plan(
                group,
                draw_base,
                target_cells,
                low=low,
                high=np.where(here, start, 0).astype(np.int32),
                start_rule=StartRule.AT,
                state_rule=StateRule.SLOT,
                at=start,
            )
            self.evaluate(plan, replace(scored, states=self.slots))
