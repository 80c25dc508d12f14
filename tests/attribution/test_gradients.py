"""captum's gradient methods behind our call."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from rambit.attribution import Gradients
from rambit.game import batch_size
from tests.models_for_tests import GRU

X = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_absent_captum_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"rambit\[baselines\]"):
        Gradients(GRU())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "deep_lift"])
def test_a_linear_model_has_a_closed_form(method):
    pytest.importorskip("captum")
    weight = torch.randn(18, dtype=torch.float64)

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(18, 1, bias=False, dtype=torch.float64)
            self.layer.weight.data[0] = weight

        def forward(self, x):
            return self.layer(x.flatten(1))

    background = torch.randn(1, 3, 6, dtype=torch.float64)
    scores = Gradients(Linear(), method, output="regression", background=background).attribute(X, target=0)
    expected = weight.view(3, 6) * (X - background)
    if method == "gradient_shap":  # adds noise of its own around X: exact only where that is none
        assert float(torch.corrcoef(torch.stack((scores.flatten(), expected.flatten())))[0, 1]) > 0.99
    else:
        torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("anchor", ["end", "cell"])
def test_integrated_gradients_are_complete_and_leave_no_trace(anchor):
    pytest.importorskip("captum")
    model = GRU().double().train()
    before = torch.get_rng_state()
    scores = Gradients(model, anchor=anchor).attribute(X)
    assert torch.equal(before, torch.get_rng_state())
    assert all(m.training for m in model.modules())
    with torch.no_grad():
        full, none = (model(x, return_all=True).softmax(1) for x in (X, torch.zeros_like(X)))
        chosen = full.argmax(1, keepdim=True)
        gap = (full - none).gather(1, chosen)[:, 0]
    expected = gap.sum(1) if anchor == "cell" else gap[:, -1]
    torch.testing.assert_close(scores.sum((1, 2)), expected, rtol=0.02, atol=2e-3)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("target", [None, 1])
@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "deep_lift"])
def test_rows_are_those_that_the_model_answered(method, target, monkeypatch):
    pytest.importorskip("captum")
    evaluated = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(18, 3, dtype=torch.float64)

        def forward(self, x):
            evaluated.append(len(x))
            return self.layer(x.flatten(1))

    gradients = Gradients(Counted(), method)
    gradients.predictor.looked = True  # that look is not counted, nor is the one at what a row costs
    monkeypatch.setattr(batch_size, "read_activations", lambda *_: None)
    cost = gradients.cost(X, target=target)
    assert not evaluated
    result = gradients.explain(X, target=target)
    assert result.rows == sum(evaluated) == cost.rows
    assert gradients.cost(X).rows == cost.rows, "the series as they are are evaluated once, target or not"
    assert result.row_steps == 6 * result.rows


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_target_is_explained_at_every_step():
    pytest.importorskip("captum")
    model = GRU().double()
    scores = Gradients(model, anchor="cell").attribute(X, target=2)
    with torch.no_grad():
        full, none = (model(x, return_all=True).softmax(1)[:, 2].sum(1) for x in (X, torch.zeros_like(X)))
    torch.testing.assert_close(scores.sum((1, 2)), full - none, rtol=0.02, atol=2e-3)


def test_bad_input():
    pytest.importorskip("captum")
    with pytest.raises(TypeError, match=r"needs an nn\.Module"):
        Gradients(lambda x: x)
    with pytest.raises(ValueError, match="method"):
        Gradients(GRU(), "saliency")
    with pytest.raises(ValueError, match="return_all"):
        Gradients(nn.Flatten(), anchor="cell")
    with pytest.raises(ValueError, match="target must be below 3"):
        Gradients(GRU().double()).attribute(X, target=[0, 3])
    with pytest.raises(ValueError, match="distance does not apply"):
        Gradients(GRU(), distance="kl")
    with pytest.raises(ValueError, match="target is needed"):
        Gradients(GRU().double(), output="regression").attribute(X)
