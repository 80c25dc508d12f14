"""Spike against the recipe written as plain loops over the same random numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from rambit.datasets import spike
from rambit.datasets.spike import _draw, smooth_series
from tests.random_state import numpy_state


def naive(draws, delay):
    n, _, T = draws.noise.shape
    X, y, salient = np.zeros((n, 3, T)), np.zeros((n, T), int), np.zeros((n, 3, T), bool)
    b, a = signal.butter(6, 6.8 / 15)
    for i in range(n):
        for d in range(3):
            c0, c2, c3 = (0.3, 1.5, 0.1) if d == 2 else (0.5, 1.5, 0.5)
            trend = (0.003, 0.065, 0)[d]
            values = []
            for t in range(T):
                before = values[t - 1] if t else 0.0
                values.append(c0 * before + c2 * draws.u[i, d, t] * draws.u[i, d, t + 2] + c3)
            values = [v + draws.noise[i, d, t] + trend * t for t, v in enumerate(values)]
            size = max(values) - min(values)
            values = [v / size - (0.5 if d == 2 else 0) for v in values]
            # The filter as its difference equation.
            for t in range(T):
                total = sum(b[k] * values[t - k] for k in range(7) if t >= k)
                X[i, d, t] = total - sum(a[k] * X[i, d, t - k] for k in range(1, 7) if t >= k)
            times = sorted(draws.times[i, d, : draws.number[i, d]]) if draws.spiky[i, d] else []
            for t in times:
                X[i, d, t] += 1.5
            if d == 0 and times:
                salient[i, 0, times[0]] = True
                for t in range(times[0] + delay, T):
                    y[i, t] = 1
    return X, y, salient


@given(n=st.integers(1, 6), T=st.integers(2, 30), seed=st.integers(0, 2**64), data=st.data())
@settings(max_examples=25, deadline=None)
def test_equals_plain_loops(n, T, seed, data):
    delay = data.draw(st.integers(0, T - 1))
    made = spike(n, T, delay, seed)
    X, y, salient = naive(_draw(n, T, seed), delay)
    np.testing.assert_allclose(made.X, X, rtol=1e-4, atol=1e-4)
    assert np.array_equal(made.y, y)
    assert np.array_equal(made.salient, salient)


def test_draws_follow_the_recipe():
    draws = _draw(4000, 80, 0)
    assert draws.u.min() >= 0
    assert draws.u.max() < 0.5
    assert abs(draws.u.mean() - 0.25) < 1e-3
    assert abs(draws.noise.std() - 0.001) < 1e-5
    assert abs(draws.spiky.mean() - 0.3) < 0.02
    assert abs(draws.number.mean() - 3) < 0.05
    assert abs(draws.number.var() - 3) < 0.15
    assert np.array_equal(np.sort(draws.times, axis=-1), np.broadcast_to(np.arange(80), draws.times.shape))
    assert abs(draws.times[..., 0].mean() - 39.5) < 1


def test_series_climb_from_zero_to_their_level():
    X = smooth_series(_draw(200, 80, 0))[:, 0]
    assert abs(X[:, 0]).max() < 0.1
    assert X[:, 20:].min() > 0.5


def test_labels_and_salient_cells_agree():
    for delay in (0, 3):
        data = spike(500, delay=delay)
        assert data.X.shape == (500, 3, 80)
        assert not data.salient[:, 1:].any()
        for labels, cells in zip(data.y, data.salient[:, 0], strict=True):
            assert cells.sum() <= 1
            expected = np.zeros(80, int)
            if cells.any():
                expected[cells.argmax() + delay :] = 1
            assert np.array_equal(labels, expected)
    # P(spiky) P(Poisson(3) > 0)
    assert abs(spike().salient.any((1, 2)).mean() - 0.3 * (1 - np.exp(-3))) < 0.03


def test_seed_length_and_delay():
    data = spike(20, seed=5)
    assert np.array_equal(data.X, spike(20, seed=5).X)
    assert not np.array_equal(data.X, spike(20, seed=6).X)
    assert np.array_equal(data.X, spike(50, seed=5).X[:20])
    assert np.array_equal(data.y, spike(50, seed=5).y[:20])
    assert np.array_equal(data.X, spike(20, delay=7, seed=5).X)
    state = numpy_state()
    spike(3)
    assert numpy_state() == state


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 1}, {"delay": -1}, {"seed": -1}, {"T": 10, "delay": 10}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be"):
        spike(**arguments)
