"""The State benchmark: a hidden state says which feature makes the label."""

from __future__ import annotations

import numpy as np

from rambit.datasets.chain import Draws, Truth, check_sizes, draw, labelled, salient_cells, walk
from rambit.datasets.dataset import Array, Dataset

# To state 1 with probability .9, to state 0 with .1, from either.
TRANSITION = np.array([[0.1, 0.9], [0.1, 0.9]])
MEAN = np.array([[0.1, 1.6, 0.5], [-0.1, -0.4, -1.5]])
IMPORTANT = np.array([1, 2])  # the feature that makes the label, in each state
CORRELATED = 0  # with the important one, in either state


def state(n: int = 1000, T: int = 200, truth: Truth = "change", seed: int = 0) -> Dataset:
    """State: (n, 3, T) normal values whose mean follows a hidden state; labels (n, T) from the state's own feature.

    The label is 1 with probability sigmoid(2 x[k]), k = 1 in state 0 and 2 in state 1. truth: the salient cells are
    feature k at every step ("active"), or only at the steps where the state is another than before ("change"; the
    first step is none). It changes nothing else, and results under the two are not comparable.

    Raises ValueError for n < 1, T < 2, a negative seed, or another truth. Source: Tonekaboni et al., 2020, with the
    parameters, and `active`, of Crabbé and van der Schaar, "Explaining time series predictions with dynamic masks",
    2021.
    """
    check_sizes(n, T, seed)
    draws = draw(n, T, seed)
    return emitted("state", walk(draws.state, TRANSITION), draws, truth)


def covariances() -> Array:
    """(2, 3, 3): .801 on the diagonal and .01 between the important and the correlated feature of each state."""
    covariance = np.tile((0.8 + 1e-3) * np.eye(3), (2, 1, 1))
    for matrix, k in zip(covariance, IMPORTANT, strict=True):
        matrix[k, CORRELATED] = matrix[CORRELATED, k] = 0.01
    return covariance


def emitted(name: str, states: Array, draws: Draws, truth: Truth) -> Dataset:
    """The set of values and labels that the hidden states (n, T) emit."""
    salient = salient_cells(states, IMPORTANT, 3, truth)
    factor = np.linalg.cholesky(covariances())
    X = np.moveaxis(MEAN[states], -1, 1) + np.einsum("ntde,net->ndt", factor[states], draws.value)
    return labelled(f"{name}:truth={truth}", X, IMPORTANT[states], 2.0, draws, salient)
