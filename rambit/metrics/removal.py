"""In which order cells go by their scores, and a game's outputs without them: what the faithfulness metrics share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import arrays
from rambit.checks import one_of
from rambit.game import Coalitions, Game
from rambit.metrics.truth import Array, read_numbers

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

Per = Literal["series", "all"]
PER: tuple[Per, ...] = get_args(Per)
Extent = Literal["cell", "end", "std"]
EXTENTS: tuple[Extent, ...] = get_args(Extent)


@dataclass(frozen=True)
class Removal:
    """The first cells of each series' order, which go, or with ``keep_top`` alone stay.

    ``step`` (B, cells): how many removals of its own series a cell outlasts. ``limit`` (B,): how many are made.
    """

    game: Game
    step: Tensor
    limit: Int
    keep_top: bool

    @staticmethod
    def of(
        game: Game,
        scores: Array,
        k: float | None = None,
        per: Per = "series",
        extent: Extent = "cell",
        *,
        keep_top: bool = False,
    ) -> Removal:
        """The k highest ``scores``, all cells for None. With ``keep_top`` k is what stays: a fraction is rounded up."""
        values = read_scores(game, scores)
        one_of("per", per, PER)
        one_of("extent", extent, EXTENTS)
        B, D, T = values.shape
        seen = game.sample.observed
        observed = np.ones((B, D, T), dtype=bool) if seen is None else game.to_host(seen).numpy()
        may = observed.copy()
        if extent != "cell":
            may[:, :, 0] = False  # nothing stands before it that could be carried forward
        flat, may = values.reshape(B, -1), may.reshape(B, -1)
        cells = may.sum(axis=1)
        size = cells if per == "series" else np.asarray(cells.sum())
        wanted = size if k is None else _amount(k, size, keep_top)
        order = np.argsort(np.where(may, -flat, np.inf), axis=1, kind="stable")
        if extent == "cell":
            step, starts = np.empty_like(order), may
            np.put_along_axis(step, order, np.broadcast_to(np.arange(D * T), order.shape), axis=1)
        else:
            series = game.to_host(game.sample.x).double().numpy()
            step, starts = _runs(series, observed, order, may, extent)
        limit = _limits(flat, order, starts, starts if is_int(k) else may, wanted, per)
        if not limit.any():
            raise ValueError(f"k={k} of {int(np.max(size))} cells is none of them")
        return Removal(game, torch.from_numpy(step.astype(np.int32)).to(game.device), limit, keep_top)

    def outputs(self) -> Tensor:
        """Outputs (S, B, C) after all removals."""
        return next(self.evaluate(self.limit[None]))[1][0]

    def evaluate(self, removed: Int) -> Iterator[tuple[slice, Tensor]]:
        """Outputs (n, S, B, C) after ``removed`` (J, B) removals of each series, and which n of the J they are."""
        cells = self.step.numel()
        size = max(1, self.game.max_memory // 4 // cells)  # a question's masks stay within the game's memory
        stop = 0
        for begin in range(0, len(removed), size):
            reached = torch.from_numpy(removed[begin : begin + size, :, None].astype(np.int32)).to(self.step.device)
            masks = self.step < reached if self.keep_top else self.step >= reached
            for outputs in self.game.evaluate(Coalitions(masks)):
                start, stop = stop, stop + len(outputs)
                yield slice(start, stop), outputs.double()


def read_scores(game: Game, scores: Array) -> Float:
    """Scores (B, D, T) in float64. Raises ValueError unless they are of the game's series, and for a dry game."""
    if isinstance(scores, Tensor):
        scores = game.to_host(arrays.whole("scores", scores))
    values = read_numbers(scores, "scores")
    values = values[:, None] if game.sample.tokens and values.ndim == 2 else values
    shape = tuple(game.sample.x.shape)
    if values.shape != shape:
        raise ValueError(f"scores must have the shape (B, D, T) = {shape} of the game's series, got {values.shape}")
    if game.runner.dry:
        raise ValueError("game must not be dry: it counts rows and does not call the model")
    return values


def is_int(value: object) -> bool:
    """Whether a value is a count; True and False are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _runs(x: Float, observed: Bool, order: Int, may: Bool, extent: Extent) -> tuple[Int, Bool]:
    """With which run of its series each cell (B, cells) goes, and which cells start one.

    All series walk down their ranking together.
    """
    B, D, T = x.shape
    step = np.full((B, D, T), D * T)
    starts, number = np.zeros_like(may), np.zeros(B, dtype=np.int64)
    series, time = np.arange(B), np.arange(T)
    known = np.where(observed, x, np.nan)
    far = _deviation(x, observed)
    for i in range(D * T):
        cell = order[:, i]
        d, t = cell // T, cell % T
        begins = may[series, cell] & (step[series, d, t] == D * T)
        run = time >= t[:, None]
        if extent == "std":
            line = known[series, d]
            with np.errstate(invalid="ignore"):
                left = run & (np.abs(line - line[series, t][:, None]) > far[series, d][:, None])
            run &= ~np.logical_or.accumulate(left, axis=1)
        goes = begins[:, None] & run & (step[series, d] == D * T)
        step[series, d] = np.where(goes, number[:, None], step[series, d])
        starts[series, cell] |= begins
        number += begins
    return step.reshape(B, -1), starts


def _deviation(x: Float, observed: Bool) -> Float:
    """Standard deviation over time of each feature, (B, D), from what is observed."""
    count = np.maximum(observed.sum(axis=2, keepdims=True), 1)
    mean = np.where(observed, x, 0).sum(axis=2, keepdims=True) / count
    squares = np.where(observed, x - mean, 0) ** 2
    return np.asarray(np.sqrt(squares.sum(axis=2) / count[:, :, 0]))


def _amount(k: float, size: Int, keep_top: bool) -> Int:
    """How many of ``size`` cells k means."""
    if not is_int(k) and not isinstance(k, (float, np.floating)):
        raise TypeError(f"k must be a count (int) or a fraction (float), got {type(k).__name__}")
    if is_int(k):
        if not 1 <= k <= np.max(size):
            raise ValueError(f"k must be between 1 and the number of cells, {int(np.max(size))}, got {k}")
        return np.full_like(size, k)
    if not 0 < k <= 1:
        raise ValueError(f"k must be a fraction above 0 and up to 1 (or a count, as int), got {k}")
    rounding = 1e-9  # 0.29 of 100 is 29, though 0.29 * 100 is a little less
    floor = np.floor((1 - k if keep_top else k) * size + rounding).astype(np.int64)
    return np.asarray(size - floor if keep_top else floor)


def _limits(scores: Float, order: Int, starts: Bool, counted: Bool, wanted: Int, per: Per) -> Int:
    """How many of each series' starts are among the first ``wanted`` counted cells, its own or those of all series."""
    chosen = np.zeros_like(counted)
    if per == "series":
        first = np.cumsum(np.take_along_axis(counted, order, axis=1), axis=1) <= wanted[:, None]
        np.put_along_axis(chosen, order, first, axis=1)
    else:
        where = np.flatnonzero(counted)
        best = np.argsort(-scores.ravel()[where], kind="stable")[: int(wanted)]
        chosen.ravel()[where[best]] = True
    return np.asarray((chosen & starts).sum(axis=1))
