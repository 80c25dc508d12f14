"""The classifiers: one walk through time, in whatever pieces it is taken."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rambit import RaMbIT
from rambit.models import (
    MODELS,
    GRUClassifier,
    LSTMClassifier,
    TCNClassifier,
    TransformerClassifier,
    build_model,
)
from rambit.training import evaluate, fit, load_checkpoint, save_checkpoint

CLASSES = [GRUClassifier, LSTMClassifier, TCNClassifier, TransformerClassifier]
RECURRENT = [GRUClassifier, LSTMClassifier]
STATEFUL = [cls for cls in CLASSES if hasattr(cls, "advance")]


def make(cls, D=3, seed=0, standardize=False, **arguments):
    hidden = 8 if cls is TransformerClassifier else 7
    config = {"model": cls.__name__, "num_features": D, "hidden_size": hidden, "standardize": standardize, **arguments}
    model = build_model(config, seed=seed).eval()
    if standardize:
        generator = torch.Generator().manual_seed(seed)
        model.set_standardization(torch.randn(D, generator=generator), torch.rand(D, generator=generator) + 0.5)
    if arguments.get("head") == "batchnorm":
        norm, generator = model.norm, torch.Generator().manual_seed(seed)
        for part in (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data):
            part.uniform_(0.5, 1.5, generator=generator)
    return model


def series(B, D, T, seed=0):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(seed))


def naive(model, x):
    """One row at a time, in the obvious way."""
    output = {TCNClassifier: naive_tcn, TransformerClassifier: naive_transformer}.get(type(model), naive_recurrent)
    out = torch.empty(x.shape[0], model.num_classes, x.shape[2])
    for b in range(x.shape[0]):
        row = x[b].T  # (T, D)
        if model.input_mean is not None:
            row = (row - model.input_mean) / model.input_scale
        out[b] = torch.stack([model.head(naive_norm(model, hidden)) for hidden in output(model, row)], dim=1)
    return out


def naive_norm(model, hidden):
    """Batch norm with learnt statistics, and ReLU, where there are any."""
    norm = getattr(model, "norm", None)
    if not isinstance(norm, nn.BatchNorm1d):
        return hidden
    scaled = (hidden - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return (scaled * norm.weight + norm.bias).clamp(min=0)


def naive_recurrent(model, x):
    """Torch's own single-step cells; layers by hand."""
    lstm = isinstance(model, LSTMClassifier)
    cells = []
    for layer in range(model.num_layers):
        size = model.num_features if layer == 0 else model.hidden_size
        cell = (nn.LSTMCell if lstm else nn.GRUCell)(size, model.hidden_size)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(model.rnn, f"{name}_l{layer}").data
        cells.append(cell)
    states = [None] * model.num_layers
    for step in x:
        value = step[None]
        for layer, cell in enumerate(cells):
            states[layer] = cell(value, states[layer])
            value = states[layer][0] if lstm else states[layer]
        yield value[0]


def naive_tcn(model, x):
    """Each convolution as a sum over the taps that lie inside the series."""
    values = list(x)
    for layer, block in enumerate(model.blocks):
        before = values
        for convolution in (block.first, block.second):
            after = []
            for t in range(len(values)):
                total = convolution.bias.clone()
                for k in range(model.kernel_size):
                    s = t - (model.kernel_size - 1 - k) * 2**layer
                    if s >= 0:
                        total += convolution.weight[:, :, k] @ values[s]
                after.append(total.relu())
            values = after
        values = [(block.skip(old) + new).relu() for old, new in zip(before, values, strict=True)]
    return values


def naive_transformer(model, x):
    """Attention of each step, each head, to itself and each earlier step."""
    H, size = model.hidden_size, model.hidden_size // model.num_heads
    values = []
    for t, step in enumerate(x):
        place = [(math.cos if i % 2 else math.sin)(t / 10000 ** ((i - i % 2) / H)) for i in range(H)]
        values.append(model.embedding(step) + torch.tensor(place))
    for layer in model.layers:
        qkv = [layer.qkv(layer.norm1(v)) for v in values]
        after = []
        for t, old in enumerate(values):
            mixed = torch.zeros(H)
            for head in range(model.num_heads):
                q, k, v = (slice(part * H + head * size, part * H + (head + 1) * size) for part in range(3))
                weights = torch.stack([qkv[t][q] @ qkv[s][k] for s in range(t + 1)]).div(math.sqrt(size)).softmax(0)
                mixed[head * size : (head + 1) * size] = sum(w * qkv[s][v] for s, w in enumerate(weights))
            new = old + layer.out(mixed)
            after.append(new + layer.down(layer.up(layer.norm2(new)).relu()))
        values = after
    return [model.norm(v) for v in values]


