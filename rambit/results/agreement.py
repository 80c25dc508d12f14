"""How far two sets of scores of the same cells agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def agreement(a: Tensor, b: Tensor, valid: Tensor, k: int) -> dict[str, float]:
    """Of scores (N, D, T), over the ``valid`` cells, bool: see ``Attribution.compare``."""
    if not valid.any():
        return {"max_abs_diff": math.nan, "spearman": math.nan, "topk_overlap": math.nan}
    tops = [_top_mask(scores, valid, k) for scores in (a, b)]
    sizes = tops[0].sum(1)
    shares = (tops[0] & tops[1]).sum(1)[sizes > 0] / sizes[sizes > 0]
    return {
        "max_abs_diff": (a - b)[valid].abs().max().item(),
        "spearman": _spearman(a[valid], b[valid]),
        "topk_overlap": shares.mean().item(),
    }


def _top_mask(scores: Tensor, valid: Tensor, k: int) -> Tensor:
    """Which of the cells (B, D·T) are among their series' k highest; ties go to the earlier cell."""
    flat = scores.masked_fill(~valid, -math.inf).flatten(1)
    order = torch.sort(flat, dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True) & valid.flatten(1)


def _spearman(a: Tensor, b: Tensor) -> float:
    if bool(a.isnan().any() or b.isnan().any()):
        return math.nan
    x, y = _centred_ranks(a), _centred_ranks(b)
    scale = math.sqrt((x @ x).item() * (y @ y).item())
    return (x @ y).item() / scale if scale else math.nan


def _centred_ranks(a: Tensor) -> Tensor:
    """Ranks about their mean; equal scores share the mean of their ranks."""
    which: Tensor
    counts: Tensor
    _, which, counts = torch.unique(a, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2
    return ranks[which] - (len(a) + 1) / 2
