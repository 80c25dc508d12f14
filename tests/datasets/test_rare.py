"""Rare-Time and Rare-Feature: the process, the salient sets, the black box, and what is known of its explanations."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.datasets import (
    RareModel,
    load_file,
    rare_feature,
    rare_feature_diffgroups,
    rare_model,
    rare_scores,
    rare_time,
    rare_time_diffgroups,
    save_file,
    spike,
)
from rambit.datasets.dataset import streams

BOTH = pytest.mark.parametrize("make", [rare_time, rare_feature])
GROUPS = pytest.mark.parametrize("make", [rare_time_diffgroups, rare_feature_diffgroups])


@BOTH
@given(n=st.integers(1, 3), T=st.integers(5, 20), D=st.integers(5, 20), size=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_equals_plain_loops(make, n, T, D, size, seed):
    data = make(n, T, D, size, seed)
    noise = streams(seed, 2)[0].standard_normal((n, D, T))
    for i in range(n):
        for d in range(D):
            x = []
            for t in range(T):  # 2 x[t] + .5 x[t-1] + .2 x[t-2] + .1 x[t-3] = 2 e[t]
                before = [x[t - k] if t >= k else 0.0 for k in (1, 2, 3)]
                x.append((2 * noise[i, d, t] - 0.5 * before[0] - 0.2 * before[1] - 0.1 * before[2]) / 2)
            np.testing.assert_allclose(data.X[i, d], x, rtol=1e-5, atol=1e-6)
        for t in range(T):
            total = sum(float(data.X[i, d, t]) ** 2 for d in range(D) if data.salient[i, d, t])
            assert data.y[i, t] == pytest.approx(total)


def test_salient_sets():
    data = rare_time(200)
    steps, features = data.salient.any(axis=1), data.salient.any(axis=2)
    assert data.salient.sum(axis=(1, 2)).tolist() == [5 * 25] * 200
    assert (features == ((np.arange(50) >= 12) & (np.arange(50) < 37))).all()
    first = steps.argmax(axis=1)
    assert all(row[f : f + 5].all() for row, f in zip(steps, first, strict=True))
    assert (first.min(), first.max()) == (0, 45)

    data = rare_feature(200)
    steps, features = data.salient.any(axis=1), data.salient.any(axis=2)
    assert data.salient.sum(axis=(1, 2)).tolist() == [5 * 25] * 200
    assert (steps == ((np.arange(50) >= 12) & (np.arange(50) < 37))).all()
    assert features.sum(axis=1).tolist() == [5] * 200
    assert abs(features.mean(axis=0) - 0.1).max() < 0.08
    assert len({tuple(row) for row in features}) == 200


@BOTH
def test_seeds(make):
    data, longer = make(4, seed=5), make(9, seed=5)
    for name in ("X", "y", "salient"):
        assert np.array_equal(getattr(data, name), getattr(longer, name)[:4])
    assert not np.array_equal(data.X, make(4, seed=6).X)
    assert data.y.dtype == np.float32


@BOTH
def test_the_black_box_answers_the_labels(make):
    data = make(3)
    for i in range(3):
        model, x = rare_model(data, i), torch.from_numpy(data.X)
        outputs = model(x, return_all=True)
        torch.testing.assert_close(outputs[i], torch.from_numpy(data.y[i]))
        for w in (1, 20, 50):
            torch.testing.assert_close(model(x[:, :, :w]), outputs[:, w - 1])
            torch.testing.assert_close(model(x[:, :, :w], return_all=True), outputs[:, :w])
        assert list(model.state_dict()) == ["salient"]
        assert model(x.double()).dtype == torch.float64


@BOTH
def test_scores_are_what_a_flip_changes(make):
    """Occluding a cell with the temporal mean, in any coalition of the others, moves the answer by the closed form."""
    data, rng = make(1, T=8, D=6, size=2), np.random.default_rng(0)
    x = torch.from_numpy(data.X).double()
    mean = x.mean(dim=2, keepdim=True).expand_as(x)
    model, scores = rare_model(data, 0), rare_scores(data)
    for d in range(6):
        for t in range(8):
            kept = torch.from_numpy(rng.random((1, 6, 8)) < 0.5)
            kept[0, d, t] = True
            with_cell = torch.where(kept, x, mean)
            kept[0, d, t] = False
            without = torch.where(kept, x, mean)
            moved = (model(with_cell, return_all=True) - model(without, return_all=True))[0, t]
            assert abs(moved) == pytest.approx(scores[0, d, t])


@BOTH
def test_gradients(make):
    """Integrated gradients from zero are x²: the gradient is 2 x at the salient cells."""
    data = make(1)
    x = torch.from_numpy(data.X).requires_grad_()
    rare_model(data, 0)(x, return_all=True).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach() * torch.from_numpy(data.salient))


@GROUPS
@given(n=st.integers(1, 5), T=st.integers(5, 20), D=st.integers(5, 20), size=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_groups_equal_plain_loops(make, n, T, D, size, seed):
    data, plain = make(n, T, D, size, seed), {rare_time_diffgroups: rare_time, rare_feature_diffgroups: rare_feature}
    assert np.array_equal(data.X, plain[make](n, T, D, size, seed).X)
    for i in range(n):
        steps, features = data.salient[i].any(axis=0), data.salient[i].any(axis=1)
        half = range(T // 2) if i % 2 == 0 else range(T // 4, 3 * T // 4)
        if make is rare_time_diffgroups:
            half = range(D // 2) if i % 2 == 0 else range(D // 4, 3 * D // 4)
            first = int(steps.argmax())
            assert np.flatnonzero(steps).tolist() == list(range(first, first + size))
            assert np.flatnonzero(features).tolist() == list(half)
        else:
            assert np.flatnonzero(steps).tolist() == list(half)
            assert features.sum() == size
        assert np.array_equal(data.salient[i], features[:, None] & steps)
        assert np.array_equal(data.salient[i], data.salient[i % 2])  # the same within a group
        for t in range(T):
            cells = [float(data.X[i, d, t]) for d in range(D) if data.salient[i, d, t]]
            total = sum(cells) ** 2 if i % 2 == 0 else sum(x**2 for x in cells)
            assert data.y[i, t] == pytest.approx(total, rel=1e-5, abs=1e-6)


@GROUPS
def test_the_black_boxes_of_groups_answer_the_labels(make, tmp_path):
    data = make(6, seed=3)
    save_file(tmp_path / "set.npz", data)
    for some, chosen in ((data, range(6)), (data.take([3, 0]), (3, 0)), (load_file(tmp_path / "set.npz"), range(6))):
        for i, original in enumerate(chosen):
            outputs = rare_model(some, i)(torch.from_numpy(data.X[[original]]), return_all=True)[0]
            torch.testing.assert_close(outputs, torch.from_numpy(data.y[original]), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="has series whose black box is no sum over cells"):
        rare_scores(data)
    second = data.take([1, 3])
    assert (rare_scores(second) > 0).sum() == second.salient.sum()


@pytest.mark.parametrize("make", [rare_time, rare_feature, rare_time_diffgroups, rare_feature_diffgroups])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"size": 0}, "size must be at least 1"),
        ({"T": 1}, "T must be at least"),
        ({"D": 1}, "D must be at least"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_wrong_arguments(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_wrong_models():
    data = rare_time(1)
    with pytest.raises(ValueError, match=r"x must have shape \(N, 50, w\) with w in 1\.\.50, got \(1, 50, 51\)"):
        rare_model(data, 0)(torch.zeros(1, 50, 51))
    with pytest.raises(ValueError, match="salient must be bool"):
        RareModel(torch.zeros(2, 3))
    unknown = dataclasses.replace(spike(1), salient=None)
    for call in (lambda: rare_model(unknown, 0), lambda: rare_scores(unknown)):
        with pytest.raises(ValueError, match="spike has no salient cells"):
            call()
