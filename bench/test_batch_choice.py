"""The batch size that ``auto`` chooses, against the best of fixed ones; and captum's small batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import nn

from bench.timing import best, measure
from rambit.attribution import FO, Occlusion

SIZES = [4 << k for k in range(10)]
#: Sizes that took longer than the best by this factor the first time are not timed again.
HOPELESS = 1.5
#: About so long the others are timed, in turn.
SECONDS = 6.0


def mlp():
    return nn.Sequential(nn.Flatten(), *linear(100, 256), *linear(256, 256), nn.Linear(256, 2))


def linear(i, o):
    return nn.Linear(i, o), nn.ReLU()


class Image(nn.Module):
    """A small CNN on (N, C, H * W)."""

    def __init__(self, channels, side):
        super().__init__()
        self.shape = channels, side, side
        blocks = [layer for i, o in ((channels, 16), (16, 32)) for layer in convolution(i, o)]
        self.layers = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))

    def forward(self, x):
        return self.layers(x.view(-1, *self.shape))


def convolution(i, o):
    return nn.Conv2d(i, o, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)


class GRU(nn.Module):
    """A model that can only be called on whole inputs."""

    def __init__(self, features):
        super().__init__()
        self.rnn, self.head = nn.GRU(features, 64, batch_first=True), nn.Linear(64, 2)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


class Encoder(nn.Module):
    """Two layers of attention over the steps, and their mean."""

    def __init__(self, features, width=64):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, batch_first=True)
        self.embed, self.head = nn.Linear(features, width), nn.Linear(width, 2)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.head(self.layers(self.embed(x.transpose(1, 2))).mean(1))


def patches(channels, side, count):
    """(C, H * W): which of count × count patches each pixel is in."""
    of = torch.arange(side) * count // side
    return (of[:, None] * count + of).flatten().expand(channels, -1).contiguous()


class Case(NamedTuple):
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    patches: torch.Tensor | None = None

    def method(self, model, batch_size):
        common = {"counterfactuals": "zero", "distance": "diff", "num_samples": 1, "batch_size": batch_size}
        if self.patches is None:
            return FO(model, anchor="end", **common)
        return Occlusion(model, groups=self.patches, **common)


CASES = {
    "mlp-1": Case(mlp, (1, 1, 100)),
    "mlp-64": Case(mlp, (64, 1, 100)),
    "cnn-28-1": Case(lambda: Image(1, 28), (1, 1, 784), patches(1, 28, 7)),
    "cnn-28-8": Case(lambda: Image(1, 28), (8, 1, 784), patches(1, 28, 7)),
    "cnn-64-1": Case(lambda: Image(3, 64), (1, 3, 4096), patches(3, 64, 8)),
    "cnn-64-8": Case(lambda: Image(3, 64), (8, 3, 4096), patches(3, 64, 8)),
    "gru": Case(lambda: GRU(6), (8, 6, 40)),
    "encoder": Case(lambda: Encoder(6), (8, 6, 40)),
}


def setting(name):
    torch.manual_seed(0)
    case = CASES[name]
    model, X = case.make().eval(), torch.randn(case.shape)
    return case, model, X, model(X).argmax(1)


@pytest.mark.parametrize("name", CASES)
def test_against_fixed_sizes(benchmark, report, threads, name):
    case, model, X, target = setting(name)
    auto = case.method(model, "auto")

    def work(method):
        return lambda: method.attribute(X, target=target)

    fixed = {size: work(case.method(model, size)) for size in SIZES}
    expected = auto.attribute(X, target=target)
    for found in fixed.values():
        torch.testing.assert_close(found(), expected, rtol=1e-3, atol=1e-6)
    seconds = {size: best(method, rounds=1) for size, method in fixed.items()}
    likely = [size for size in SIZES if seconds[size] <= HOPELESS * min(seconds.values())]
    ours = best(work(auto), rounds=1)
    rounds = int(SECONDS / (ours + sum(seconds[size] for size in likely)))
    for _ in range(max(4, min(100, rounds))):  # in turn, since a machine's speed changes from minute to minute
        ours = min(ours, best(work(auto), rounds=1, at_least=0))
        seconds |= {size: min(seconds[size], best(fixed[size], rounds=1, at_least=0)) for size in likely}
    _, result = measure(benchmark, lambda: auto.explain(X, target=target), rounds=1)
    least = min(seconds, key=seconds.__getitem__)
    largest = seconds[max(SIZES)] / ours
    report(
        f"batch_size auto over the best of {len(SIZES)} sizes, {name}, {threads}",
        f"{ours / seconds[least]:.2f} ({1e3 * ours:.1f} ms; {least} rows: {1e3 * seconds[least]:.1f} ms; "
        f"{max(SIZES)} rows: {largest:.2f} x as long)",
        ratio=ours / seconds[least],
        rows=result.rows,
        row_steps=result.row_steps,
    )


def test_against_captum(benchmark, report, threads):
    """Eight images of 64 patches, of which captum evaluates four patches at a time."""
    captum = pytest.importorskip("captum.attr")
    case, model, X, target = setting("cnn-64-8")
    ablation = captum.FeatureAblation(lambda x: model(x).softmax(1))
    method = case.method(model, "auto")

    def theirs():
        with torch.no_grad():
            return ablation.attribute(X, target=target, feature_mask=case.patches[None], perturbations_per_eval=4)

    def ours():
        return method.attribute(X, target=target)

    torch.testing.assert_close(ours().float(), theirs(), rtol=1e-3, atol=1e-6)
    seconds, result = measure(benchmark, lambda: method.explain(X, target=target), rounds=5)
    captum_seconds = best(theirs, rounds=5)
    report(
        f"FeatureAblation, 64 patches of 3 x 64 x 64, B=8, {threads}",
        f"{captum_seconds / seconds:.2f} x captum ({captum_seconds:.3f} s; ours {seconds:.3f} s)",
        ratio=captum_seconds / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
    )
