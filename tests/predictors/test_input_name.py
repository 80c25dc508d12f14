"""Models that take the series by keyword and return several things, as those of transformers do."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.models_for_tests import GRU
from tests.ops.layouts import rng

D, T = 2, 8
X = torch.randn(3, D, T, generator=rng(0))
SMALL = {"L": 2, "num_samples": 1, "anchor": "end"}


class ModelOutput(OrderedDict):
    """What such models return: a dict with attributes, without what was not asked for."""


class ForClassification(nn.Module):
    """Reads ``past_values`` (N, T, D), time second, and several things that nobody passes."""

    def __init__(self, name="prediction_logits"):
        super().__init__()
        torch.manual_seed(0)
        self.name, self.encoder, self.head = name, nn.Linear(D, 4), nn.Linear(4, 3)

    def forward(self, past_values, target_values=None, past_observed_mask=None, return_dict=None, **kwargs):
        assert past_values.shape[1:] == (T, D)
        assert target_values is None
        hidden = self.encoder(past_values).tanh().mean(1)
        return ModelOutput({"loss": None, self.name: self.head(hidden), "hidden_states": hidden})


def plain(model):
    """The same model as a function of (N, D, T)."""
    return lambda x: model(x.transpose(1, 2))[model.name]


def test_the_series_are_passed_by_name():
    model = ForClassification()
    made = Predictor.of(model, input_name="past_values", layout="BTD")
    expected = RaMbIT(plain(model), **SMALL).attribute(X)
    torch.testing.assert_close(RaMbIT(made, **SMALL).attribute(X), expected)
    other = RaMbIT(made, layout="BTD", **SMALL)
    torch.testing.assert_close(other.attribute(X.mT).mT, expected)
    assert other.settings()["input_name"] == "past_values"
    assert made.fingerprint() != Predictor.of(model, layout="BTD").fingerprint()
    for ours, theirs in zip(explain(made, X), explain(plain(model), X), strict=True):
        assert torch.equal(ours.mask, theirs.mask)
    assert torch.equal(*(ReX(m, iters=2, min_box_size=2).explain(X[:1]).mask for m in (made, plain(model))))


def test_by_name_alone():
    """Where the keyword is the only way, beside others, at every step, compiled."""

    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = GRU(D=D)

        def forward(self, mask=None, *, series, return_all=True):
            assert mask is None
            return self.inner(series, return_all=return_all)

    model = ByName().eval()
    made = Predictor.of(model, input_name="series")
    assert made.modes == {"causal"}
    options = {**SMALL, "anchor": "cell"}
    found, expected = RaMbIT(made, **options).explain(X), RaMbIT(model.inner, evaluation="causal", **options).explain(X)
    assert found.mode == "causal"
    torch.testing.assert_close(found.values, expected.values)


def test_extra_inputs_go_beside_it():
    def model(scale, *, past_values, shift):
        return past_values.sum(2) * scale[:, None] + shift

    beside = {"scale": torch.tensor([1.0, 2.0, 3.0]), "shift": torch.randn(3, D, generator=rng(1))}
    made = Predictor.of(model, input_name="past_values")
    by_name = RaMbIT(made, **SMALL).attribute(X, extra=beside)
    expected = [
        RaMbIT(lambda x, b=b: model(beside["scale"][b : b + 1], past_values=x, shift=beside["shift"][b]), **SMALL)
        for b in range(3)
    ]
    torch.testing.assert_close(by_name, torch.cat([e.attribute(X[b : b + 1]) for b, e in enumerate(expected)]))
    with pytest.raises(ValueError, match="extra does not fit the model"):
        RaMbIT(made, **SMALL).attribute(X, extra={**beside, "other": beside["scale"]})


@pytest.mark.parametrize(
    ("model", "name", "said"),
    [
        (ForClassification("y"), 3, "input_name must be the name of an argument, got 3"),
        (lambda x, mask=None: x, "series", "input_name='series', but the model takes x, mask by name"),
        (lambda *series: series, "series", "input_name='series', but the model takes nothing by name"),
        (nn.Linear(3, 2), "x", "input_name='x', but the model takes input by name"),
    ],
)
def test_names_that_the_model_does_not_have(model, name, said):
    with pytest.raises((TypeError, ValueError), match=said):
        Predictor.of(model, input_name=name)


def test_who_has_no_such_option():
    class Table:
        def predict_proba(self, x):
            return x

    with pytest.raises(ValueError, match="input_name is for modules, callables and ONNX sessions, got Table"):
        Predictor.of(Table(), input_name="x")
    Predictor.of(lambda **everything: everything["x"], input_name="x")


@pytest.mark.parametrize("kind", ["Classification", "Regression", "Prediction"])
def test_a_transformer_of_patches(kind):
    transformers = pytest.importorskip("transformers")
    config = transformers.PatchTSTConfig(
        num_input_channels=D,
        context_length=T,
        patch_length=2,
        patch_stride=2,
        d_model=8,
        num_attention_heads=2,
        num_hidden_layers=1,
        ffn_dim=8,
        prediction_length=3,
        num_targets=3,
    )
    model = getattr(transformers, f"PatchTSTFor{kind}")(config)
    output = "auto" if kind == "Classification" else "regression"
    made = Predictor.of(model, input_name="past_values", layout="BTD", output=output)
    scores = RaMbIT(made, layout="BTD", **SMALL).attribute(X.mT)
    assert scores.shape == X.mT.shape
    assert float(scores.abs().max()) > 0
