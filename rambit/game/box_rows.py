"""Boxes: unions of boxes of the sample's grid, written into one buffer that remembers what its rows hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game import coalitions
from rambit.game.engine import Engine
from rambit.game.questions import Boxes, Coalitions
from rambit.game.rectangles import Rectangles
from rambit.game.rows import Column, base_rows

Int64 = npt.NDArray[np.int64]


class BoxBuffer:
    """Masked inputs for rows of boxes. A row is written over the last one in its place: only the boxes change."""

    def __init__(self, engine: Engine, outside: Tensor) -> None:
        """``outside`` (B, D, T): what replaces the values of each series."""
        self.engine = engine
        self.grid = engine.sample.grid
        self.inside, self.outside = self._on_grid(engine.inputs.x), self._on_grid(outside)
        self.buffer: Tensor | None = None
        self.stale: tuple[Tensor, Tensor] | None = None
        self.version = -1
        # What is no module may write through NumPy, and a module through ``.data``: neither leaves a trace.
        self.hands_copies = engine.predictor.module is None
        self.looked = False

    def _on_grid(self, values: Tensor) -> Tensor:
        """(…, D, T) as (…, C, Z, Y, X)."""
        if self.engine.sample.shape is None:
            return values[..., None, None, :, :]
        return values.view(*values.shape[:-1], *self.grid)

    def build(self, boxes: Tensor, offsets: Tensor, series: Int64) -> Tensor:
        """The inputs (n, D, T) of these rows, in the model's memory order. Valid until the next build."""
        n, (D, T) = len(offsets) - 1, self.engine.inputs.x.shape[1:]
        if self.buffer is None or len(self.buffer) < n:
            self.buffer, self.stale = self._allocate(n, D, T), None
        # A model that wrote into its input has left something else there.
        stale = self.stale if self.buffer._version == self.version else None
        x = self.buffer[:n]
        if len(self.inside) == 1:
            ops.boxed_batch(self._on_grid(x), self.inside[0], self.outside[0], boxes, offsets, stale)
            self.stale, self.version = (boxes, offsets), self.buffer._version
            return x
        # Rows of several series are written whole: the last row in a place may have been another's.
        ends = [*(np.flatnonzero(np.diff(series)) + 1).tolist(), n]
        for begin, end in zip([0, *ends], ends, strict=False):
            b = int(series[begin])
            own = offsets[begin : end + 1]
            ops.boxed_batch(self._on_grid(x[begin:end]), self.inside[b], self.outside[b], boxes, own)
        return x

    def evaluate(self, boxes: Tensor, offsets: Tensor, own: Int64, places: Rectangles | None = None) -> Tensor:
        """Outputs (n, C, 1) for rows of these series; the first time, a module is watched for what it writes into them.

        ``places``: where the rows differ from the replaced image, if they are to be evaluated by that.
        """
        x, runner = self.build(boxes, offsets, own), self.engine.runner
        series = runner.to_device(own)
        if places is not None and self.engine.rectangles is not None:  # which makes copies
            return self.engine.rectangles.outputs(x, series, places)
        if self.hands_copies:
            return runner.whole(x.clone(), self.engine.inputs, series)
        if self.looked:
            return runner.whole(x, self.engine.inputs, series)
        kept, stale, self.stale = x.clone(), self.stale, None
        outputs = runner.whole(x, self.engine.inputs, series)
        self.looked, self.hands_copies = True, not torch.equal(kept, x)
        if not self.hands_copies:
            self.stale = stale
        return outputs

    def _allocate(self, n: int, D: int, T: int) -> Tensor:
        x = self.engine.inputs.x
        with torch.inference_mode(False):  # an inference tensor would not say whether it was written to
            if self.engine.predictor.features_last:
                return memory.empty((n, T, D), x).transpose(1, 2)
            return memory.empty((n, D, T), x)


def evaluate(engine: Engine, buffers: list[BoxBuffer], question: Boxes) -> Iterator[Tensor]:
    """Outputs (n, S, 1, C), in order, chunk by chunk."""
    count = len(question)
    if question.series is None and len(engine.sample) != 1:
        raise ValueError(f"boxes of {len(engine.sample)} series need to say which each row is of: series")
    series = np.zeros(count, np.int64) if question.series is None else question.series
    coalitions.check_series(torch.from_numpy(series), count, len(engine.sample))
    if engine.rectangles is not None and len(engine.sample) != 1:
        raise ValueError("evaluation='incremental' takes boxes of one image")
    runner = engine.runner
    boxes, offsets = runner.to_device(question.boxes), runner.to_device(question.offsets)
    if not engine.counterfactuals.fixed:
        yield from _painted(engine, series, boxes, offsets)
        return
    inputs = engine.inputs
    step = max(1, runner.batch // engine.draws)
    if engine.rectangles is not None:
        engine.rectangles.begin(inputs)
    for begin in range(0, len(question), step):
        own, host = offsets[begin : begin + step + 1], question.offsets[begin : begin + step + 1]
        outputs = []
        for draw, buffer in enumerate(buffers):
            places = None if engine.rectangles is None else Rectangles.of_boxes(question.boxes, host, draw)
            outputs.append(_evaluate(engine, buffer, boxes, own, series[begin : begin + step], begin, draw, places))
        runner.settle(inputs)
        if not runner.dry:
            yield torch.stack(outputs, dim=1)[:, :, None]


def _evaluate(
    engine: Engine,
    buffer: BoxBuffer,
    boxes: Tensor,
    offsets: Tensor,
    series: Int64,
    first: int,
    draw: int,
    places: Rectangles | None,
) -> Tensor:
    """Outputs (n, C) for n rows of one draw; an error names a row by its number in the question, from ``first`` on."""
    runner, n = engine.runner, len(offsets) - 1
    host = base_rows(np.zeros(n, dtype=np.int32), 1, 1)
    host[:, Column.MASK] += first
    host[:, Column.DRAW] = draw
    host[:, Column.SERIES] = series
    names = runner.to_device(host)
    outputs: list[Tensor] = []
    with engine.predictor.session():
        for piece in runner.pieces(n, engine.steps):
            with piece:
                own = None if places is None else places.take(piece.rows)
                found = buffer.evaluate(boxes, offsets[piece.begin : piece.end + 1], series[piece.rows], own)
                outputs.append(runner.check(found, names[piece.rows], engine.inputs)[:, :, 0].clone())
    return torch.cat(outputs) if outputs else torch.empty(0)


def _painted(engine: Engine, series: Int64, boxes: Tensor, offsets: Tensor) -> Iterator[Tensor]:
    """Values that depend on what is kept need masks: a chunk of them at a time."""
    step = max(1, engine.runner.batch // engine.draws)
    yes = memory.full((1, *engine.sample.grid), engine.sample.x, True, torch.bool)
    for begin in range(0, len(series), step):
        part = offsets[begin : begin + step + 1]
        masks = memory.empty((len(part) - 1, *yes.shape), yes)
        ops.boxed_batch(masks, yes, ~yes, boxes, part)
        own = engine.runner.to_device(series[begin : begin + step])
        yield from coalitions.evaluate(engine, Coalitions(masks.flatten(1), series=own), first=begin)
