"""WinIT as defined: one prediction, feature, window and draw at a time."""

from __future__ import annotations

import numpy as np
import torch

from tests.naive.rambit import distance


def values_of(runs, b, s, d, start, t):
    """The values of feature d over [start, t] in a run from ``start``: runs (S, B, D, T, W) or draws (S, B, D, T)."""
    if runs.ndim == 4:
        return runs[s, b, d, start : t + 1]
    return runs[s, b, d, start, : t + 1 - start]


def effect(f, X, b, t, start, features, runs, metric, kept=(), target=0, observed=None):
    """Mean over draws of the distance at t with the features replaced over [start, t], clipped.

    What is not observed is never replaced."""
    if start > t:
        return 0.0
    total = 0.0
    p = f(X[b : b + 1, :, : t + 1])[0]
    for s in range(len(runs)):
        x = X[b].clone()
        for d in features:
            first = start + 1 if d in kept else start
            if first <= t:
                x[d, first : t + 1] = values_of(runs, b, s, d, first, t)
        if observed is not None:
            x = torch.where(observed[b], x, X[b])
        total += distance(metric, p, f(x[None, :, : t + 1])[0], target)
    return float(np.clip(total / len(runs), -1e6, 1e6))


def winit(f, X, runs, window, metric="pd", targets=None, observed=None):
    """Windows (B, D, T, W) and the observation-by-age table [p, j]."""
    B, D, T = X.shape
    windows = np.zeros((B, D, T, window))
    for b in range(B):
        for d in range(D):
            for t in range(1, T):
                before = 0.0
                for n in range(1, min(t, window) + 1):
                    now = effect(f, X, b, t, t - n + 1, [d], runs, metric, target=of(targets, b), observed=observed)
                    windows[b, d, t, window - n] = now - before
                    before = now
    return unseen(windows, observed)


def of(targets, b):
    return 0 if targets is None else int(targets[b])


def unseen(windows, observed):
    """Observations that are missing score 0: entry l at t is about step t - window + l + 1."""
    if observed is not None:
        window = windows.shape[3]
        for b, d, t, l in np.ndindex(*windows.shape):
            p = t - window + l + 1
            if p >= 0 and not bool(observed[b, d, p]):
                windows[b, d, t, l] = 0.0
    return windows


def biwinit(f, X, runs, window, height, metric="pd", targets=None, observed=None):
    B, D, T = X.shape
    windows = np.zeros((B, D, T, window))
    for b in range(B):
        for d in range(D):
            block = range(d, min(D, d + height))
            for t in range(1, T):
                for n in range(min(t, window)):  # heads at time 0 score nothing
                    more = {"target": of(targets, b), "observed": observed}
                    whole = effect(f, X, b, t, t - n, block, runs, metric, **more)
                    kept = effect(f, X, b, t, t - n, block, runs, metric, kept=(d,), **more)
                    windows[b, d, t, window - 1 - n] = whole - kept
    return unseen(windows, observed)


def blocks(f, X, runs, window, height, shape, metric="pd"):
    """Distances (B, D, T, W) with a block replaced and with its head kept: entry n is the head at t - n."""
    B, D, T = X.shape
    found = np.zeros((2, B, D, T, window))
    for b, d, t, n in np.ndindex(B, D, T, window):
        if n >= t:  # heads at time 0 and before score nothing
            continue
        block = range(d, min(D, d + height))
        later = set(block) - {d} if shape == "upper_triangular" else set()
        found[0, b, d, t, n] = effect(f, X, b, t, t - n, block, runs, metric, kept=later)
        found[1, b, d, t, n] = effect(f, X, b, t, t - n, block, runs, metric, kept=later | {d})
    return found


def aggregate(windows, how):
    """(B, D, T): over the predictions that saw the observation."""
    B, D, T, W = windows.shape
    out = np.zeros((B, D, T))
    for b in range(B):
        for d in range(D):
            for p in range(T):
                seen = [windows[b, d, p + j, W - 1 - j] for j in range(W) if p + j < T]
                best = {"mean": np.mean(seen), "max": max(seen), "absmax": max(seen, key=abs)}
                out[b, d, p] = best[how]
    return out
