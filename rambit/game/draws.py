"""How sure a mean over draws is, when all masks share the draws: then more masks cannot make up for few draws."""

from __future__ import annotations

from typing import NamedTuple

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


class Error(NamedTuple):
    """How sure means over masks and draws are."""

    variance: Tensor
    freedom: Tensor
    """Degrees of freedom of the variance; infinite where it is 0."""
    of_draws: Tensor
    """The part of the variance that no further mask makes smaller."""

    def stderr(self) -> Tensor:
        return self.variance.sqrt()


def error_over_masks(variance: Tensor, freedom: Tensor | float) -> Error:
    """Of draws that are given, or of each mask's own: ``variance`` is that of the mean over masks."""
    freedom = torch.where(variance > 0, torch.as_tensor(freedom, device=variance.device).double(), torch.inf)
    return Error(variance, freedom, torch.zeros_like(variance))


def error_over_both(over_masks: Tensor, freedom: Tensor | float, one: Tensor, means: Tensor, draws: int) -> Error:
    """Of S draws that all masks share.

    ``over_masks``: the variance of the mean over masks given the draws, with its ``freedom``; ``one``: the same beside
    one group of draws, averaged over the groups by their sizes; ``means`` (G, …): the means by group.
    """
    over_draws, others = variance(means, draws), len(means) - 1
    # What a mask does beside one draw and not beside another is in both variances, and is to count once.
    joint = ((one - over_masks) / others).nan_to_num(nan=0.0).clamp(min=0)  # NaN: both are infinite
    total = (over_masks + over_draws - joint).maximum(joint.minimum(over_masks).minimum(over_draws))
    # Satterthwaite, 1946: the freedom of a sum of variances; it is no less than the least of theirs.
    freedom = torch.as_tensor(freedom, dtype=total.dtype, device=total.device)
    spread = over_masks**2 / freedom + over_draws**2 / others + joint**2 / (freedom * others)
    freedom = torch.where(total > 0, (total**2 / spread).maximum(freedom.clamp(max=others)), torch.inf)
    return Error(total, freedom.nan_to_num(nan=1.0, posinf=torch.inf), (over_draws - joint).clamp(min=0))
