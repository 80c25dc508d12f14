"""LowVar: the class is which of two features turns quiet for a while, and at which level."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.checks import number
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams
from rambit.datasets.spike import narma

CLASSES = ("feature 0, low", "feature 0, high", "feature 1, low", "feature 1, high")
LEVEL, QUIET = 1.5, 0.1  # distance of the levels from zero, and the standard deviation around them
SHORTEST, LONGEST = 10, 19
BEFORE, AFTER = 20, 40  # the stretch starts in none of the first 20 and last 40 steps


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    u: Array  # (n, 2, T + 2), uniform on [0, .5); u[..., t] is u at time t - 2
    noise: Array  # (n, 2, T), standard normal
    label: Array  # (n,), 0..3
    size: Array  # (n,), 10..19: steps of the quiet stretch
    start: Array  # (n,), 20..T - 41
    quiet: Array  # (n, T), standard normal


def low_var(n: int = 5000, T: int = 200, noise: float = 1.0, seed: int = 0) -> Dataset:
    """LowVar: (n, 2, T), a noisy NARMA series in each feature, one of which is quiet for 10 to 19 steps; labels (n,).

    In these steps the feature has mean -1.5 or 1.5 and standard deviation .1: two features and two levels make four
    classes, equally likely. noise: the standard deviation elsewhere. salient: the cells of the quiet stretch.

    Raises ValueError for n < 1, T < 61, or a negative noise or seed. Source: Queen et al., "Encoding time-series
    explanations through self-supervised model behavior consistency", 2023; there the classes come in order and in
    equal numbers, 5000 series to train on and 1000 to test.
    """
    at_least(1, n=n)
    at_least(BEFORE + AFTER + 1, T=T)
    at_least(0, seed=seed)
    number("noise", noise, 0.0)
    fits(n=n, D=2, T=T)
    return _assemble(_draw(n, T, seed), noise)


def _draw(n: int, T: int, seed: int) -> Draws:
    u, noise, label, size, start, quiet = streams(seed, 6)
    return Draws(
        u=u.uniform(0, 0.5, (n, 2, T + 2)),
        noise=noise.standard_normal((n, 2, T)),
        label=label.integers(0, 4, n),
        size=size.integers(SHORTEST, LONGEST + 1, n),
        start=start.integers(BEFORE, T - AFTER, n),
        quiet=quiet.standard_normal((n, T)),
    )


def _assemble(draws: Draws, noise: float) -> Dataset:
    feature, level = np.divmod(draws.label, 2)
    since = np.arange(draws.noise.shape[2]) - draws.start[:, None]
    inside = (since >= 0) & (since < draws.size[:, None])
    salient = (feature[:, None] == np.arange(2))[:, :, None] & inside[:, None]
    quiet = LEVEL * (2 * level[:, None] - 1) + QUIET * draws.quiet
    X = np.where(salient, quiet[:, None], narma(draws.u, 0.3, 1.5, 0.1) + noise * draws.noise)
    return Dataset("low_var", X.astype(np.float32), draws.label, salient, class_names=CLASSES)
