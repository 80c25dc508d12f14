"""A claim is confirmed before it is used, unless it holds by construction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import Predictor

X = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0))


class Bidirectional(nn.GRU):
    """Reads the future: what it says of a prefix changes with what follows."""

    def forward(self, x, state=None):
        hidden, after = super().forward(x, state)
        return hidden + x.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True), after


def layers_first(model):
    """What was a series is then a step."""
    model.rnn = nn.GRU(2, 5)


def hooked(model):
    """The answer then depends on how many steps, or series, are asked at once."""
    model.head.register_forward_hook(lambda module, args, output: output * args[0].shape[-2])


def replaced(model):
    model.rnn = Bidirectional(2, 5, batch_first=True)


def shadowed(model):
    model.logits = lambda hidden: model.head(hidden) * hidden.shape[-2]


def mode(model, **options):
    return Game(Predictor.of(model), TensorSample(X, torch.arange(4)), Zero(), anchor="cell", **options).mode


@pytest.mark.parametrize("layers", [1, 2])
def test_our_own_gru_is_not_asked(layers, monkeypatch):
    model = GRUClassifier(2, 5, num_layers=layers).eval()
    asked = []
    monkeypatch.setattr(Predictor, "whole", lambda *args: asked.append(args))
    monkeypatch.setattr(Predictor, "advance", lambda *args: asked.append(args))
    assert mode(model) == "stateful"
    assert not asked


@pytest.mark.parametrize("change", [hooked, layers_first, replaced, shadowed])
def test_one_that_was_changed_is_found_out(change):
    model = GRUClassifier(2, 5).eval()
    change(model)
    with pytest.warns(UserWarning, match="falling back"):
        assert mode(model) != "stateful"
    with pytest.raises(ValueError, match="evaluation='stateful' does not hold"):
        mode(model, evaluation="stateful")


def test_a_head_of_the_users_own_is_confirmed():
    model = GRUClassifier(2, 5).eval()
    model.head = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    assert not Predictor.of(model).proven
    assert mode(model) == "stateful"
