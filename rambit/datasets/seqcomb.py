"""SeqComb-MV and SeqComb-UV: the class is a combination of rising and falling trends in two features, or in one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.checks import number
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams
from rambit.datasets.spike import narma

CLASSES = ("nothing", "falling, falling", "rising, rising", "rising, falling")
SLOPES = np.array([[0, 0], [-1, -1], [1, 1], [1, -1]])  # the signs of the two trends, for each class


class Trends(NamedTuple):
    """What a trend is like: its steps, from shortest to longest, and the mean frequency of the sine on it."""

    shortest: int
    longest: int
    wave: float


MV, UV = Trends(15, 29, 5), Trends(10, 19, 10)


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    u: Array  # (n, D, T + 2), uniform on [0, .5); u[..., t] is u at time t - 2
    noise: Array  # (n, D, T), standard normal
    label: Array  # (n,), 0..3
    features: Array  # (n, D): a random order of the features, of which the first two (the only one) get the trends
    size: Array  # (n, 2): steps of each trend
    place: Array  # (n, 2), uniform on [0, 1): where each stands
    wave: Array  # (n, 2), Poisson: the frequency of the sine on each


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
    return _assemble("seqcomb_mv", _draw(n, T, D, seed, MV), 0.01)


def seqcomb_uv(n: int = 5000, T: int = 200, noise: float = 0.01, seed: int = 0) -> Dataset:
    """SeqComb-UV: (n, 1, T), as `seqcomb_mv`, but both trends stand in the one feature and take 10 to 19 steps each.

    noise: the standard deviation of what is added to the NARMA series. salient: the cells of the trends. Raises
    ValueError for n < 1, T < 73 (both trends must fit), or a negative noise or seed. Source: see `seqcomb_mv`.
    """
    at_least(1, n=n)
    at_least(73, T=T)
    at_least(0, seed=seed)
    number("noise", noise, 0.0)
    fits(n=n, D=1, T=T)
    return _assemble("seqcomb_uv", _draw(n, T, 1, seed, UV), noise)


def _draw(n: int, T: int, D: int, seed: int, trends: Trends) -> Draws:
    u, noise, label, features, size, place, wave = streams(seed, 7)
    return Draws(
        u=u.uniform(0, 0.5, (n, D, T + 2)),
        noise=noise.standard_normal((n, D, T)),
        label=label.integers(0, 4, n),
        features=features.random((n, D)).argsort(axis=1, kind="stable"),
        size=size.integers(trends.shortest, trends.longest + 1, (n, 2)),
        place=place.random((n, 2)),
        wave=wave.poisson(trends.wave, (n, 2)),
    )


def _assemble(name: str, draws: Draws, noise: float) -> Dataset:
    D, T = draws.noise.shape[1:]
    X = narma(draws.u, 0.3, 1.5, 0.1) + noise * draws.noise
    salient = np.zeros(X.shape, dtype=bool)
    span = 5 * (np.abs(X.max(axis=(1, 2))) + np.abs(X.min(axis=(1, 2))))
    for i in np.flatnonzero(draws.label):
        begin, room = 0, T // 2
        for j, sign in enumerate(SLOPES[draws.label[i]]):
            size = draws.size[i, j]
            begin += int(draws.place[i, j] * room)
            steps = np.arange(size) - size // 2
            cells = i, draws.features[i, min(j, D - 1)], slice(begin, begin + size)
            X[cells] = sign * span[i] / size * steps + np.sin(draws.wave[i, j] * steps)
            salient[cells] = True
            begin, room = begin + size, T - draws.size[i, 1] - begin - size + 1
    return Dataset(name, X.astype(np.float32), draws.label, salient, class_names=CLASSES)
