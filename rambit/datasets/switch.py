"""The Switch-Feature benchmark: three hidden states, each with a feature of its own that makes the label."""

from __future__ import annotations

import math

import numpy as np

from rambit.datasets.chain import Draws, Truth, check_sizes, draw, labelled, salient_cells, walk
from rambit.datasets.dataset import MOST_CELLS, Array, Dataset

TRANSITION = np.array([[0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.03, 0.02, 0.95]])
MEAN = np.array([[0.8, -0.5, -0.2], [0.0, -1.0, 0.0], [-0.2, -0.2, 0.8]])
LENGTH_SCALE, VARIANCE = 0.2, 0.1
SLOPE = 3.0


def switch_feature(n: int = 1000, T: int = 100, truth: Truth = "change", seed: int = 0) -> Dataset:
    """Switch-Feature: (n, 3, T), in each stretch of one state a Gaussian process around the state's means.

    The label (n, T) is 1 with probability sigmoid(3 x[k]), where k is the number of the state. The length scale of the
    squared-exponential kernel is .2 steps, so that neighbouring values are almost independent. truth: the salient
    cells are feature k at every step ("active"), or only at the steps where the state is another than before
    ("change"; the first step is none); results under the two are not comparable.

    Raises ValueError for n < 1, T < 2, a negative seed, or another truth. Source: Tonekaboni et al., 2020; the factor
    3, the unit of time and the probabilities of a change are those of the published generator.
    """
    check_sizes(n, T, seed)
    if T * T > MOST_CELLS:
        raise ValueError(f"T must be at most {math.isqrt(MOST_CELLS)}, got {T}: a Gaussian process needs T x T numbers")
    return _assemble(draw(n, T, seed), truth)


def covariance(T: int) -> Array:
    """(T, T): the kernel at T successive steps, and 1e-9 on the diagonal."""
    t = np.arange(T)
    return np.asarray(VARIANCE * np.exp(-((t[:, None] - t) ** 2) / (2 * LENGTH_SCALE**2)) + 1e-9 * np.eye(T))


def _assemble(draws: Draws, truth: Truth) -> Dataset:
    n, T = draws.state.shape
    states = walk(draws.state, TRANSITION)
    salient = salient_cells(states, np.arange(3), 3, truth)
    # The corner of a Cholesky factor is the factor of the corner, so one serves stretches of every length.
    factor = np.linalg.cholesky(covariance(T))
    X = np.empty((n, 3, T))
    for values, normal, path in zip(X, draws.value, states, strict=True):
        edges = np.flatnonzero(np.diff(path)) + 1
        for begin, end in zip([0, *edges], [*edges, T], strict=True):
            corner = factor[: end - begin, : end - begin]
            values[:, begin:end] = MEAN[path[begin]][:, None] + normal[:, begin:end] @ corner.T
    return labelled(f"switch_feature:truth={truth}", X, states, SLOPE, draws, salient)
