"""SeqComb-MV: the class is a combination of a rising and a falling trend in two of the features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams
from rambit.datasets.spike import narma

CLASSES = ("nothing", "falling, falling", "rising, rising", "rising, falling")
SLOPES = np.array([[0, 0], [-1, -1], [1, 1], [1, -1]])  # the signs of the two trends, for each class
SHORTEST, LONGEST = 15, 29


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    u: Array  # (n, D, T + 2), uniform on [0, .5); u[..., t] is u at time t - 2
    noise: Array  # (n, D, T), N(0, .01)
    label: Array  # (n,), 0..3
    features: Array  # (n, D): a random order of the features, of which the first two get a trend
    size: Array  # (n, 2), 15..29: steps of each trend
    place: Array  # (n, 2), uniform on [0, 1): where each stands
    wave: Array  # (n, 2), Poisson(5): the frequency of the sine on each


def seqcomb_mv(n: int = 5000, T: int = 200, D: int = 4, seed: int = 0) -> Dataset:
    """SeqComb-MV: (n, D, T) noise in which two features hold a trend each, one after the other; labels (n,), 4 classes.

    Class 0 holds none, 1 two falling trends, 2 two rising ones, 3 a rising and then a falling one; all are equally
    likely. A trend takes 15 to 29 steps and runs, with a sine on it, over five times the range of the noise. The first
    starts in the first half. salient: the cells of the trends.

    Raises ValueError for n < 1, T < 113 (both trends must fit), D < 2, or a negative seed. Source: Queen et al.,
    "Encoding time-series explanations through self-supervised model behavior consistency", 2023; there the classes
    come in order and in equal numbers.
    """
    at_least(1, n=n)
    at_least(113, T=T)
    at_least(2, D=D)
    at_least(0, seed=seed)
    fits(n=n, D=D, T=T)
    return _assemble(_draw(n, T, D, seed))


def _draw(n: int, T: int, D: int, seed: int) -> Draws:
    u, noise, label, features, size, place, wave = streams(seed, 7)
    return Draws(
        u=u.uniform(0, 0.5, (n, D, T + 2)),
        noise=noise.normal(0, 0.01, (n, D, T)),
        label=label.integers(0, 4, n),
        features=features.random((n, D)).argsort(axis=1, kind="stable"),
        size=size.integers(SHORTEST, LONGEST + 1, (n, 2)),
        place=place.random((n, 2)),
        wave=wave.poisson(5, (n, 2)),
    )


def _assemble(draws: Draws) -> Dataset:
    T = draws.noise.shape[2]
    X = narma(draws.u, 0.3, 1.5, 0.1) + draws.noise
    salient = np.zeros(X.shape, dtype=bool)
    span = 5 * (np.abs(X.max(axis=(1, 2))) + np.abs(X.min(axis=(1, 2))))
    for i in np.flatnonzero(draws.label):
        begin, room = 0, T // 2
        for j, sign in enumerate(SLOPES[draws.label[i]]):
            size = draws.size[i, j]
            begin += int(draws.place[i, j] * room)
            steps = np.arange(size) - size // 2
            cells = i, draws.features[i, j], slice(begin, begin + size)
            X[cells] = sign * span[i] / size * steps + np.sin(draws.wave[i, j] * steps)
            salient[cells] = True
            begin, room = begin + size, T - draws.size[i, 1] - begin - size + 1
    return Dataset("seqcomb_mv", X.astype(np.float32), draws.label, salient, class_names=CLASSES)
