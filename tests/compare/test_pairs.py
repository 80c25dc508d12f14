"""Paired tests against plain ones: every sign, scipy's own test, and the correction written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from rambit.compare.pairs import holm, over_runs, over_series, pairs


def signed_rank(difference):
    """The exact two-sided p: how many choices of signs give a sum of ranks at least as far from its mean."""
    ranks = stats.rankdata(np.abs(difference))
    middle = ranks.sum() / 2
    sums = [sum(itertools.compress(ranks, signs)) for signs in itertools.product((0, 1), repeat=len(ranks))]
    found = abs(ranks[difference > 0].sum() - middle)
    return sum(abs(one - middle) >= found - 1e-9 for one in sums) / len(sums)


@pytest.mark.parametrize("seed", range(5))
def test_over_series(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 7))
    assert over_series(a, b) == pytest.approx(signed_rank(a - b)) == over_series(b, a)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [1, 3])
def test_over_runs(seed, folds):
    a, b = np.random.default_rng(seed).normal(size=(2, 6))
    mean = sum(a - b) / 6
    variance = sum((value - mean) ** 2 for value in a - b) / 5
    t = mean / math.sqrt(variance * (1 / 6 + (0 if folds == 1 else 1 / (folds - 1))))
    assert over_runs(a, b, folds) == pytest.approx(2 * stats.t.cdf(-abs(t), 5))
    if folds == 1:
        assert over_runs(a, b) == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_what_no_test_can_tell():
    one, same = np.array([1.0]), np.array([1.0, 2.0])
    assert math.isnan(over_series(one, one))
    assert math.isnan(over_runs(one, one))
    assert over_series(same, same) == over_runs(same, same) == 1.0
    assert over_runs(same + 1, same) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_holm(seed):
    p = np.random.default_rng(seed).uniform(0, 0.2, size=5).tolist()
    found = holm([p[0], math.nan, *p[1:]])
    assert math.isnan(found.pop(1))
    ordered = sorted(p)
    for value, adjusted in zip(p, found, strict=True):
        assert adjusted == max(min(1, (5 - i) * one) for i, one in enumerate(ordered) if one <= value)


def test_every_two_methods_on_what_both_have():
    values = {"a": {(0, 0): 0.5, (1, 0): 0.7, (0, 1): 0.9}, "b": {(0, 0): 0.4, (1, 0): 0.4}, "c": {}}
    nan = math.nan
    series = {
        "a": {(0, 0): np.array([1.0, 2.0, nan]), (1, 0): np.array([3.0, 2.0, nan]), (0, 1): np.array([5.0])},
        "b": {(0, 0): np.array([0.0, 1.0, nan]), (1, 0): np.array([0.0, 2.0, nan])},
    }
    found = pairs(values, series)
    assert [(line["a"], line["b"], line["runs"], line["series"]) for line in found] == [
        ("a", "b", 2, 2),
        ("a", "c", 0, 0),
        ("b", "c", 0, 0),
    ]
    first = found[0]
    assert first["difference"] == pytest.approx(0.2)
    # A series counts once, by its mean over seeds: 2 against 0, and 2 against 1.5.
    assert first["p_series"] == first["p_series_holm"] == over_series(np.array([2.0, 2.0]), np.array([0.0, 1.5]))
    assert first["p_runs"] == over_runs(np.array([0.5, 0.7]), np.array([0.4, 0.4]))
    assert math.isnan(found[1]["difference"])
