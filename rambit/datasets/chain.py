"""What the data sets with hidden states share: their random numbers, a Markov chain, salient cells and labels."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

Truth = Literal["change", "active"]
TRUTHS: tuple[Truth, ...] = get_args(Truth)


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    state: Array  # (n, T), uniform on [0, 1)
    value: Array  # (n, 3, T), standard normal
    label: Array  # (n, T), uniform on [0, 1)


def check_sizes(n: int, T: int, seed: int) -> None:
    """Raises ValueError for n < 1, T < 2, a negative seed, or more cells than are made at once."""
    at_least(1, n=n)
    at_least(2, T=T)
    at_least(0, seed=seed)
    fits(n=n, D=3, T=T)


def draw(n: int, T: int, seed: int) -> Draws:
    """The random numbers of n series of T steps."""
    chain, value, label = streams(seed, 3)
    return Draws(chain.random((n, T)), value.standard_normal((n, 3, T)), label.random((n, T)))


def labelled(name: str, X: Array, deciding: Array, slope: float, draws: Draws, salient: Array) -> Dataset:
    """The set with values X (n, 3, T); a label is 1 with probability sigmoid(slope · x[deciding]), deciding (n, T)."""
    x = np.take_along_axis(X, deciding[:, None], axis=1)[:, 0]
    y = (draws.label < 1 / (1 + np.exp(-slope * x))).astype(np.int64)
    return Dataset(name, X.astype(np.float32), y, salient, class_names=("0", "1"))


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


def tiring_walk(u: Array) -> Array:
    """States 0 and 1 (n, T) from uniform numbers u (n, T), equally likely at the start.

    From 0 to 1 with probability .05; from 1 to 0 with .05 at first, and .002 more with each step that 1 lasts.
    """
    states = np.empty(u.shape, dtype=np.int64)
    states[:, 0] = u[:, 0] < 0.5
    lasted = np.zeros(len(u))
    for t in range(1, u.shape[1]):
        one = states[:, t - 1] == 1
        states[:, t] = u[:, t] < np.where(one, 0.95 - lasted / 500, 0.05)
        lasted = np.where(states[:, t] == one, lasted + 1, 0)
    return states


def salient_cells(states: Array, feature: Array, features: int, truth: Truth) -> Array:
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
