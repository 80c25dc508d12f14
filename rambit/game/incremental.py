"""Rows of a traced model, evaluated only where they differ from a reference: a row whose activations are kept.

Flips differ from their base row, coalitions from the original series or from the fully replaced one. Rows that differ
in too much, or share their reference with few others, are evaluated whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
from rambit.game.modes import said
from rambit.game.rows import NO_CELL, Column
from rambit.game.runner import Inputs, Piece, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.memory import is_out_of_memory
from rambit.predictors import PredictionError
from rambit.predictors.differing import Differing
from rambit.predictors.incremental.reference import Reference

Int64 = npt.NDArray[np.int64]
#: A reference costs as much as a whole row, so that fewer rows than this many are not worth one.
FEW = 4
#: Windows up to this part of the series are expected to gain.
NARROW = 0.125
#: Windows wider than this part of the series are whole rows.
WORTH = 0.5
#: Windows a call of the interpreter, which cuts them further to what caches hold, by device type.
MOST_WINDOWS = {"cpu": 1 << 12, "cuda": 1 << 15}
#: What is known of a row before it is evaluated, in bytes: its description, window and reference, sorted.
ROW_BYTES = 256


@dataclass(frozen=True)
class Windowed:
    """Rows that differ from references in windows.

    ``rows`` (n, columns) are those of ``masks``, ``reference_rows`` (R, columns) those of ``reference_masks``;
    ``reference`` (n,) says which of the latter is whose, in ascending order. ``start`` (n,) and ``width``: the windows.
    """

    masks: Tensor
    rows: Int32
    reference_masks: Tensor
    reference_rows: Int32
    reference: Int64
    start: Int32
    width: int

    def __len__(self) -> int:
        return len(self.rows)


class WindowRunner:
    """Evaluates windowed rows, as many references at a time as fit the memory.

    ``at_once``: how many rows may be known at a time. Many share a reference then, however small a batch of whole rows.
    """

    inputs: Inputs

    def __init__(self, runner: Runner, differing: Differing, max_memory: int) -> None:
        self.runner, self.differing = runner, differing
        self.quarter = max_memory // 4
        differing.bound(self.quarter // 4)
        self.most_references = max(1, self.quarter // differing.reference_bytes)
        self.at_once = max(1, self.quarter // 4 // ROW_BYTES)
        self.batch = memory.of_device(MOST_WINDOWS, runner.device)
        self._kept: tuple[bytes, Reference] | None = None

    def masks_at_once(self, rows: int, cells: int) -> int:
        """How many masks, each of so many rows and cells, may be known at a time."""
        return min(self.at_once // rows, self.quarter // 4 // cells)

    def begin(self, inputs: Inputs) -> None:
        """Begin a question: nothing is kept of the last one, whose weights may have been others."""
        self.inputs, self._kept = inputs, None
        self.differing.forget()

    def pieces(self, windowed: Windowed) -> Iterator[Piece]:
        """Parts of the rows, one after another, as ``Runner.pieces``: one in which memory ran out comes again, halved.

        The rows of a part have no more references than fit the memory.
        """
        n, T = len(windowed), self.inputs.x.shape[2]
        self.runner.count(n, n * T)
        self.runner.begin()
        window_bytes = self.inputs.x.element_size() * self.inputs.x.shape[1] * windowed.width
        most = max(1, min(self.batch, self.quarter // 4 // window_bytes))
        begin = 0
        while begin < n:
            fitting = int(np.searchsorted(windowed.reference, windowed.reference[begin] + self.most_references))
            piece = Piece(begin, min(begin + most, fitting))
            yield piece
            if piece.done:
                self.runner.calls += 1
                if self.runner.progress is not None:
                    self.runner.progress.update(len(piece) * T)
                begin = piece.end
            else:
                self._kept = None
                self.runner.release()
                self.batch = most = len(piece) // 2

    def outputs(self, windowed: Windowed, part: slice) -> Tensor:
        """Outputs (n, C, 1) of a part of the rows. Its references are kept for the next part with the same ones."""
        runner, reference = self.runner, windowed.reference[part]
        first = int(reference[0])
        known = self._references(windowed, slice(first, int(reference[-1]) + 1))
        rows, start = windowed.rows[part].copy(), windowed.start[part]
        rows[:, Column.START] = start
        windows = runner.build(self.inputs, windowed.masks, runner.to_device(rows), windowed.width)
        return self.differing.outputs(known, runner.to_device(reference - first), windows, start.astype(np.int64))

    def _references(self, windowed: Windowed, which: slice) -> Reference:
        rows = windowed.reference_rows[which]
        key = rows.tobytes()
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # the memory of the last ones, first
            T = self.inputs.x.shape[2]
            x = self.runner.build(self.inputs, windowed.reference_masks, self.runner.to_device(rows), T)
            self._kept = key, self.differing.reference(x.clone())
        return self._kept[1]


class IncrementalEvaluation(PrefixEvaluation):
    """Flips as windows of their base rows."""

    def __init__(self, *args: Any, windows: WindowRunner) -> None:
        super().__init__(*args)
        self.windows = windows

    def evaluate(self, plan: FlipPlan, scored: Scored) -> None:
        if self.runner.dry:  # windows count as the whole rows that they stand for
            super().evaluate(plan, scored)
            return
        self.windows.begin(self.inputs)
        first, after = self._extents(scored.masks)
        for host_rows, rows, width in self.runner.planned(plan, self.windows.at_once):
            start, stop = (of[host_rows[:, Column.MASK], host_rows[:, Column.CELL]] for of in (first, after))
            base = self._base_of(host_rows)
            for w, chosen in by_width(start, stop, base, self.T):
                if w == self.T:
                    self.evaluate_chunk(host_rows[chosen], rows[self.runner.to_device(chosen)], width, scored)
                else:
                    self._evaluate_windows(host_rows[chosen], base[chosen], start[chosen], w, scored)

    def _evaluate_windows(self, rows: Int32, base: Int64, start: Int32, width: int, scored: Scored) -> None:
        """Score rows that differ from their ``base`` (n,), numbers in ascending order, in windows of one width."""
        _, first, reference = np.unique(base, return_index=True, return_inverse=True)
        base_rows = rows[first].copy()
        base_rows[:, Column.CELL] = NO_CELL
        start = np.minimum(start, self.T - width)
        windowed = Windowed(scored.masks, rows, scored.masks, base_rows, reference, start, width)
        for piece in self.windows.pieces(windowed):
            with piece:
                part = self.runner.to_device(rows[piece.rows])
                outputs = self.runner.check(self.windows.outputs(windowed, piece.rows), part, self.inputs)
                self.score(outputs, part, self.T, scored)

    def _base_of(self, rows: Int32) -> Int64:
        """Which base row each row is a flip of: equal numbers for the same one."""
        draw = rows[:, Column.DRAW] % self.S
        return (rows[:, Column.MASK].astype(np.int64) * self.S + draw) * self.B + rows[:, Column.SERIES]

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

    def __init__(self, windows: WindowRunner) -> None:
        self.windows, self.runner, self.inputs = windows, windows.runner, windows.inputs
        self.B, self.D, self.T = self.inputs.x.shape

    def evaluate(self, masks: Tensor, rows: Int32, names: Int32) -> Tensor:
        """Outputs (n, C) of rows of masks (M, D, T); ``names`` (n, columns) are what an error calls them."""
        start, stop, replaced = self._extents(masks)
        which = rows[:, Column.MASK]
        start, stop, replaced = start[which], stop[which], replaced[which]
        # The original series have the numbers 0 … B-1, then come the replaced ones of each draw.
        reference = rows[:, Column.SERIES].astype(np.int64)
        reference += np.where(replaced, (1 + rows[:, Column.DRAW]) * self.B, 0)
        order, outputs = [], []
        for w, chosen in by_width(start, stop, reference, self.T):
            order.append(chosen)
            if w == self.T:
                outputs += self._evaluate_whole(masks, rows[chosen], names[chosen])
            else:
                windowed = self._windowed(masks, rows[chosen], reference[chosen], start[chosen], w)
                outputs += self._evaluate_windows(windowed, names[chosen])
        return torch.cat(outputs)[self.runner.to_device(np.argsort(np.concatenate(order)))]

    def _windowed(self, masks: Tensor, rows: Int32, reference: Int64, start: Int32, width: int) -> Windowed:
        """Rows that differ from references of these numbers (n,), in ascending order, in windows of one width."""
        numbers, which = np.unique(reference, return_inverse=True)
        known = np.zeros((len(numbers), len(Column)), dtype=np.int32)
        known[:, Column.MASK] = numbers >= self.B
        known[:, Column.DRAW] = np.maximum(numbers // self.B - 1, 0)
        known[:, Column.SERIES], known[:, Column.CELL] = numbers % self.B, NO_CELL
        ends = torch.tensor([True, False], device=masks.device)[:, None, None].expand(2, self.D, self.T)
        return Windowed(masks, rows, ends, known, which, np.minimum(start, self.T - width), width)

    def _evaluate_windows(self, windowed: Windowed, names: Int32) -> list[Tensor]:
        found = []
        for piece in self.windows.pieces(windowed):
            with piece:
                outputs = self.windows.outputs(windowed, piece.rows)
                found.append(self._checked(outputs, names[piece.rows]))
        return found

    def _evaluate_whole(self, masks: Tensor, rows: Int32, names: Int32) -> list[Tensor]:
        found = []
        for piece in self.runner.pieces(len(rows), self.T):
            with piece:
                part = self.runner.to_device(rows[piece.rows])
                x = self.runner.build(self.inputs, masks, part, self.T)
                outputs = self.runner.whole(x, self.inputs, part[:, Column.SERIES])
                found.append(self._checked(outputs, names[piece.rows]))
        return found

    def _checked(self, outputs: Tensor, names: Int32) -> Tensor:
        return self.runner.check(outputs, self.runner.to_device(names), self.inputs)[:, :, 0].clone()

    def _extents(self, masks: Tensor) -> tuple[Int32, Int32, npt.NDArray[np.bool_]]:
        """(M,) each: where masks begin and stop to differ from the nearer of all kept and all replaced, and which."""
        kept: Any = self.runner.to_host(masks).numpy()
        from_original, from_replaced = span_of((~kept).any(axis=1)), span_of(kept.any(axis=1))
        nearer = np.diff(from_replaced, axis=0)[0] < np.diff(from_original, axis=0)[0]
        nearer &= self.inputs.fill == ops.Fill.FIXED  # others depend on what is kept
        start, stop = np.where(nearer, from_replaced, from_original)
        return start, stop, nearer


def confirm(
    runner: Runner, sample: TensorSample, differing: Differing, strategy: Counterfactual, seed: int, max_memory: int
) -> str | None:
    """What speaks against incremental evaluation: outputs of windows in rows as the engine makes them; None if nothing.

    A trace is made from one call; a model may take another way for other values.
    """
    x, _ = probes.rows(sample, strategy, seed, runner.predictor.features_last)
    T = x.shape[2]
    return differs(runner, differing, x, sorted({(1,), (max(1, T // 8),)}), max_memory)


def differs(
    runner: Runner, differing: Differing, x: Tensor, sizes: list[tuple[int, ...]], max_memory: int
) -> str | None:
    """How outputs of rows x (N, D, T) or (N, C, H, W) with windows of other rows in them differ from whole rows'."""
    predictor = runner.predictor.raw()
    checked, together = Differing(predictor, differing.incremental), max_memory // 4 // differing.reference_bytes
    with predictor.session(), probes.exact_products(x.device):
        for size in sizes:
            both = partial(_both_ways, checked, x, size, max(1, together))
            try:
                found, value = torch.cat(runner.uncounted(len(x), both)).unbind(1)
            except (TypeError, IndexError, RuntimeError, ValueError) as error:
                if is_out_of_memory(error) or isinstance(error, PredictionError):
                    raise
                return f"evaluating it that way failed ({said(error)})"
            if not bool(value.isfinite().all()):
                return None  # the run itself tells which row that is
            off = (found - value).abs()
            if not bool((off <= probes.allowed(value)).all()):  # nor where what is found is NaN
                return f"its outputs then differ by {float(off.max()):.2g} from those of whole rows"
    return None


