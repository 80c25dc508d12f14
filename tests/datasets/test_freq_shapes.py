"""FreqShapes against plain loops over the same random numbers, and what its salient cells say."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import freq_shapes
from rambit.datasets.freq_shapes import _draw


@given(n=st.integers(1, 5), T=st.integers(19, 60), noise=st.floats(0, 2), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_equals_plain_loops(n, T, noise, seed):
    made, draws = freq_shapes(n, T, noise, seed), _draw(n, T, seed)
    assert np.array_equal(made.y, draws.label)
    for i in range(n):
        sign, period = ((-1, 10), (1, 10), (-1, 17), (1, 17))[made.y[i]]
        x, salient = noise * draws.noise[i], [False] * T
        for middle in range(math.floor(draws.start[i] * (T - period)), T, period):
            if middle >= 1 and middle + 1 < T:
                for step in (-1, 0, 1):
                    x[middle + step] += sign * (2 - 0.25 * step**2)
                    salient[middle + step] = True
        np.testing.assert_allclose(made.X[i, 0], x, rtol=1e-5, atol=1e-6)
        assert made.salient[i, 0].tolist() == salient


def test_salient_cells_alone_give_the_label():
    data = freq_shapes(400, noise=0.0)
    assert not data.X[~data.salient].any()
    ambiguous = 0
    for x, y in zip(data.X[:, 0], data.y, strict=True):
        middles = np.flatnonzero(abs(x) == 2)
        if len(middles) == 1:
            ambiguous += 1
        else:
            assert set(np.diff(middles)) == {10 if y < 2 else 17}
        assert np.sign(x[middles]).tolist() == [1 if y % 2 else -1] * len(middles)
    assert 0 < ambiguous < 30


def test_all_places_are_used_and_classes_are_even():
    data = freq_shapes(4000)
    assert data.salient.any(axis=0).all()
    np.testing.assert_allclose(np.bincount(data.y) / 4000, 0.25, atol=0.03)
    assert data.X[~data.salient].std() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 18}, {"seed": -1}, {"noise": -0.1}, {"noise": math.nan}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        freq_shapes(**arguments)
