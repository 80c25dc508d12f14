"""State, HMM, Switch-Feature and L2X against plain loops over the same random numbers, and their statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rambit.datasets import hmm, l2x, state, switch_feature
from rambit.datasets.chain import draw, walk
from rambit.datasets.l2x import _draw as draw_l2x
from rambit.datasets.l2x import log_odds
from rambit.datasets.state import covariances

TRUTHS = pytest.mark.parametrize("make", [state, hmm, switch_feature])


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


def naive_tiring_walk(u):
    states, lasted = [], 0
    for t, number in enumerate(u):
        if t == 0:
            one = number < 0.5
        elif states[-1] == 1:
            one = number < 0.95 - 0.002 * lasted
        else:
            one = number < 0.05
        lasted = lasted + 1 if states and states[-1] == one else 0
        states.append(int(one))
    return states


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def marks(states, features, truth):
    salient = np.zeros((3, len(states)), bool)
    for t, s in enumerate(states):
        if truth == "active" or (t > 0 and states[t - 1] != s):
            salient[features[s], t] = True
    return salient


def naive_state(draws, truth, hidden=lambda u: naive_walk(u, [[0.1, 0.9], [0.1, 0.9]])):
    mean = ((0.1, 1.6, 0.5), (-0.1, -0.4, -1.5))
    X, y, salient = [], [], []
    for u, value, label in zip(*draws, strict=True):
        states = hidden(u)
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


def naive_hmm(draws, truth):
    return naive_state(draws, truth, naive_tiring_walk)


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


@pytest.mark.parametrize(("make", "naive"), [(state, naive_state), (hmm, naive_hmm), (switch_feature, naive_switch)])
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


@given(n=st.integers(1, 3), T=st.integers(2, 20), seed=st.integers(0, 2**64))
@settings(max_examples=15, deadline=None)
def test_l2x_equals_plain_loops(n, T, seed):
    made, draws = l2x(n, T, seed), draw_l2x(n, T, seed)
    assert ((draws.scale >= 0.5) & (draws.scale < 2.5)).all()
    for i in range(n):
        states = naive_tiring_walk(draws.state[i])
        x = np.zeros((10, T))
        for d, mean in enumerate((1.2, 0.8, 1.5, 0.4, 0.5, -1.2, -1.5, -0.8, -0.4)):
            kernel = [[0.5 * np.exp(-(((s - t) / draws.scale[d]) ** 2) / 2) for t in range(T)] for s in range(T)]
            x[d] = mean + np.linalg.cholesky(np.array(kernel) + 1e-9 * np.eye(T)) @ draws.value[i, d]
        for t, s in enumerate(states):
            x[9, t] = -0.5 if s else 0.5
            a, b, c, d = x[5:9, t] if s else x[1:5, t]
            if s:  # odds of label 0
                odds = np.exp(-10 * np.sin(-0.2 * a) + abs(b) + c + np.exp(-d) - 2.4)
            else:
                odds = np.exp(a * a + b * b + c * c + d * d - 4)
            assert made.y[i, t] == (draws.label[i, t] < 1 / (1 + odds))
            assert np.flatnonzero(made.salient[i, :, t]).tolist() == ([5, 6, 7, 8, 9] if s else [1, 2, 3, 4, 9])
        np.testing.assert_allclose(made.X[i], x, rtol=1e-5, atol=1e-5)


def test_l2x_labels_depend_on_the_salient_cells_alone():
    data = l2x(20)
    X, states = data.X.astype(np.float64), (data.X[:, 9] < 0).astype(int)
    other = np.where(data.salient, X, np.random.default_rng(0).normal(size=X.shape))
    np.testing.assert_allclose(log_odds(other, states), log_odds(X, states))
    for d in range(1, 9):
        changed = X.copy()
        changed[:, d] += 1
        assert np.array_equal(log_odds(changed, states) != log_odds(X, states), data.salient[:, d])


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


def test_hmm_statistics():
    data = hmm()
    states = states_of(data) - 1
    assert abs(states[:, 0].mean() - 0.5) < 0.05
    entered = (states[:, :-2] == 0) & (states[:, 1:-1] == 1)
    assert abs(states[:, 2:][entered].mean() - 0.95) < 0.01
    lasted = np.logical_and.reduce([states[:, k : 150 + k] == 1 for k in range(1, 32)]) & (states[:, :150] == 0)
    assert abs(states[:, 32:182][lasted].mean() - (0.95 - 30 / 500)) < 0.03
    left = (states[:, :-1] == 0) & (states[:, 1:] == 1)
    assert abs(left.sum() / (states[:, :-1] == 0).sum() - 0.05) < 0.003
    calibrated(np.where(states == 0, data.X[:, 1], data.X[:, 2]), data.y, 2)


def test_l2x_statistics():
    data = l2x(500)
    np.testing.assert_allclose(
        data.X[:, :9].mean(axis=(0, 2)), (1.2, 0.8, 1.5, 0.4, 0.5, -1.2, -1.5, -0.8, -0.4), atol=0.03
    )
    np.testing.assert_allclose(data.X[:, :9].var(axis=(0, 2)), 0.5, atol=0.02)
    calibrated(log_odds(data.X, data.X[:, 9] < 0), data.y, 1)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"T": 1}, {"seed": -1}])
def test_wrong_arguments_of_l2x(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least"):
        l2x(**arguments)


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


@TRUTHS
def test_truths_agree_on_all_but_the_salient_cells(make):
    change, active = make(50, truth="change"), make(50, truth="active")
    assert np.array_equal(change.X, active.X)
    assert np.array_equal(change.y, active.y)
    assert not (change.salient & ~active.salient).any()
    assert not change.salient[..., 0].any()
    moved = np.diff(states_of(active)) != 0
    assert np.array_equal(change.salient.any(axis=1)[:, 1:], moved)


@TRUTHS
def test_seeds(make):
    data, longer = make(20, seed=5), make(50, seed=5)
    for name in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, name), getattr(longer, name)[:20])
    assert not np.array_equal(data.X, make(20, seed=6).X)


@TRUTHS
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
