"""Recognised modules: equal to the module on every prefix, however their series are cut, or refused."""

from __future__ import annotations

import copy
import itertools
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from rambit.game import states
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from rambit.predictors.recognised import RecognisedPredictor
from tests.ops.layouts import rng

N, D, T = 3, 4, 9
RECURRENT = (nn.GRU, nn.LSTM, nn.RNN)


def recognised(model, x=None, **options):
    return RecognisedPredictor.of(Predictor.of(model, **options), data() if x is None else x)


def data(seed=0, dtype=torch.float64, steps=T):
    return torch.randn(N, D, steps, generator=rng(seed), dtype=dtype)


def on_prefixes(model, x):
    """The module on every prefix (N, C, T): the slow twin."""
    with torch.no_grad():
        return torch.stack([model.eval()(x[:, :, : t + 1]) for t in range(x.shape[2])], dim=-1)


def in_pieces(predictor, x, cuts):
    """Raw outputs (N, C, T) of calls that end at these steps; the rows of each in another order."""
    order, state, outputs = torch.arange(N).flip(0), None, []
    for begin, end in itertools.pairwise([0, *sorted(cuts), x.shape[2]]):
        if state is not None:
            state = states.take(state, order)
        found, state = predictor.call_advance(x[:, :, begin:end][order], state)
        outputs.append(found[order])
        state = states.take(state, order)
    return torch.cat(outputs, dim=2)