def _both_ways(differing: Differing, x: Tensor, size: tuple[int, ...], together: int, part: slice) -> Tensor:
    """Outputs (n, 2, C, 1) of a part of the rows x, with windows of the rows in reverse: by what differs, and whole."""
    n, places = len(x), x.shape[2:]
    starts = [np.linspace(0, T - w, n).round().astype(np.int64) for T, w in zip(places, size, strict=True)]
    found = []
    for begin in range(part.start, part.stop, together):
        chosen = slice(begin, min(begin + together, part.stop))
        rows, windows = x[chosen].clone(), memory.empty((chosen.stop - begin, x.shape[1], *size), x)
        for k, row in enumerate(rows):
            at = (slice(start[begin + k], start[begin + k] + w) for start, w in zip(starts, size, strict=True))
            where = (slice(None), *at)
            windows[k] = row[where] = x[n - 1 - begin - k][where]
        value = differing.predictor.whole(rows, None, {})
        reference = differing.reference(x[chosen].clone())
        own = tuple(start[chosen] for start in starts)
        outputs = differing.outputs(reference, torch.arange(len(rows), device=x.device), windows, own)
        found.append(torch.stack((outputs, value), dim=1))
    return torch.cat(found)


def by_width(start: Int32, stop: Int32, reference: Int64, T: int) -> Iterator[tuple[int, Int64]]:
    """Widths, and which rows (n,) are evaluated as windows of them, sorted by their reference; T: as whole rows."""
    widths = rounded(stop - start)
    widths[(widths > WORTH * T) | few_share(reference)] = T
    for width in np.unique(widths).tolist():
        chosen = np.flatnonzero(widths == width)
        yield width, chosen[np.argsort(reference[chosen], kind="stable")]


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


def rounded(width: Int32) -> Int32:
    """Widths rounded up to powers of two, so that many rows share one."""
    return np.exp2(np.ceil(np.log2(np.maximum(width, 1)))).astype(np.int32)
