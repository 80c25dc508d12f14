"""The synthetic set of InterpretTime: the class is whether the frequencies of two short sine waves sum to much."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

CLASSES = ("slow", "fast")
BASE, WAVE = (2, 5), (10, 50)  # lowest and highest frequencies, in cycles a series
MEDIAN = 60  # of the sum of two frequencies of waves


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    features: Array  # (n, D): a random order of the features, of which the first two get a sine wave
    base: Array  # (n, D), 2..5
    wave: Array  # (n, D), 10..50
    start: Array  # (n, D), uniform on [0, 1): where the wave begins
    square: Array  # (n, D) bool: whether a feature without a sine wave gets a square one


def sine_sum(n: int = 5000, T: int = 500, D: int = 6, seed: int = 0) -> Dataset:
    """InterpretTime: (n, D, T), in two features a slow and, for T // 5 steps, a fast sine wave; labels (n,), 2 classes.

    The class is 1 if the frequencies of the two fast waves, 10 to 50 cycles a series each, sum to more than 60, their
    median. Every feature has a slow wave of half the height and 2 to 5 cycles; each of the others has nothing else or,
    as likely, a fast square wave somewhere. salient: the cells of the two fast sine waves.

    Raises ValueError for n < 1, T < 102 (a wave of 50 cycles needs two steps each), D < 2, or a negative seed. Source:
    Turbé et al., "Evaluation of post-hoc interpretability methods in time-series classification", 2023; there are
    15000 series, of which 70 % are to train on, 15 % to choose by and 15 % to test.
    """
    at_least(1, n=n)
    at_least(102, T=T)
    at_least(2, D=D)
    at_least(0, seed=seed)
    fits(n=n, D=D, T=T)
    return _assemble(_draw(n, D, seed), T)


def _draw(n: int, D: int, seed: int) -> Draws:
    features, base, wave, start, square = streams(seed, 5)
    return Draws(
        features=features.random((n, D)).argsort(axis=1, kind="stable"),
        base=base.integers(BASE[0], BASE[1] + 1, (n, D)),
        wave=wave.integers(WAVE[0], WAVE[1] + 1, (n, D)),
        start=start.random((n, D)),
        square=square.random((n, D)) < 0.5,
    )


def _assemble(draws: Draws, T: int) -> Dataset:
    support = T // 5
    X = 0.5 * _waves(BASE, T, T)[draws.base - BASE[0]]
    wave = _waves(WAVE, T, support)[draws.wave - WAVE[0]]
    sine = np.zeros(draws.square.shape, dtype=bool)
    np.put_along_axis(sine, draws.features[:, :2], True, axis=1)
    wave = np.where(sine[:, :, None], wave, np.sign(wave) * draws.square[:, :, None])

    cells = np.floor(draws.start * (T - support)).astype(np.int64)[:, :, None] + np.arange(support)
    np.put_along_axis(X, cells, np.take_along_axis(X, cells, axis=2) + wave, axis=2)
    salient = np.zeros(X.shape, dtype=bool)
    np.put_along_axis(salient, cells, sine[:, :, None], axis=2)
    y = ((draws.wave * sine).sum(axis=1) > MEDIAN).astype(np.int64)
    return Dataset("sine_sum", X.astype(np.float32), y, salient, class_names=CLASSES)


def _waves(frequencies: tuple[int, int], T: int, steps: int) -> Array:
    """(F, steps): the first steps of a sine of T steps, of each frequency from the lowest to the highest."""
    cycles = np.arange(frequencies[0], frequencies[1] + 1)[:, None] * np.arange(steps) / (T - 1)
    return np.asarray(np.sin(2 * np.pi * cycles))
