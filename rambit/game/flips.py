"""How flips are evaluated: one class for what all evaluation modes share, and one small one for each mode.

Contributions of a group of masks are scattered into their places and then summed in the order of the distinct masks, so
that neither the chunks nor the mode change a result beyond what the model rounds differently.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit._plan import FlipPlan
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.horizons import HorizonRule
from rambit.game.rows import Column, StartRule, StateRule, base_rows
from rambit.game.runner import Inputs, Runner
from rambit.game.states import State

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Scored:
    """What the rows of a group of masks are built from, compared with and added to."""

    masks: Tensor  # (M, D, T)
    base: Tensor  # (targets, M * S * B, T) distances of the base rows
    contributions: Tensor  # (targets, M, S, B, slots)
    states: State | None = None  # a table of those that rows start from


class FlipEvaluation(ABC):
    """Evaluates the flips of one chunk of series. A subclass says how original, base and flipped rows are evaluated."""

    start_rule = StartRule.ZERO
    state_rule = StateRule.NONE
    per_horizon = False
    #: A table of the states that rows start from, in modes that have them.
    states: State | None = None

    def __init__(
        self,
        runner: Runner,
        inputs: Inputs,
        rule: HorizonRule,
        metric: ops.Metric,
        reduce: ops.Reduce,
        target: Tensor,
        draws: int,
        known: npt.NDArray[np.uint8] | None,
    ) -> None:
        self.runner, self.inputs, self.rule, self.target = runner, inputs, rule, target
        self.metric, self.reduce = metric, reduce
        self.B, self.D, self.T = inputs.x.shape
        self.S = draws
        self.known = known
        self.cells = self.D * self.T
        self.reference: Tensor | None = None  # (B, C, T) the original outputs
        self.compared = np.ones(self.T, dtype=bool)  # at which times outputs are compared at all
        self.looks_ahead = inputs.fill in (ops.Fill.CARRY_FORWARD, ops.Fill.INTERPOLATE)
        self._original_rows = runner.to_device(base_rows(np.zeros(1, dtype=np.int32), 1, self.B))

    # -- what a mode must say -------------------------------------------------------------------------------------

    @abstractmethod
    def evaluate_original(self, needed: npt.NDArray[np.bool_]) -> None:
        """Fill ``reference`` at the needed times."""

    @abstractmethod
    def evaluate_base(self, group: Group, rows: Int32) -> Tensor:
        """Distances (targets, M * S * B, T) of the base rows from the originals; 0 before the first replaced step."""

    @abstractmethod
    def outputs(self, x: Tensor, rows: Tensor, table: State | None) -> Tensor:
        """Outputs (n, C, K) at the last K steps of these flipped rows, which start from states in a table, if any."""

    def use_original_states(self) -> None:  # noqa: B027  most modes have no state
        """Let rows start from states of the original series (row.state = t * B + b)."""

    def earlier_flips(  # noqa: B027  most modes have none
        self, group: Group, draw_base: Int32, target_cells: Int32 | None, scored: Scored
    ) -> None:
        """Flips before a mask's first replaced step, where the mode has a shorter way to them."""

    def prepare(self, distinct: DistinctMasks) -> None:
        """Evaluate what all groups share: the original series, at the times that some mask compares."""
        self.compare_at(*self.rule.of_masks(distinct.end))

    def compare_at(self, h0: Int32, h1: Int32) -> None:
        """Evaluate the original series at the times that lie in one of the ranges [h0, h1); no others are compared."""
        self.compared = np.zeros(self.T, dtype=bool)
        for low, high in zip(h0, h1, strict=True):
            self.compared[low:high] = True
        self.evaluate_original(self.compared)

    def local_low(self, group: Group) -> Int32:
        """From which time on the group's own rows cover the flips."""
        return np.zeros(len(group), dtype=np.int32)

    def mask_bytes(self, slots: int | None = None) -> int:
        """What one mask with so many scores, by default one for each cell, costs in memory while it is evaluated."""
        per_row = 8 * ((self.cells if slots is None else slots) + self.T) * len(self.target)
        return self.S * self.B * per_row + self.cells

    # -- what all share -------------------------------------------------------------------------------------------

    def group(self, group: Group, draw_base: Int32, target_cells: Int32 | None, low: Int32, high: Int32) -> Tensor:
        """Contributions (targets, M, S, B, slots) of a group's flips at times [low, high); 0 where none was evaluated.

        ``target_cells`` (M,) names the one cell that each mask scores; None: slots are all cells.
        """
        slots = self.cells if target_cells is None else 1
        contributions = self.zeros((len(self.target), len(group), self.S, self.B, slots))
        base = self.evaluate_base(group, base_rows(draw_base, self.S, self.B))
        plan = self.plan(group, draw_base, target_cells, low=np.maximum(low, self.local_low(group)), high=high)
        scored = Scored(group.masks, base, contributions, self.states)
        self.evaluate(plan, scored)
        self.earlier_flips(group, draw_base, target_cells, scored)
        self.runner.settle(self.inputs)
        return contributions

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Zeros float64 to add to; a run that only counts writes nothing, and gets one zero for all."""
        if self.runner.dry:
            return memory.zeros((1,), self.inputs.x, torch.float64).expand(shape)
        return memory.zeros(shape, self.inputs.x, torch.float64)

    def plan(
        self, group: Group, draw_base: Int32, target_cells: Int32 | None, *, low: Int32, high: Int32, **rules: Any
    ) -> FlipPlan:
        """The rows of a group whose flipped cell lies at a time in [low, high)."""
        start = self.changed_from(group) if self.looks_ahead else None
        given = {"start_rule": self.start_rule, "state_rule": self.state_rule, "at": 0, **rules}
        if start is not None and given["start_rule"] == StartRule.CELL:
            given["start_rule"] = StartRule.TABLE
        if start is None and self.rule.anchor != "cell":  # a cell after the last horizon changes nothing
            high = np.minimum(high, group.h1)
        return FlipPlan(
            D=self.D,
            T=self.T,
            S=self.S,
            B=self.B,
            window=self.rule.window,
            anchor_cell=self.rule.anchor == "cell",
            per_horizon=self.per_horizon,
            start_rule=int(given["start_rule"]),
            state_rule=int(given["state_rule"]),
            at=int(given["at"]),
            first=group.first,
            h0=group.h0,
            h1=group.h1,
            low=low,
            high=high,
            draw_base=draw_base,
            target_cell=target_cells,
            start=start,
            skip=self.known,
        )

    def changed_from(self, group: Group) -> Int32:
        """(M, D * T): the first step that a flip changes when values depend on what is kept.

        That is where the gap around the cell begins. With missing values gaps differ between series: then time 0.
        """
        if self.inputs.observed is not None:
            return np.zeros((len(group), self.cells), dtype=np.int32)
        return gap_starts(self.runner.to_host(group.masks).numpy()).reshape(len(group), self.cells)

    def evaluate(self, plan: FlipPlan, scored: Scored) -> None:
        """Evaluate the plan's rows chunk by chunk and scatter their contributions."""
        for host_rows, rows, width in self.runner.planned(plan):
            self.evaluate_chunk(host_rows, rows, width, scored)

    def evaluate_chunk(self, host_rows: Int32, rows: Tensor, width: int, scored: Scored) -> None:
        """Evaluate rows of one width that all start at time 0, or all later."""
        at_start = bool(host_rows[0, Column.START] == 0)
        for piece in self.runner.pieces(len(rows), width):
            with piece:
                part = rows[piece.rows]
                table = None if at_start else scored.states
                outputs = self.outputs(self.runner.build(self.inputs, scored.masks, part, width), part, table)
                self.score(self.runner.check(outputs, part, self.inputs), part, width, scored)

    def score(self, outputs: Tensor, rows: Tensor, width: int, scored: Scored) -> None:
        """Add the contributions of checked outputs (n, C, K) of rows of one width.

        Allocates nothing, so that a piece in which memory ran out can be evaluated again.
        """
        assert self.reference is not None
        for contributions, base, target in zip(scored.contributions, scored.base, self.target, strict=True):
            ops.score(
                contributions,
                outputs,
                self.reference,
                base,
                scored.masks,
                rows,
                target,
                width=width,
                metric=self.metric,
                reduce=self.reduce,
            )

    def set_reference(self, outputs: Tensor, series: slice, time: int | slice) -> None:
        """Check original outputs (n, C, K) of these series at the given times, and keep them."""
        self.runner.check(outputs, self._original_rows[series], self.inputs)
        if self.reference is None:
            self.runner.check_target(self.target, self.metric, outputs)
            self.reference = memory.zeros((self.B, outputs.shape[1], self.T), outputs)
        at = slice(time, time + 1) if isinstance(time, int) else time
        self.reference[series, :, at] = outputs

    def distances(self, outputs: Tensor, rows: Tensor, time: slice) -> Tensor:
        """Check base outputs (n, C, K) at the given times; their distances (targets, n, K) from the original ones."""
        assert self.reference is not None
        self.runner.check(outputs, rows, self.inputs)
        out = memory.empty((len(self.target), len(rows), outputs.shape[2]), outputs, torch.float64)
        series = rows[:, Column.SERIES].contiguous()
        for found, target in zip(out, self.target, strict=True):
            ops.distance(found, outputs, self.reference[:, :, time], series, target, self.metric)
        return out


