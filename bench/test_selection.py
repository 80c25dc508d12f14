"""The selector's losses and attributions against the plain formula and the loop, checked equal first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.timing import best
from rambit.selection import CounterfactualExplainer, CounterfactualGenerator, DiversityLoss
from tests.naive import selection as naive


def gradients(loss, features, mask):
    features, mask = features.clone().requires_grad_(), mask.clone().requires_grad_()
    loss(features, mask).backward()
    return features.grad, mask.grad


@pytest.mark.benchmark(group="diversity")
@pytest.mark.parametrize("kind", ["soft", "hard, k = 32"])
def test_diversity(benchmark, report, threads, kind):
    """Value and gradient at T = 2000, B = 8, D = 16; the plain formula needs about 4 GB."""
    torch.manual_seed(0)
    features, mask = torch.randn(8, 2000, 16), torch.rand(8, 2000)
    if kind != "soft":
        mask = torch.zeros_like(mask).scatter(1, mask.topk(32).indices, 1.0)
    ours, plain = DiversityLoss(), naive.diversity
    small = slice(0, 1), slice(0, 300)
    few, part = features[small].double(), mask[small].double()
    for a, b in zip(gradients(ours, few, part), gradients(plain, few, part), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours(features, mask), plain(features, mask), rtol=1e-4, atol=1e-2)
    benchmark.pedantic(gradients, args=(ours, features, mask), rounds=3, warmup_rounds=1)
    baseline = best(lambda: gradients(plain, features, mask), rounds=1)
    ratio = baseline / benchmark.stats.stats.min
    benchmark.extra_info.update(ratio=ratio)
    report(
        f"diversity, {kind} mask, {threads} threads",
        f"{ratio:.1f} x the plain broadcast ({baseline:.2f} s; ours {benchmark.stats.stats.min:.3f} s)",
    )


class Pooled(nn.Module):
    """A small recurrent model of (B, T, D)."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class Convolved(nn.Module):
    """A small convolutional model of (B, T, D)."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 8, 5, padding=2), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.layers(x.transpose(1, 2)))


@pytest.mark.benchmark(group="attribution by removal")
@pytest.mark.parametrize("kind", ["recurrent", "convolutional"])
@pytest.mark.parametrize("kept", [200, 20])
def test_attribution(benchmark, report, threads, kind, kept):
    """T = 200, B = 32; ``kept`` of the steps are selected."""
    torch.manual_seed(0)
    x, model = torch.randn(32, 200, 4), (Pooled() if kind == "recurrent" else Convolved()).eval()
    mask = torch.zeros(32, 200).scatter(1, torch.rand(32, 200).topk(kept).indices, 1.0)
    explainer = CounterfactualExplainer(CounterfactualGenerator(4), model)
    found, wanted = explainer.compute_attribution_scores(x, mask), naive.attribution(model, x, mask)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    benchmark.pedantic(explainer.compute_attribution_scores, args=(x, mask), rounds=5, warmup_rounds=1)
    baseline = best(lambda: naive.attribution(model, x, mask), rounds=3)
    ratio = baseline / benchmark.stats.stats.min
    benchmark.extra_info.update(ratio=ratio)
    report(
        f"attribution by removal, {kind}, {kept} of 200 steps kept, {threads} threads",
        f"{ratio:.1f} x the loop ({baseline:.3f} s; ours {benchmark.stats.stats.min:.3f} s)",
    )
