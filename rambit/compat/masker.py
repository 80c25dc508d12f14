"""Removing what scores high, as WinIT's and RaMbIT's repositories do: arrays in, arrays out, no model.

``rambit.metrics`` has the same removals for a game (``extent="std"`` or ``"end"``, ``per="series"`` or ``"all"``, with
``CarryForward()``). It measures every removal on the series as it was; here, as there, a removal sees those before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rambit.checks import count, flag, number, one_of

Float = npt.NDArray[np.floating[Any]]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

MaskMethod = Literal["std", "end", "end_fit"]
MASK_METHODS = ("std", "end", "end_fit")
AggregateMethod = Literal["mean", "max", "absmax"]
AGGREGATE_METHODS = ("mean", "max", "absmax")
#: The first step that is removed, by method.
MIN_TIME = {"std": 1, "end": 1, "end_fit": 10}
#: Scores up to this one are never removed.
NEVER = -1000


def aggregate_scores(scores: Float, aggregate_method: AggregateMethod = "mean") -> Float:
    """Scores (N, D, T): those of WinIT, (N, D, T, W), over the predictions that saw an observation; others as they are.

    ``mean``, ``max``, or ``absmax``, the value of largest magnitude (of equal ones the positive). NaN counts as 0.
    """
    one_of("aggregate_method", aggregate_method, AGGREGATE_METHODS)
    if scores.ndim == 3:
        return scores
    if scores.ndim != 4:
        raise ValueError(f"scores must be (N, D, T) or (N, D, T, W), got {scores.shape}")
    T, W = scores.shape[2:]
    found = np.zeros(scores.shape[:3])
    for t in range(T):
        later = np.arange(min(W, T - t))
        seen = np.nan_to_num(scores[:, :, t + later, W - 1 - later])
        low, high = seen.min(axis=-1), seen.max(axis=-1)
        absmax = np.where(-low > high, low, high)
        found[:, :, t] = {"mean": seen.mean(axis=-1), "max": high, "absmax": absmax}[aggregate_method]
    return found


class _Masker:
    """What both maskers share: how scores are read, and what is counted.

    After ``mask``, by the keys of its scores: ``start_masked_count`` (D, T), in how many series a removal begins there,
    ``all_masked_count`` (D, T), in how many a cell is replaced, and ``feature_masked`` (T,), how many features have a
    removal that begins there.
    """

    def __init__(self, seed: int, absolutize: bool, aggregate_method: AggregateMethod) -> None:
        self.seed, self.absolutize = count("seed", seed, 0), flag("absolutize", absolutize)
        self.aggregate_method = one_of("aggregate_method", aggregate_method, AGGREGATE_METHODS)
        self.start_masked_count: dict[Any, Int] = {}
        self.all_masked_count: dict[Any, Int] = {}
        self.feature_masked: dict[Any, Int] = {}

    def _read(self, x_test: Float, importance_scores: Mapping[Any, Float], steps: int = 1) -> dict[Any, Float]:
        """Scores (N, D, T) of these series; ValueError for scores of others, or for fewer steps."""
        if x_test.ndim != 3 or x_test.shape[2] < steps:
            raise ValueError(f"x_test must be (N, D, T), T at least {steps}, got {x_test.shape}")
        given = {key: aggregate_scores(np.asarray(s), self.aggregate_method) for key, s in importance_scores.items()}
        for key, scores in given.items():
            if scores.shape != x_test.shape:
                raise ValueError(f"importance_scores[{key!r}] must be {x_test.shape} like x_test, got {scores.shape}")
        return {key: np.abs(scores) if self.absolutize else scores for key, scores in given.items()}

    def _count(self, changes: Mapping[Any, _Change]) -> dict[Any, Float]:
        """Note what was replaced; the series as they are now."""
        self.start_masked_count = {key: one.starts.sum(axis=0) for key, one in changes.items()}
        self.all_masked_count = {key: one.masked.sum(axis=0) for key, one in changes.items()}
        self.feature_masked = {key: one.starts.any(axis=1).sum(axis=0) for key, one in changes.items()}
        return {key: one.x for key, one in changes.items()}


class Masker(_Masker):
    """Replaces the observations of highest scores by the value before them, from each on.

    ``mask_method``: ``end`` replaces to the end of the series, ``std`` until the value first lies further from the
    observation's than its feature's standard deviation, ``end_fit`` like end, from step 10 on, as in FIT's.
    ``top``: a count (int) for each series, or a share (float) of all cells together. ``balanced``: a count is one of
    replaced cells, not of removals. ``seed`` shuffles equal scores; ``absolutize``: by their magnitude.
    """

    def __init__(
        self,
        mask_method: MaskMethod,
        top: float,
        balanced: bool,
        seed: int,
        absolutize: bool,
        aggregate_method: AggregateMethod = "mean",
    ) -> None:
        super().__init__(seed, absolutize, aggregate_method)
        self.mask_method = one_of("mask_method", mask_method, MASK_METHODS)
        self.local = isinstance(top, (int, np.integer)) and not isinstance(top, bool)
        self.top = count("top", top, 0) if self.local else number("top", top, 0.0, 1.0)
        self.balanced = flag("balanced", balanced)
        if self.balanced and (not self.local or mask_method == "end_fit"):
            raise ValueError("balanced=True applies to a count top=, with mask_method='std' or 'end'")
        self.min_time = MIN_TIME[mask_method]

    def mask(self, x_test: Float, importance_scores: Mapping[Any, Float]) -> dict[Any, Float]:
        """``x_test`` (N, D, T) without what scores high, for each of ``importance_scores``, (N, D, T) or (N, D, T, W).

        Raises ValueError for scores of other series, or for series that are over before the first step to remove.
        """
        x_test, changes = np.asarray(x_test), {}
        for key, scores in self._read(x_test, importance_scores, self.min_time + 1).items():
            changes[key] = _Change(x_test.copy(), self.mask_method)
            self._remove(changes[key], scores)
        return self._count(changes)

    def _remove(self, change: _Change, scores: Float) -> None:
        if self.mask_method == "end_fit":
            remove = self._fit_of_each if self.local else self._fit_of_all
            remove(change, scores.copy())
        elif self.local:
            for one in self._order(scores):
                self._walk(change, scores, one, int(self.top))
        else:
            order = self._order(scores)[0]
            cells = int(len(order) * self.top)
            self._walk(change, scores, order[:cells], cells)

    def _order(self, scores: Float) -> Int:
        """Cells from the first step that may go, highest scores first, equal ones shuffled: (N, cells), or (1, all)."""
        N, D, T = scores.shape
        later = scores[:, :, self.min_time :]
        rows = later.reshape(N, -1) if self.local else later.reshape(1, -1)
        order = np.argsort(rows)[:, ::-1].copy()
        random = np.random.default_rng(self.seed)
        for row, one in zip(rows, order, strict=True):
            for group in np.split(one, np.flatnonzero(row[one][1:] != row[one][:-1]) + 1):
                if len(group) > 1:
                    random.shuffle(group)
        if self.local:
            order += np.arange(N)[:, None] * later[0].size
        n, d, t = np.unravel_index(order, later.shape)
        return np.asarray(np.ravel_multi_index((n, d, t + self.min_time), (N, D, T)))

    def _walk(self, change: _Change, scores: Float, cells: Iterable[int], most: int) -> None:
        """Remove these cells in order, up to ``most`` of them, or of the cells that go with them."""
        removed = replaced = 0
        for cell in cells:
            n, d, t = map(int, np.unravel_index(cell, scores.shape))
            if removed >= most or (self.balanced and replaced >= most) or scores[n, d, t] <= NEVER:
                break
            if change.masked[n, d, t]:
                continue
            removed, replaced = removed + 1, replaced + change.carry(n, d, t)

    def _fit_of_all(self, change: _Change, scores: Float) -> None:
        """From the first score of each feature that is in the highest share of all; else its last step."""
        threshold = np.percentile(scores[:, :, self.min_time :], 100 - self.top * 100)
        high = scores[:, :, self.min_time :] >= threshold
        first = np.where(high.any(axis=2), high.argmax(axis=2), high.shape[2] - 1)
        for (n, d), t in np.ndenumerate(first):
            change.carry(n, d, t + self.min_time)

    def _fit_of_each(self, change: _Change, scores: Float) -> None:
        """From each of the highest scores of a series on; what went scores -1 from then on."""
        for n, one in enumerate(scores):
            later = one[:, self.min_time :]
            for _ in range(int(self.top)):
                d, t = map(int, np.unravel_index(later.argmax(), later.shape))
                later[d, t:] = -1
                change.carry(n, d, t + self.min_time)

    def get_name(self) -> str:
        """The published name, which files of masks carry; ``absolutize`` and ``seed`` are no part of it, as there."""
        if not self.local:
            return f"globaltop{int(self.top * 100)}_{self.mask_method}_{self.aggregate_method}"
        kind = "bal" if self.balanced else "top"
        return f"{kind}{self.top}_{self.mask_method}_{self.aggregate_method}"


class Masker1(_Masker):
    """Replaces single cells of each series, those of its highest or lowest scores, or all the others.

    ``mask_method`` is ``cells``. ``substitution``: ``zero``, or ``mean``, that of the feature over the series' steps.
    ``balanced`` and ``seed`` have no effect, as there.
    """

    def __init__(
        self,
        mask_method: Literal["cells"],
        balanced: bool,
        seed: int,
        absolutize: bool,
        aggregate_method: AggregateMethod = "mean",
        substitution: Literal["zero", "mean"] = "zero",
    ) -> None:
        super().__init__(seed, absolutize, aggregate_method)
        self.mask_method = one_of("mask_method", mask_method, ("cells",))
        if flag("balanced", balanced):
            raise ValueError("balanced=True does not apply to single cells")
        self.substitution = one_of("substitution", substitution, ("zero", "mean"))

    def mask(
        self,
        x_test: Float,
        importance_scores: Mapping[Any, Float],
        k: float,
        direction: Literal["top", "bottom"] = "top",
        mode: Literal["remove", "keep"] = "remove",
    ) -> dict[Any, Float]:
        """``x_test`` (N, D, T) without, or with only (``keep``), the k highest or lowest cells of each series.

        ``k``: a count (int) from 1, or a share (float) of the cells, rounded, but at least one. Raises ValueError or
        TypeError for others, and for scores of other series.
        """
        one_of("direction", direction, ("top", "bottom"))
        one_of("mode", mode, ("remove", "keep"))
        x_test = np.asarray(x_test)
        given = self._read(x_test, importance_scores)
        cells = x_test[0].size
        if isinstance(k, (float, np.floating)):
            k = max(1, round(number("k", k, 0.0, 1.0, above=True) * cells))
        k = count("k", k, 1, cells)
        mean = x_test.mean(axis=2, keepdims=True)
        values = np.broadcast_to(mean if self.substitution == "mean" else np.zeros_like(mean), x_test.shape)
        changes = {}
        for key, scores in given.items():
            rows = scores.reshape(len(scores), -1)
            chosen = np.zeros(rows.shape, dtype=bool)
            order = np.argsort(-rows if direction == "top" else rows, axis=1)
            np.put_along_axis(chosen, order[:, :k], True, axis=1)
            change = changes[key] = _Change(x_test.copy(), self.mask_method)
            change.replace(chosen.reshape(scores.shape) == (mode == "remove"), values)
        return self._count(changes)

    def get_name(self) -> str:
        """The published name."""
        return f"cells_{self.substitution}_{self.aggregate_method}"


class _Change:
    """Series x (N, D, T) that are being changed, which cells were replaced, and where a removal began."""

    def __init__(self, x: Float, mask_method: str) -> None:
        self.x, self.mask_method = x, mask_method
        self.masked, self.starts = np.zeros(x.shape, dtype=bool), np.zeros(x.shape, dtype=bool)

    def carry(self, n: int, d: int, t: int) -> int:
        """Put the value before t in place of those from t on, as far as the method reaches; over how many steps."""
        line = self.x[n, d]
        end = len(line)
        if self.mask_method == "std":
            far = np.flatnonzero(np.abs(line[t:] - line[t]) > np.std(line))
            end = t + far[0] if len(far) else end
        line[t:end] = line[t - 1]
        self.masked[n, d, t:end] = True
        self.starts[n, d, t] = True
        return int(end - t)

    def replace(self, where: Bool, values: Float) -> None:
        """Put these values where the mask (N, D, T) says, each a removal of its own."""
        self.x[where] = values[where]
        self.masked, self.starts = where, where
