"""Modules are in evaluation mode while they are asked, wherever a callable keeps them, and as they were afterwards."""

from __future__ import annotations

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.predictors import Predictor, Recurrent, holding
from rambit.predictors.holding import held_modules, move

X = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
OPTIONS = {"num_samples": 1, "anchor": "end", "L": 3}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(10, 3)).train()


GLOBAL = network()


def of_a_global(x):
    return GLOBAL(x)


def through_a_function(x):
    return of_a_global(x) * 2


def of_a_default(x, net=GLOBAL):
    return net(x)


class Plain:
    def __init__(self, net):
        self.parts = {"nets": [net]}

    def __call__(self, x):
        return self.parts["nets"][0](x)

    def method(self, x):
        return self(x)


class Slotted:
    __slots__ = ("net",)

    def __init__(self, net):
        self.net = net

    def __call__(self, x):
        return self.net(x)


class OfAGlobal:
    def __call__(self, x):
        return GLOBAL(x)


class Unregistered(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.nets = (net,)

    def forward(self, x):
        return self.nets[0](x)


def wrapped(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


def closure(net):
    return lambda x: net(x)


CALLABLES = {
    "closure": closure,
    "closure of a closure": lambda net: closure(closure(net)),
    "inner function": lambda net: lambda x: (lambda z: net(z))(x),
    "partial": lambda net: functools.partial(lambda n, x: n(x), net),
    "keyword of a partial": lambda net: functools.partial(lambda x, n: n(x), n=net),
    "bound method": lambda net: net.forward,
    "method of an object": lambda net: Plain(net).method,
    "object": Plain,
    "slots": Slotted,
    "not registered": Unregistered,
    "decorated": lambda net: wrapped(closure(net)),
    "global": lambda net: of_a_global,
    "global of a function": lambda net: through_a_function,
    "global of a class": lambda net: OfAGlobal(),
    "default": lambda net: of_a_default,
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_dropout_is_off_and_comes_back(kind):
    net = GLOBAL if "global" in kind or kind == "default" else network()
    net.train()
    model = CALLABLES[kind](net)
    assert net in held_modules(model)
    factor = 2 if kind == "global of a function" else 1
    expected = RaMbIT(nn.Sequential(network(), nn.Identity()) if factor == 1 else lambda x: 2 * copy(x), **OPTIONS)
    found = RaMbIT(model, **OPTIONS).attribute(X)
    torch.testing.assert_close(found, expected.attribute(X))
    assert all(m.training for m in net.modules())


def copy(x, net=network()):  # noqa: B008
    return net(x)


def test_what_is_not_a_models_is_left_alone():
    data = {"many": [object() for _ in range(100)], "names": ["a"] * 100}
    assert held_modules(lambda x: (data, x)) == []
    nested: list = []
    nested.append(nested)
    assert held_modules(lambda x: (nested, x)) == []


def test_one_backbone_with_two_heads_in_threads():
    backbone = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(10, 4))
    heads = [nn.Sequential(backbone, nn.Linear(4, 2)).train() for _ in range(2)]
    methods = [RaMbIT(head, **OPTIONS) for head in heads]
    expected = [method.attribute(X) for method in methods]
    with ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(lambda n: methods[n % 2].attribute(X), range(40))):
            torch.testing.assert_close(found, expected[number % 2], rtol=0, atol=1e-6)
    assert all(m.training for head in heads for m in head.modules())


def test_overlapping_holds_in_any_order():
    shared, other = nn.Dropout(), nn.Dropout()
    one, two = held_modules(nn.Sequential(shared, other)), held_modules(nn.Sequential(shared))
    holding._hold(one)
    holding._hold(two)
    assert not shared.training
    holding._release(one)
    assert (shared.training, other.training) == (False, True)
    holding._release(two)
    assert shared.training
    assert not holding._HELD


class Switching(nn.Module):
    """Its switch does more than set a flag, and reaches a module that is registered nowhere else."""

    def __init__(self):
        super().__init__()
        self.scale, self.inner = 7.0, nn.Dropout(0.5)

    def train(self, mode=True):
        self.scale = 7.0 if mode else 1.0
        return super().train(mode)

    def forward(self, x):
        return self.inner(x).flatten(1)[:, :3] * self.scale


class Refusing(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3]

    def train(self, mode=True):
        raise NotImplementedError("no modes here")

    def eval(self):
        raise NotImplementedError("no modes here")


def test_switches_of_a_models_own():
    model = Switching()
    predictor = Predictor.of(model, output="regression")
    with predictor.session():
        assert torch.equal(predictor.whole(X)[:, :, 0], X.flatten(1)[:, :3])
    assert (model.scale, model.inner.training) == (7.0, True)
    model.eval()
    with predictor.session():
        pass
    assert (model.scale, model.training) == (1.0, False)


class Affine(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.layer = nn.Dropout(0.5), nn.Linear(10, 3)

    def forward(self, x):
        return self.layer(self.drop(x.flatten(1)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["export", "script", "frozen", "trace", "fx", "refusing"])
def test_modules_that_have_no_switch_are_taken_as_they_are(kind):
    torch.manual_seed(0)
    plain = Affine().eval()
    expected = RaMbIT(Refusing() if kind == "refusing" else plain, **OPTIONS).attribute(X)
    rows = torch.export.Dim("rows")
    made = {
        "export": lambda: torch.export.export(plain, (torch.randn(4, 2, 5),), dynamic_shapes=({0: rows},)).module(),
        "script": lambda: torch.jit.script(plain),
        "frozen": lambda: torch.jit.freeze(torch.jit.script(plain)),
        "trace": lambda: torch.jit.trace(plain, X),
        "fx": lambda: torch.fx.symbolic_trace(plain),
        "refusing": Refusing,
    }[kind]()
    torch.testing.assert_close(RaMbIT(made, **OPTIONS).attribute(X), expected)
    torch.testing.assert_close(RaMbIT(lambda x: made(x), **OPTIONS).attribute(X), expected)


class Legitimate(nn.Module):
    """Does in ``forward`` what works without gradients, and did not in inference mode."""

    def __init__(self, way):
        super().__init__()
        self.layer, self.way, self.table, self.calls = nn.Linear(10, 3), way, None, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        flat = x.flatten(1)
        if self.way == "caches a table":
            if self.table is None:
                self.table = torch.linspace(0, 1, 10).mul(2.0)
            flat = flat * self.table
        elif self.way == "caches weights":
            if self.table is None:
                self.table = self.layer.weight * 2
            return flat @ self.table.T
        elif self.way == "counts in a buffer":
            self.seen += len(x)
        elif self.way == "differentiates":
            with torch.enable_grad():
                leaf = flat.clone().requires_grad_()
                (flat,) = torch.autograd.grad((leaf**2).sum(), leaf)
        elif self.way == "makes a parameter":
            if self.table is None:
                self.table = nn.Parameter(torch.ones(10))
            flat = flat * self.table
        elif self.way == "keeps its input":
            self.table = flat
        return self.layer(flat)


WAYS = ["caches a table", "counts in a buffer", "differentiates", "makes a parameter", "keeps its input"]


@pytest.mark.parametrize("way", WAYS)
def test_a_model_can_be_trained_after_it_was_explained(way):
    torch.manual_seed(0)
    model = Legitimate(way)
    torch.manual_seed(0)
    twin = Legitimate(way)
    with torch.no_grad():
        twin(X)
    method = RaMbIT(model, **OPTIONS)
    with torch.inference_mode():
        inside = method.attribute(X)
    assert torch.equal(method.attribute(X), inside)
    for trained in (model, twin):
        optimiser = torch.optim.SGD(trained.parameters(), lr=0.1)
        for _ in range(2):
            optimiser.zero_grad()
            (trained(X) ** 2).sum().backward()
            optimiser.step()
    torch.testing.assert_close(model.layer.weight, twin.layer.weight)


def test_attributors_are_made_in_threads_over_one_module():
    torch.manual_seed(0)
    rnn, head = nn.GRU(2, 6, 2), nn.Linear(6, 2)
    expected = RaMbIT(Recurrent(rnn, head), num_samples=1, L=3).attribute(X)
    start = threading.Barrier(4)

    def work(_):
        start.wait()
        for _ in range(10):
            torch.testing.assert_close(RaMbIT(Recurrent(rnn, head), num_samples=1, L=3).attribute(X), expected)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_module_that_is_there_is_not_moved(monkeypatch):
    model = nn.GRU(2, 3)
    monkeypatch.setattr(nn.Module, "to", lambda *_: pytest.fail("moved"))
    move(model, torch.device("cpu"))
    Recurrent(model, nn.Linear(3, 2), device="cpu")
    Predictor.of(nn.Linear(3, 2), device="cpu")
