"""What a call makes, read from its shapes: equal to what is counted by hand."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from rambit.predictors.activations import Activations, read_activations

X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
FLOAT = 4


def read(model, x=X):
    with torch.no_grad():
        return read_activations(lambda: model(x), x)


def linear():
    """Features 24 → 5, 5, 2: a layer's input lives until its output is there."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 2))
    return model, Activations((5 + 5) * FLOAT, (5 + 5 + 2) * FLOAT, 3, (5 * 24 + 5 + 2 * 5 + 2) * FLOAT)


def convolution():
    """Channels 3 → 4 of 8 steps, in place, joined with what it came from."""
    inner = nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ReLU(inplace=True))

    def model(x):
        found = inner(x)
        return torch.cat((found, x), dim=1).mean(dim=2)

    return model, Activations((4 * 8 + 7 * 8 + 7) * FLOAT, (4 * 8 + 7 * 8 + 7) * FLOAT, 3, (4 * 3 * 3 + 4) * FLOAT)


def chain():
    """What nobody keeps is freed on the way."""

    def model(x):
        for _ in range(5):
            x = x + 1
        return x.sum(dim=2)

    return model, Activations(2 * 24 * FLOAT, (5 * 24 + 3) * FLOAT, 6, 0)


def written():
    """Memory that was there before counts once something of the rows is written into it."""

    def model(x):
        out = torch.empty(2, 3, 8)
        torch.mul(x, 2.0, out=out)
        out.add_(1.0)
        return out.transpose(1, 2)[:, 0]

    return model, Activations(24 * FLOAT, 24 * FLOAT, 1, 0)


def cast():
    """Weights in another type are none of the rows'; they are read."""
    weight = torch.randn(8, 2, dtype=torch.float64)

    def model(x):
        return (x @ weight.float())[:, 0]

    return model, Activations(3 * 2 * FLOAT, 3 * 2 * FLOAT, 1, 8 * 2 * FLOAT)


def encoder():
    """One op for the whole layer: its queries, keys, values and attention are added by hand."""
    layer = nn.TransformerEncoderLayer(8, 2, 64, batch_first=True).eval()
    within = max(6 * 8 + 2 * 3, 64 + 8) * 3 * FLOAT
    weights = sum(weight.nbytes for weight in layer.parameters())
    return layer, Activations(3 * 8 * FLOAT + within, 3 * 8 * FLOAT, 1, weights)


@pytest.mark.parametrize("make", [linear, convolution, chain, written, cast, encoder])
def test_as_counted_by_hand(make):
    model, expected = make()
    assert read(model) == expected
    assert read(model) == expected  # whatever was read before


def test_a_gru_holds_its_features_at_every_step():
    model = nn.GRU(3, 16, batch_first=True)
    short, long = (read(lambda x: model(x)[0], torch.randn(2, T, 3)) for T in (10, 40))
    assert long.held == 4 * short.held > 10 * 16 * FLOAT
    assert long.made == pytest.approx(4 * short.made, rel=0.01)
    assert long.ops > 3 * short.ops


def test_the_number_of_rows_does_not_matter():
    model, expected = linear()
    assert read(model, torch.randn(7, 3, 8)) == expected


def raising(x):
    raise ValueError("no")


OPAQUE = {
    "numpy": lambda x: torch.from_numpy(np.asarray(x).sum(axis=2)),
    "error": raising,
    "no tensor": lambda x: [x],
    "constant": lambda x: torch.ones(len(x), 2),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_none_where_it_cannot_be_seen(name):
    assert read(OPAQUE[name]) is None


def test_random_state_is_kept():
    before = torch.get_rng_state()
    assert read(lambda x: x + torch.rand(8)) is not None
    assert torch.equal(torch.get_rng_state(), before)


def test_other_kinds_of_modules():
    model, expected = linear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = (
            torch.jit.trace(model, X, check_trace=False),
            torch.export.export(model, (X,)).module(),
            torch.compile(model, backend="eager"),
        )
    for kind in kinds:
        found = read(kind)
        assert (found.made, found.ops) == (expected.made, expected.ops)


def test_threads_give_back_the_compiler_as_they_found_it():
    """Each finds another's stance unless they take turns; then nothing would be compiled any more."""
    import torch._dynamo.eval_frame as compiler

    def read(seconds):
        rows = torch.randn(2, 3)

        def call():
            time.sleep(seconds)
            return rows * 2

        return read_activations(call, rows)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(read, [0.02, 0.05, 0.01, 0.04, 0.03, 0.02]))
    assert all(one is not None for one in found)
    assert compiler._stance.stance == "default"
