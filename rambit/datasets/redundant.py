"""Redundant-Spike: two features say the same, and either is enough."""

from __future__ import annotations

import numpy as np

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams
from rambit.datasets.spike import CLASSES, SPIKE, Draws, first, smooth_series, spikes_at
from rambit.datasets.spike import _draw as _draw_spike

# Which of features 0 and 1 show the spikes; equally likely, so that each does in two thirds of the series.
PRESENT = np.array([[True, False], [False, True], [True, True]])


def redundant_spike(n: int = 3000, T: int = 80, seed: int = 0) -> Dataset:
    """Redundant-Spike: as `spike`, but the spikes stand in feature 0, in feature 1, or in both at the same times.

    Labels (n, T) are 1 from the first of these spikes on. Each of the two features has them with probability 2/3, and
    at least one does: the three cases are equally likely. There are max(1, Poisson(3)) spikes; feature 2 is that of
    `spike`. salient: the first spike, in each feature that has it. Where both do, replacing one changes nothing, so
    leave-one-out is blind there.

    Raises ValueError for n < 1, T < 2, or a negative seed.
    """
    at_least(1, n=n)
    at_least(2, T=T)
    at_least(0, seed=seed)
    fits(n=n, D=3, T=T)
    return _assemble(*_draw(n, T, seed))


def _draw(n: int, T: int, seed: int) -> tuple[Draws, Array]:
    # The sixth stream: the first five are those of `spike`.
    return _draw_spike(n, T, seed), PRESENT[streams(seed, 6)[5].integers(0, 3, n)]


def _assemble(draws: Draws, present: Array) -> Dataset:
    X = smooth_series(draws)
    spikes = spikes_at(draws.times, draws.spiky * draws.number)
    shown = spikes_at(draws.times[:, 0], np.maximum(draws.number[:, 0], 1))
    spikes[:, :2] = shown[:, None] & present[..., None]
    X[spikes] += SPIKE

    y = np.maximum.accumulate(shown, axis=-1).astype(np.int64)
    salient = np.zeros(X.shape, dtype=bool)
    salient[:, :2] = first(spikes[:, :2])
    return Dataset("redundant_spike", X.astype(np.float32), y, salient, class_names=CLASSES)
