"""The HMM benchmark: State, with hidden states that last."""

from __future__ import annotations

from rambit.datasets.chain import Truth, check_sizes, draw, tiring_walk
from rambit.datasets.dataset import Dataset
from rambit.datasets.state import emitted


def hmm(n: int = 1000, T: int = 200, truth: Truth = "active", seed: int = 0) -> Dataset:
    """HMM: (n, 3, T) values and labels (n, T) as in `state`, but from a state to the other with probability .05.

    State 1 is left the sooner the longer it lasts: by .002 more with each step. truth: as in `state`; the published
    results are of "active".

    Raises ValueError for n < 1, T < 2, a negative seed, or another truth. Source: Crabbé and van der Schaar,
    "Explaining time series predictions with dynamic masks", 2021, as the generators of FIT and time_interpret have it.
    """
    check_sizes(n, T, seed)
    draws = draw(n, T, seed)
    return emitted("hmm", tiring_walk(draws.state), draws, truth)
