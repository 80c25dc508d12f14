"""The selector's losses and attributions as defined: loops and full matrices. Slow and obvious."""

from __future__ import annotations

import itertools
import math

import torch


def kernel(features, sigma):
    """(B, T, T) through the T × T × D differences."""
    difference = features[:, :, None] - features[:, None, :]
    return torch.exp(-(difference**2).sum(-1) / (2 * sigma**2))


def diversity(features, mask, sigma=1.0, epsilon=1e-6):
    weighted = kernel(features, sigma) * mask[:, :, None] * mask[:, None, :]
    full = weighted + epsilon * torch.eye(mask.shape[1], dtype=features.dtype)
    factor = torch.linalg.cholesky(full)
    return -(2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)).mean()


def ensemble_likelihood(features, mask, sigma=1.0, epsilon=1e-6):
    """Of hard masks: log det(L_S) - log det(L + I), one series at a time."""
    total = 0.0
    for f, m in zip(features, mask, strict=True):
        L = kernel(f[None], sigma)[0] + epsilon * torch.eye(len(f), dtype=f.dtype)
        chosen = m.nonzero()[:, 0]
        total = total + L[chosen][:, chosen].logdet() - (L + torch.eye(len(f), dtype=f.dtype)).logdet()
    return total / len(features)


def all_masks(T):
    return [torch.tensor(mask, dtype=torch.float64) for mask in itertools.product((0.0, 1.0), repeat=T)]


def mutual_information(critic, pooled, target, order):
    """The Donsker-Varadhan bound with series order[i] beside the target of series order[i - 1]."""
    together = [float(critic(torch.cat((p, t))[None])) for p, t in zip(pooled, target, strict=True)]
    apart = [float(critic(torch.cat((pooled[i], target[order[n - 1]]))[None])) for n, i in enumerate(order)]
    return sum(together) / len(together) - math.log(sum(math.exp(v) for v in apart) / len(apart))


def attribution(model, x, mask):
    """(B, T): the mean absolute change of the outputs when one more step is removed, one step at a time."""
    scores = torch.zeros(x.shape[:2], dtype=x.dtype)
    with torch.no_grad():
        original = model(x)
        for t in range(x.shape[1]):
            masked = x * mask[..., None]
            masked[:, t] = 0
            scores[:, t] = (model(masked) - original).abs().reshape(len(x), -1).mean(1)
    return scores


def distance(x, counterfactual, mask, metric):
    """(B,), cell by cell."""
    found = []
    for a, b, m in zip(x.tolist(), counterfactual.tolist(), mask.tolist(), strict=True):
        if metric == "cosine":
            a, b = ([v * w for row, w in zip(rows, m, strict=True) for v in row] for rows in (a, b))
            dot = sum(p * q for p, q in zip(a, b, strict=True))
            found.append(1 - dot / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b)))
            continue
        each = abs if metric == "l1" else lambda v: v * v
        total = sum(w * each(p - q) for r, s, w in zip(a, b, m, strict=True) for p, q in zip(r, s, strict=True))
        found.append(total / sum(m))
    return torch.tensor(found, dtype=x.dtype)


def accuracy_at(f, x, scores, labels, k):
    """The share of series that f, (1, D, T) -> (C,), still gets right when the k best steps alone are kept."""
    right = 0
    for series, values, label in zip(x, scores, labels, strict=True):
        steps = sorted(range(x.shape[2]), key=lambda t: (-float(values[:, t].sum()), t))[:k]
        kept = torch.zeros_like(series)
        for t in steps:
            kept[:, t] = series[:, t]
        right += int(f(kept[None]).argmax()) == label
    return right / len(x)
