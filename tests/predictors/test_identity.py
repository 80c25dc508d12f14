"""What tells models apart for a store: two that may answer differently never share a key."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

from rambit import RaMbIT
from rambit.predictors import Predictor
from rambit.store import StoreError, resume_key

X = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))


def key(model, **options):
    return resume_key(**Predictor.of(model, **options).fingerprint())


def weights(model):
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view(weight.shape) + number)
    return model


def layers(*between, first=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(first, 4), *between, nn.Linear(4, 3))


class Act(nn.Module):
    def __init__(self, act=functional.relu, scale=1.0, table=None, options=None):
        super().__init__()
        self.layer, self.act, self.scale, self.table, self.options = nn.Linear(10, 3), act, scale, table, options

    def forward(self, x):
        return self.act(self.layer(x.flatten(1))) * self.scale


class Other(Act):
    def forward(self, x):
        return self.act(self.layer(x.flatten(1))) + self.scale


class Helped(Act):
    def forward(self, x):
        return self.helper(super().forward(x))

    def helper(self, x):
        return x * 2


class HelpedOtherwise(Act):
    def forward(self, x):
        return self.helper(super().forward(x))

    def helper(self, x):
        return x * 3


Same = type("Other", (Act,), {"forward": lambda self, x: self.act(self.layer(x.flatten(1))) - self.scale})


class Slow(nn.Module):
    gain = 2.0

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(10, 3)

    def forward(self, x):
        return self.layer(x.flatten(1)) * self.gain


Faster = type("Slow", (Slow,), {"gain": 3.0})


def hooked(factor):
    model = Act()
    model.layer.register_forward_hook(lambda module, args, out: out * factor)
    return model


def patched(function):
    model = Act()
    model.forward = function.__get__(model)
    return model


def buffered(value, persistent):
    model = Act()
    model.register_buffer("noise", torch.full((3,), value), persistent=persistent)
    return model


class Holder(Act):
    def __init__(self, held):
        super().__init__()
        self.held = held

    def forward(self, x):
        return self.held(super().forward(x))


class Config:
    def __init__(self, gain):
        self.gain = gain


MODELS = {
    "relu": lambda: layers(nn.ReLU()),
    "tanh": lambda: layers(nn.Tanh()),
    "gelu": lambda: layers(nn.GELU()),
    "gelu tanh": lambda: layers(nn.GELU("tanh")),
    "leaky .1": lambda: layers(nn.LeakyReLU(0.1)),
    "leaky .2": lambda: layers(nn.LeakyReLU(0.2)),
    "another order": lambda: layers(nn.ReLU(), nn.Tanh()),
    "the other order": lambda: layers(nn.Tanh(), nn.ReLU()),
    "act": Act,
    "act tanh": lambda: Act(torch.tanh),
    "act of our own": lambda: Act(lambda x: x * 2),
    "another of our own": lambda: Act(lambda x: x * 3),
    "partial": lambda: Act(functools.partial(functional.leaky_relu, negative_slope=0.1)),
    "another partial": lambda: Act(functools.partial(functional.leaky_relu, negative_slope=0.2)),
    "scale": lambda: Act(scale=2.0),
    "table": lambda: Act(table=torch.ones(3)),
    "another table": lambda: Act(table=torch.zeros(3)),
    "options": lambda: Act(options={"gain": [1, 2]}),
    "other options": lambda: Act(options={"gain": [1, 3]}),
    "config": lambda: Act(options=Config(1)),
    "other config": lambda: Act(options=Config(2)),
    "other code": Other,
    "other code of the same name": Same,
    "helper": Helped,
    "other helper": HelpedOtherwise,
    "class attribute": Slow,
    "other class attribute": Faster,
    "hook": lambda: hooked(2),
    "other hook": lambda: hooked(3),
    "patched": lambda: patched(lambda self, x: self.layer(x.flatten(1))),
    "patched otherwise": lambda: patched(lambda self, x: -self.layer(x.flatten(1))),
    "buffer": lambda: buffered(1.0, True),
    "other buffer": lambda: buffered(2.0, True),
    "transient buffer": lambda: buffered(3.0, False),
    "other transient buffer": lambda: buffered(4.0, False),
    "holds": lambda: Holder([weights(Act())]),
    "holds another": lambda: Holder([weights(Act(torch.tanh))]),
    "script": lambda: torch.jit.script(layers(nn.ReLU())),
    "other script": lambda: torch.jit.script(layers(nn.Tanh())),
    "trace": lambda: torch.jit.trace(layers(nn.ReLU()), X),
    "other trace": lambda: torch.jit.trace(layers(nn.Tanh()), X),
    "export": lambda: torch.export.export(layers(nn.ReLU()), (X,)).module(),
    "other export": lambda: torch.export.export(layers(nn.Tanh()), (X,)).module(),
    "fx": lambda: torch.fx.symbolic_trace(layers(nn.ReLU())),
}


@pytest.mark.filterwarnings("ignore")
def test_no_two_models_share_a_key():
    found = {}
    for name, make in MODELS.items():
        one = key(weights(make()))
        assert one == key(weights(make())), f"{name}: the same model made twice"
        found[name] = one
    assert len(set(found.values())) == len(found)


def test_a_copy_a_mode_and_a_call_change_nothing():
    model = weights(layers(nn.Dropout(), nn.ReLU()))
    before = key(model)
    assert key(copy.deepcopy(model)) == before
    assert key(model.eval()) == before
    RaMbIT(model, num_samples=1, anchor="end", L=2).attribute(X)
    assert key(model) == before
    assert key(model, model_id="mine") != before


def test_an_object_that_holds_itself():
    model = Act(options={})
    model.options["self"] = model
    assert key(model) == key(model)


def test_what_has_no_weights_needs_a_name(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.ReLU())
    with pytest.raises(ValueError, match="needs model_id=, since a model without weights"):
        RaMbIT(model, num_samples=1, anchor="end", L=2).attribute(X, checkpoint=tmp_path / "a")
    RaMbIT(model, num_samples=1, anchor="end", L=2, model_id="relu").attribute(X, checkpoint=tmp_path / "a")


def test_a_checkpoint_is_not_another_models(tmp_path):
    relu, tanh = weights(layers(nn.ReLU())), weights(layers(nn.Tanh()))
    options = {"num_samples": 1, "anchor": "end", "L": 3}
    scores = RaMbIT(relu, **options).attribute(X, checkpoint=tmp_path / "a")
    assert torch.equal(RaMbIT(relu, **options).attribute(X, checkpoint=tmp_path / "a"), scores)
    with pytest.raises(StoreError, match="other settings, data or model"):
        RaMbIT(tanh, **options).attribute(X, checkpoint=tmp_path / "a")
    assert float((RaMbIT(tanh, **options).attribute(X) - scores).abs().max()) > 0.01