@pytest.mark.parametrize("cls", CLASSES)
@given(B=st.integers(1, 3), D=st.integers(1, 4), T=st.integers(1, 6), layers=st.integers(1, 3), scaled=st.booleans())
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_equals_its_twin(cls, B, D, T, layers, scaled):
    model, x = make(cls, D, num_layers=layers, num_classes=3, standardize=scaled), series(B, D, T)
    torch.testing.assert_close(model(x, return_all=True), naive(model, x))
    torch.testing.assert_close(model(x), naive(model, x)[:, :, -1])


@pytest.mark.parametrize("cls", STATEFUL)
@given(st.data())
@settings(max_examples=20, deadline=None)
@torch.no_grad()
def test_advance_in_pieces(cls, data):
    layers = data.draw(st.integers(1, 3))
    pieces = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    model, x = make(cls, num_layers=layers, dropout=0.5), series(4, 3, sum(pieces))
    outputs, state = [], None
    for piece in x.split(pieces, dim=2):
        output, state = model.advance(piece, state)
        outputs.append(output)
        for part in state if isinstance(state, tuple) else (state,):
            assert part.shape == (4, layers, 7) or cls is TCNClassifier
            assert part.shape[0] == 4
            assert part.is_contiguous()
    torch.testing.assert_close(torch.cat(outputs, dim=2), model(x, return_all=True))


@pytest.mark.parametrize("cls", STATEFUL)
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
    torch.testing.assert_close(model(transposed), model(x))


@pytest.mark.parametrize("cls", CLASSES)
def test_dropout_acts_with_one_layer_and_only_in_training(cls):
    model, x = make(cls, dropout=0.5, num_layers=1), series(5, 3, 8)
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


@pytest.mark.parametrize("cls", RECURRENT)
@given(data=st.data(), layers=st.integers(1, 2), scaled=st.booleans())
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_batchnorm_head_in_whole_in_pieces_and_on_prefixes(cls, data, layers, scaled):
    model = make(cls, num_layers=layers, standardize=scaled, dropout=0.5, head="batchnorm")
    pieces = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    x = series(3, 3, sum(pieces))
    whole = naive(model, x)
    torch.testing.assert_close(model(x, return_all=True), whole)
    outputs, state = [], None
    for piece in x.split(pieces, dim=2):
        output, state = model.advance(piece, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, dim=2), whole)
    for h in range(x.shape[2]):
        torch.testing.assert_close(model(x[:, :, : h + 1]), whole[:, :, h])
        torch.testing.assert_close(model(x, lengths=torch.full((3,), h + 1)), whole[:, :, h])


@pytest.mark.parametrize("cls", RECURRENT)
def test_batchnorm_head_gives_the_same_scores_however_it_is_evaluated(cls):
    model, x = make(cls, head="batchnorm"), series(2, 3, 6)
    scores = [
        RaMbIT(model, L=3, num_samples=2, window_size=2, background=x, evaluation=mode).attribute(x)
        for mode in ("prefix", "causal", "stateful")
    ]
    assert scores[0].abs().max() > 0
    torch.testing.assert_close(scores[1], scores[0])
    torch.testing.assert_close(scores[2], scores[0])


@pytest.mark.parametrize("cls", RECURRENT)
@pytest.mark.parametrize("per_step", [False, True])
def test_batchnorm_head_learns_its_statistics_and_is_saved_with_them(cls, per_step, tmp_path):
    model, x = make(cls, head="batchnorm"), series(20, 3, 6)
    before = model.norm.running_mean.clone()
    fit(model, x, torch.arange(20) % 2, epochs=2, batch_size=10, per_step=per_step)
    assert not torch.equal(model.norm.running_mean, before)
    save_checkpoint(tmp_path / "model.safetensors", model)
    again, document = load_checkpoint(tmp_path / "model.safetensors")
    assert document["model"]["head"] == "batchnorm"
    assert int(again.norm.num_batches_tracked) == int(model.norm.num_batches_tracked) > 0
    assert torch.equal(again(x), model(x))


@pytest.mark.parametrize("cls", [TCNClassifier, TransformerClassifier])
def test_learns_and_its_checkpoint_is_whole(cls, tmp_path, threads):
    """The class at a step is whether feature 0 was above 1.5 at one of the last three steps."""
    threads(1)
    X = np.random.default_rng(0).normal(size=(300, 2, 12)).astype(np.float32)
    high = np.pad(X[:, 0] > 1.5, ((0, 0), (2, 0)))
    y = (high[:, :-2] | high[:, 1:-1] | high[:, 2:]).astype(int)
    model = make(cls, 2, standardize=True, hidden_size=16, dropout=0.05, num_layers=2)
    fit(model, X * 50 + 7, y, per_step=True, epochs=30, batch_size=25, lr=1e-2, weight_decay=0, standardize=True)
    assert evaluate(model, X * 50 + 7, y, per_step=True)["accuracy"] > 0.97
    save_checkpoint(tmp_path / "model.safetensors", model)
    again, config = load_checkpoint(tmp_path / "model.safetensors")
    assert config["model"] == model.config()
    assert again.training is False
    assert torch.equal(again(torch.from_numpy(X)), model(torch.from_numpy(X)))


