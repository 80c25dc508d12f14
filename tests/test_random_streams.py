"""No two uses of the generator in one run share random numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rambit import ops
from rambit.counterfactuals import Gaussian, Interpolate, Uniform
from rambit.game import shapley_values
from rambit.masks import Bernoulli

N, SEED = 64, 5


def uniform(seed, number=0):
    out = torch.empty(1, 1, 1, N, dtype=torch.float64)
    ops.draw(out, torch.tensor([number]), ops.Draw.UNIFORM, seed=seed)
    return out.flatten()


def ranks(values):
    return values.argsort().argsort().double()


def series(strategy, number=0):
    x = torch.zeros(1, 1, N, dtype=torch.float64)
    return strategy.draws(x, None, torch.tensor([number]), 1, seed=SEED).flatten()


STREAMS = {
    "draws of series 0": lambda: series(Uniform()),
    "draws of series 1": lambda: series(Uniform(), 1),
    "orders": lambda: shapley_values.orders(1, N, seed=SEED)[0].argsort().double(),
    "another order": lambda: shapley_values.orders(1, N, seed=SEED, first=1)[0].argsort().double(),
    "heuristics": lambda: uniform(ops.stream(SEED, "heuristics")),
    "bernoulli masks": lambda: Bernoulli(0.5).sample(1, 1, N, seed=SEED).masks.flatten().double(),
}
SAME = {  # other strategies instead of the first, never beside it: they may use the same numbers
    "gaussian": lambda: series(Gaussian()),
    "interpolate": lambda: series(Interpolate(noise=1.0)),
}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(STREAMS, 2)))
def test_streams_are_not_related(one, other):
    a, b = ranks(STREAMS[one]()), ranks(STREAMS[other]())
    assert abs(float(np.corrcoef(a, b)[0, 1])) < 4.5 / np.sqrt(N)


@pytest.mark.parametrize("name", SAME)
def test_the_measure_sees_a_shared_stream(name):
    assert float(np.corrcoef(ranks(STREAMS["draws of series 0"]()), ranks(SAME[name]()))[0, 1]) > 0.99


def test_orders_are_fair_beside_draws():
    """The order is not that of the values which replace: the mean of the first player's value is that of any."""
    n, count = 6, 4000
    order = shapley_values.orders(count, n, seed=SEED)
    x = torch.zeros(1, 1, n, dtype=torch.float64)
    drawn = Uniform(0, 1).draws(x, None, torch.tensor([0]), count, seed=SEED)[:, 0, 0]
    first = drawn.gather(1, order[:, :1])
    assert abs(float(first.mean()) - 0.5) < 5 * np.sqrt(1 / 12 / count)
    assert sorted(order[0].tolist()) == list(range(n))


def test_seeds_of_uses_differ():
    seeds = {ops.stream(seed, use) for seed in range(100) for use in ("orders", "heuristics")}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert ops.stream(7, "orders") == ops.stream(7, "orders")
