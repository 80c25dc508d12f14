"""Coalitions: masks over the sample's terms, evaluated at the last step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import ops
from rambit.game import incremental
from rambit.game.engine import Engine
from rambit.game.questions import Coalitions, Soft
from rambit.game.rectangles import Rectangles
from rambit.game.rows import Column, base_rows
from rambit.game.runner import Inputs


def evaluate(engine: Engine, question: Coalitions, first: int = 0) -> Iterator[Tensor]:
    """Outputs (n, S, B, C), or (n, S, 1, C) where each mask has a series of its own, in order, chunk by chunk.

    An error names the mask by its place in the question, counted from ``first``.
    """
    masks = question.masks
    _check(engine, question)
    per_mask = engine.draws * (1 if question.series is not None else len(engine.sample))
    if engine.outweighs_a_trace(len(masks) * per_mask):
        engine.expect(_narrow(engine, question) * per_mask)
    B, S = (1 if question.series is not None else len(engine.sample)), engine.draws
    own = None if question.series is None else engine.to_host(question.series).numpy()
    size = engine.series_at_once()
    fits = size == len(engine.sample)
    if fits:
        _begin(engine, engine.inputs)  # whose values may be refused, before the model is called
    step, cells = max(1, engine.runner.batch // (S * B)), engine.sample.x[0].numel() * (1 if masks.ndim == 2 else B)
    if engine.windows is not None:
        step = max(step, engine.windows.masks_at_once(S * B, cells))
    begin = 0
    while begin < len(masks):
        count = min(step, len(masks) - begin)
        part = _cells(engine, masks[begin : begin + count], question.players)
        host = base_rows(np.zeros(count, dtype=np.int32), S, B)
        if own is not None:
            host[:, Column.SERIES] = np.repeat(own[begin : begin + count], S)
        named = host.copy()
        named[:, Column.MASK] += first + begin
        if masks.ndim == 3:  # each series has masks of its own
            host[:, Column.MASK] = host[:, Column.MASK] * B + host[:, Column.SERIES]
        with engine.predictor.session():
            if fits:
                outputs = _evaluate(engine, engine.inputs, part, host, named)
            else:
                outputs = _evaluate_by_series(engine, size, part, host, named)
        begin += count
        if outputs is None:
            continue
        if not fits:  # values are drawn anew for the next masks: as few times as what these give allows
            per_mask = S * B * (incremental.ROW_BYTES + outputs[0].nbytes) + cells
            step = max(step, engine.max_memory // 4 // per_mask)
        yield outputs.view(count, S, B, -1)


def _begin(engine: Engine, inputs: Inputs) -> None:
    """Begin with these inputs: what is known of others is forgotten."""
    for known in (engine.rectangles, engine.windows):
        if known is not None:
            known.begin(inputs)


def _check(engine: Engine, question: Coalitions) -> None:
    masks, players = question.masks, question.players
    B, terms = len(engine.sample), engine.sample.terms if players is None else int(players.max()) + 1
    allowed = {(terms,)} if question.series is not None else {(terms,), (B, terms)}
    if tuple(masks.shape[1:]) not in allowed or masks.dtype != torch.bool:
        words = " or ".join(["(N, " + ", ".join(map(str, shape)) + ")" for shape in sorted(allowed, key=len)])
        raise ValueError(f"masks must be {words} bool, got {masks.dtype} {tuple(masks.shape)}")
    check_series(question.series, len(masks), B)


def _narrow(engine: Engine, question: Coalitions) -> int:
    """How many masks replace a few steps only."""
    narrow, step = 0, engine.runner.batch
    for begin in range(0, len(question.masks), step):
        part = _cells(engine, question.masks[begin : begin + step], question.players)
        narrow += incremental.count_narrow(engine.to_host(part).numpy())
    return narrow


def check_series(series: Tensor | None, count: int, B: int) -> None:
    """Whether each of ``count`` masks names one of the B series."""
    if series is not None and (series.shape != (count,) or not bool(((series >= 0) & (series < B)).all())):
        raise ValueError(f"series must be ({count},), one of 0 … {B - 1} for each mask, got {tuple(series.shape)}")


def _cells(engine: Engine, part: Tensor, players: Tensor | None) -> Tensor:
    """Masks over terms as masks over the cells (n, D, T) of the sample's tensor."""
    D, T = engine.sample.x.shape[1:]
    part = part.to(engine.device)
    if players is not None:
        part = part[..., players.to(engine.device)]
    if engine.sample.shape is not None:  # the channels of a position share its mask
        return part.reshape(-1, 1, T).expand(-1, D, T)
    return part.reshape(-1, D, T)


