"""WinIT and BiWinIT against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit.attribution import BiWinIT, WinIT
from rambit.game import engine
from tests.models_for_tests import GRU, Transformer, plain
from tests.naive import winit as naive

pytestmark = pytest.mark.wheel

B, D, T, S, W = 2, 3, 8, 2, 3


def setting(name):
    g = torch.Generator().manual_seed(4)
    X = torch.randn(B, D, T, generator=g, dtype=torch.float64)
    fixed = torch.randn(S, B, D, T, generator=g, dtype=torch.float64)
    runs = torch.randn(S, B, D, T, W, generator=g, dtype=torch.float64)
    torch.manual_seed(0)
    model = {"gru": GRU, "transformer": Transformer}[name]().double().eval() if name != "plain" else plain

    def f(x):
        with torch.no_grad():
            return model(x).softmax(-1)

    return model, f, X, fixed, runs


MODES = [("plain", "prefix"), ("gru", "prefix"), ("gru", "causal"), ("gru", "stateful"), ("transformer", "causal")]


@pytest.mark.parametrize(("name", "mode"), MODES)
@pytest.mark.parametrize("by_run", [False, True])
def test_winit_equals_the_definition(name, mode, by_run):
    model, f, X, fixed, runs = setting(name)
    values = runs if by_run else fixed
    expected = naive.winit(f, X, values, W)
    for how in ("mean", "max", "absmax"):
        method = WinIT(model, window_size=W, aggregate=how, evaluation=mode, batch_size=13)
        result = method.explain(X, counterfactuals=values)
        assert result.mode == mode
        np.testing.assert_allclose(result.windows.numpy(), expected, rtol=1e-5, atol=1e-10)
        np.testing.assert_allclose(result.values.numpy(), naive.aggregate(expected, how), rtol=1e-5, atol=1e-10)
    assert bool((result.values[:, :, 0] == 0).all())
    cost = WinIT(model, window_size=W, num_samples=S, counterfactuals="gaussian", evaluation=mode).cost(X)
    assert (cost.rows, cost.row_steps) == (result.rows, result.row_steps)


@pytest.mark.parametrize(("name", "mode"), MODES)
@pytest.mark.parametrize("by_run", [False, True])
def test_biwinit_equals_the_definition(name, mode, by_run):
    model, f, X, fixed, runs = setting(name)
    values = runs if by_run else fixed
    expected = naive.biwinit(f, X, values, W, 2)
    result = BiWinIT(model, window_size=W, height=2, evaluation=mode).explain(X, counterfactuals=values)
    np.testing.assert_allclose(result.windows.numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("metric", ["pd", "kl", "js", "l2"])
def test_metrics_and_windows_longer_than_the_series(metric):
    model, f, X, fixed, _ = setting("gru")
    expected = naive.winit(f, X, fixed, T + 2, metric)
    result = WinIT(model, window_size=T + 2, distance=metric).explain(X, counterfactuals=fixed)
    np.testing.assert_allclose(result.windows.numpy(), expected, rtol=1e-5, atol=1e-10)


def test_lengths_ids_and_memory_change_nothing(monkeypatch):

    model, _, X, fixed, _ = setting("gru")
    method = WinIT(model, window_size=W)
    whole = method.attribute(X, counterfactuals=fixed)
    cut = method.attribute(X, counterfactuals=fixed, lengths=[T, T - 3])
    torch.testing.assert_close(cut[0], whole[0])
    shorter = method.attribute(X[1:, :, : T - 3], counterfactuals=fixed[:, 1:, :, : T - 3])
    torch.testing.assert_close(cut[1:, :, : T - 3], shorter)
    assert bool((cut[1, :, T - 3 :] == 0).all())
    drawn = WinIT(model, window_size=W, background=X)
    torch.testing.assert_close(drawn.attribute(X[1:], ids=[1]), drawn.attribute(X)[1:])
    monkeypatch.setattr(engine, "DEFAULT_MEMORY", 4096)
    torch.testing.assert_close(method.attribute(X, counterfactuals=fixed), whole)


def test_carry_forward_repeats_the_value_before_the_run():
    model, f, X, _, _ = setting("gru")
    runs = torch.zeros(1, B, D, T, W, dtype=torch.float64)
    for p in range(1, T):
        runs[:, :, :, p] = X[None, :, :, p - 1, None]
    expected = naive.winit(f, X, runs, W)
    result = WinIT(model, window_size=W, num_samples=1, counterfactuals="carry_forward").explain(X)
    np.testing.assert_allclose(result.windows.numpy(), expected, rtol=1e-5, atol=1e-10)


def test_bad_input():
    model, _, X, fixed, _ = setting("gru")
    for options, words in (
        ({"window_size": 0}, "window_size"),
        ({"aggregate": "sum"}, "aggregate"),
        ({"num_samples": 0}, "num_samples"),
        ({"distance": "cosine"}, "distance"),
    ):
        with pytest.raises(ValueError, match=words):
            WinIT(model, **options)
    with pytest.raises(ValueError, match="height"):
        BiWinIT(model, height=0)
    with pytest.raises(ValueError, match="interpolate"):
        WinIT(model, num_samples=1, counterfactuals="interpolate").attribute(X)
    with pytest.raises(ValueError, match="counterfactuals"):
        WinIT(model).attribute(X, counterfactuals=fixed[:, :1])
