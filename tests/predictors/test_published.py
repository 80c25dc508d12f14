"""The classifiers of WinIT and RaMbIT, through forward and predict, with every anchor; and who says ``return_all``."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import WinIT
from rambit.predictors import ModulePredictor, PredictionError, Predictor, ProtocolPredictor
from tests.naive import rambit as naive
from tests.predictors.published_models import ConvClassifier, StateClassifier

B, D, T, L = 2, 2, 5, 3


def made(make, *args, **options):
    """A model in float64 whose batch normalisation has seen data, left in training mode."""
    torch.manual_seed(len(args) + sum(map(int, args)))
    model = make(*args, **options).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            module.weight.data *= 2
    return model


MODELS = {
    "gru, 1 state": lambda: made(StateClassifier, D, 1),
    "gru, 2 states": lambda: made(StateClassifier, D, 2, layers=2),
    "gru, 4 states": lambda: made(StateClassifier, D, 4),
    "lstm, 1 state": lambda: made(StateClassifier, D, 1, rnn="LSTM"),
    "lstm, 4 states": lambda: made(StateClassifier, D, 4, rnn="LSTM", layers=2),
    "convolutions, 1 state": lambda: made(ConvClassifier, D, 1),
    "convolutions, 2 states": lambda: made(ConvClassifier, D, 2),
    "convolutions, 4 states": lambda: made(ConvClassifier, D, 4),
}


def data(seed=0):
    g = torch.Generator().manual_seed(seed)
    X, draws = (torch.randn(n, B, D, T, generator=g, dtype=torch.float64) for n in (1, 1))
    masks = torch.ones(L, D, T, dtype=torch.bool)
    masks[0, :, 1:3], masks[1, 0, 2:4], masks[2, 1, 0:2] = False, False, False
    return X[0], draws, masks


def twin_of(model):
    """Probabilities of all classes at the last step of a prefix."""

    def f(x):
        model.eval()
        with torch.no_grad():
            p = model.predict(x, return_all=False)
        return torch.cat((1 - p, p), dim=1) if p.shape[1] == 1 else p

    return f


@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("name", MODELS)
def test_attributions_equal_the_definition(name, anchor):
    model, (X, draws, masks) = MODELS[name](), data()
    expected, _ = naive.rambit(twin_of(model), X, masks, draws, anchor=anchor, window=2)
    assert float(np.abs(expected).max()) > 1e-3
    looks_ahead = name.startswith("convolutions") and anchor != "end"
    for given, face in ((model, ProtocolPredictor), (model.forward, ModulePredictor)):
        model.train()
        predictor = Predictor.of(given)
        assert type(predictor) is face
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = RaMbIT(predictor, window_size=2, anchor=anchor).explain(X, masks=masks, counterfactuals=draws)
        np.testing.assert_allclose(found.values.numpy(), expected, rtol=1e-6, atol=1e-10)
        assert found.mode == ("full" if anchor == "end" else "prefix" if looks_ahead else "causal")
        assert [("offers causal evaluation, but" in str(one.message)) for one in caught] == [True] * looks_ahead


def test_other_methods_take_them_too():
    model, (X, _, _) = MODELS["gru, 4 states"](), data()
    ours, theirs = (WinIT(given, counterfactuals="zero").attribute(X) for given in (model, model.forward))
    torch.testing.assert_close(ours, theirs)


# -- return_all --------------------------------------------------------------------------------------------------------


def outputs(x, every):
    """Logits (N, 2, w), or those of the last step."""
    found = x.cumsum(dim=2)[:, :2]
    return found if every else found[:, :, -1]


class OnlyByName:
    def __call__(self, x, *, return_all=True):
        return outputs(x, return_all)


class OnlyByPlace:
    def __call__(self, x, return_all=True, /):
        return outputs(x, return_all)


class WithoutDefault:
    def __call__(self, x, return_all):
        return outputs(x, return_all)


class InForward(nn.Module):
    """Also what torch.compile and torch.jit.script make of it."""

    def forward(self, x, return_all: bool = True):
        found = x.cumsum(dim=2)[:, :2]
        return found if return_all else found[:, :, -1]


CALLABLES = {
    "by name": lambda: OnlyByName(),
    "by place": lambda: OnlyByPlace(),
    "no default": lambda: WithoutDefault(),
    "in forward": lambda: InForward(),
    "a method": lambda: InForward().forward,
    "scripted": lambda: torch.jit.script(InForward()),
    "compiled": lambda: torch.compile(InForward(), backend="eager"),
    "in parallel": lambda: nn.DataParallel(InForward(), device_ids=[]),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of scripting and compiling
@pytest.mark.parametrize("name", CALLABLES)
def test_return_all_is_passed_whatever_its_default(name):
    if name == "in parallel" and torch.cuda.is_available():
        pytest.skip("it takes the series to the GPU, where there is one")
    model, x = CALLABLES[name](), data()[0]
    predictor = Predictor.of(model)
    assert predictor.modes == {"causal"}
    torch.testing.assert_close(predictor.steps(x), outputs(x, True).softmax(1))
    torch.testing.assert_close(predictor.whole(x)[:, :, 0], outputs(x, False).softmax(1))
    assert RaMbIT(model, L=2, num_samples=1).explain(x).mode == "causal"


def test_one_that_passes_everything_on_cannot_be_told_and_says_so():
    model = InForward()
    with pytest.raises(PredictionError, match=r"expected \(2, classes\) at the last step \(at every step with return"):
        Predictor.of(lambda x, **more: model(x, **more)).whole(data()[0])