def _evaluate_by_series(
    engine: Engine, size: int, masks: Tensor, host: npt.NDArray[np.int32], named: npt.NDArray[np.int32]
) -> Tensor | None:
    """The same as ``_evaluate``, with the values of ``size`` series at a time."""
    chunk = host[:, Column.SERIES] // size
    order, found = [], []
    for number in np.unique(chunk).tolist():
        rows = np.flatnonzero(chunk == number)
        series = slice(number * size, min((number + 1) * size, len(engine.sample)))
        inputs = engine.inputs_of(series, count=0 if engine.runner.dry else None)
        _begin(engine, inputs)
        own, called = host[rows], named[rows]
        for table in (own, called):
            table[:, Column.SERIES] -= series.start
        outputs = _evaluate(engine, inputs, masks, own, called)
        if outputs is not None:
            order.append(rows)
            found.append(outputs)
    return torch.cat(found)[engine.runner.to_device(np.argsort(np.concatenate(order)))] if found else None


def _evaluate(
    engine: Engine, inputs: Inputs, masks: Tensor, host: npt.NDArray[np.int32], named: npt.NDArray[np.int32]
) -> Tensor | None:
    """Outputs (rows, C), or None from a dry engine."""
    runner, T = engine.runner, inputs.x.shape[2]
    if engine.windows is not None and not runner.dry:
        found = incremental.CoalitionEvaluation(engine.windows).evaluate(masks, host, named)
        runner.settle(inputs)
        return found
    rows, names = runner.to_device(host), runner.to_device(named)
    places = None if engine.rectangles is None or runner.dry else _rectangles(engine, inputs, masks, host)
    outputs: list[Tensor] = []
    for piece in runner.pieces(len(rows), engine.steps):
        with piece:
            part = rows[piece.rows]
            x, series = runner.build(inputs, masks, part, T), part[:, Column.SERIES]
            if places is None or engine.rectangles is None:
                found = runner.whole(x, inputs, series)
            else:
                found = engine.rectangles.outputs(x, series, places.take(piece.rows))
            outputs.append(runner.check(found, names[piece.rows], inputs)[:, :, 0].clone())
    runner.settle(inputs)
    return None if runner.dry else torch.cat(outputs)


def _rectangles(engine: Engine, inputs: Inputs, masks: Tensor, host: npt.NDArray[np.int32]) -> Rectangles:
    """Where rows of masks (M, C, positions) of images differ from what is known."""
    _, H, W = engine.sample.grid
    kept = engine.to_host(masks[:, 0]).numpy().reshape(-1, H, W)[host[:, Column.MASK]]
    series, draw = (host[:, column].astype(np.int64) for column in (Column.SERIES, Column.DRAW))
    return Rectangles.of_masks(kept, series, draw, len(inputs.x), fixed=inputs.fill == ops.Fill.FIXED)


def evaluate_soft(engine: Engine, question: Soft) -> Iterator[Tensor]:
    """Outputs (n, S, B or 1, C) with gradients with respect to the masks, chunk by chunk."""
    if not engine.counterfactuals.fixed:
        raise ValueError("soft masks need fixed counterfactuals, whose values do not depend on what is kept")
    B, S, terms = len(engine.sample), engine.draws, engine.sample.terms
    masks, series = question.masks, question.series
    if masks.ndim != 2 or masks.shape[1] != terms or not masks.is_floating_point():
        raise ValueError(f"masks must be (N, {terms}) floating, got {masks.dtype} {tuple(masks.shape)}")
    if not bool(torch.isfinite(masks.detach()).all()):
        raise ValueError("masks hold NaN or infinite values")
    check_series(series, len(masks), B)
    inputs, runner = engine.inputs, engine.runner
    runner.begin()
    D, T = inputs.x.shape[1:]
    per_mask = S * (B if series is None else 1)
    step = max(1, runner.batch // per_mask)
    for begin in range(0, len(masks), step):
        part = masks[begin : begin + step]
        which = torch.arange(B, device=engine.device) if series is None else series[begin : begin + step]
        kept = part.to(engine.device, inputs.x.dtype)
        kept = kept.view(-1, 1, 1, 1, T) if engine.sample.shape is not None else kept.view(-1, 1, 1, D, T)
        x, other = inputs.x[which], inputs.draws[:, which]  # (b, D, T), (S, b, D, T)
        if series is None:
            x, other = x[None, None], other[None]
        else:
            x, other = x[:, None, None], other.transpose(0, 1)[:, :, None]
        with engine.predictor.session(gradients=True):
            rows = (kept * x + (1 - kept) * other).flatten(0, 2)
            of_row = which.repeat(len(part) * S) if series is None else which.repeat_interleave(S)
            outputs = runner.whole(rows, inputs, of_row)[:, :, 0]
        runner.count(len(rows), len(rows) * engine.steps)
        yield outputs.view(len(part), S, -1, outputs.shape[1])
