"""Removals as WinIT's and RaMbIT's repositories make them: one after another, in loops. No two scores are equal."""

from __future__ import annotations

import numpy as np

FIRST = {"std": 1, "end": 1, "end_fit": 10}


def masker(x, scores, method, top, balanced=False):
    """Series (N, D, T) after the removals, which cells were replaced, and where removals began."""
    x, masked, starts = x.copy(), np.zeros(x.shape, bool), np.zeros(x.shape, bool)
    N, D, T = x.shape
    cells = [(n, d, t) for n in range(N) for d in range(D) for t in range(FIRST[method], T)]
    best = sorted(cells, key=lambda cell: -scores[cell])

    def remove(n, d, t):
        line, end = x[n, d], T
        if method == "std":
            spread = float(np.sqrt(np.mean((line - np.mean(line)) ** 2)))
            end = next((k for k in range(t, T) if abs(line[k] - line[t]) > spread), T)
        before = line[t - 1]
        for k in range(t, end):
            x[n, d, k], masked[n, d, k] = before, True
        starts[n, d, t] = True
        return end - t

    if method == "end_fit":
        for n, d, t in fit_starts(scores, top, best):
            remove(n, d, t)
    elif isinstance(top, float):
        for cell in best[: int(len(cells) * top)]:
            if not masked[cell]:
                remove(*cell)
    else:
        for n in range(N):
            removed = replaced = 0
            for cell in [cell for cell in best if cell[0] == n]:
                if removed < top and not (balanced and replaced >= top) and not masked[cell]:
                    replaced += remove(*cell)
                    removed += 1
    return x, masked, starts


def cells(x, scores, k, direction, mode, substitution):
    """Series without, or with only, single cells, and which were replaced."""
    x, masked = x.copy(), np.zeros(x.shape, bool)
    N, D, T = x.shape
    for n in range(N):
        best = sorted(np.ndindex(D, T), key=lambda cell: scores[(n, *cell)], reverse=direction == "top")
        means = [float(np.mean(x[n, d])) if substitution == "mean" else 0.0 for d in range(D)]
        for d, t in best[:k] if mode == "remove" else best[k:]:
            x[n, d, t], masked[n, d, t] = means[d], True
    return x, masked


def fit_starts(scores, top, best):
    """Where FIT's removals begin: the first cell of a feature in the highest share; the highest cells of a series."""
    N, D, T = scores.shape
    found = []
    if isinstance(top, float):
        threshold = np.percentile([scores[cell] for cell in best], 100 - 100 * top)
        for n in range(N):
            for d in range(D):
                high = [t for t in range(10, T) if scores[n, d, t] >= threshold]
                found.append((n, d, high[0] if high else T - 1))
        return found
    for n in range(N):
        left = {cell: scores[cell] for cell in best if cell[0] == n}
        for _ in range(top):
            _, d, t = cell = max(sorted(left), key=left.get)
            found.append(cell)
            left.update({(n, d, k): -1.0 for k in range(t, T)})
    return found
