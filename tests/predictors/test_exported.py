"""Programs of torch.export answer as the module did from which they were made."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.predictors import ExportedPredictor, PredictionError, Predictor
from rambit.store import resume_key


class Net(nn.Module):
    """Two logits of (B, 2, T), or of (B, T, 2)."""

    def __init__(self, time=2):
        super().__init__()
        self.head, self.time = nn.Linear(2, 2), time

    def forward(self, x):
        return self.head(x.mean(dim=self.time))


@pytest.fixture(scope="module")
def programs():
    """A module, and its programs by which sizes they leave open."""
    torch.manual_seed(0)
    net, x, any_size = Net().eval(), torch.zeros(2, 2, 5), torch.export.Dim.DYNAMIC
    sizes = {"none": None, "batch": {"x": {0: any_size}}, "both": {"x": {0: any_size, 2: any_size}}}
    return net, {name: torch.export.export(net, (x,), dynamic_shapes=shapes) for name, shapes in sizes.items()}


@pytest.mark.parametrize("name", ["none", "batch", "both"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_the_outputs_are_those_of_the_module(programs, name, rows):
    net, found = programs
    predictor = Predictor.of(found[name])
    assert type(predictor) is ExportedPredictor
    x = torch.randn(rows, 2, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(predictor.whole(x), Predictor.of(net).whole(x))


def test_scores(programs):
    net, found = programs
    X = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(2))
    options = {"L": 3, "window_size": 1, "num_samples": 1}
    expected = RaMbIT(net, anchor="end", **options).attribute(X)
    for name in found:
        torch.testing.assert_close(RaMbIT(found[name], anchor="end", **options).attribute(X), expected)
    shorter = RaMbIT(found["both"], **options).attribute(X)
    torch.testing.assert_close(shorter, RaMbIT(net, **options).attribute(X))


def test_another_size_is_named(programs):
    _, found = programs
    for name, shape, wanted in (
        ("batch", (2, 2, 4), r"\(any, 2, 5\)"),
        ("none", (2, 3, 5), r"\(2, 2, 5\)"),
        ("both", (2, 3, 5), r"\(any, 2, any\)"),
        ("both", (2, 2, 5, 1), r"\(any, 2, any\)"),
    ):
        with pytest.raises(PredictionError, match=rf"takes {wanted}, and was called with .*dynamic_shapes="):
            Predictor.of(found[name]).call_whole(torch.zeros(shape), None)


def test_the_layout_and_the_fingerprint(programs):
    _, found = programs
    net = Net(time=1).eval()
    program = torch.export.export(net, (torch.zeros(2, 5, 2),))
    x = torch.randn(4, 2, 5)
    predictor = Predictor.of(program, layout="BTD")
    torch.testing.assert_close(predictor.whole(x), Predictor.of(net, layout="BTD").whole(x))
    other = Predictor.of(found["none"])
    assert resume_key(model=predictor.fingerprint()) != resume_key(model=other.fingerprint())


def test_other_inputs_are_refused(programs):
    with pytest.raises(ValueError, match="extra: the exported program has one input, got y"):
        RaMbIT(programs[1]["batch"], anchor="end").attribute(torch.zeros(2, 2, 5), extra={"y": torch.zeros(2)})

    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    class Whole(nn.Module):
        def forward(self, x):
            return x * 2

    with pytest.raises(TypeError, match="must have one floating input, this one has x, y"):
        Predictor.of(torch.export.export(Two(), (torch.zeros(2, 2), torch.zeros(2, 2))))
    with pytest.raises(TypeError, match="must have one floating input"):
        Predictor.of(torch.export.export(Whole(), (torch.zeros(2, 2, dtype=torch.int64),)))
