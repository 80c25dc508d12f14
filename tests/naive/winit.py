"""WinIT as defined: one prediction, feature, window and draw at a time."""

from __future__ import annotations

import numpy as np

from tests.naive.rambit import distance


def values_of(runs, b, s, d, start, t):
    """The values of feature d over [start, t] in a run from ``start``: runs (S, B, D, T, W) or draws (S, B, D, T)."""
    if runs.ndim == 4:
        return runs[s, b, d, start : t + 1]
    return runs[s, b, d, start, : t + 1 - start]


def effect(f, X, b, t, start, features, runs, metric, kept_head=None):
    """Mean over draws of the distance at t with the features replaced over [start, t], clipped."""
    if start > t:
        return 0.0
    total = 0.0
    p = f(X[b : b + 1, :, : t + 1])[0]
    for s in range(len(runs)):
        x = X[b].clone()
        for d in features:
            first = start + 1 if d == kept_head else start
            if first <= t:
                x[d, first : t + 1] = values_of(runs, b, s, d, first, t)
        total += distance(metric, p, f(x[None, :, : t + 1])[0])
    return float(np.clip(total / len(runs), -1e6, 1e6))


def winit(f, X, runs, window, metric="pd"):
    """Windows (B, D, T, W) and the observation-by-age table [p, j]."""
    B, D, T = X.shape
    windows = np.zeros((B, D, T, window))
    for b in range(B):
        for d in range(D):
            for t in range(1, T):
                before = 0.0
                for n in range(1, min(t, window) + 1):
                    now = effect(f, X, b, t, t - n + 1, [d], runs, metric)
                    windows[b, d, t, window - n] = now - before
                    before = now
    return windows


def biwinit(f, X, runs, window, height, metric="pd"):
    B, D, T = X.shape
    windows = np.zeros((B, D, T, window))
    for b in range(B):
        for d in range(D):
            block = range(d, min(D, d + height))
            for t in range(1, T):
                for n in range(min(t, window)):  # heads at time 0 score nothing
                    whole = effect(f, X, b, t, t - n, block, runs, metric)
                    kept = effect(f, X, b, t, t - n, block, runs, metric, kept_head=d)
                    windows[b, d, t, window - 1 - n] = whole - kept
    return windows


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
