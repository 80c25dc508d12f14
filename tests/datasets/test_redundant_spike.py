"""Redundant-Spike against plain loops, its statistics, and a model that is right with either feature alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import redundant_spike, spike
from rambit.datasets.redundant import _draw
from rambit.datasets.spike import smooth_series
from rambit.models import GRUClassifier
from rambit.training import evaluate, fit


@given(n=st.integers(1, 6), T=st.integers(2, 30), seed=st.integers(0, 2**64))
@settings(max_examples=25, deadline=None)
def test_equals_plain_loops(n, T, seed):
    made = redundant_spike(n, T, seed)
    draws, present = _draw(n, T, seed)
    X, y, salient = smooth_series(draws), np.zeros((n, T), int), np.zeros((n, 3, T), bool)
    for i in range(n):
        times = sorted(draws.times[i, 0, : max(1, draws.number[i, 0])])
        for d in range(2):
            if present[i, d]:
                salient[i, d, times[0]] = True
                for t in times:
                    X[i, d, t] += 1.5
        y[i, times[0] :] = 1
        if draws.spiky[i, 2]:
            for t in draws.times[i, 2, : draws.number[i, 2]]:
                X[i, 2, t] += 1.5
    np.testing.assert_allclose(made.X, X, rtol=1e-5, atol=1e-5)
    assert np.array_equal(made.y, y)
    assert np.array_equal(made.salient, salient)


def test_statistics():
    data = redundant_spike()
    present = data.salient.any(axis=2)
    assert not present[:, 2].any()
    assert present.any(axis=1).all()
    np.testing.assert_allclose(present[:, :2].mean(axis=0), 2 / 3, atol=0.03)
    assert abs(present.all(axis=1, where=[True, True, False]).mean() - 1 / 3) < 0.03
    assert (data.salient.sum(axis=2) <= 1).all()
    # Both features show the first spike at the same time, and there the label turns to 1.
    time = data.salient.any(axis=1).argmax(axis=1)
    assert data.salient.any(axis=1).sum() == len(data)
    assert np.array_equal(data.y.argmax(axis=1), time)
    assert data.y[:, -1].all()
    # Feature 2 is as in spike.
    assert np.array_equal(data.X[:50, 2], spike(50).X[:, 2])


def test_seeds():
    data, longer = redundant_spike(20, seed=5), redundant_spike(50, seed=5)
    for name in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, name), getattr(longer, name)[:20])
    assert not np.array_equal(data.X, redundant_spike(20, seed=6).X)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 1}, {"seed": -1}])
def test_wrong_arguments(arguments):
    with pytest.raises(ValueError, match="must be at least"):
        redundant_spike(**arguments)


def test_a_model_is_right_with_either_alone(threads):
    threads(1)
    train, test = redundant_spike(500, 40), redundant_spike(700, 40).take(range(500, 700))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GRUClassifier(3, 16)
    fit(model, train.X, train.y, per_step=True, standardize=True, epochs=15, batch_size=25, lr=2e-2)
    present = test.salient.any(axis=2)
    for chosen in (present[:, 0] & ~present[:, 1], present[:, 1] & ~present[:, 0], present[:, 0] & present[:, 1]):
        assert evaluate(model, test.X[chosen], test.y[chosen], per_step=True)["accuracy"] > 0.95
    # Without any spike it says 0 for most of the time: it goes by the spikes.
    quiet = torch.from_numpy(smooth_series(_draw(200, 40, 3)[0]).astype(np.float32))
    with torch.no_grad():
        assert model.predict(quiet, return_all=True)[:, 1, :20].mean() < 0.2
