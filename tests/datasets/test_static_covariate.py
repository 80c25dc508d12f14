"""The set with a static covariate against plain loops over the same random numbers, and what its salient cells say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import static_covariate
from rambit.datasets.static_covariate import _draw


@given(n=st.integers(1, 5), T=st.integers(9, 30), noise=st.floats(0, 2), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_equals_plain_loops(n, T, noise, seed):
    made, draws = static_covariate(n, T, noise, seed), _draw(n, T, seed)
    for i in range(n):
        assert (made.X[i, 2] == draws.static[i]).all()
        assert made.salient[i, 2].all()
        assert made.y[i] == draws.up[i, draws.static[i]]
        for d in range(2):
            size = int(draws.size[i, d])
            start = math.floor(draws.place[i, d] * (T - size + 1))
            for t in range(T):
                bump = start <= t < start + size
                x = noise * draws.noise[i, d, t] + bump * (2 if draws.up[i, d] else -2)
                assert made.X[i, d, t] == pytest.approx(x, rel=1e-5, abs=1e-6)
                assert made.salient[i, d, t] == (bump and d == draws.static[i])


def rule(X):
    """The label of series without noise: the direction of the named feature."""
    named = X[np.arange(len(X)), X[:, 2, 0].astype(int)]
    return (named.sum(axis=1) > 0).astype(int)


def test_salient_cells_alone_give_the_label():
    data = static_covariate(500, noise=0.0)
    assert np.array_equal(rule(np.where(data.salient, data.X, 0)), data.y)
    other = data.X.copy()
    other[:, :2] *= np.where(data.salient[:, :2], -1, 1)
    assert np.array_equal(rule(other), 1 - data.y)
    other = data.X.copy()
    other[:, 2] = 1 - other[:, 2]
    np.testing.assert_allclose((rule(other) != data.y).mean(), 0.5, atol=0.07)


def test_all_places_are_used():
    data = static_covariate(2000, T=12)
    assert data.salient.any(axis=0).all()
    sizes = data.salient[:, :2].sum(axis=(1, 2))
    assert (sizes.min(), sizes.max()) == (5, 9)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 8}, {"noise": -0.5}, {"seed": -1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        static_covariate(**arguments)
