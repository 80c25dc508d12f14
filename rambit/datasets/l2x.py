"""L2X with a switch: two hidden states, each with four features of its own and a rule of its own for the label."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from rambit.datasets.chain import tiring_walk
from rambit.datasets.dataset import MOST_CELLS, Array, Dataset, at_least, fits, streams

MEAN = np.array([1.2, 0.8, 1.5, 0.4, 0.5, -1.2, -1.5, -0.8, -0.4])
VARIANCE = 0.5
LENGTH_SCALE = 0.5, 2.5  # of a feature's Gaussian process, uniform between these; the same in all series
SWITCH = 9  # the feature that shows the state


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    scale: Array  # (9,), the length scales
    state: Array  # (n, T), uniform on [0, 1)
    value: Array  # (n, 9, T), standard normal
    label: Array  # (n, T), uniform on [0, 1)


def l2x(n: int = 1000, T: int = 100, seed: int = 0) -> Dataset:
    """L2X with a switch: nine Gaussian processes, and feature 9, which is .5 in state 0 and -.5 in state 1; (n, 10, T).

    The label (n, T) is 1 with probability sigmoid(4 - sum of squares of features 1 to 4) in state 0, and with
    ``sigmoid(10 sin(-.2 a) - |b| - c - exp(-d) + 2.4)`` of features 5 to 8 in state 1. The states are those of `hmm`.
    salient: the four features of the state, and feature 9, at every step.

    Raises ValueError for n < 1, T < 2, or a negative seed. Source: Tonekaboni et al., "What went wrong and when?
    Instance-wise feature importance for time-series black-box models", 2020, whose generator takes both rules from
    Chen et al., "Learning to explain", 2018.
    """
    at_least(1, n=n)
    at_least(2, T=T)
    at_least(0, seed=seed)
    fits(n=n, D=10, T=T)
    if T * T > MOST_CELLS:
        raise ValueError(f"T must be at most {math.isqrt(MOST_CELLS)}, got {T}: a Gaussian process needs T x T numbers")
    return _assemble(_draw(n, T, seed))


def _draw(n: int, T: int, seed: int) -> Draws:
    scale, state, value, label = streams(seed, 4)
    return Draws(
        scale=scale.uniform(*LENGTH_SCALE, len(MEAN)),
        state=state.random((n, T)),
        value=value.standard_normal((n, len(MEAN), T)),
        label=label.random((n, T)),
    )


def log_odds(X: Array, states: Array) -> Array:
    """(n, T): of label 1, for X (n, 10, T) in the states (n, T)."""
    a, b, c, d = np.moveaxis(X[:, 5:9], 1, 0)
    first = 4 - (X[:, 1:5] ** 2).sum(axis=1)
    second = 10 * np.sin(-0.2 * a) - np.abs(b) - c - np.exp(-d) + 2.4
    return np.asarray(np.where(states == 0, first, second))


def _assemble(draws: Draws) -> Dataset:
    n, _, T = draws.value.shape
    states = tiring_walk(draws.state)
    X = np.empty((n, 10, T))
    squared = (np.arange(T)[:, None] - np.arange(T)) ** 2
    for d, scale in enumerate(draws.scale):
        kernel = VARIANCE * np.exp(-squared / (2 * scale**2)) + 1e-9 * np.eye(T)
        # No matrix product: BLAS may round a row differently among other numbers of rows.
        X[:, d] = MEAN[d] + np.einsum("nt,st->ns", draws.value[:, d], np.linalg.cholesky(kernel))
    X[:, SWITCH] = 0.5 - states
    y = (draws.label < 1 / (1 + np.exp(-log_odds(X, states)))).astype(np.int64)
    salient = np.zeros(X.shape, dtype=bool)
    salient[:, 1:5] = (states == 0)[:, None]
    salient[:, 5:9] = (states == 1)[:, None]
    salient[:, SWITCH] = True
    return Dataset("l2x", X.astype(np.float32), y, salient, class_names=("0", "1"))
