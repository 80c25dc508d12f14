"""A classification where a static covariate says which of two features makes the label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.checks import number
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

CLASSES = ("down", "up")
STATIC = 2  # the feature that is the same at every step
HEIGHT, SHORTEST, LONGEST = 2.0, 5, 9  # of a bump, and its steps


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    noise: Array  # (n, 2, T), standard normal
    static: Array  # (n,), 0 or 1: the feature that makes the label
    up: Array  # (n, 2), 0 or 1: the direction of each feature's bump
    size: Array  # (n, 2), 5..9: its steps
    place: Array  # (n, 2), uniform on [0, 1): where it stands


def static_covariate(n: int = 2000, T: int = 50, noise: float = 0.5, seed: int = 0) -> Dataset:
    """Two features with a bump each in normal noise, and one that says which of them counts: (n, 3, T); labels (n,).

    A bump is 5 to 9 steps up or down by 2, anywhere. Feature 2 is static: 0 or 1 at all steps. The class is the
    direction of the bump of the feature that it names. noise: its standard deviation. salient: the cells of that bump,
    and feature 2 at all steps, also where both bumps have the same direction. Ours: no published numbers.

    Raises ValueError for n < 1, T < 9, or a negative noise or seed.
    """
    at_least(1, n=n)
    at_least(LONGEST, T=T)
    at_least(0, seed=seed)
    number("noise", noise, 0.0)
    fits(n=n, D=3, T=T)
    return _assemble(_draw(n, T, seed), noise)


def _draw(n: int, T: int, seed: int) -> Draws:
    noise, static, up, size, place = streams(seed, 5)
    return Draws(
        noise=noise.standard_normal((n, 2, T)),
        static=static.integers(0, 2, n),
        up=up.integers(0, 2, (n, 2)),
        size=size.integers(SHORTEST, LONGEST + 1, (n, 2)),
        place=place.random((n, 2)),
    )


def _assemble(draws: Draws, noise: float) -> Dataset:
    n, _, T = draws.noise.shape
    start = np.floor(draws.place * (T - draws.size + 1))[:, :, None]
    bump = (np.arange(T) >= start) & (np.arange(T) < start + draws.size[:, :, None])
    X, salient = np.empty((n, 3, T)), np.ones((n, 3, T), dtype=bool)
    X[:, :STATIC] = HEIGHT * (2 * draws.up[:, :, None] - 1) * bump + noise * draws.noise
    X[:, STATIC] = draws.static[:, None]
    salient[:, :STATIC] = bump & (draws.static[:, None] == np.arange(2))[:, :, None]
    y = draws.up[np.arange(n), draws.static]
    names = ("series 0", "series 1", "static")
    return Dataset("static_covariate", X.astype(np.float32), y, salient, feature_names=names, class_names=CLASSES)
