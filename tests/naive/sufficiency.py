"""Sufficient explanations one row at a time: slow, obvious twins of rambit.sufficiency."""

from __future__ import annotations

import itertools

import torch


class Decision:
    """The gap of class y when only a mask's cells of ``x`` (a tensor without batch axis) are kept, one row a call."""

    def __init__(self, model, x, *, fill=0.0, target=None, rel_tol=0.9):
        self.model, self.x, self.fill = model, x, fill
        self.rows = 0
        everything = torch.ones(x.numel(), dtype=torch.bool)
        self.target = int(self.output(everything).argmax()) if target is None else target
        self.threshold = rel_tol * self.gap(everything)

    def output(self, mask):
        self.rows += 1
        kept = torch.where(mask.view(self.x.shape), self.x, self.fill)
        with torch.inference_mode():
            return self.model(kept[None]).softmax(1)[0].double()

    def gap(self, mask):
        p = self.output(mask)
        others = torch.cat((p[: self.target], p[self.target + 1 :]))
        return float(p[self.target] - others.max())

    def stands(self, mask):
        return self.gap(mask) >= self.threshold


def without(mask, i):
    mask = mask.clone()
    mask[i] = False
    return mask


def with_(mask, i):
    mask = mask.clone()
    mask[i] = True
    return mask


def banzhaf(decision, masks):
    """Mean gap with a term minus without it, over masks (N, n)."""
    gaps = torch.tensor([decision.gap(mask) for mask in masks], dtype=torch.float64)
    return torch.stack([gaps[masks[:, i]].mean() - gaps[~masks[:, i]].mean() for i in range(masks.shape[1])])


def add_by_rank(decision, scores):
    """Plain bisection for a prefix of the ranking that stands while the one-shorter one does not."""
    order = scores.argsort(descending=True, stable=True)

    def prefix(size):
        mask = torch.zeros(len(order), dtype=torch.bool)
        mask[order[:size]] = True
        return mask

    if decision.stands(prefix(0)):
        return prefix(0)
    fails, stands = 0, len(order)
    while stands - fails > 1:
        middle = (fails + stands) // 2
        if decision.stands(prefix(middle)):
            stands = middle
        else:
            fails = middle
    return prefix(stands)


def add_greedily(decision, n):
    mask = torch.zeros(n, dtype=torch.bool)
    gap = decision.gap(mask)
    while gap < decision.threshold:
        gap, best = max((decision.gap(with_(mask, i)), -i) for i in range(n) if not mask[i])
        mask[-best] = True
    return mask


def remove_in_order(decision, mask, order):
    """Passes over the kept terms in an order, each removed if the decision stands, until a pass removes none."""
    removed = True
    while removed:
        removed = False
        for i in order[mask[order]].tolist():
            if decision.stands(without(mask, i)):
                mask, removed = without(mask, i), True
    return mask


def irreducible(decision, mask, rounding=0.0):
    """Whether no single term can go."""
    return all(decision.gap(without(mask, i)) < decision.threshold + rounding for i in mask.nonzero()[:, 0].tolist())


def smallest(decision, n):
    """The size of the smallest mask that stands, from all masks by size."""
    for size in range(n + 1):
        for chosen in itertools.combinations(range(n), size):
            mask = torch.zeros(n, dtype=torch.bool)
            mask[list(chosen)] = True
            if decision.stands(mask):
                return size
    raise AssertionError("not even everything stands")


def smallest_linear(contributions, needed):
    """How many contributions (n,) at least must be kept for a sum of ``needed``: the largest ones, in turn."""
    total, size = 0.0, 0
    for value in sorted(contributions.tolist(), reverse=True):
        if total >= needed:
            break
        total, size = total + value, size + 1
    return size
