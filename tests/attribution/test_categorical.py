"""Features that hold categories: replaced by categories only, and handed to the model apart where it wants them so."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit import Predictor, RaMbIT
from rambit.attribution import FO, ExactShapley, Occlusion
from rambit.counterfactuals import FeatureGenerator, Joint, Marginal
from rambit.rex import ReX
from tests.naive import attribution as naive
from tests.naive import rambit as naive_rambit

B, D, T = 3, 4, 5
CODES = [3, 1]  # in another order than the features
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(B, D, T, generator=GENERATOR)
X[:, CODES] = torch.randint(0, 6, (B, len(CODES), T), generator=GENERATOR).float()
BACKGROUND = torch.randn(8, D, T, generator=GENERATOR)
BACKGROUND[:, CODES] = torch.randint(0, 6, (8, len(CODES), T), generator=GENERATOR).float()


class Apart(nn.Module):
    """Embeds the codes (N, K, w), joins them with x (N, D - K, w), and walks along: causal and stateful."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.ModuleList(nn.Embedding(6, 3) for _ in CODES)
        self.rnn, self.head = nn.GRU(D - len(CODES) + 3 * len(CODES), 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x, codes, return_all=False):
        outputs = self.advance(x, None, codes)[0]
        return outputs if return_all else outputs[:, :, -1]

    def advance(self, x, state, codes):
        assert codes.dtype == torch.int64
        embedded = [embed(codes[:, k]) for k, embed in enumerate(self.embeddings)]
        state = None if state is None else state.transpose(0, 1).contiguous()
        hidden, after = self.rnn(torch.cat((x.transpose(1, 2), *embedded), dim=2), state)
        return self.head(hidden).transpose(1, 2), after.transpose(0, 1)