def walked(predictor, x):
    walk = predictor.raw().walk(x)
    hidden, outputs = [hidden for hidden, _ in walk.trace(x)], []
    for some in (hidden[: T // 2], hidden[T // 2 :]):
        outputs += walk.outputs(torch.cat(some)).split(N)
    return torch.cat(outputs, dim=2)


# -- random networks --------------------------------------------------------------------------------------------------


class Chomped(nn.Module):
    """A convolution that is padded on both sides, and loses what looks ahead."""

    def __init__(self, conv, activation):
        super().__init__()
        self.conv, self.activation = conv, activation

    def forward(self, x):
        beyond = self.conv.padding[0]
        found = self.activation(self.conv(x))
        return found[:, :, :-beyond].contiguous() if beyond else found


class Along(nn.Module):
    """A recurrent layer over (N, F, T)."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        if self.rnn.batch_first:
            return self.rnn(x.transpose(1, 2))[0].transpose(1, 2)
        return self.rnn(x.permute(2, 0, 1))[0].permute(1, 2, 0)


class OverFeatures(nn.Module):
    """A layer that reads features last."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    def __init__(self, inner, joined):
        super().__init__()
        self.inner, self.joined = inner, joined

    def forward(self, x):
        return torch.cat((x, self.inner(x)), dim=1) if self.joined else x + 0.5 * self.inner(x)


class Gate(nn.Module):
    def forward(self, x):
        value, gate = x.chunk(2, dim=1)
        return torch.tanh(value) * torch.sigmoid(gate)


def random_layer(choose, features, out):
    kind = choose.choice(["chomped", "padded", "recurrent", "linear"])
    if kind == "recurrent":
        layers, bias = choose.choice([1, 2, 3]), choose.random() < 0.7
        rnn = choose.choice(RECURRENT)
        more = {"nonlinearity": "relu"} if rnn is nn.RNN and choose.random() < 0.5 else {}
        return Along(
            rnn(features, out, layers, bias=bias, batch_first=choose.random() < 0.5, dropout=0.3 * (layers > 1), **more)
        )
    if kind == "linear":
        return OverFeatures(nn.Sequential(nn.Linear(features, out), nn.LayerNorm(out), nn.GELU()))
    kernel, dilation, bias = choose.choice([1, 2, 3]), choose.choice([1, 2]), choose.random() < 0.7
    reach = (kernel - 1) * dilation
    if kind == "padded":
        groups, late = choose.choice([1, 2]) if features % 2 == 0 else 1, choose.choice([0, 0, 1])
        conv = nn.Conv1d(features, out, kernel, dilation=dilation, bias=bias, groups=groups)
        layers = [nn.ConstantPad1d((reach + late, 0), 0.0), conv, nn.ConstantPad1d((0, -late), 0.0)]
        return nn.Sequential(*layers)
    conv = nn.Conv1d(features, out, kernel, padding=reach, dilation=dilation, bias=bias)
    return Chomped(conv, choose.choice([nn.Identity(), nn.Sequential(nn.BatchNorm1d(out), nn.ELU())]))


class LastOf(nn.Module):
    """A network over (N, F, T) and a head on its last step, taken in one of several ways."""

    def __init__(self, network, head, way):
        super().__init__()
        self.network, self.head, self.way = network, head, way

    def forward(self, x):
        h = self.network(x)
        if self.way == "select":
            return self.head(h[..., -1])
        if self.way == "slice":
            return self.head(h[:, :, -1:].squeeze(2))
        return self.head(h.transpose(1, 2)[:, -1, :])


def random_network(seed):
    choose = random.Random(seed)
    torch.manual_seed(seed)
    layers, features = [], D
    for _ in range(choose.choice([1, 2, 3])):
        form = choose.choice(["plain", "added", "joined", "gated"])
        out = {"added": features, "gated": 8}.get(form, 4)
        layer = random_layer(choose, features, out)
        if form in ("added", "joined"):
            layer = Residual(layer, form == "joined")
        layers += [layer, Gate()] if form == "gated" else [layer, nn.Dropout(0.2)]
        features = {"added": features, "joined": features + out, "gated": out // 2}.get(form, out)
    head = nn.Sequential(nn.Linear(features, 5), nn.ReLU(), nn.Dropout(0.1), nn.Linear(5, 2))
    model = LastOf(nn.Sequential(*layers), head, choose.choice(["select", "slice", "rows"])).double()
    for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm1d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return model


@pytest.mark.parametrize("seed", range(14))
def test_random_networks_equal_themselves_on_prefixes(seed):
    model, x = random_network(seed), data(seed)
    found = recognised(model, x)
    assert isinstance(found, RecognisedPredictor), found
    expected = on_prefixes(model, x)
    with found.session():
        torch.testing.assert_close(found.call_steps(x), expected)
        torch.testing.assert_close(walked(found, x), expected)
        for cuts in ([1], range(1, T), random.Random(seed).sample(range(1, T), 3)):
            torch.testing.assert_close(in_pieces(found, x, cuts), expected)
        longer = data(seed + 1, steps=2 * T)
        torch.testing.assert_close(found.call_steps(longer), on_prefixes(model, longer))


# -- how the last step is taken ---------------------------------------------------------------------------------------


class Taken(nn.Module):
    def __init__(self, kind, take, head=None, layers=1, batch_first=True, features=5):
        super().__init__()
        torch.manual_seed(0)
        self.rnn = kind(D, 5, layers, batch_first=batch_first)
        self.take, self.head = take, head or nn.Linear(features, 2)
        self.start = nn.Parameter(torch.randn(layers, 1, 5))

    def forward(self, x):
        return self.head(self.take(self, x))


def series(model, x):
    return x.transpose(1, 2) if model.rnn.batch_first else x.permute(2, 0, 1)


def last_state(model, x):
    return model.rnn(series(model, x))[1][-1]


def squeezed(model, x):
    return model.rnn(series(model, x))[1].squeeze(0)


def hidden_of_lstm(model, x):
    _, (hidden, _) = model.rnn(series(model, x))
    return hidden[-1]


def zeros_given(model, x):
    return model.rnn(series(model, x), torch.zeros(2, x.shape[0], 5, dtype=x.dtype))[0][:, -1, :]


def learned_start(model, x):
    return model.rnn(series(model, x), model.start.expand(-1, x.shape[0], -1).contiguous())[0][-1]


def state_and_input(model, x):
    return torch.cat((model.rnn(series(model, x))[1][-1], x[:, :, -1]), dim=1)


def slice_of_states(model, x):
    return model.rnn(series(model, x))[1][-1:, :, :].transpose(0, 1).flatten(1)


@pytest.mark.parametrize(
    "model",
    [
        Taken(nn.GRU, last_state),
        Taken(nn.GRU, last_state, layers=2, batch_first=False),
        Taken(nn.RNN, squeezed),
        Taken(nn.LSTM, hidden_of_lstm, layers=2),
        Taken(nn.GRU, zeros_given, layers=2),
        Taken(nn.RNN, learned_start, layers=2, batch_first=False),
        Taken(nn.GRU, state_and_input, features=5 + D),
        Taken(nn.GRU, slice_of_states, layers=3),
        Taken(nn.GRU, last_state, head=nn.Sequential(nn.BatchNorm1d(5), nn.Unflatten(1, (1, 5)), nn.Flatten())),
    ],
    ids=lambda model: f"{type(model.rnn).__name__}-{model.take.__name__}",
)
def test_every_way_to_the_last_step(model):
    model, x = model.double(), data()
    found = recognised(model, x)
    assert isinstance(found, RecognisedPredictor), found
    expected = on_prefixes(model, x)
    with found.session():
        torch.testing.assert_close(found.call_steps(x), expected)
        torch.testing.assert_close(in_pieces(found, x, [2, 3, 7]), expected)
        torch.testing.assert_close(walked(found, x), expected)


def test_layouts_types_and_one_column():
    class Timed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(D, 5, batch_first=True), nn.Linear(5, 1)

        def forward(self, x):
            return self.head(self.rnn(x)[0][:, -1]).squeeze(1)

    torch.manual_seed(0)
    model, x = Timed(), data(dtype=torch.float32)
    found = recognised(model, x, layout="BTD", output="regression")
    expected = on_prefixes(lambda_of(model), x)
    with found.session():
        outputs, state = found.advance(x, None)
        torch.testing.assert_close(outputs[:, 0], expected)
        torch.testing.assert_close(found.steps(x)[:, 0], expected)
    assert {part.dtype for part in state[0]} == {torch.float32}
    assert [part.shape[0] for part in state[0]] == [N, N]


def lambda_of(model):
    """A model of (N, T, D) as one of (N, D, T)."""

    class Turned(nn.Module):
        def forward(self, x):
            return model.eval()(x.transpose(1, 2))

    return Turned()


# -- what only looks like one -----------------------------------------------------------------------------------------


class Of(nn.Module):
    """Any function of x (N, D, T) and some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def conv(**options):
    return nn.Conv1d(D, 4, **options)


POSITIONS = torch.arange(float(T))
REFUSED = {
    "bidirectional": (
        Of(lambda x, r: r(x.transpose(1, 2))[0][:, -1], nn.GRU(D, 3, bidirectional=True)),
        "bidirectional",
    ),
    "symmetric": (Of(lambda x, c: c(x)[..., -1], conv(kernel_size=3, padding=1)), "reads ahead"),
    "same": (Of(lambda x, c: c(x)[..., -1], conv(kernel_size=4, padding="same")), "reads ahead"),
    "strided": (Of(lambda x, c: c(x)[..., -1], conv(kernel_size=1, stride=2)), "stride"),
    "mean": (Of(lambda x, c: c(x).mean(2), conv(kernel_size=1)), "mean.dim reaches across time"),
    "less the mean": (Of(lambda x: (x - x.mean(-1, keepdim=True))[..., -1]), "mean.dim reaches across time"),
    "of the rows": (Of(lambda x: (x - x.mean(0))[..., -1]), "mean.dim reaches across rows"),
    "reversed": (Of(lambda x, c: c(x.flip(2))[..., -1], conv(kernel_size=1)), "flip"),
    "first": (Of(lambda x: x[..., 0]), "takes step 0 of 9"),
    "last but one": (Of(lambda x: x[..., -2]), "takes step 7 of 9"),
    "last two": (Of(lambda x: x[..., -2:].flatten(1)), "takes step 7 to 8 of 9"),
    "cut elsewhere": (Of(lambda x: x[..., : T - 2][..., -1]), "takes step 0 to 6 of 9"),
    "every second": (Of(lambda x: x[..., ::2][..., -1]), "leaves steps out"),
    "reflected": (Of(lambda x, c: c(pad(x, (2, 0), "reflect"))[..., -1], conv(kernel_size=3)), "reflect"),
    "padded by ones": (
        Of(lambda x, c: c(pad(x, (2, 0), value=1.0))[..., -1], conv(kernel_size=3)),
        "not 0",
    ),
    "shortened": (Of(lambda x, c: c(x)[..., -1], conv(kernel_size=3)), "reads ahead"),
    "positions": (Of(lambda x: (x + POSITIONS)[..., -1]), "differs from step to step"),
    "softmax": (Of(lambda x: x.softmax(2)[..., -1]), "softmax.int reaches across time"),
    "batch": (Of(lambda x, n: n(x)[..., -1], nn.BatchNorm1d(D, track_running_stats=False)), "batch_norm"),
    "layer norm": (Of(lambda x, n: n(x)[..., -1], nn.LayerNorm((D, T))), "layer_norm.default reaches across time"),
    "over features": (Of(lambda x, c: c(x.transpose(1, 2))[:, -1], nn.Conv1d(T, T, 1)), "another dimension"),
    "lower layer": (Of(lambda x, r: r(x.transpose(1, 2))[1][0], nn.GRU(D, 3, 2, batch_first=True)), "layers below"),
    "cell state": (Of(lambda x, r: r(x.transpose(1, 2))[1][1][-1], nn.LSTM(D, 3, batch_first=True)), "cell state"),
    "rows as time": (Of(lambda x, r: r(x.transpose(1, 2))[0][:, -1], nn.GRU(D, 3)), "another dimension"),
    "mixed": (Of(lambda x: (x[..., -1:] * x).sum(2)), "beside others"),
    "no last step": (Of(lambda x: x.relu()), "last step alone"),
    "projected": (Of(lambda x, r: r(x.transpose(1, 2))[0][:, -1], nn.LSTM(D, 3, batch_first=True, proj_size=2)), ""),
    "noise": (Of(lambda x: (x + torch.rand_like(x))[..., -1]), "random"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_only_looks_like_one_is_refused(name):
    model, why = REFUSED[name]
    found = recognised(model.eval(), data(dtype=torch.float32))
    assert isinstance(found, str)
    assert why in found


def test_what_claims_something_itself_is_left_alone():
    assert "itself" in recognised(GRUClassifier(D, 3), data(dtype=torch.float32))
    assert "no module" in recognised(lambda x: x[..., -1])
    assert "one step" in recognised(Of(lambda x: x[..., -1]), data(steps=1))


# -- weights, threads, copies -----------------------------------------------------------------------------------------


def assert_as_itself(model, x):
    found = recognised(model, x)
    with found.session():
        torch.testing.assert_close(found.call_steps(x), on_prefixes(model, x))


def test_weights_are_those_of_the_module_whenever_they_change():
    model, x = random_network(3), data()
    found = recognised(model, x)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)
    with found.session():
        torch.testing.assert_close(found.call_steps(x), on_prefixes(model, x))
    for weight in model.parameters():
        weight.data = torch.randn_like(weight)
    assert_as_itself(model, x)
    model.head[0] = nn.Linear(model.head[0].in_features, 5).double()
    assert_as_itself(model, x)


def test_the_module_stays_as_it_was():
    model = random_network(5).train()
    before, flags = copy.deepcopy(model.state_dict()), [part.training for part in model.modules()]
    found = recognised(model)
    with found.session():
        found.call_steps(data())
    assert [part.training for part in model.modules()] == flags
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any("forward" in vars(part) for part in model.modules())


def test_what_is_found_out_of_the_outputs_is_known_to_both():
    given = Predictor.of(Taken(nn.GRU, last_state).double())
    found = RecognisedPredictor.of(given, data())
    with pytest.warns(UserWarning, match="are probabilities"):
        found.decide(torch.full((2, 2), 0.5, dtype=torch.float64))
    assert given.output == "probs"
    assert given.modes == frozenset()
    raw = found.raw()
    assert (raw.output, given.output, raw.modes) == ("regression", "probs", found.modes)


def test_in_several_threads():
    model, x = random_network(2), data()
    expected, found = on_prefixes(model, x), recognised(model, x)

    def work(_):
        with found.session():
            return walked(found, x)

    with ThreadPoolExecutor(4) as pool:
        for outputs in pool.map(work, range(8)):
            torch.testing.assert_close(outputs, expected)