def gap_starts(kept: npt.NDArray[np.bool_]) -> Int32:
    """Of masks (M, D, T): where the replaced steps begin that each step is among, or would be if it were replaced."""
    step = np.where(kept, np.arange(1, kept.shape[2] + 1, dtype=np.int32), 0)
    after_last_kept = np.maximum.accumulate(step, axis=2)
    start: Int32 = np.zeros_like(after_last_kept)
    start[:, :, 1:] = after_last_kept[:, :, :-1]
    return start


class PrefixEvaluation(FlipEvaluation):
    """The model has an output at the last step of what it is given: each (row, horizon) is a call on a prefix.

    Serves ``prefix``, and ``full``, whose only prefix is the whole series.
    """

    per_horizon = True

    def evaluate_original(self, needed: npt.NDArray[np.bool_]) -> None:
        for h in map(int, np.flatnonzero(needed)):
            for piece in self.runner.pieces(self.B, h + 1):
                with piece:
                    outputs = self.runner.whole(self.inputs.original(piece.rows, h + 1), self.inputs, piece.rows)
                    self.set_reference(outputs, piece.rows, h)

    def evaluate_base(self, group: Group, rows: Int32) -> Tensor:
        base = self.zeros((len(self.target), len(rows), self.T))
        mask_of = rows[:, Column.MASK]
        for h in map(int, np.flatnonzero(self.compared)):
            due = np.flatnonzero(((group.h0 <= h) & (h < group.h1) & (group.first <= h))[mask_of])
            if len(due) == 0:
                continue
            device_rows, index = self.runner.to_device(rows[due]), self.runner.to_device(due)
            for piece in self.runner.pieces(len(due), h + 1):
                with piece:
                    part = device_rows[piece.rows]
                    x = self.runner.build(self.inputs, group.masks, part, h + 1)
                    outputs = self.runner.whole(x, self.inputs, part[:, Column.SERIES])
                    base[:, index[piece.rows], h] = self.distances(outputs, part, slice(h, h + 1))[:, :, 0]
        return base

    def outputs(self, x: Tensor, rows: Tensor, table: State | None) -> Tensor:
        return self.runner.whole(x, self.inputs, rows[:, Column.SERIES])


