"""LowVar against plain loops over the same random numbers, and what its salient cells say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import low_var
from rambit.datasets.low_var import _draw


@given(n=st.integers(1, 4), T=st.integers(61, 90), noise=st.floats(0, 2), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_equals_plain_loops(n, T, noise, seed):
    made, draws = low_var(n, T, noise, seed), _draw(n, T, seed)
    assert np.array_equal(made.y, draws.label)
    for i in range(n):
        feature, level = ((0, -1.5), (0, 1.5), (1, -1.5), (1, 1.5))[made.y[i]]
        for d in range(2):
            value = 0.0
            for t in range(T):
                value = 0.3 * value + 1.5 * draws.u[i, d, t] * draws.u[i, d, t + 2] + 0.1
                quiet = d == feature and draws.start[i] <= t < draws.start[i] + draws.size[i]
                x = level + 0.1 * draws.quiet[i, t] if quiet else value + noise * draws.noise[i, d, t]
                assert made.salient[i, d, t] == quiet
                assert made.X[i, d, t] == pytest.approx(x, rel=1e-5, abs=1e-6)


def test_salient_cells_alone_give_the_label():
    """And the others have the same distribution whatever the class is."""
    data = low_var(1000)
    feature = data.salient.any(axis=2).argmax(axis=1)
    level = np.where(data.salient, data.X, 0).sum(axis=(1, 2)) > 0
    assert np.array_equal(2 * feature + level, data.y)
    np.testing.assert_allclose(np.bincount(data.y) / 1000, 0.25, atol=0.05)
    others = [data.X[:, d][(data.y == c)[:, None] & ~data.salient[:, d]] for d in (0, 1) for c in range(4)]
    np.testing.assert_allclose([one.mean() for one in others], others[0].mean(), atol=0.03)
    np.testing.assert_allclose([one.std() for one in others], others[0].std(), atol=0.03)


def test_stretches():
    data = low_var(3000)
    steps = data.salient.any(axis=1)
    assert (steps.sum(axis=1).min(), steps.sum(axis=1).max()) == (10, 19)
    first = steps.argmax(axis=1)
    assert (first.min(), first.max()) == (20, 159)
    assert (np.diff(steps, axis=1, prepend=False).sum(axis=1) == 2).all()  # one stretch


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 60}, {"seed": -1}, {"noise": -0.1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        low_var(**arguments)
