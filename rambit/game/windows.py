"""Windows: some features replaced from a step on, compared at every step after it (WinIT, BiWinIT, FIT).

One walk of W steps from each start gives the outputs of every window that begins there; a model with a state continues
from the original's, so that all windows cost T · W row-steps a feature, draw and series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game.flips import FlipEvaluation
from rambit.game.questions import Windows
from rambit.game.rows import NO_CELL, Column, StartRule, base_rows


@dataclass(frozen=True)
class Job:
    """Windows from some starts, in one length: rows of ``width`` steps, compared ``offset`` … steps after the start."""

    starts: npt.NDArray[np.int64]
    offset: int
    count: int
    width: int


def _jobs(evaluation: FlipEvaluation, first: int, window: int, block: int) -> Iterator[Job]:
    """Rows of a job are equally long. A model with a state gets ``block`` starts at a time."""
    from_state = evaluation.start_rule == StartRule.CELL
    whole_windows = np.arange(first, evaluation.T - window + 1)
    if from_state:  # a row that starts at time 0 has no state yet, so it stays apart
        parts = [whole_windows[:1], whole_windows[1:]] if first == 0 else [whole_windows]
        for part in parts:
            for begin in range(0, len(part), block):
                yield Job(part[begin : begin + block], 0, window, window)
    for start in range(first + len(whole_windows) if from_state else first, evaluation.T):
        steps = min(window, evaluation.T - start)
        if from_state:
            yield Job(np.array([start]), 0, steps, steps)
        elif not evaluation.per_horizon:
            yield Job(np.array([start]), 0, steps, start + steps)
        else:
            for offset in range(steps):
                yield Job(np.array([start]), offset, 1, start + offset + 1)


def window_distances(evaluation: FlipEvaluation, question: Windows, block: int) -> Tensor:
    """(targets, M, B, T, W) float64, mean over draws.

    Entry [k, m, b, p, j] compares at step p + j when window m starts at p. Zero where p + j lies beyond the series, and
    before ``question.first``.
    """
    runner, device = evaluation.runner, evaluation.runner.device
    K, M, B, S = len(evaluation.target), len(question.features), evaluation.B, evaluation.S
    window = min(question.window, evaluation.T)
    if evaluation.per_horizon and window == 1 and question.first == 0 and question.heads is None:
        return _step_distances(evaluation, question)
    total = memory.zeros((K, M, B, evaluation.T, question.window), evaluation.inputs.x, torch.float64)
    evaluation.evaluate_original(np.ones(evaluation.T, dtype=bool))
    evaluation.use_original_states()
    replaced = question.features.to(device)
    for job in _jobs(evaluation, question.first, window, block):
        P = len(job.starts)
        m, p, s, b = (g.ravel() for g in np.meshgrid(range(M), job.starts, range(S), range(B), indexing="ij"))
        rows = np.zeros((m.size, len(Column)), dtype=np.int32)
        rows[:, Column.SERIES], rows[:, Column.DRAW] = b, s
        rows[:, Column.MASK] = m * P + p - job.starts[0]
        rows[:, Column.CELL] = NO_CELL if question.heads is None else question.heads.numpy()[m] * evaluation.T + p
        if evaluation.start_rule == StartRule.CELL:
            rows[:, Column.START], rows[:, Column.STATE] = p, p * B + b
        device_rows = runner.to_device(rows)
        starts = runner.to_device(job.starts)
        under_way = torch.arange(evaluation.T, device=device) >= starts[:, None]  # (P, T)
        masks = ~(replaced[:, None, :, None] & under_way[None, :, None, :]).flatten(0, 1)
        times = starts[:, None] + job.offset + torch.arange(job.count, device=device)
        expected = (
            torch.empty(0)
            if evaluation.reference is None
            else evaluation.reference[:, :, times].permute(2, 0, 1, 3).flatten(0, 1)
        )
        which = runner.to_device(((p - job.starts[0]) * B + b).astype(np.int32))
        distances = memory.zeros((K, len(rows), job.count), evaluation.inputs.x, torch.float64)
        target, table = evaluation.target.repeat(1, P), None if job.starts[0] == 0 else evaluation.states
        for piece in runner.pieces(len(rows), job.width):
            with piece:
                part = device_rows[piece.rows]
                outputs = evaluation.outputs(runner.build(evaluation.inputs, masks, part, job.width), part, table)
                outputs = runner.check(outputs[:, :, -job.count :], part, evaluation.inputs)
                for found, one in zip(distances, target, strict=True):
                    ops.distance(found[piece.rows], outputs, expected, which[piece.rows], one, evaluation.metric)
        runner.settle(evaluation.inputs)
        mean = distances.view(K, M, P, S, B, job.count).sum(dim=3) / S
        at = slice(int(job.starts[0]), int(job.starts[0]) + P)
        total[:, :, :, at, job.offset : job.offset + job.count] = mean.transpose(2, 3)
    return total


def _step_distances(evaluation: FlipEvaluation, question: Windows) -> Tensor:
    """The same of windows of one step, where each output is a call on a prefix: original series are rows of that call.

    With windows of more steps several calls on a prefix would each have to wait for the first.
    """
    runner, inputs = evaluation.runner, evaluation.inputs
    K, M, B, S, T = len(evaluation.target), len(question.features), evaluation.B, evaluation.S, evaluation.T
    total = memory.zeros((K, M, B, T, question.window), inputs.x, torch.float64)
    original, replaced = base_rows(np.zeros(1, dtype=np.int32), 1, B), base_rows(np.zeros(M, dtype=np.int32), S, B)
    original[:, Column.MASK] = M
    rows = runner.to_device(np.concatenate((original, replaced)))
    nothing = memory.zeros((1, evaluation.D), question.features, torch.bool)
    features = torch.cat((question.features, nothing)).to(runner.device)
    steps = torch.arange(T, device=runner.device)
    for h in range(T):
        masks = ~(features[:, :, None] & (steps == h))
        found = evaluation.zeros((K, len(replaced)))
        for piece in runner.pieces(len(rows), h + 1):
            with piece:
                part = rows[piece.rows]
                outputs = evaluation.outputs(runner.build(inputs, masks, part, h + 1), part, None)
                first = min(max(0, B - piece.begin), len(piece))  # original rows come first, and with them the outputs
                if first > 0:
                    evaluation.set_reference(outputs[:first], slice(piece.begin, piece.begin + first), h)
                if first < len(piece):
                    at = slice(piece.begin + first - B, piece.end - B)
                    found[:, at] = evaluation.distances(outputs[first:], part[first:], slice(h, h + 1))[:, :, 0]
        runner.settle(inputs)
        total[..., h, 0] = found.view(K, M, S, B).sum(dim=2) / S
    return total