@torch.no_grad()
def test_receptive_field():
    """The last answer sees exactly that many steps."""
    for layers, kernel in ((1, 2), (2, 3), (3, 2)):
        model = make(TCNClassifier, num_layers=layers, kernel_size=kernel)
        field = model.receptive_field
        x = series(1, 3, field + 4)
        outside, inside = x.clone(), x.clone()
        outside[:, :, :4] += 100.0
        inside[:, :, 4] += 100.0
        assert torch.equal(model(outside), model(x))
        assert not torch.equal(model(inside), model(x))


def test_positions_need_no_more_than_the_steps_before():
    model, x = make(TransformerClassifier), series(2, 3, 300)
    later = x.clone()
    later[:, :, 200:] = 5.0
    torch.testing.assert_close(model(later, return_all=True)[:, :, :200], model(x, return_all=True)[:, :, :200])


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
        ({"num_layers": 1.5}, "num_layers must be an integer, got 1.5"),
        ({"hidden_size": True}, "hidden_size must be an integer"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"head": "deep"}, "head must be one of linear, batchnorm, got 'deep'"),
    ],
)
def test_wrong_config(change, message):
    with pytest.raises(ValueError, match=message):
        build_model(make(GRUClassifier).config() | change)


@pytest.mark.parametrize(
    ("cls", "change", "message"),
    [
        (TCNClassifier, {"kernel_size": 1}, "kernel_size must be at least 2"),
        (TCNClassifier, {"dropout": -0.1}, "dropout must lie"),
        (TCNClassifier, {"num_layers": 17}, "num_layers must be at most 16, got 17"),
        *((cls, {"num_layers": 2**31}, r"num_layers must be at most (16|1024), got 2147483648") for cls in CLASSES),
        *((cls, {"hidden_size": 2**31}, "hidden_size must be at most 2147483647, got") for cls in CLASSES),
        *((cls, {"num_features": 10**5000}, "num_features must .* a number of 16610 bits") for cls in CLASSES),
        (TransformerClassifier, {"hidden_size": 6}, "even and a multiple of num_heads=4, got 6"),
        (TransformerClassifier, {"hidden_size": 9, "num_heads": 3}, "even"),
        (TransformerClassifier, {"num_heads": 0}, "num_heads must be at least 1"),
        (TransformerClassifier, {"dropout": float("nan")}, "dropout must be finite"),
    ],
)
def test_wrong_config_of_its_own(cls, change, message):
    with pytest.raises(ValueError, match=message):
        build_model(make(cls).config() | change)


@pytest.mark.parametrize("cls", CLASSES)
def test_wrong_inputs(cls):
    model, x = make(cls), series(2, 3, 4)
    for bad in (x[0], x[:, :2], x[:, :, :0]):
        with pytest.raises(ValueError, match=r"x must have shape \(B, 3, T\)"):
            model(bad)
    for bad in (torch.tensor([1, 5]), torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), torch.tensor([1])):
        with pytest.raises(ValueError, match="lengths must"):
            model(x, lengths=bad)


def test_lengths_are_arrays_of_any_kind_and_inputs_are_tensors():
    model, x = make(GRUClassifier), torch.randn(2, 3, 5)
    want = model(x, lengths=torch.tensor([2, 5]))
    for lengths in ([2, 5], np.array([2, 5], ">i4"), np.array([5, 2])[::-1], np.ma.array([2, 5], mask=False)):
        assert torch.equal(model(x, lengths=lengths), want)
    with pytest.raises(ValueError, match="lengths is a masked array"):
        model(x, lengths=np.ma.array([2, 5], mask=[0, 1]))
    with pytest.raises(TypeError, match=r"x must be a tensor, got MaskedArray: write torch\.tensor\(x\.filled"):
        model(np.ma.array(x.numpy(), mask=x.numpy() > 0))
    ones = np.ones(3, ">f4")
    model.set_standardization(ones, ones[::-1])
    assert model.input_mean.tolist() == model.input_scale.tolist() == [1.0] * 3
    for name in ("mean", "scale"):
        with pytest.raises(ValueError, match=f"{name} is a masked array"):
            model.set_standardization(**{"mean": ones, "scale": ones, name: np.ma.array(ones, mask=[0, 0, 1])})


def test_the_deepest_network_reaches_back_as_far_as_it_says():
    """Its answer moves with the first step that it depends on, and with none before."""
    model = make(TCNClassifier, D=1, hidden_size=1, kernel_size=2, num_layers=16).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    steps = model.receptive_field
    assert steps == 1 + 2 * (2**16 - 1)
    x = torch.ones(1, 1, steps + 1, dtype=torch.float64, requires_grad=True)
    model(x)[0, 0].backward()
    assert x.grad[0, 0, 0] == 0
    assert x.grad[0, 0, 1] > 0
