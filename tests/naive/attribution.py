"""The family beside RaMbIT and WinIT as defined: one cell, window, order or coalition at a time.

``f`` answers (1, C) for (1, D, w). ``draws`` are sets of values (B, D, T), or [None] where ``kind`` needs none.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from tests.naive.rambit import distance, fill


def aim(f, X, b, metric, target):
    """The class whose change is measured in series b."""
    if target is not None:
        return int(target[b])
    return int(f(X[b : b + 1])[0].argmax()) if metric == "diff" else 0


def moved(f, X, b, mask, draws, kind, h, metric, target, observed=None):
    """Mean over draws of the distance at step h between series b and what the mask keeps of it."""
    total = 0.0
    seen = None if observed is None else observed[b]
    p = f(X[b : b + 1, :, : h + 1])[0]
    for draw in draws:
        x = fill(X[b], mask, None if draw is None else draw[b], kind, seen)
        total += distance(metric, p, f(x[None, :, : h + 1])[0], target)
    return total / len(draws)


def there(observed, b, d, t):
    return observed is None or bool(observed[b, d, t])


def fo(f, X, draws, *, anchor, metric, target=None, kind="fixed", observed=None):
    B, D, T = X.shape
    out = np.zeros((B, D, T))
    for b, d, t in np.ndindex(B, D, T):
        if there(observed, b, d, t):
            mask = torch.ones(D, T, dtype=torch.bool)
            mask[d, t] = False
            h = t if anchor == "cell" else T - 1
            out[b, d, t] = moved(f, X, b, mask, draws, kind, h, metric, aim(f, X, b, metric, target), observed)
    return out


def starts(size, window, stride):
    """Every stride, until a window reaches the end."""
    found = [0]
    while found[-1] + window < size:
        found.append(found[-1] + stride)
    return found


def occlusion(f, X, draws, *, height, width, stride, metric, target=None, kind="fixed", observed=None):
    B, D, T = X.shape
    height, width = min(height, D), min(width, T)
    total, covered = np.zeros((B, D, T)), np.zeros((D, T))
    for d in starts(D, height, stride[0]):
        for t in starts(T, width, stride[1]):
            covered[d : d + height, t : t + width] += 1
            mask = torch.ones(D, T, dtype=torch.bool)
            mask[d : d + height, t : t + width] = False
            for b in range(B):
                value = moved(f, X, b, mask, draws, kind, T - 1, metric, aim(f, X, b, metric, target), observed)
                total[b, d : d + height, t : t + width] += value
    total /= covered
    return total if observed is None else total * observed.numpy()


def players(name, D, T, segment):
    """The number of the player that each cell (d, t) belongs to."""
    segments = -(-T // segment)
    number = {
        "cells": lambda d, t: d * T + t,
        "features": lambda d, t: d,
        "timestamps": lambda d, t: t,
        "segments": lambda d, t: d * segments + t // segment,
    }[name]
    return torch.tensor([[number(d, t) for t in range(T)] for d in range(D)])


def payoff(f, X, b, player, draws, kind, metric, target, observed=None):
    """What a set of players is worth: minus the distance of the last answer when only their cells are kept."""
    known = {}

    def value(coalition):
        coalition = frozenset(coalition)
        if coalition not in known:
            mask = torch.tensor([[int(n) in coalition for n in row] for row in player])
            T = X.shape[2]
            known[coalition] = -moved(f, X, b, mask, draws, kind, T - 1, metric, target, observed)
        return known[coalition]

    return value


def exact_shapley(value, n):
    out = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for chosen in itertools.combinations(others, size):
                out[i] += weight * (value({*chosen, i}) - value(chosen))
    return out


def shapley_sampling(value, orders):
    """Mean gain of each player over orders (R, n), and its standard error."""
    gains = np.zeros(orders.shape)
    for r, order in enumerate(orders):
        for k, i in enumerate(order):
            gains[r, i] = value(order[: k + 1]) - value(order[:k])
    return gains.mean(0), gains.std(0, ddof=1) / math.sqrt(len(orders)) if len(orders) > 1 else None


def banzhaf(value, coalitions):
    """Mean worth with a player minus without it over coalitions (N, n) bool; 0 for one always in or out."""
    paid = np.array([value(np.flatnonzero(row).tolist()) for row in coalitions])
    out = np.zeros(coalitions.shape[1])
    for i in range(coalitions.shape[1]):
        inside = coalitions[:, i]
        if inside.any() and not inside.all():
            out[i] = paid[inside].mean() - paid[~inside].mean()
    return out


def fit(f, X, draw_given, count):
    """``draw_given(d)``: values (S, B, D, T) at each t given the past and feature d at t itself."""
    B, D, T = X.shape
    out = np.zeros((B, D, T))
    for d in range(D):
        draws = draw_given(d)
        for b in range(B):
            for t in range(1, T):
                now, before = f(X[b : b + 1, :, : t + 1])[0], f(X[b : b + 1, :, :t])[0]
                gained = 0.0
                for s in range(count):
                    x = X[b].clone()
                    x[:, t] = draws[s, b, :, t].to(x.dtype)
                    x[d, t] = X[b, d, t]
                    gained += distance("kl", now, before) - distance("kl", now, f(x[None, :, : t + 1])[0])
                out[b, d, t] = 2 / (1 + math.exp(-5 * gained / count)) - 1
    return out


def integrated_gradients(f, x, baseline, points=50):
    """Gauss-Legendre sums over the straight line from the baseline, for f(x) (1,) with gradients."""
    places, weights = np.polynomial.legendre.leggauss(points)
    total = torch.zeros_like(x)
    for place, weight in zip(places, weights, strict=True):
        at = (baseline + (x - baseline) * (1 + place) / 2).detach().requires_grad_()
        total += weight / 2 * torch.autograd.grad(f(at).sum(), at)[0]
    return total * (x - baseline)
