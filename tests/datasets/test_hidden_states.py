"""State and Switch-Feature against plain loops over the same random numbers, and their statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rambit.datasets import state, switch_feature
from rambit.datasets.chain import draw, walk
from rambit.datasets.state import covariances

BOTH = pytest.mark.parametrize("make", [state, switch_feature])


def naive_walk(u, transition):
    states = []
    for t, number in enumerate(u):
        row = [1 / len(transition)] * len(transition) if t == 0 else transition[states[-1]]
        total, chosen = 0.0, 0
        for k, p in enumerate(row):
            chosen = k
            total += p
            if number < total:
                break
        states.append(chosen)
    return states


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def marks(states, features, truth):
    salient = np.zeros((3, len(states)), bool)
    for t, s in enumerate(states):
        if truth == "active" or (t > 0 and states[t - 1] != s):
            salient[features[s], t] = True
    return salient


def naive_state(draws, truth):
    mean = ((0.1, 1.6, 0.5), (-0.1, -0.4, -1.5))
    X, y, salient = [], [], []
    for u, value, label in zip(*draws, strict=True):
        states = naive_walk(u, [[0.1, 0.9], [0.1, 0.9]])
        x, labels = np.zeros((3, len(u))), []
        for t, s in enumerate(states):
            k = s + 1  # the important feature; feature 0 is correlated with it
            c = 0.01 / 0.801
            z = value[:, t]
            x[:, t] = np.array(mean[s]) + np.sqrt(0.801) * z
            x[k, t] = mean[s][k] + np.sqrt(0.801) * (c * z[0] + np.sqrt(1 - c**2) * z[k])
            labels.append(int(label[t] < sigmoid(2 * x[k, t])))
        X.append(x)
        y.append(labels)
        salient.append(marks(states, (1, 2), truth))
    return np.array(X), np.array(y), np.array(salient)


def naive_switch(draws, truth):
    mean = ((0.8, -0.5, -0.2), (0, -1, 0), (-0.2, -0.2, 0.8))
    transition = ((0.95, 0.02, 0.03), (0.02, 0.95, 0.03), (0.03, 0.02, 0.95))
    X, y, salient = [], [], []
    for u, value, label in zip(*draws, strict=True):
        states = naive_walk(u, transition)
        x, begin = np.zeros((3, len(u))), 0
        while begin < len(u):
            end = begin
            while end < len(u) and states[end] == states[begin]:
                end += 1
            # One Gaussian process over this stretch alone.
            kernel = [
                [0.1 * np.exp(-((i - j) ** 2) / (2 * 0.2**2)) for j in range(begin, end)] for i in range(begin, end)
            ]
            factor = np.linalg.cholesky(np.array(kernel) + 1e-9 * np.eye(end - begin))
            for d in range(3):
                x[d, begin:end] = mean[states[begin]][d] + factor @ value[d, begin:end]
            begin = end
        X.append(x)
        y.append([int(label[t] < sigmoid(3 * x[s, t])) for t, s in enumerate(states)])
        salient.append(marks(states, (0, 1, 2), truth))
    return np.array(X), np.array(y), np.array(salient)


@pytest.mark.parametrize(("make", "naive"), [(state, naive_state), (switch_feature, naive_switch)])
@given(
    n=st.integers(1, 4), T=st.integers(2, 40), truth=st.sampled_from(["change", "active"]), seed=st.integers(0, 2**64)
)
@settings(max_examples=15, deadline=None)
def test_equals_plain_loops(make, naive, n, T, truth, seed):
    made = make(n, T, truth, seed)
    X, y, salient = naive(draw(n, T, seed), truth)
    np.testing.assert_allclose(made.X, X, rtol=1e-5, atol=1e-5)
    assert np.array_equal(made.y, y)
    assert np.array_equal(made.salient, salient)
    assert made.name == f"{make.__name__}:truth={truth}"


def test_walk_never_leaves_its_states():
    third = np.full((3, 3), 1 / 3)  # sums to a little less than 1
    assert walk(np.full((1, 4), np.nextafter(1, 0)), third).max() == 2
    assert walk(np.zeros((1, 4)), third).max() == 0


def states_of(data):
    """From the active feature, which tells the state in both sets."""
    assert (data.salient.sum(axis=1) == 1).all()
    return data.salient.argmax(axis=1)


def frequencies(states):
    counts = np.zeros((3, 3))
    np.add.at(counts, (states[:, :-1], states[:, 1:]), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def test_state_statistics():
    data = state(truth="active")
    assert data.X.shape == (1000, 3, 200)
    states = states_of(data) - 1
    np.testing.assert_allclose(frequencies(states)[:2, :2], [[0.1, 0.9], [0.1, 0.9]], atol=0.01)
    assert abs(states[:, 0].mean() - 0.5) < 0.05
    for s, mean in enumerate(((0.1, 1.6, 0.5), (-0.1, -0.4, -1.5))):
        values = data.X.transpose(0, 2, 1)[states == s]
        np.testing.assert_allclose(values.mean(0), mean, atol=0.02)
        np.testing.assert_allclose(np.cov(values.T), covariances()[s], atol=0.03)
    deciding = np.where(states == 0, data.X[:, 1], data.X[:, 2])
    calibrated(deciding, data.y, 2)


def test_switch_statistics():
    data = switch_feature(truth="active")
    assert data.X.shape == (1000, 3, 100)
    states = states_of(data)
    expected = [[0.95, 0.02, 0.03], [0.02, 0.95, 0.03], [0.03, 0.02, 0.95]]
    np.testing.assert_allclose(frequencies(states), expected, atol=0.005)
    np.testing.assert_allclose(np.bincount(states[:, 0]) / 1000, 1 / 3, atol=0.05)
    means = np.array([[0.8, -0.5, -0.2], [0, -1, 0], [-0.2, -0.2, 0.8]])
    left = data.X - means[states].transpose(0, 2, 1)
    assert abs(left.mean()) < 0.005
    assert abs(left.var() - 0.1) < 0.002
    assert stats.kstest(left[:, :, ::9].ravel() / np.sqrt(0.1), "norm").pvalue > 1e-3
    calibrated(np.take_along_axis(data.X, states[:, None], axis=1)[:, 0], data.y, 3)


def calibrated(deciding, labels, slope):
    """The labels are as frequent as the sigmoid says, in each tenth of its range."""
    p = sigmoid(slope * deciding)
    for low in np.arange(0, 1, 0.1):
        inside = (p >= low) & (p < low + 0.1)
        assert abs(labels[inside].mean() - p[inside].mean()) < 4 * 0.5 / np.sqrt(inside.sum())


@BOTH
def test_truths_agree_on_all_but_the_salient_cells(make):
    change, active = make(50, truth="change"), make(50, truth="active")
    assert np.array_equal(change.X, active.X)
    assert np.array_equal(change.y, active.y)
    assert not (change.salient & ~active.salient).any()
    assert not change.salient[..., 0].any()
    moved = np.diff(states_of(active)) != 0
    assert np.array_equal(change.salient.any(axis=1)[:, 1:], moved)


@BOTH
def test_seeds(make):
    data, longer = make(20, seed=5), make(50, seed=5)
    for name in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, name), getattr(longer, name)[:20])
    assert not np.array_equal(data.X, make(20, seed=6).X)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"T": 1}, "T must be at least 2, got 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"truth": "both"}, "truth must be one of change, active, got 'both'"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
