"""What the data sets with hidden states share: a Markov chain, and which cells its states make salient."""

from __future__ import annotations

import numpy as np

from rambit.datasets.base import Array

TRUTHS = ("change", "active")


def walk(u: Array, transition: Array) -> Array:
    """States (n, T) of a Markov chain from uniform numbers u (n, T); at the start all states are equally likely.

    transition: (S, S), row i holds the probabilities of what follows state i.
    """
    count = len(transition)
    # The last bound would be 1; left out, so that rounding cannot make a state of its own above it.
    bounds = np.cumsum(transition, axis=1)[:, :-1]
    states = np.empty(u.shape, dtype=np.int64)
    states[:, 0] = (u[:, :1] >= np.arange(1, count) / count).sum(axis=1)
    for t in range(1, u.shape[1]):
        states[:, t] = (u[:, t, None] >= bounds[states[:, t - 1]]).sum(axis=1)
    return states


def salient_cells(states: Array, feature: Array, features: int, truth: str) -> Array:
    """(n, D, T) bool: cell (feature[state], t) at every step ("active"), or only where the state changed ("change").

    The first step is no change. Raises ValueError for another `truth`.
    """
    if truth not in TRUTHS:
        raise ValueError(f"truth must be one of {', '.join(TRUTHS)}, got {truth!r}")
    active = feature[states][:, None] == np.arange(features)[:, None]
    if truth == "change":
        active[..., 1:] &= np.diff(states)[:, None] != 0
        active[..., 0] = False
    return np.asarray(active)
