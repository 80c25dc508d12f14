"""Rare-Time and Rare-Feature with two groups of series, whose black boxes see other cells and sum them otherwise."""

from __future__ import annotations

import numpy as np

from rambit.datasets.dataset import Array, Dataset, streams
from rambit.datasets.rare import arma, check_sizes, chosen, middle, successive


def rare_time_diffgroups(n: int = 100, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Time, Diffgroups: ARMA series (n, D, T); in each group `size` successive steps of half of the features.

    Series 0, 2, ... are group 1: the features below D // 2, and a black box that squares the sum of the salient cells
    of a step. Series 1, 3, ... are group 2: the features from D // 4 to 3 D // 4, and the sum of the squares. The
    steps are the same within a group. `rare_model(data, i)` is the black box of series i, whose outputs are y (n, T);
    series_names begin with the group.

    Raises ValueError for n or size < 1, T < size, D < 2, or a negative seed. Source: Liu et al., "Explaining time
    series via contrastive and locally sparse perturbations", 2024; there the groups are the two halves of 100 series.
    """
    check_sizes(n, T, D, size, seed, T_at_least=size, D_at_least=2)
    noise, place = streams(seed, 2)
    steps = successive(place, 2, T, size)
    return _assemble("rare_time_diffgroups", noise.standard_normal((n, D, T)), _halves(D)[:, :, None] & steps[:, None])


def rare_feature_diffgroups(n: int = 100, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Feature, Diffgroups: ARMA series (n, D, T); in each group `size` random features at half of the steps.

    Group 1: the steps below T // 2; group 2: those from T // 4 to 3 T // 4. The rest, and the source, as in
    `rare_time_diffgroups`. Raises ValueError for n or size < 1, T < 2, D < size, or a negative seed.
    """
    check_sizes(n, T, D, size, seed, T_at_least=2, D_at_least=size)
    noise, place = streams(seed, 2)
    features = chosen(place, 2, D, size)
    salient = features[:, :, None] & _halves(T)[:, None]
    return _assemble("rare_feature_diffgroups", noise.standard_normal((n, D, T)), salient)


def _halves(size: int) -> Array:
    """(2, size) bool: the first half, and the middle one."""
    return np.stack([np.arange(size) < size // 2, middle(size)])


def _assemble(name: str, noise: Array, salient: Array) -> Dataset:
    """salient: (2, D, T), of each group."""
    group = np.arange(len(noise)) % 2
    X, salient = arma(noise), salient[group]
    seen = X.astype(np.float64) * salient
    y = np.where(group[:, None] == 0, seen.sum(axis=1) ** 2, (seen**2).sum(axis=1)).astype(np.float32)
    # What the names begin with tells `rare_model` the kind of sum.
    return Dataset(name, X, y, salient, series_names=tuple(f"group {g + 1}, series {i}" for i, g in enumerate(group)))
