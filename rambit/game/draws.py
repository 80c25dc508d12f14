"""How sure a mean over draws is, when all masks share the draws: then more masks cannot make up for few draws."""

from __future__ import annotations

import torch
from torch import Tensor

#: Draws stand together in at most so many groups, so that what is kept for each does not grow with their number.
MAX_GROUPS = 16


def groups(draws: int) -> int:
    """How many groups S draws make: draw s belongs to group s % groups."""
    return min(draws, MAX_GROUPS)


def sizes(draws: int) -> Tensor:
    """(G,) float64: how many draws each group holds."""
    return torch.bincount(torch.arange(draws) % groups(draws)).double()


def grouped(of_draws: Tensor, dim: int) -> Tensor:
    """Means over the draws of each group, of values that have S draws along ``dim``."""
    draws = of_draws.shape[dim]
    number = groups(draws)
    if number == draws:
        return of_draws
    parts = [of_draws.index_select(dim, torch.arange(g, draws, number, device=of_draws.device)) for g in range(number)]
    return torch.stack([part.mean(dim=dim) for part in parts], dim=dim)


def variance(means: Tensor, draws: int) -> Tensor:
    """Variance (…) of the mean over S draws, from the means (G, …) of its groups: the spread between them, unbiased."""
    weight = sizes(draws).to(means.device).view(-1, *[1] * (means.ndim - 1))
    centre = (weight * means).sum(dim=0) / draws
    return (weight * (means - centre) ** 2).sum(dim=0) / (draws * (len(means) - 1))