class Turned(nn.Module):
    """The same of (N, w, D - K) and (N, w, K)."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x, codes, return_all=False):
        return self.net(x.transpose(1, 2), codes.transpose(1, 2), return_all=return_all)


class Together(nn.Module):
    """The same of x (N, D, w) that holds the codes as numbers."""

    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x[:, [0, 2]], x[:, CODES].long())


@functools.cache
def net():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Apart()


def f(x):
    """The model as the slow twins call it: probabilities (1, C) of (1, D, w)."""
    return net()(x[:, [0, 2]], x[:, CODES].long()).softmax(dim=1).detach()


APART = {"categorical": CODES, "categorical_name": "codes", "output": "logits"}
#: Ways in which a model takes its categories: the model, options, and how X is turned for it.
WAYS = {
    "apart": (net, APART, lambda a: a),
    "turned": (Turned, {**APART, "layout": "BTD"}, lambda a: a.swapaxes(-1, -2)),
    "together": (Together, {"categorical": CODES, "output": "logits"}, lambda a: a),
    "predictor": (lambda: Predictor.of(net(), **APART), {}, lambda a: a),
}


@pytest.mark.parametrize("way", WAYS)
def test_methods_are_their_slow_twins(way):
    make, options, turn = WAYS[way]
    model, value = make(), torch.tensor([0.5, 2.0, -1.0, 4.0])
    draws = [value[:, None].expand(D, T).expand(B, D, T)]
    given = {"counterfactuals": value, **options}
    for anchor in ("cell", "end"):
        found = FO(model, num_samples=1, anchor=anchor, **given).attribute(turn(X))
        np.testing.assert_allclose(turn(found), naive.fo(f, X, draws, anchor=anchor, metric="pd"), atol=2e-6)
    masks = torch.rand(2, D, T, generator=torch.Generator().manual_seed(3)) < 0.6
    method = RaMbIT(model, window_size=2, num_samples=1, **given)
    expected = naive_rambit.rambit(f, X, masks, draws, anchor="cell", window=2)[0]
    np.testing.assert_allclose(turn(method.attribute(turn(X), masks=turn(masks))), expected, atol=2e-6)
    found = ExactShapley(model, **given).attribute(turn(X))
    player = np.arange(D)[:, None].repeat(T, 1)
    for b in range(B):
        payoff = naive.payoff(f, X, b, player, draws, "fixed", "diff", int(f(X[b : b + 1]).argmax()))
        expected = naive.exact_shapley(payoff, D)
        np.testing.assert_allclose(turn(found)[b], expected[:, None].repeat(T, 1), atol=2e-6)


@pytest.mark.parametrize("strategy", [Marginal, Joint])
def test_categories_are_drawn_from_the_background(strategy):
    draws = strategy(BACKGROUND).draws(X, None, torch.arange(B), 2, seed=0)
    assert bool((draws[:, :, CODES] == draws[:, :, CODES].round()).all())
    name = strategy.__name__.lower()
    found = Occlusion(net(), counterfactuals=name, background=BACKGROUND, num_samples=2, **APART).attribute(X)
    expected = naive.occlusion(f, X, list(draws), height=1, width=1, stride=(1, 1), metric="pd")
    np.testing.assert_allclose(found, expected, atol=2e-6)
    carried = Occlusion(net(), counterfactuals="carry_forward", **APART).attribute(X)
    expected = naive.occlusion(f, X, [None], height=1, width=1, stride=(1, 1), metric="pd", kind="carry_forward")
    np.testing.assert_allclose(carried, expected, atol=2e-6)


@pytest.mark.parametrize(
    "wrong", [None, "zero", "mean", "gaussian", "uniform", "interpolate", FeatureGenerator(D, 2, 2)]
)
@pytest.mark.parametrize("way", ["apart", "together"])
def test_strategies_that_serve_no_categories(way, wrong):
    make, options, _ = WAYS[way]
    words = "does not serve categorical features, .*use constant, marginal, joint, carry_forward, conditional, or give"
    with pytest.raises(ValueError, match=words):
        Occlusion(make(), counterfactuals=wrong, **options).attribute(X)


def test_values_that_are_no_categories():
    for wrong in (0.5, torch.full((D,), 0.5), torch.full((D, T), 0.5), torch.full((1, B, D, T), 0.5)):
        with pytest.raises(ValueError, match=r"counterfactuals of categorical features must be whole numbers, got 0.5"):
            Occlusion(net(), counterfactuals=wrong, **APART).attribute(X)
    with pytest.raises(ValueError, match="counterfactuals of categorical features must be whole numbers"):
        Occlusion(net(), background=BACKGROUND + 0.5, **APART).attribute(X)


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_series_whose_categories_are_none(layout):
    turn = (lambda a: a) if layout == "BDT" else (lambda a: a.mT)
    model = net() if layout == "BDT" else Turned()
    method = Occlusion(model, layout=layout, counterfactuals=1, **APART)
    for value, given in ((0.5, "0.5"), (2.0**24 + 1, "16777217")):
        x = X.double()
        x[2, 1, 3] = value
        with pytest.raises(ValueError, match=rf"X holds {given} at series 2, feature 1, time 3: categorical features"):
            method.attribute(turn(x))
        assert method.attribute(turn(x), lengths=[T, T, 3]).isfinite().all()
    x = X.clone()
    x[0, 3, 2] = math.nan
    with pytest.raises(ValueError, match="X holds nan at series 0, feature 3, time 2: categorical"):
        method.attribute(turn(x), observed=turn(~x.isnan()))
    for name in (None, "codes"):
        with pytest.raises(ValueError, match=r"categorical must be features of X, 0 … 3, got \[4\]"):
            Occlusion(net(), categorical=[4], categorical_name=name).attribute(X)


def test_missing_categories_as_numbers():
    """A model that takes them as numbers may read NaN as it likes."""

    def known(x):
        return torch.stack((x.nan_to_num(0.0).sum((1, 2)), x[:, 0, -1]), dim=1)

    x = X.clone()
    x[0, 3, 2] = math.nan
    found = Occlusion(known, counterfactuals=1, categorical=CODES).explain(x, observed=~x.isnan())
    assert not bool(found.evaluated[0, 3, 2])


def test_what_is_recorded():
    result = Occlusion(net(), counterfactuals=1, **APART).explain(X)
    assert (result.settings["categorical"], result.settings["categorical_name"]) == (CODES, "codes")
    assert not {"categorical", "categorical_name"} & Occlusion(Together()).settings().keys()
    assert torch.equal(
        Occlusion(net(), counterfactuals=1, **{**APART, "categorical": np.array(CODES)}).attribute(X), result.values
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"categorical": [1, 1]}, r"categorical must name each feature once, got \[1, 1\]"),
        ({"categorical": [-1]}, r"categorical\[0\] must be at least 0, got -1"),
        ({"categorical": [1.5]}, r"categorical\[0\] must be an integer, got 1.5"),
        ({"categorical": 2}, "categorical must be a list of features, got 2"),
        ({"categorical": torch.tensor(2)}, r"categorical must be a list of features, got tensor\(2\)"),
        ({"categorical": "12"}, "categorical must be a list of features, got '12'"),
        ({"categorical_name": "codes"}, "categorical_name must be a name, beside categorical=, got 'codes'"),
        ({"categorical": [1], "categorical_name": 3}, "categorical_name must be a name"),
    ],
)
def test_what_is_no_choice_of_features(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Occlusion(net(), **options)


def test_predictors_that_say_otherwise():
    predictor = Predictor.of(net(), **APART)
    with pytest.raises(ValueError, match=r"categorical='\(1,\)', but the Predictor was made with '\(3, 1\)'"):
        Occlusion(predictor, categorical=[1])
    assert Occlusion(predictor, categorical=CODES).predictor is predictor

    class Estimator:
        def predict_proba(self, x):
            return np.full((len(x), 2), 0.5)

    with pytest.raises(ValueError, match="categorical_name is for modules and callables, got Estimator"):
        Predictor.of(Estimator(), categorical=[1], categorical_name="codes")
    assert Predictor.of(Estimator(), categorical=[1]).categorical == (1,)
    with pytest.raises(ValueError, match="counterfactuals=Uniform does not serve categorical features"):
        ReX(predictor, mask_value="random", iters=1).attribute(X)
