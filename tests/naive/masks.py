"""The families of masks by name, one mask at a time."""

from __future__ import annotations

import torch

from tests.naive import ops

SAMPLED = {
    "block": "BLOCK",
    "rows": "BLOCK",
    "columns": "BLOCK",
    "segments": "SEGMENTS",
    "upper_triangle": "UPPER_TRIANGLE",
    "bernoulli": "BERNOULLI",
    "permutation": "PERMUTATION",
}


def clipped(bounds, size):
    return min(bounds[0], size), min(bounds[1], size)


def family(name, count, D, T, wt, wd, *, p=0.5, seed=0, first=0, target_cell=None):
    """Masks first … first + count - 1 of a family and their weights, for one cell d * T + t, or for all (None)."""
    if name == "none":
        return torch.ones(1, D, T, dtype=torch.bool), [1.0]
    if name == "all_blocks":
        return all_blocks(D, T, clipped(wt, T), clipped(wd, D))
    wt = {"rows": (T, T), "bernoulli": (1, 1), "permutation": (1, 1)}.get(name, clipped(wt, T))
    wd = {"columns": (D, D), "segments": (1, 1), "bernoulli": (1, 1), "permutation": (1, 1)}.get(name, clipped(wd, D))
    own = 0 if target_cell is None else target_cell
    masks = [ops.mask(SAMPLED[name], D, T, wt, wd, p, seed, index, own) for index in range(first, first + count)]
    return torch.stack(masks), [1.0] * count


def all_blocks(D, T, wt, wd):
    masks, weights = [], []
    sizes = [(t, d) for t in range(wt[0], wt[1] + 1) for d in range(wd[0], wd[1] + 1)]
    for n_t, n_d in sizes:
        places = [(t, d) for t in range(T - n_t + 1) for d in range(D - n_d + 1)]
        for t, d in places:
            mask = torch.ones(D, T, dtype=torch.bool)
            mask[d : d + n_d, t : t + n_t] = False
            masks.append(mask)
            weights.append(1 / len(sizes) / len(places))
    return torch.stack(masks), weights
