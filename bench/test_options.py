"""What ``compile`` and ``autocast`` give on models that can only be called on whole inputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.timing import best, measure
from rambit import Predictor, RaMbIT
from rambit.models import TransformerClassifier

#: The compiler imports a part of torch that warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")

B, D, T = 4, 6, 64


class Convolutional(nn.Module):
    """Three convolutions over time, their mean, and a head."""

    def __init__(self, H=64):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Conv1d(d, H, 5, padding=2), nn.BatchNorm1d(H), nn.GELU()) for d in (D, H, H))
        )
        self.head = nn.Linear(H, 3)

    def forward(self, x):
        return self.head(self.layers(x).mean(2))


class Transformer(nn.Module):
    """Attention to what was before, told nothing about that, so that it has to be asked on whole series."""

    def __init__(self):
        super().__init__()
        self.inner = TransformerClassifier(D, hidden_size=64, num_classes=3)
        self.head = self.inner.head

    def forward(self, x):
        return self.inner(x)


BFLOAT16 = {"autocast": torch.bfloat16}
#: The options, and by how much of the largest score they may move one.
OPTIONS = {
    "compile": ({"compile": True}, 1e-3),
    "bfloat16": (BFLOAT16, 0.2),
    "compile and bfloat16": ({"compile": True, **BFLOAT16}, 0.2),
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("make", [Convolutional, Transformer])
def test_opaque_model(benchmark, report, threads, make, options):
    """The same run with and without the option; compiling, which happens once, is not timed."""
    torch.manual_seed(0)
    model, X = make().eval(), torch.randn(B, D, T)
    with torch.no_grad():  # as sure of its answers as a trained model, or rounding would be all that scores show
        model.head.weight.mul_(20)
    how = {"L": 1, "anchor": "end", "num_samples": 1, "counterfactuals": "zero", "batch_size": 256}
    chosen, tolerance = OPTIONS[options]
    plain, fast = RaMbIT(model, **how), RaMbIT(Predictor.of(model, **chosen), **how)
    expected, found = plain.attribute(X), fast.attribute(X)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    seconds, result = measure(benchmark, lambda: fast.explain(X), rounds=2)
    without = best(lambda: plain.explain(X), rounds=2)
    report(
        f"{options}, opaque {make.__name__}, {threads}",
        f"{without / seconds:.2f} x without ({without:.2f} s; with it {seconds:.2f} s)",
        ratio=without / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
    )
