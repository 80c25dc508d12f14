"""Interactions of pairs, against their definition: one pair, mask, horizon, draw and side at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.attribution import Interactions, RaMbIT
from rambit.attribution.cell_pairs import CellPairs, read_pairs
from rambit.results import PairAttribution
from tests.models_for_tests import Exact, plain
from tests.naive import rambit as naive

B, D, T, S = 2, 3, 6, 2
MODES = ("prefix", "causal", "stateful")


def generator(seed):
    return torch.Generator().manual_seed(seed)


X = torch.randn(B, D, T, generator=generator(0), dtype=torch.float64)
DRAWS = torch.randn(S, B, D, T, generator=generator(1), dtype=torch.float64)
MASKS = torch.ones(5, D, T, dtype=torch.bool)
MASKS[0, :2, 1:3] = MASKS[1, 1:, 4] = MASKS[2, :2, 1:3] = False
MASKS[4] = torch.rand(D, T, generator=generator(2)) < 0.6
#: Cells twice, in either order; sets of several cells, which lie in the masks as a whole, in part and not at all.
PAIRS = [
    ((0, 0), (0, 2)),
    ((0, 2), (0, 0)),
    ((2, 5), (1, 1)),
    ((1, 4), (2, 4)),
    ([(0, 1), (1, 2)], [(0, 2), (0, 3), (2, 3)]),
    ((0, 0), [(0, 1), (1, 1), (2, 1)]),
]
EXACT = Exact()


def exact(x):
    return EXACT(x).numpy()


def close(found, expected, **tolerance):
    np.testing.assert_allclose(found.numpy(), expected, **{"rtol": 1e-6, "atol": 1e-12, **tolerance})


def check_scores(result, each):
    """Values, parts and standard error, of contributions (L, S, B, P, 4)."""
    mean = each.mean(axis=(0, 1))
    for k, name in enumerate(("values", "joint", "first", "second")):
        close(getattr(result, name), mean[..., k])
    close(result.values, (result.joint - result.first - result.second).numpy(), atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("anchor", ["cell", "end"])
def test_the_definition(anchor, mode):
    each, rows = naive.interactions(
        exact, X, MASKS, DRAWS, [*read_pairs(PAIRS)], anchor=anchor, window=3, metric="abs"
    )
    options = {"anchor": anchor, "window_size": 3, "evaluation": mode, "distance": "abs", "output": "regression"}
    method = Interactions(EXACT, pairs=PAIRS, masks=MASKS, **options)
    result = method.explain(X, counterfactuals=DRAWS)
    assert result.mode == mode
    check_scores(result, each)
    close(result.stderr, each[..., 0].mean(axis=1).std(axis=0, ddof=1) / np.sqrt(len(MASKS)))
    assert result.pairs == read_pairs(PAIRS)
    small = Interactions(EXACT, pairs=PAIRS, masks=MASKS, max_memory=1 << 20, batch_size=3, **options)
    for name in ("values", "joint", "stderr"):
        assert torch.equal(getattr(small.explain(X, counterfactuals=DRAWS), name), getattr(result, name)), name