class CausalEvaluation(FlipEvaluation):
    """One call gives the outputs at every horizon of a row; the row is cut after its last one."""

    def evaluate_original(self, needed: npt.NDArray[np.bool_]) -> None:
        stop = int(np.flatnonzero(needed)[-1]) + 1 if needed.any() else 1
        for piece in self.runner.pieces(self.B, stop):
            with piece:
                outputs = self.runner.steps(self.inputs.original(piece.rows, stop), self.inputs, piece.rows)
                self.set_reference(outputs, piece.rows, slice(0, stop))

    def evaluate_base(self, group: Group, rows: Int32) -> Tensor:
        base = self.zeros((len(self.target), len(rows), self.T))
        stops = np.where(group.h0 < group.h1, group.h1, 0)
        mask_of = rows[:, Column.MASK]
        for stop in map(int, np.unique(stops[stops > 0])):
            due = np.flatnonzero(((stops == stop) & (group.first < stop))[mask_of])
            device_rows, index = self.runner.to_device(rows[due]), self.runner.to_device(due)
            for piece in self.runner.pieces(len(due), stop):
                with piece:
                    part = device_rows[piece.rows]
                    x = self.runner.build(self.inputs, group.masks, part, stop)
                    outputs = self.runner.steps(x, self.inputs, part[:, Column.SERIES])
                    base[:, index[piece.rows], :stop] = self.distances(outputs, part, slice(0, stop))
        return base

    def outputs(self, x: Tensor, rows: Tensor, table: State | None) -> Tensor:
        return self.runner.steps(x, self.inputs, rows[:, Column.SERIES])
