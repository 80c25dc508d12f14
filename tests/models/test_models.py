"""The classifiers: one walk through time, in whatever pieces it is taken."""

import copy
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rambit.models import MODELS, GRUClassifier, LSTMClassifier, build_model

CLASSES = [GRUClassifier, LSTMClassifier]


def make(cls, D=3, seed=0, standardize=False, **arguments):
    config = {"model": cls.__name__, "num_features": D, "hidden_size": 7, "standardize": standardize, **arguments}
    model = build_model(config, seed=seed).eval()
    if standardize:
        generator = torch.Generator().manual_seed(seed)
        model.set_standardization(torch.randn(D, generator=generator), torch.rand(D, generator=generator) + 0.5)
    return model


def series(B, D, T, seed=0):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(seed))


def naive(model, x):
    """Torch's own single-step cells, one row and one step at a time; layers by hand."""
    lstm = isinstance(model, LSTMClassifier)
    cells = []
    for layer in range(model.num_layers):
        size = model.num_features if layer == 0 else model.hidden_size
        cell = (nn.LSTMCell if lstm else nn.GRUCell)(size, model.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(model.rnn, f"{name}_l{layer}").data
        cells.append(cell)
    out = torch.empty(x.shape[0], model.num_classes, x.shape[2])
    for b in range(x.shape[0]):
        states = [None] * model.num_layers
        for t in range(x.shape[2]):
            value = x[b : b + 1, :, t]
            if model.input_mean is not None:
                value = (value - model.input_mean) / model.input_scale
            for layer, cell in enumerate(cells):
                states[layer] = cell(value, states[layer])
                value = states[layer][0] if lstm else states[layer]
            out[b, :, t] = model.head(value)[0]
    return out


@pytest.mark.parametrize("cls", CLASSES)
@given(B=st.integers(1, 3), D=st.integers(1, 4), T=st.integers(1, 6), layers=st.integers(1, 3), scaled=st.booleans())
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_equals_single_cells(cls, B, D, T, layers, scaled):
    model, x = make(cls, D, num_layers=layers, num_classes=3, standardize=scaled), series(B, D, T)
    torch.testing.assert_close(model(x, return_all=True), naive(model, x))
    torch.testing.assert_close(model(x), naive(model, x)[:, :, -1])


@pytest.mark.parametrize("cls", CLASSES)
@given(st.data())
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_advance_in_pieces(cls, data):
    layers = data.draw(st.integers(1, 3))
    pieces = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    model, x = make(cls, num_layers=layers, dropout=0.5), series(4, 3, sum(pieces))
    outputs, state = [], None
    for piece in x.split(pieces, dim=2):
        output, state = model.advance(piece, state)
        outputs.append(output)
        for part in state if isinstance(state, tuple) else (state,):
            assert part.shape == (4, layers, 7)
            assert part.is_contiguous()
    torch.testing.assert_close(torch.cat(outputs, dim=2), model(x, return_all=True))


@pytest.mark.parametrize("cls", CLASSES)
@torch.no_grad()
def test_states_can_be_picked_and_repeated(cls):
    model, x = make(cls, num_layers=2), series(4, 3, 9)
    _, state = model.advance(x[:, :, :5])
    rows = torch.tensor([2, 2, 0])
    picked = tuple(s[rows] for s in state) if isinstance(state, tuple) else state[rows]
    outputs, _ = model.advance(x[rows][:, :, 5:], picked)
    torch.testing.assert_close(outputs, model(x[rows], return_all=True)[:, :, 5:])


@pytest.mark.parametrize("cls", CLASSES)
@torch.no_grad()
def test_prefixes_and_lengths(cls):
    model, x = make(cls, num_classes=4), series(5, 3, 8)
    full = model(x, return_all=True)
    for h in range(8):
        torch.testing.assert_close(model(x[:, :, : h + 1]), full[:, :, h])
    lengths = torch.tensor([1, 8, 3, 5, 8])
    for given_as in (lengths, lengths.int(), lengths.numpy()):
        expected = torch.stack([full[b, :, n - 1] for b, n in enumerate(lengths)])
        torch.testing.assert_close(model(x, lengths=given_as), expected)
        torch.testing.assert_close(model.predict(x, lengths=given_as), expected.softmax(1))
    padded = torch.where(torch.arange(8) < lengths[:, None, None], x, 99.0)
    torch.testing.assert_close(model(padded, lengths=lengths), model(x, lengths=lengths))


@pytest.mark.parametrize("cls", CLASSES)
@torch.no_grad()
def test_predict_and_layout(cls):
    model, x = make(cls), series(5, 3, 8)
    assert torch.equal(model.predict(x), model(x).softmax(dim=1))
    assert torch.equal(model.predict(x, return_all=True), model(x, return_all=True).softmax(dim=1))
    transposed = x.transpose(1, 2).contiguous().transpose(1, 2)  # (N, w, D) memory
    assert torch.equal(model(transposed), model(x))


def test_dropout_acts_with_one_layer_and_only_in_training():
    model, x = make(GRUClassifier, dropout=0.5), series(5, 3, 8)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("standardize", [False, True])
def test_config_round_trip(cls, standardize):
    model = make(cls, num_layers=2, num_classes=5, dropout=0.25, standardize=standardize)
    config = json.loads(json.dumps(model.config()))
    twin = build_model(config)
    twin.load_state_dict(model.state_dict())
    assert twin.config() == model.config()
    assert torch.equal(twin.eval()(series(2, 3, 4)), model(series(2, 3, 4)))
    assert MODELS[config["model"]] is cls


def test_standardization_is_of_the_raw_input():
    model, x = make(GRUClassifier), series(4, 3, 6)
    scaled = copy.deepcopy(model)
    mean, scale = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.1, 30.0])
    scaled.set_standardization(mean, scale)
    assert scaled.config()["standardize"]
    torch.testing.assert_close(scaled(x * scale[:, None] + mean[:, None]), model(x), atol=1e-5, rtol=1e-4)
    for bad in ((mean[:2], scale), (mean, scale * 0), (mean * torch.nan, scale), (mean, scale / 0)):
        with pytest.raises(ValueError, match=r"shape \(3,\)|finite"):
            scaled.set_standardization(*bad)


def test_seed_leaves_the_global_generator_alone():
    config = make(GRUClassifier).config()
    before = torch.get_rng_state()
    first, second, other = (build_model(config, seed=s) for s in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first.rnn.weight_hh_l0, second.rnn.weight_hh_l0)
    assert not torch.equal(first.rnn.weight_hh_l0, other.rnn.weight_hh_l0)
    build_model(config)
    assert not torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "Perceptron"}, "GRUClassifier, LSTMClassifier"),
        ({"model": None}, "must be one of"),
        ({"hiden_size": 3}, "hiden_size"),
        ({"num_features": 0}, "num_features must be at least 1"),
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_layers": 1.5}, "float"),
        ({"hidden_size": True}, "hidden_size must be an integer"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_wrong_config(change, message):
    with pytest.raises(ValueError, match=message):
        build_model(make(GRUClassifier).config() | change)


def test_wrong_inputs():
    model, x = make(GRUClassifier), series(2, 3, 4)
    for bad in (x[0], x[:, :2], x[:, :, :0]):
        with pytest.raises(ValueError, match=r"x must have shape \(B, 3, T\)"):
            model(bad)
    for bad in (torch.tensor([1, 5]), torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([1])):
        with pytest.raises(ValueError, match="lengths must"):
            model(x, lengths=bad)
