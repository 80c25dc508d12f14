"""Boxes: unions of boxes of the sample's grid, written into one buffer that remembers what its rows hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game import coalitions
from rambit.game.questions import Boxes, Coalitions
from rambit.game.rows import Column, base_rows

if TYPE_CHECKING:
    from rambit.game.game import Game


class BoxBuffer:
    """Masked inputs for rows of boxes. A row is written over the last one in its place: only the boxes change."""

    def __init__(self, game: Game, outside: Tensor) -> None:
        self.game = game
        self.grid = game.sample.grid
        self.inside, self.outside = self._on_grid(game.inputs.x[0]), self._on_grid(outside)
        self.buffer: Tensor | None = None
        self.stale: tuple[Tensor, Tensor] | None = None
        self.version = -1
        # What is no module may write through NumPy, and a module through ``.data``: neither leaves a trace.
        self.hands_copies = game.predictor.module is None
        self.looked = False

    def _on_grid(self, values: Tensor) -> Tensor:
        """(…, D, T) as (…, C, Z, Y, X)."""
        if self.game.sample.shape is None:
            return values[..., None, None, :, :]
        return values.view(*values.shape[:-1], *self.grid)

    def build(self, boxes: Tensor, offsets: Tensor) -> Tensor:
        """The inputs (n, D, T) of these rows, in the model's memory order. Valid until the next build."""
        n, (D, T) = len(offsets) - 1, self.game.inputs.x.shape[1:]
        if self.buffer is None or len(self.buffer) < n:
            self.buffer, self.stale = self._allocate(n, D, T), None
        # A model that wrote into its input has left something else there.
        stale = self.stale if self.buffer._version == self.version else None
        x = self.buffer[:n]
        ops.boxed_batch(self._on_grid(x), self.inside, self.outside, boxes, offsets, stale)
        self.stale, self.version = (boxes, offsets), self.buffer._version
        return x

    def ask(self, boxes: Tensor, offsets: Tensor) -> Tensor:
        """Answers (n, C, 1) to these rows; the first time, a module is watched for what it writes into them."""
        x, runner = self.build(boxes, offsets), self.game.runner
        if self.hands_copies:
            return runner.whole(x.clone(), self.game.inputs)
        if self.looked:
            return runner.whole(x, self.game.inputs)
        kept, stale, self.stale = x.clone(), self.stale, None
        answers = runner.whole(x, self.game.inputs)
        self.looked, self.hands_copies = True, not torch.equal(kept, x)
        if not self.hands_copies:
            self.stale = stale
        return answers

    def _allocate(self, n: int, D: int, T: int) -> Tensor:
        x = self.game.inputs.x
        with torch.inference_mode(False):  # an inference tensor would not say whether it was written to
            if self.game.predictor.features_last:
                return memory.empty((n, T, D), x).transpose(1, 2)
            return memory.empty((n, D, T), x)


def answer(game: Game, question: Boxes) -> Iterator[Tensor]:
    """Answers (n, S, 1, C), in order, chunk by chunk."""
    if len(game.sample) != 1:
        raise ValueError(f"boxes are asked of one series or image, got {len(game.sample)}")
    runner, inputs = game.runner, game.inputs
    boxes, offsets = runner.to_device(question.boxes), runner.to_device(question.offsets)
    if inputs.fill != ops.Fill.FIXED:
        yield from _painted(game, question, boxes, offsets)
        return
    step = max(1, runner.batch // game.draws)
    for begin in range(0, len(question), step):
        own = offsets[begin : begin + step + 1]
        answers = [_ask(game, buffer, boxes, own, begin, draw) for draw, buffer in enumerate(game.box_buffers)]
        runner.settle(inputs)
        if not runner.dry:
            yield torch.stack(answers, dim=1)[:, :, None]


def _ask(game: Game, buffer: BoxBuffer, boxes: Tensor, offsets: Tensor, first: int, draw: int) -> Tensor:
    """Answers (n, C) to n rows of one draw; an error names their place in the question, which begins at ``first``."""
    runner, n = game.runner, len(offsets) - 1
    host = base_rows(np.zeros(n, dtype=np.int32), 1, 1)
    host[:, Column.MASK] += first
    host[:, Column.DRAW] = draw
    names = runner.to_device(host)
    answers: list[Tensor] = []
    with game.predictor.session():
        for piece in runner.pieces(n, game.steps):
            with piece:
                found = buffer.ask(boxes, offsets[piece.begin : piece.end + 1])
                answers.append(runner.check(found, names[piece.rows], game.inputs)[:, :, 0].clone())
    return torch.cat(answers) if answers else torch.empty(0)


def _painted(game: Game, question: Boxes, boxes: Tensor, offsets: Tensor) -> Iterator[Tensor]:
    """Values that depend on what is kept need masks: a chunk of them at a time."""
    step = max(1, game.runner.batch // game.draws)
    yes = memory.full((1, *game.sample.grid), game.sample.x, True, torch.bool)
    for begin in range(0, len(question), step):
        part = offsets[begin : begin + step + 1]
        masks = memory.empty((len(part) - 1, *yes.shape), yes)
        ops.boxed_batch(masks, yes, ~yes, boxes, part)
        yield from coalitions.answer(game, Coalitions(masks.flatten(1)), first=begin)
