"""Selectors find what was planted."""

from __future__ import annotations

import pytest

from tests.selection.planted import evenness, recall


@pytest.mark.slow
@pytest.mark.parametrize("method", ["topk", "gumbel"])
@pytest.mark.parametrize("marked", [True, False], ids=["marked", "by position"])
def test_the_three_timestamps_are_recovered(method, marked):
    found = [recall(method, seed, marked) for seed in range(5)]
    assert sum(found) / 5 >= 0.95, found


@pytest.mark.slow
def test_diversity_covers_redundant_clusters_more_evenly():
    plain, diverse = ([evenness(alpha, seed) for seed in range(5)] for alpha in (0.0, 1.0))
    assert sum(diverse) > 1.5 * sum(plain), (plain, diverse)
