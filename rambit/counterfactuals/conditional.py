"""Draws that fit the past: what followed the most similar steps of reference data. Nothing is trained."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.checks import count as whole  # draws have a `count`
from rambit.checks import flag, warn
from rambit.counterfactuals.counterfactual import STRATEGIES
from rambit.counterfactuals.strategies import FromBackground

if TYPE_CHECKING:
    from rambit.counterfactuals.nearest import Bool, Float64, Int64, ReferenceWindows

#: Bytes of neighbours that are kept, so that further draws for the same series search no more.
KEPT = 1 << 26


class Stage(NamedTuple):
    """Times of a series whose last ``steps`` are compared with those before the times ``between`` of the background."""

    times: range
    steps: int
    between: range


@STRATEGIES.register("conditional")
class Conditional(FromBackground):
    """Each cell from what followed, in the background, the steps most like the series' own before it.

    The value for (d, t) is drawn from the background's values of feature d at those ``neighbours`` times, of any of its
    series, whose last ``history`` steps are nearest to those before t. Compared are all features, each divided by its
    deviation over the background, by the sum of squared differences; of equally near times the earlier series, then
    the earlier time. The first steps of a series have a shorter history, or none: they are compared with the same steps
    of the background's series or, if those are fewer than ``neighbours``, with any times. Where nothing can be
    compared, as at t = 0, all of these times are drawn from alike.

    ``whole_runs``: a replaced run of a feature is what followed one neighbour of the history before the run, on from
    where it begins; where that series ends or misses the value, the step's own draw. If not, each step is drawn by its
    own past, and the values are the same for all masks. WinIT's windows are whole runs either way. The past is that of
    the series as given, whatever of it a mask replaces; what comes later is never read.

    Missing values are not drawn and not compared: the squares of the other cells are scaled up to all. Categorical
    features match: only times that differ in the fewest categories, none if there are such, are neighbours.

    The search is exact, runs on the CPU in bounded memory, and is done once for each series; draws are of x's type.
    """

    def __init__(self, background: Any, history: int = 3, neighbours: int = 20, whole_runs: bool = False) -> None:
        super().__init__(background)
        self.history = whole("history", history)
        self.neighbours = whole("neighbours", neighbours, 1, 2**20)
        self.whole_runs = flag("whole_runs", whole_runs)
        self.fill = ops.Fill.WINDOWS if self.whole_runs else ops.Fill.FIXED
        self.categorical: tuple[int, ...] = ()
        self._found: dict[bytes, Tensor] = {}

    def check(self, D: int, T: int) -> None:
        super().check(D, T)
        N, _, steps = self.background.shape
        if steps < T and steps <= self.history:
            raise ValueError(
                f"background has {steps} steps, and X has {T}: with history={self.history} nothing in it is like the "
                f"steps from {self.history} on; it needs {self.history + 1} steps, or a shorter history"
            )
        if steps < T:
            warn(f"X has {T} steps, background {steps}: values at later times are drawn from those up to {steps}")
        values = N * steps if self.number is None else int(self.number.min())
        if values < self.neighbours or self.neighbours > N:
            what = f"{values} values of a feature" if values < self.neighbours else f"{N} series"
            warn(
                f"background has {what}, fewer than neighbours={self.neighbours}: "
                "values are drawn from as many times as there are, and the first steps from any time"
            )

    def for_categories(self, features: Sequence[int]) -> Conditional:
        found = copy.copy(self)
        found.categorical = tuple(features)
        found.__dict__.pop("_windows", None)
        return found

    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        out = memory.empty((0 if self.whole_runs else count, *x.shape), x)
        table = self._table(x).expand(len(x), -1, -1)
        for values, place in zip(out, self._places(x, observed, ids, len(out), seed, first), strict=True):
            torch.gather(table, 2, place, out=values)
        return out

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        out = memory.empty((count, *x.shape, window), x)
        table, steps = self._table(x).expand(len(x), -1, -1), self.background.shape[2]
        for values, place in zip(out, self._places(x, observed, ids, count, seed, first), strict=True):
            own = table.gather(2, place)
            for j in range(window):
                ends = place % steps + j >= steps
                follows = table.gather(2, torch.where(ends, place, place + j))
                later = torch.cat((own[..., j:], own[..., -1:].expand(*own.shape[:2], min(j, own.shape[2]))), dim=2)
                values[..., j] = torch.where(ends | follows.isnan(), later, follows)
        return out

    def describe(self) -> dict[str, object]:
        return {
            "name": type(self).__name__,
            "history": self.history,
            "neighbours": self.neighbours,
            "whole_runs": self.whole_runs,
            "background": self._key,
        }

    # -- where values come from -----------------------------------------------------------------------------------

    @cached_property
    def _windows(self) -> ReferenceWindows:
        from rambit.counterfactuals.nearest import ReferenceWindows

        data = self.background.detach().cpu()
        data = data if data.dtype in (torch.float32, torch.float64) else data.float()  # NumPy knows no bfloat16
        return ReferenceWindows(data.numpy(), self.categorical)

    @cached_property
    def _groups(self) -> list[tuple[list[int], Bool | None]]:
        """Features that have a value at the same times of the background, and which these are (N, T); None: all."""
        if self.number is None:
            return [(list(range(self.background.shape[1])), None)]
        seen = (~self.background.isnan()).cpu().numpy()
        groups: dict[bytes, tuple[list[int], Bool | None]] = {}
        for d in range(seen.shape[1]):
            groups.setdefault(np.packbits(seen[:, d]).tobytes(), ([], seen[:, d]))[0].append(d)
        return list(groups.values())

    def _table(self, x: Tensor) -> Tensor:
        """The background as (D, N * T), on x's device and of its type."""
        return self._for(x, None, lambda: self.background.transpose(0, 1).flatten(1).to(x.device, x.dtype))

    def _stages(self, T: int) -> Iterator[Stage]:
        N, _, steps = self.background.shape
        for t in range(min(self.history, T)):
            yield Stage(range(t, t + 1), t, range(t, min(t + 1, steps) if self.neighbours <= N else steps))
        if self.history < T:
            yield Stage(range(self.history, T), self.history, range(self.history, steps))

    def _places(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, seed: int, first: int
    ) -> Iterator[Tensor]:
        """Of each draw: the place n * T + t in the background that each value is taken from, (B, D, T)."""
        if count == 0:
            return
        near = self._neighbours(x, observed).to(x.device)
        group = torch.empty(x.shape[1], dtype=torch.int64)  # of each feature
        for g, (features, _) in enumerate(self._groups):
            group[features] = g
        number = (near >= 0).sum(dim=3)[:, group]
        rows = torch.arange(near[..., 0].numel(), device=x.device).view(near.shape[:3])
        begin = rows[:, group] * near.shape[3]  # where each cell's neighbours begin in a row of all
        unlike = list(self._without_neighbours(number))
        unit = memory.empty((1, *x.shape), x, torch.float64)
        for k in range(count):  # one draw at a time, since places are wider than values
            ops.draw(unit, ids, ops.Draw.UNIFORM, seed=seed, first_draw=first + k, low=0.0, high=1.0)
            place = near.take(begin + _whole(unit[0], number))
            for cells, pool in unlike:
                place.view(-1)[cells] = pool[_whole(unit.view(-1)[cells], len(pool))]
            yield place

    def _without_neighbours(self, number: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Cells, as (b * D + d) * T + t, that have none of ``number`` (B, D, T), and the places they are drawn from."""
        _, D, T = number.shape
        for stage in self._stages(T):
            for g, (features, _) in enumerate(self._groups):
                of_group = number[:, features, stage.times.start : stage.times.stop]
                b, d, t = (of_group == 0).nonzero(as_tuple=True)
                if len(b) > 0:
                    d = torch.tensor(features, device=d.device)[d]
                    yield (b * D + d) * T + t + stage.times.start, self._pool(g, stage).to(number.device)

    def _pool(self, group: int, stage: Stage) -> Tensor:
        """The places of all values of a group of features at the times that a stage compares with; or of all values."""
        N, _, steps = self.background.shape
        seen = self._groups[group][1]
        there = np.ones((N, steps), np.bool_) if seen is None else seen
        between = (np.arange(steps) >= stage.between.start) & (np.arange(steps) < stage.between.stop)
        some = np.flatnonzero(there & between)
        return torch.from_numpy(some if len(some) else np.flatnonzero(there))

    def _neighbours(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Places (B, groups of features, T, neighbours) in the background, -1 where there are no more."""
        given = x.detach().double() if observed is None else x.detach().double().masked_fill(~observed, torch.nan)
        series = given.cpu().contiguous().numpy()
        keys = [hashlib.sha256(repr((one.shape, self.categorical)).encode() + one.tobytes()).digest() for one in series]
        known = {key: self._found[key] for key in keys if key in self._found}
        new = [b for b, key in enumerate(keys) if key not in known]
        if new:
            known |= zip((keys[b] for b in new), self._search(series[new]), strict=True)
        for key in keys:
            self._found[key] = known[key]
        while sum(found.nbytes for found in list(self._found.values())) > KEPT:
            self._found.pop(next(iter(self._found)), None)
        return torch.stack([known[key] for key in keys])

    def _search(self, series: Float64) -> Tensor:
        shape = len(series), len(self._groups), series.shape[2], self.neighbours
        found: Int64 = np.full(shape, -1)
        for stage in self._stages(series.shape[2]):
            if stage.steps == 0 or len(stage.between) == 0:
                continue
            times = slice(stage.times.start, stage.times.stop)
            for g, (_, seen) in enumerate(self._groups):
                found[:, g, times] = self._windows.nearest(
                    series, stage.times, stage.steps, stage.between, self.neighbours, seen
                )
        return torch.from_numpy(found)

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_found": {}}
        state.pop("_windows", None)
        return state


def _whole(unit: Tensor, number: Tensor | int) -> Tensor:
    """Numbers in (0, 1) as 0 … number - 1; 0 where number is 0."""
    number = torch.as_tensor(number, device=unit.device)
    return torch.minimum((unit * number).long(), (number - 1).clamp(min=0))
