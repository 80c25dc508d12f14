"""SeqComb-MV and SeqComb-UV against plain loops over the same random numbers, and its statistics."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import seqcomb_mv, seqcomb_uv
from rambit.datasets.seqcomb import MV, UV, _draw


@given(n=st.integers(1, 4), T=st.integers(113, 150), D=st.integers(2, 5), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_equals_plain_loops(n, T, D, seed):
    check(seqcomb_mv(n, T, D, seed), _draw(n, T, D, seed, MV), 0.01)


@given(n=st.integers(1, 4), T=st.integers(73, 110), noise=st.floats(0, 0.5), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_one_feature_equals_plain_loops(n, T, noise, seed):
    check(seqcomb_uv(n, T, noise, seed), _draw(n, T, 1, seed, UV), noise)


def check(made, draws, noise):
    n, D, T = made.X.shape
    assert np.array_equal(made.y, draws.label)
    for i in range(n):
        x, salient = np.zeros((D, T)), np.zeros((D, T), bool)
        for d in range(D):
            value = 0.0
            for t in range(T):
                value = 0.3 * value + 1.5 * draws.u[i, d, t] * draws.u[i, d, t + 2] + 0.1
                x[d, t] = value + noise * draws.noise[i, d, t]
        low, high = -5 * abs(x.min()), 5 * abs(x.max())
        trends = {0: "", 1: "\\\\", 2: "//", 3: "/\\"}[made.y[i]]
        earliest, latest = 0, T // 2 - 1
        for j, trend in enumerate(trends):
            size, wave = int(draws.size[i, j]), int(draws.wave[i, j])
            d = draws.features[i, j] if D > 1 else 0
            start = earliest + math.floor(draws.place[i, j] * (latest - earliest + 1))
            for k in range(size):
                rise = (high - low) / size * (k - size // 2)
                x[d, start + k] = (rise if trend == "/" else -rise) + math.sin(wave * (k - size // 2))
                salient[d, start + k] = True
            earliest, latest = start + size, T - int(draws.size[i, 1])
        np.testing.assert_allclose(made.X[i], x, rtol=1e-5, atol=1e-5)
        assert np.array_equal(made.salient[i], salient)


def test_statistics():
    data = seqcomb_mv(2000)
    assert data.X.shape == (2000, 4, 200)
    np.testing.assert_allclose(np.bincount(data.y) / 2000, 0.25, atol=0.03)
    rows = data.salient.any(axis=2)
    assert (rows.sum(axis=1) == np.where(data.y == 0, 0, 2)).all()
    length = data.salient.sum(axis=2)[rows]
    assert (length.min(), length.max()) == (15, 29)
    assert abs(length.mean() - 22) < 0.5
    assert (data.salient.sum(axis=1) <= 1).all()  # one after the other
    for label, signs in ((1, (-1, -1)), (2, (1, 1)), (3, (1, -1))):
        for i in np.flatnonzero(data.y == label)[:100]:
            segments = [np.nonzero(data.salient[i] & (np.arange(4) == d)[:, None]) for d in np.flatnonzero(rows[i])]
            segments.sort(key=lambda cells: cells[1][0])
            slopes = [np.polyfit(cells[1], data.X[i][cells], 1)[0] for cells in segments]
            assert tuple(np.sign(slopes)) == signs


def test_one_feature_statistics():
    data = seqcomb_uv(2000)
    assert data.X.shape == (2000, 1, 200)
    np.testing.assert_allclose(np.bincount(data.y) / 2000, 0.25, atol=0.03)
    cells = data.salient.sum(axis=(1, 2))
    assert not cells[data.y == 0].any()
    assert (cells[data.y > 0].min(), cells[data.y > 0].max()) == (20, 38)
    # Without its trends, a series is as one of the class that has none.
    np.testing.assert_allclose(abs(data.X[~data.salient]).max(), abs(data.X[data.y == 0]).max(), rtol=0.05)


def test_all_places_fit_in_one_feature():
    data = seqcomb_uv(1000, T=73)
    steps = data.salient.any(axis=1)[data.y > 0]
    assert steps[:, 0].any()
    assert steps[:, -1].any()
    assert (steps.sum(axis=1) >= 20).all()


def test_all_places_fit():
    data = seqcomb_mv(500, T=113)
    first, last = data.salient.any(axis=1).argmax(axis=1), 113 - data.salient.any(axis=1)[:, ::-1].argmax(axis=1)
    assert first[data.y > 0].min() == 0
    assert last[data.y > 0].max() == 113


def test_seeds():
    data, longer = seqcomb_mv(20, seed=5), seqcomb_mv(50, seed=5)
    for name in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, name), getattr(longer, name)[:20])
    assert not np.array_equal(data.X, seqcomb_mv(20, seed=6).X)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 112}, {"D": 1}, {"seed": -1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        seqcomb_mv(**arguments)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 72}, {"noise": -1.0}, {"seed": -1}])
def test_wrong_arguments_of_one_feature(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        seqcomb_uv(**arguments)
