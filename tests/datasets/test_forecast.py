"""The forecast sets against plain loops over the same noise, and their lags against what the forecast depends on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import forecast_linear, forecast_threshold
from rambit.datasets.forecast import _noise, linear_coefficients

BOTH = pytest.mark.parametrize("make", [forecast_linear, forecast_threshold])
START = 50  # steps before those that are kept


def linear_step(x, t):
    """The mean of the three features at t, given what stands before."""
    return [0.6 * x[0, t - 2] - 0.5 * x[1, t - 3], 0.7 * x[1, t - 1], 0.7 * x[2, t - 1]]


def threshold_step(x, t):
    return [0.5 + 0.95 * x[0, t - 1] if x[1, t - 3] > 0 else -0.5 - 0.9 * x[0, t - 2], 0.0, 0.0]


STEPS = {forecast_linear: linear_step, forecast_threshold: threshold_step}


def forecast(make, past, horizon):
    """The mean of feature 0 `horizon` steps after the past (3, T); noise enters linearly, so it is left out."""
    x = np.concatenate([past, np.zeros((3, horizon))], axis=1)
    for t in range(past.shape[1], x.shape[1]):
        x[:, t] = STEPS[make](x, t)
    return x[0, -1]


@BOTH
@given(n=st.integers(1, 3), T=st.integers(3, 12), horizon=st.integers(1, 3), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_equals_plain_loops(make, n, T, horizon, seed):
    data = make(n, T, horizon, "value", seed)
    for i, noise in enumerate(_noise(n, T, seed)):
        x = noise * np.array([[0.3], [1], [1]] if make is forecast_linear else 1.0)
        for t in range(3, x.shape[1]):
            x[:, t] += STEPS[make](x, t)
        np.testing.assert_allclose(data.X[i], x[:, START : START + T], rtol=1e-5, atol=1e-5)
        assert data.y[i] == pytest.approx(x[0, START + T - 1 + horizon], rel=1e-5, abs=1e-5)
    assert np.array_equal(make(n, T, horizon, seed=seed).y, data.y > 0)


@BOTH
@given(horizon=st.integers(1, 8), T=st.integers(3, 8), seed=st.integers(0, 2**64))
@settings(max_examples=40, deadline=None)
def test_salient_cells_are_those_that_the_forecast_depends_on(make, horizon, T, seed):
    """Turning the sign of one cell changes the forecast where the cell is salient, and nowhere else."""
    horizon = horizon if make is forecast_linear else 1 + horizon % 3
    data = make(2, T, horizon, seed=seed)
    for past, salient in zip(data.X.astype(np.float64), data.salient, strict=True):
        before = forecast(make, past, horizon)
        for d, t in np.ndindex(3, T):
            changed = past.copy()
            changed[d, t] *= -1
            assert (abs(forecast(make, changed, horizon) - before) > 1e-12) == salient[d, t]


@BOTH
def test_the_best_forecast_is_often_right(make):
    data = make(500)
    guess = [forecast(make, past, 1) > 0 for past in data.X]
    assert (guess == data.y.astype(bool)).mean() > 0.8
    assert 0.4 < data.y.mean() < 0.6


def test_coefficients():
    """By hand: for one step they are the lags of the process, for three x0[t+2] = .6 x0[t] - .5 x1[t-1]."""
    assert linear_coefficients(1).tolist() == [[0, 0, 0], [0.6, 0, 0], [0, -0.5, 0]]
    np.testing.assert_allclose(linear_coefficients(3), [[0, -0.5, 0], [0.36, 0, 0], [0, -0.3, 0]])


@BOTH
def test_horizon_and_target_leave_the_series(make):
    data = make(5)
    for other in (make(5, horizon=3), make(5, target="value")):
        assert np.array_equal(other.X, data.X)
        assert other.name != data.name
    assert not np.array_equal(make(5, horizon=3).salient, data.salient)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"T": 2}, "T must be at least 3"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"horizon": 9}, "horizon must be at most [83], got 9"),
        ({"target": "class"}, "target must be one of sign, value, got 'class'"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_regimes_are_known_three_steps_ahead():
    with pytest.raises(ValueError, match="horizon must be at most 3, got 4"):
        forecast_threshold(horizon=4)
