"""The standard error covers what more masks and more draws would give: in repeated runs, as often as it says."""

from __future__ import annotations

import math

import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import Banzhaf, ExactShapley, ShapleySampling
from rambit.game import draws

X = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BACKGROUND = torch.randn(50, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
COMMON = {"output": "regression", "distance": "diff", "background": BACKGROUND}


def model(x):
    return (x[:, 0].sum(-1) + x[:, 1].prod(-1) + 2 * x[:, 0, -1] * x[:, 1, -1])[:, None]


def coverage(make, runs):
    """How often the truth, the mean over all runs, lies within 1.96 standard errors."""
    found = [make(seed).explain(X, target=0) for seed in range(runs)]
    values, errors = (torch.stack([getattr(r, name) for r in found]) for name in ("values", "stderr"))
    truth = values.mean(dim=0)
    spread = errors > 1e-12
    inside = (values - truth).abs() <= 1.96 * errors
    return float(inside[spread].double().mean())


METHODS = {
    "rambit": lambda seed: RaMbIT(model, num_samples=10, L=20, anchor="end", window_size=1, seed=seed, **COMMON),
    "many masks": lambda seed: RaMbIT(model, num_samples=10, L=100, anchor="end", window_size=1, seed=seed, **COMMON),
    "own draws": lambda seed: RaMbIT(
        model, num_samples=2, L=30, anchor="end", window_size=1, share_draws=False, seed=seed, **COMMON
    ),
    "many draws": lambda seed: RaMbIT(model, num_samples=40, L=10, anchor="end", window_size=1, seed=seed, **COMMON),
    "shapley": lambda seed: ShapleySampling(model, num_samples=10, num_permutations=20, seed=seed, **COMMON),
    "exact shapley": lambda seed: ExactShapley(model, num_samples=10, players="cells", seed=seed, **COMMON),
    "banzhaf": lambda seed: Banzhaf(model, num_samples=10, num_masks=60, seed=seed, **COMMON),
}


@pytest.mark.parametrize("name", METHODS)
def test_the_interval_covers_as_often_as_it_says(name):
    assert 0.88 < coverage(METHODS[name], 60) <= 0.99


@pytest.mark.parametrize("name", ["rambit", "shapley", "exact shapley"])
def test_one_shared_draw_tells_nothing(name):
    method = METHODS[name](0)
    method.num_samples = 1
    assert method.explain(X, target=0).stderr is None
    # Values that are given, or of which there is one, are not an estimate.
    assert method.explain(X, target=0, counterfactuals=BACKGROUND[:3, None].repeat(1, 1, 1, 1)).stderr is not None


@pytest.mark.parametrize("S", [2, 5, 16, 17, 40])
def test_variance_of_the_mean_over_draws(S):
    values = torch.randn(S, 3, generator=torch.Generator().manual_seed(S), dtype=torch.float64)
    means = draws.grouped(values, 0)
    assert len(means) == min(S, 16)
    sizes = [len(range(g, S, len(means))) for g in range(len(means))]
    assert draws.sizes(S).tolist() == sizes
    centre = values.mean(dim=0)
    by_hand = sum(n * (values[g :: len(means)].mean(dim=0) - centre) ** 2 for g, n in enumerate(sizes))
    torch.testing.assert_close(draws.variance(means, S), by_hand / (S * (len(means) - 1)))
    if S <= 16:
        torch.testing.assert_close(draws.variance(means, S), values.var(dim=0) / S)


def test_groups_give_an_unbiased_variance():
    values = torch.randn(40, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = float(draws.variance(draws.grouped(values, 0), 40).mean())
    assert abs(found - 1 / 40) < 5 * (1 / 40) * math.sqrt(2 / 15) / math.sqrt(20_000)
