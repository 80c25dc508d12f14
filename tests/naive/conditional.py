"""The slow, obvious twin of conditional counterfactuals: every window of the background, one cell at a time."""

from __future__ import annotations

import math

import numpy as np
import torch

from tests.naive import ops as naive


class Conditional:
    """background: (N, D, T) tensor, NaN where a value is missing."""

    def __init__(self, background, history, neighbours, categorical=()):
        self.data, self.history, self.neighbours, self.categorical = background, history, neighbours, categorical
        self.N, self.D, self.T = background.shape
        self.inverse = []
        for d in range(self.D):
            values = background[:, d].double().numpy()
            deviation = values[~np.isnan(values)].std()
            self.inverse.append(float(1 / deviation) if deviation > 0 else 1.0)

    def distance(self, x, t, n, s, steps):
        """Differing categories and squared distance of the steps before x's time t and the background's (n, s)."""
        differing, total, common, compared = 0, 0.0, 0, 0
        for i in range(1, steps + 1):
            for d in range(self.D):
                own, other = float(x[d, t - i]), float(self.data[n, d, s - i])
                if math.isnan(own) or math.isnan(other):
                    continue
                if d in self.categorical:
                    compared += 1
                    differing += own != other
                else:
                    common += 1
                    total += ((own - other) * self.inverse[d]) ** 2
        cells = steps * (self.D - len(self.categorical))
        if common:
            return differing, total * (cells / common)
        return None if cells or not compared else (differing, 0.0)

    def pool(self, x, d, t):
        """The times (n, s) that x's cell (d, t), NaN where a value is missing, is drawn from, in their order."""
        steps = min(t, self.history)
        own_time = t < self.history and self.neighbours <= self.N
        there = [(n, s) for n in range(self.N) for s in range(self.T) if not math.isnan(self.data[n, d, s])]
        times = [(n, s) for n, s in there if (s == t if own_time else s >= steps)]
        near = [(found, n, s) for n, s in times if (found := self.distance(x, t, n, s, steps)) is not None]
        near.sort(key=lambda one: (one[0], one[1], one[2]))
        fewest = [(n, s) for (differing, _), n, s in near[: self.neighbours] if differing == near[0][0][0]]
        return fewest or times or there

    def places(self, X, ids, count, seed, first=0):
        """Of each draw and cell (S, B, D, T) the time (n, s) of the background that it is drawn from."""
        B, D, T = X.shape
        unit = naive.draw("UNIFORM", count, ids, D, T, torch.float64, first=first, seed=seed, low=0.0, high=1.0)
        places = np.empty((count, B, D, T), dtype=object)
        for b in range(B):
            for d in range(D):
                for t in range(T):
                    pool = self.pool(X[b], d, t)
                    for k in range(count):
                        places[k, b, d, t] = pool[int(unit[k, b, d, t] * len(pool))]
        return places

    def draws(self, X, ids, count, seed, first=0):
        """(S, B, D, T)."""
        places = self.places(X, ids, count, seed, first)
        found = [float(self.data[places[place][0], place[2], places[place][1]]) for place in np.ndindex(places.shape)]
        return torch.tensor(found, dtype=torch.float64).view(places.shape).to(X.dtype)

    def windows(self, X, ids, count, window, seed, first=0):
        """(S, B, D, T, window): what followed the time that the run's start is drawn from, as long as it goes on."""
        places = self.places(X, ids, count, seed, first)
        out = torch.zeros(*places.shape, window, dtype=torch.float64)
        for k, b, d, t in np.ndindex(places.shape):
            for j in range(window):
                n, s = places[k, b, d, t]
                s += j
                if s >= self.T or math.isnan(self.data[n, d, s]):
                    n, s = places[k, b, d, min(t + j, X.shape[2] - 1)]
                out[k, b, d, t, j] = self.data[n, d, s]
        return out.to(X.dtype)
