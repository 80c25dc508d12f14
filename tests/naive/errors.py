"""The error of a mean over masks and draws, by the analysis of variance of the whole table. Slow and obvious."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t


def crossed(table):
    """Variance and degrees of freedom of the mean of a table (L, S, …), each of L masks beside each of S draws."""
    L, S = table.shape[:2]
    mean = table.mean(axis=(0, 1))
    by_mask, by_draw = table.mean(axis=1), table.mean(axis=0)
    rest = table - by_mask[:, None] - by_draw[None] + mean
    masks = ((by_mask - mean) ** 2).sum(axis=0) / (L - 1) / L
    draws = ((by_draw - mean) ** 2).sum(axis=0) / (S - 1) / S
    joint = (rest**2).sum(axis=(0, 1)) / ((L - 1) * (S - 1)) / (L * S)
    variance = np.maximum(masks + draws - joint, np.minimum(np.minimum(masks, draws), joint))
    spread = masks**2 / (L - 1) + draws**2 / (S - 1) + joint**2 / ((L - 1) * (S - 1))
    with np.errstate(invalid="ignore"):  # what never varies
        freedom = np.maximum(variance**2 / spread, min(L, S) - 1)
    return variance, np.where(variance > 0, freedom, np.inf)


def wrong_top(scores, stderr, freedom, k):
    """The most probable it may be that the k highest of scores (N,) are not the true ones."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    bound = (scores[order[k - 1]] + scores[order[k]]) / 2
    uncertain = [i for i in order if stderr[i] > 0]
    return math.fsum(t.sf(abs(scores[i] - bound) / stderr[i], freedom[i]) for i in uncertain)
