"""A task that three timestamps decide: the label is the sum of the +1 and -1 that they show."""

from __future__ import annotations

import torch
from torch import nn

from rambit.selection import GumbelSoftmaxSelector, InfluenceFramework, ModelAgnosticWrapper

T, K = 20, 3


def series(count, seed, marked):
    """X (N, T, 3), the label (N, 1) and where the three steps are (N, 3).

    ``marked``: they stand anywhere in each series, feature 0 is 1 there, and feature 1 shows noise elsewhere. Otherwise
    every step shows +1 or -1, and the three are the same in all series: nothing but their position tells them apart.
    """
    random = torch.Generator().manual_seed(seed)
    X = 0.1 * torch.randn(count, T, 3, generator=random)
    signs = (torch.randint(2, (count, T), generator=random) * 2 - 1).float()
    where = torch.rand(count if marked else 1, T, generator=random).argsort(dim=1)[:, :K].expand(count, K)
    planted = torch.zeros(count, T).scatter(1, where, 1.0)
    X[..., 0] += planted if marked else 0.0
    X[..., 1] += signs * planted if marked else signs
    return X, signs.gather(1, where).sum(dim=1, keepdim=True), where


class Sum(nn.Module):
    """A linear model of each step, summed over steps: it knows no positions."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(3, 1, bias=False)

    def forward(self, x):
        return self.step(x).sum(dim=1)


#: What each case is trained with: a linear model of all cells learns slower than one that is the same at every step.
SETTINGS = {True: {"epochs": 20, "warmup": 8, "lr": 4e-3}, False: {"epochs": 20, "warmup": 15, "lr": 2e-3}}


def recall(method, seed, marked):
    """Train on 1000 series; the share of the three steps that are kept in 200 others."""
    X, y, where = series(1200, seed, marked)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Sum() if marked else nn.Sequential(nn.Flatten(), nn.Linear(T * 3, 1, bias=False))
        framework = InfluenceFramework(
            3, 32, selection_method=method, k=K, alpha_diversity=0.0, positions=not marked, temperature=10.0
        )
    wrapper = ModelAgnosticWrapper(model, framework)
    wrapper.fit(X[:1000], y[:1000], batch_size=50, seed=seed, **SETTINGS[marked])
    mask, _ = framework.selector(X[1000:])
    return float(mask.detach().gather(1, where[1000:]).mean())


def clusters(count, seed):
    """X (N, 16, 2) whose first 8 and last 8 steps (feature 0) all show the label (N, 1) in feature 1."""
    random = torch.Generator().manual_seed(seed)
    X = 0.1 * torch.randn(count, 16, 2, generator=random)
    y = torch.randint(2, (count, 1), generator=random) * 2.0 - 1
    X[:, :8, 0] += 2
    X[:, 8:, 0] -= 2
    X[..., 1] += y
    return X, y


class SumOfLast(Sum):
    """A linear model of the last feature alone, summed over steps."""

    def __init__(self):
        super().__init__()
        self.step = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        return super().forward(x[..., 1:])


def evenness(alpha_diversity, seed):
    """Of 4 steps that a trained selector draws, twice the share of the cluster with fewer; mean over 200 series.

    1: two of each cluster in every series; 0: all from one cluster; two of three if every draw is as likely.
    """
    X, y = clusters(700, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        framework = InfluenceFramework(2, 32, 4, "gumbel", k=4, alpha_diversity=alpha_diversity, diversity_epsilon=1.0)
        # Soft: under a hard mask no gradient of the diversity reaches the steps that are not selected.
        framework.selector.selector = GumbelSoftmaxSelector(0.5, k=4)
        wrapper = ModelAgnosticWrapper(SumOfLast(), framework)
        wrapper.fit(X[:500], y[:500], epochs=15, warmup=3, batch_size=50, lr=4e-3, seed=seed)
        _, scores = framework.selector(X[500:], return_scores=True)
        mask = GumbelSoftmaxSelector(hard=True, k=4)(scores.detach())
    first, last = mask[:, :8].sum(dim=1), mask[:, 8:].sum(dim=1)
    return float((first.minimum(last) / 2).mean())
