"""Rows of a traced model, evaluated only where they differ from a reference: a row whose activations are kept.

Flips differ from their base row, coalitions from the original series or from the fully replaced one. Rows that differ
in too much, or share their reference with few others, are evaluated whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit._plan import FlipPlan
from rambit.counterfactuals import Counterfactual
from rambit.game import probes
from rambit.game.flips import Int32, PrefixEvaluation, Scored, gap_starts
from rambit.game.rows import NO_CELL, Column
from rambit.game.runner import Inputs, Piece, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.predictors.differing import Differing
from rambit.predictors.incremental.reference import Reference

Int64 = npt.NDArray[np.int64]
#: A reference costs as much as a whole row, so that fewer rows than this many are not worth one.
FEW = 4
#: Windows up to this part of the series are expected to gain.
NARROW = 0.125
#: Windows wider than this part of the series are whole rows.
WORTH = 0.5


@dataclass(frozen=True)
class Windowed:
    """Rows that differ from references in windows.

    ``rows`` (n, columns) are those of ``masks``, ``reference_rows`` (R, columns) those of ``reference_masks``;
    ``reference`` (n,) says which of the latter is whose, in ascending order. ``start`` and ``width``: the windows.
    """

    masks: Tensor
    rows: Int32
    reference_masks: Tensor
    reference_rows: Int32
    reference: Int64
    start: Int32
    width: int


class WindowRunner:
    """Evaluates windowed rows, as many references at a time as fit the memory."""

    def __init__(self, runner: Runner, inputs: Inputs, differing: Differing, max_memory: int) -> None:
        self.runner, self.inputs, self.differing = runner, inputs, differing
        self.most = max(1, max_memory // 4 // differing.reference_bytes)
        self._kept: tuple[bytes, Reference] | None = None

    def begin(self, inputs: Inputs) -> None:
        """Begin a question: nothing is kept of the last one, whose weights may have been others."""
        self.inputs, self._kept = inputs, None
        self.differing.forget()

    def evaluate(self, windowed: Windowed, take: Callable[[Int64, Tensor], None]) -> None:
        """``take`` gets the numbers of rows and their outputs (n, C, 1), part by part, each row once.

        References are kept for the next call with the same ones. Memory may run out in ``take``, which then gets those
        rows again.
        """
        n, done = len(windowed.rows), 0
        while done < n:
            first = windowed.reference[done]
            end = int(np.searchsorted(windowed.reference, first + self.most))
            last = windowed.reference[end - 1] + 1
            attempt, batch = Piece(int(first), int(last)), self.runner.batch
            with attempt:
                reference = self._references(windowed, attempt.rows)
                for piece in self.runner.pieces(end - done, 0, new_rows=0):
                    with piece:
                        index = np.arange(done + piece.begin, done + piece.end)
                        take(index, self._outputs(windowed, index, reference, int(first)))
                    if piece.done:
                        reached = done + piece.end
                done = reached
            if not attempt.done:  # not even one row fitted beside so many references
                self._kept, self.most, self.runner.batch = None, len(attempt) // 2, batch

    def _references(self, windowed: Windowed, which: slice) -> Reference:
        rows = windowed.reference_rows[which]
        key = rows.tobytes()
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # the memory of the last ones, first
            x = self.runner.build(
                self.inputs, windowed.reference_masks, self.runner.to_device(rows), self.inputs.x.shape[2]
            )
            self._kept = (key, self.differing.reference(x.clone()))
        return self._kept[1]

    def _outputs(self, windowed: Windowed, index: Int64, reference: Reference, first: int) -> Tensor:
        rows = windowed.rows[index].copy()
        rows[:, Column.START] = windowed.start[index]
        windows = self.runner.build(self.inputs, windowed.masks, self.runner.to_device(rows), windowed.width)
        which = self.runner.to_device(windowed.reference[index] - first)
        return self.differing.outputs(reference, which, windows, windowed.start[index].astype(np.int64))


def confirm(
    runner: Runner, sample: TensorSample, differing: Differing, strategy: Counterfactual, seed: int
) -> str | None:
    """What speaks against incremental evaluation: outputs of windows in rows as the engine makes them; None if nothing.

    A trace is made from one call; a model may take another way for other values.
    """
    given, predictor = runner.predictor, runner.predictor.raw()
    x, series = probes.rows(sample, strategy, seed, predictor.features_last)
    other, T = x.flip(0), x.shape[2]
    checked = Differing(predictor, differing.incremental)
    inputs = Inputs(sample.x, sample.x, None, sample.ids, strategy.fill)
    runner.predictor = predictor
    try:
        with predictor.session():
            reference = checked.reference(x.clone())
            for width in sorted({1, max(1, T // 8)}):
                start = np.linspace(0, T - width, len(x)).round().astype(np.int64)
                at = torch.from_numpy(start)[:, None] + torch.arange(width)
                index = at.to(x.device)[:, None].expand(-1, x.shape[1], -1)
                windows = other.gather(2, index)
                value = runner.whole(x.scatter(2, index, windows), inputs, series)
                found = checked.outputs(reference, torch.arange(len(x), device=x.device), windows, start)
                if bool(((found - value).abs() > probes.allowed(value)).any()):
                    return (
                        f"its outputs then differ by {float((found - value).abs().max()):.2g} from those of whole rows"
                    )
    finally:
        runner.predictor = given
    return None


class IncrementalEvaluation(PrefixEvaluation):
    """Flips as windows of their base rows."""

    def __init__(self, *args: Any, differing: Differing, max_memory: int) -> None:
        super().__init__(*args)
        self.windows = WindowRunner(self.runner, self.inputs, differing, max_memory)

    def evaluate(self, plan: FlipPlan, scored: Scored) -> None:
        self.windows.begin(self.inputs)
        extents = None if self.runner.dry else self._extents(scored.masks)
        for host_rows, rows, width in self.runner.planned(plan):
            assert extents is not None
            start, stop = (extent[host_rows[:, Column.MASK], host_rows[:, Column.CELL]] for extent in extents)
            widths = rounded(stop - start, self.T)
            widths[few_share(self._base_of(host_rows))] = self.T
            for w in np.unique(widths).tolist():
                chosen = np.flatnonzero(widths == w)
                if w > WORTH * self.T:
                    self.evaluate_chunk(host_rows[chosen], rows[self.runner.to_device(chosen)], width, scored)
                else:
                    self._evaluate_windows(host_rows[chosen], np.minimum(start[chosen], self.T - w), w, scored)

    def _evaluate_windows(self, rows: Int32, start: Int32, width: int, scored: Scored) -> None:
        base = self._base_of(rows)
        order = np.argsort(base, kind="stable")
        rows, start = rows[order], start[order]
        _, first, reference = np.unique(base[order], return_index=True, return_inverse=True)
        base_rows = rows[first].copy()
        base_rows[:, Column.CELL] = NO_CELL
        windowed = Windowed(scored.masks, rows, scored.masks, base_rows, reference, start, width)
        self.runner.count(len(rows), len(rows) * self.T)

        def take(index: Int64, outputs: Tensor) -> None:
            part = self.runner.to_device(rows[index])
            self.score(self.runner.check(outputs, part, self.inputs), part, self.T, scored)

        self.windows.evaluate(windowed, take)
        if self.runner.progress is not None:
            self.runner.progress.update(len(rows) * self.T)

    def _base_of(self, rows: Int32) -> Int32:
        """Which base row each row is a flip of: equal numbers for the same one."""
        draw = rows[:, Column.DRAW] % self.S
        base: Int32 = (rows[:, Column.MASK] * self.S + draw) * self.B + rows[:, Column.SERIES]
        return base

    def _extents(self, masks: Tensor) -> tuple[Int32, Int32]:
        """(M, cells) each: the first step that a flip changes, and the one after the last."""
        M, time = len(masks), np.tile(np.arange(self.T, dtype=np.int32), self.D)
        if self.inputs.fill == ops.Fill.FIXED:
            return np.broadcast_to(time, (M, self.cells)), np.broadcast_to(time + 1, (M, self.cells))
        if self.inputs.observed is not None:  # gaps differ between series
            return np.zeros((M, self.cells), dtype=np.int32), np.full((M, self.cells), self.T, dtype=np.int32)
        kept = self.runner.to_host(masks).numpy()
        stop = self.T - gap_starts(kept[:, :, ::-1])[:, :, ::-1]
        return gap_starts(kept).reshape(M, -1), stop.reshape(M, -1).astype(np.int32)


class CoalitionEvaluation:
    """Coalitions as windows of the original series, or of the series with all values replaced, whichever is nearer."""

    def __init__(self, windows: WindowRunner, draws: int) -> None:
        self.windows, self.S = windows, draws

    def evaluate(self, masks: Tensor, rows: Int32, names: Tensor) -> Tensor:
        """Outputs (n, C) of rows of masks (M, D, T); ``names`` (n, columns) are what an error calls them."""
        runner, inputs = self.windows.runner, self.windows.inputs
        B, D, T = inputs.x.shape
        start, stop, replaced = self._extents(masks)
        which = rows[:, Column.MASK]
        reference = rows[:, Column.SERIES] + np.where(replaced[which], (1 + rows[:, Column.DRAW]) * B, 0)
        widths = rounded(stop - start, T)[which]
        widths[few_share(reference)] = T
        outputs: list[tuple[Int64, Tensor]] = []
        for w in np.unique(widths).tolist():
            chosen = np.flatnonzero(widths == w)
            if w > WORTH * T:
                outputs.extend(self._whole(masks, rows, chosen, names))
                continue
            chosen = chosen[np.argsort(reference[chosen], kind="stable")]
            numbers, of = np.unique(reference[chosen], return_inverse=True)
            known = np.zeros((len(numbers), len(Column)), dtype=np.int32)
            known[:, Column.SERIES], known[:, Column.CELL] = numbers % B, NO_CELL
            known[:, Column.MASK], known[:, Column.DRAW] = numbers >= B, np.maximum(numbers // B - 1, 0)
            both = torch.tensor([True, False], device=masks.device)[:, None, None].expand(2, D, T)
            at = np.minimum(start[which[chosen]], T - w)
            windowed = Windowed(masks, rows[chosen], both, known, of, at, w)

            def take(index: Int64, found: Tensor, chosen: Int64 = chosen) -> None:
                named = names[runner.to_device(chosen[index])]
                outputs.append((chosen[index], runner.check(found, named, inputs)[:, :, 0]))

            runner.count(len(chosen), len(chosen) * T)
            self.windows.evaluate(windowed, take)
            if runner.progress is not None:
                runner.progress.update(len(chosen) * T)
        result = memory.empty((len(rows), outputs[0][1].shape[1]), outputs[0][1])
        for index, found in outputs:
            result[runner.to_device(index)] = found
        return result

    def _whole(self, masks: Tensor, rows: Int32, chosen: Int64, names: Tensor) -> list[tuple[Int64, Tensor]]:
        runner, inputs = self.windows.runner, self.windows.inputs
        T = inputs.x.shape[2]
        found = []
        for piece in runner.pieces(len(chosen), T):
            with piece:
                part = runner.to_device(rows[chosen[piece.rows]])
                outputs = runner.whole(runner.build(inputs, masks, part, T), inputs, part[:, Column.SERIES])
                named = names[runner.to_device(chosen[piece.rows])]
                found.append((chosen[piece.rows], runner.check(outputs, named, inputs)[:, :, 0].clone()))
        return found

    def _extents(self, masks: Tensor) -> tuple[Int32, Int32, npt.NDArray[np.bool_]]:
        """(M,) each: where masks begin and stop to differ from the nearer of all kept and all replaced, and which."""
        kept: Any = self.windows.runner.to_host(masks).numpy()
        from_original, from_replaced = span_of((~kept).any(axis=1)), span_of(kept.any(axis=1))
        nearer = np.diff(from_replaced, axis=0)[0] < np.diff(from_original, axis=0)[0]
        nearer &= self.windows.inputs.fill == ops.Fill.FIXED  # others depend on what is kept
        start, stop = np.where(nearer, from_replaced, from_original)
        return start, stop, nearer


def count_narrow(kept: Any) -> int:
    """How many of masks (M, D, T) differ from the original in a small part of the series."""
    start, stop = span_of((~kept).any(axis=1))
    return int((stop - start <= NARROW * kept.shape[2]).sum())


def span_of(steps: npt.NDArray[Any]) -> Int32:
    """Of (M, T): the first step that is True and the one after the last, (2, M); 0 and 0 where none is."""
    stop = np.where(steps.any(axis=1), steps.shape[1] - steps[:, ::-1].argmax(axis=1), 0)
    return np.stack((steps.argmax(axis=1), stop)).astype(np.int32)


def few_share(reference: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which of the rows share their reference with few others."""
    _, which, count = np.unique(reference, return_inverse=True, return_counts=True)
    return np.asarray(count < FEW)[which]


def rounded(width: Int32, most: int) -> Int32:
    """Widths rounded up to powers of two, so that many rows share one."""
    powers = np.exp2(np.ceil(np.log2(np.maximum(width, 1))))
    return np.minimum(powers, most).astype(np.int32)
