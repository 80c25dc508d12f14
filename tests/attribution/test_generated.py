"""Generators as counterfactuals: RaMbIT, WinIT and FIT against replayed values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import FIT, BiWinIT, WinIT
from rambit.counterfactuals import FeatureGenerator, JointGenerator
from tests.models_for_tests import GRU
from tests.naive import winit as naive
from tests.naive.rambit import distance

B, D, T, P = 2, 3, 9, 4


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(0)
    X = torch.randn(B, D, T)
    train = torch.randn(20, D, T)
    feature = FeatureGenerator(D, hidden_size=5, prediction_size=P)
    joint = JointGenerator(D, prediction_size=P)
    for generator in (feature, joint):
        generator.fit(train, epochs=2)
    return GRU().eval(), X, feature, joint


@pytest.mark.parametrize("kind", ["feature", "joint"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("mode", ["prefix", "stateful"])
def test_rambit_draws_what_the_generator_would(setting, kind, anchor, mode):
    model, X, feature, joint = setting
    generator = feature if kind == "feature" else joint
    runs = generator.draw(X, torch.arange(B), 2, 5)
    common = {"num_samples": 2, "L": 4, "Wt_max": 6, "window_size": 2, "anchor": anchor, "evaluation": mode, "seed": 5}
    drawn = RaMbIT(model, counterfactuals=generator, **common).attribute(X)
    replayed = RaMbIT(model, counterfactuals=runs, **common).attribute(X)
    torch.testing.assert_close(drawn, replayed, rtol=1e-5, atol=1e-7)
    assert float(drawn.abs().max()) > 0
    part = RaMbIT(model, counterfactuals=generator, **common).attribute(X[1:], ids=[1])
    torch.testing.assert_close(part, drawn[1:], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [WinIT, BiWinIT])
def test_winit_with_a_generator(setting, method):
    model, X, feature, _ = setting
    runs = feature.draw(X, torch.arange(B), 3, 0)

    def f(x):
        with torch.no_grad():
            return model(x).softmax(-1)

    expected = naive.winit(f, X, runs, P) if method is WinIT else naive.biwinit(f, X, runs, P, 2)
    windows = method(model, window_size=P, counterfactuals=feature).explain(X).windows
    np.testing.assert_allclose(windows.numpy(), expected, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize("mode", ["prefix", "causal", "stateful"])
def test_fit_equals_its_definition(setting, mode):
    model, X, _, joint = setting
    S = 3

    def f(x):
        with torch.no_grad():
            return model(x).softmax(-1)[0]

    expected = np.zeros((B, D, T))
    for d in range(D):
        draws = joint.draw_given(X, d, torch.arange(B), S, 0)
        for b in range(B):
            for t in range(1, T):
                now, before = f(X[b : b + 1, :, : t + 1]), f(X[b : b + 1, :, :t])
                gain = 0.0
                for s in range(S):
                    x = X[b : b + 1, :, : t + 1].clone()
                    for other in range(D):
                        if other != d:
                            x[0, other, t] = draws[s, b, other, t]
                    gain += (distance("kl", now, before) - distance("kl", now, f(x))) / S
                expected[b, d, t] = 2 / (1 + np.exp(-5 * gain)) - 1
    method = FIT(model, generator=joint, num_samples=S, evaluation=mode)
    result = method.explain(X)
    np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-3, atol=1e-5)
    assert method.cost(X).rows == result.rows


def test_bad_input(setting):
    model, X, feature, joint = setting
    with pytest.raises(TypeError, match="JointGenerator"):
        FIT(model, generator=feature)
    with pytest.raises(ValueError, match="distance"):
        FIT(model, generator=joint, distance="pd")
    with pytest.raises(ValueError, match="3 features, but X has 2"):
        WinIT(model, counterfactuals=feature).attribute(X[:, :2])
    observed = torch.ones(X.shape, dtype=torch.bool)
    observed[0, 0, 0] = False
    with pytest.raises(ValueError, match="complete series"):
        RaMbIT(model, counterfactuals=feature).attribute(X, observed=observed)


@pytest.mark.parametrize("kind", ["feature", "joint"])
def test_a_target_of_the_models_own_and_values_for_each_mask(setting, kind):
    model, X, feature, joint = setting
    generator = feature if kind == "feature" else joint
    common = {"num_samples": 2, "seed": 5, "counterfactuals": generator, "distance": "diff"}
    chosen = model(X).argmax(dim=1)
    for make in (lambda: RaMbIT(model, L=3, window_size=2, **common), lambda: WinIT(model, window_size=3, **common)):
        own = make().explain(X)
        assert torch.equal(own.values, make().attribute(X, target=chosen))
        assert make().cost(X).rows == own.rows == make().cost(X, target=chosen).rows + len(X)
    fresh = RaMbIT(model, L=3, window_size=2, share_draws=False, **common)
    result = fresh.explain(X)
    assert bool(torch.isfinite(result.values).all())
    assert fresh.cost(X).rows == result.rows
