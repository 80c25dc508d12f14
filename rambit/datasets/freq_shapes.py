"""FreqShapes: the class is the sign and the period of a train of spikes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rambit.checks import number
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

CLASSES = ("down, every 10", "up, every 10", "down, every 17", "up, every 17")
SIGNS, PERIODS = np.array([-1, 1, -1, 1]), np.array([10, 10, 17, 17])
PEAK, FLANK = 2.0, 1.75  # heights of a spike's middle step, and of the steps before and after it


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    label: Array  # (n,), 0..3
    start: Array  # (n,), uniform on [0, 1): where the first spike stands
    noise: Array  # (n, T), standard normal


def freq_shapes(n: int = 5000, T: int = 50, noise: float = 0.25, seed: int = 0) -> Dataset:
    """FreqShapes: (n, 1, T), spikes of three steps in normal noise; labels (n,), four classes, equally likely.

    The spikes point down or up and follow each other after 10 or 17 steps; the first middle lies in the first T - 10
    or T - 17 steps, and a spike that the series would cut off is left out. noise: its standard deviation. salient: the
    cells of the spikes. In one series of 36 only one spike fits in, so that nothing in it shows the period.

    Raises ValueError for n < 1, T < 19, or a negative noise or seed. Source: Queen et al., "Encoding time-series
    explanations through self-supervised model behavior consistency", 2023; there the classes come in order and in
    equal numbers, 5000 series to train on and 1000 to test.
    """
    at_least(1, n=n)
    at_least(19, T=T)
    at_least(0, seed=seed)
    number("noise", noise, 0.0)
    fits(n=n, D=1, T=T)
    return _assemble(_draw(n, T, seed), noise)


def _draw(n: int, T: int, seed: int) -> Draws:
    label, start, noise = streams(seed, 3)
    return Draws(label.integers(0, 4, n), start.random(n), noise.standard_normal((n, T)))


def _assemble(draws: Draws, noise: float) -> Dataset:
    T = draws.noise.shape[1]
    period = PERIODS[draws.label]
    since = np.arange(T) - np.floor(draws.start * (T - period))[:, None]
    middle = (since >= 0) & (since % period[:, None] == 0)
    middle[:, [0, -1]] = False
    height = PEAK * middle
    height[:, :-1] += FLANK * middle[:, 1:]
    height[:, 1:] += FLANK * middle[:, :-1]
    X = SIGNS[draws.label][:, None] * height + noise * draws.noise
    return Dataset("freq_shapes", X[:, None].astype(np.float32), draws.label, height[:, None] > 0, class_names=CLASSES)
