"""Models that return several things: the output is found, or chosen by name, number or function, or all are listed."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from rambit import PredictionError, RaMbIT
from rambit.predictors import Predictor
from rambit.sufficiency import explain
from tests.models_for_tests import GRU

X = torch.randn(3, 3, 6, generator=torch.Generator().manual_seed(0))
SMALL = {"L": 2, "num_samples": 2, "counterfactuals": "uniform", "anchor": "mask"}


@dataclass
class Returned:
    loss: object
    logits: torch.Tensor


Pair = namedtuple("Pair", ["scores", "hidden"])


class ModelOutput(OrderedDict):
    """As that of transformers: a dict by name."""


#: What a model makes of its scores (N, C): the output is found without being told.
FOUND = {
    "dict": lambda scores: {"loss": None, "y": scores},
    "ModelOutput": lambda scores: ModelOutput(logits=scores, hidden_states=scores.new_zeros(len(scores), 7)),
    "prediction_outputs": lambda scores: ModelOutput(attention=scores * 2, prediction_outputs=scores),
    "dataclass": lambda scores: Returned(None, scores),
    "tuple": lambda scores: (scores, scores.new_zeros(1, len(scores), 7)),
    "list": lambda scores: [scores, None],
    "namedtuple": lambda scores: Pair(scores, None),
}
#: The same where more than one thing could be meant, and how it is said.
CHOSEN = {
    "by name": (lambda scores: {"a": scores * 2, "b": scores}, "b"),
    "by number": (lambda scores: (scores * 2, scores), 1),
    "by number from the end": (lambda scores: (scores * 2, scores), -1),
    "an attribute": (lambda scores: Pair(scores, scores * 2), "scores"),
    "a field": (lambda scores: Returned(scores * 2, scores), "logits"),
    "by a function": (lambda scores: {"a": [scores * 2, scores]}, lambda returned: returned["a"][1]),
    "a function of a tensor": (lambda scores: torch.cat((scores * 2, scores), dim=1), lambda returned: returned[:, 3:]),
}


class Several(nn.Module):
    """A model whose forward returns more than its scores, at the last step and at all."""

    def __init__(self, inner, returned):
        super().__init__()
        self.inner, self.returned = inner, returned

    def forward(self, x, return_all=False):
        return self.returned(self.inner(x, return_all=return_all))

    def advance(self, x, state):
        outputs, after = self.inner.advance(x, state)
        return self.returned(outputs), after


def inner():
    torch.manual_seed(1)
    return GRU().eval()


@pytest.mark.parametrize("evaluation", ["prefix", "causal", "stateful"])
@pytest.mark.parametrize("name", FOUND)
def test_the_output_is_found(name, evaluation):
    model = inner()
    options = {**SMALL, "evaluation": evaluation}
    assert torch.equal(
        RaMbIT(Several(model, FOUND[name]), **options).attribute(X), RaMbIT(model, **options).attribute(X)
    )


@pytest.mark.parametrize("evaluation", ["prefix", "causal"])
@pytest.mark.parametrize("name", CHOSEN)
def test_it_can_be_chosen(name, evaluation):
    model, (returned, select) = inner(), CHOSEN[name]
    options = {**SMALL, "evaluation": evaluation}
    several = Predictor.of(Several(model, returned), select=select)
    expected = RaMbIT(model, **options).attribute(X)
    assert torch.equal(RaMbIT(several, **options).attribute(X), expected)
    if not callable(select) and name != "a field":  # which is called like an output
        with pytest.raises(PredictionError, match=r"say which is its output, as in Predictor.of\(model, select="):
            RaMbIT(Several(model, returned), **options).attribute(X)


def test_soft_masks_go_through_it():
    plain, several = inner(), Several(inner(), FOUND["ModelOutput"])
    expected = explain(plain, X, heuristic="grad", search="flat_gradient")
    for ours, theirs in zip(explain(several, X, heuristic="grad", search="flat_gradient"), expected, strict=True):
        assert torch.equal(ours.mask, theirs.mask)


@pytest.mark.parametrize(
    ("returned", "select", "words"),
    [
        (lambda scores: {"a": scores, "b": scores}, None, r"dict of a \(3, 3\), b \(3, 3\): say which"),
        (lambda scores: {"a": scores.long()}, None, r"dict of a \(3, 3\), none of which is a floating tensor \(3, …\)"),
        (lambda scores: {"a": scores}, "b", r"select='b', but the model returned dict of a \(3, 3\)"),
        (lambda scores: (scores,), 1, r"select=1, but the model returned tuple of 0 \(3, 3\)"),
        (lambda scores: None, None, "the model returned NoneType, expected a tensor"),
        (lambda scores: [0] * 100, None, "list of 0 int, 1 int, .*, 7 int, …"),
    ],
)
def test_what_cannot_be_chosen_is_listed(returned, select, words):
    predictor = Predictor.of(Several(inner(), returned), select=select)
    with pytest.raises(PredictionError, match=words):
        predictor.whole(X)


def test_what_was_chosen_is_another_run():
    model = Several(inner(), CHOSEN["by number"][0])
    keys = [Predictor.of(model, select=select).fingerprint() for select in (0, 1, CHOSEN["by a function"][1])]
    assert len({str(key) for key in keys}) == 3
    assert RaMbIT(Predictor.of(model, select=0)).settings()["select"] == 0
    with pytest.raises(TypeError, match="select must be a name, a number or a function"):
        Predictor.of(model, select=1.5)
    with pytest.raises(ValueError, match="select is for modules, callables and ONNX sessions"):
        Predictor.of(Predictor.of(model), select=0)
