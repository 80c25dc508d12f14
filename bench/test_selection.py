"""The selector's losses and attributions against the plain formula and the loop, checked equal first."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.timing import best, measure, overhead
from rambit.selection import CounterfactualExplainer, CounterfactualGenerator, DiversityLoss
from tests.naive import selection as naive


def gradients(loss, features, mask):
    features, mask = features.clone().requires_grad_(), mask.clone().requires_grad_()
    loss(features, mask).backward()
    return features.grad, mask.grad


@pytest.mark.parametrize("kind", ["soft", "hard, k = 32"])
@pytest.mark.parametrize("T", [200, 2000])
def test_diversity(benchmark, report, threads, T, kind):
    """Value and gradient at B = 8, D = 16; the plain formula needs about 4 GB at T = 2000."""
    torch.manual_seed(0)
    features, mask = torch.randn(8, T, 16), torch.rand(8, T)
    if kind != "soft":
        mask = torch.zeros_like(mask).scatter(1, mask.topk(32).indices, 1.0)
    ours, plain = DiversityLoss(), naive.diversity
    small = slice(0, 1), slice(0, 300)
    few, part = features[small].double(), mask[small].double()
    for a, b in zip(gradients(ours, few, part), gradients(plain, few, part), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(ours(features, mask), plain(features, mask), rtol=1e-4, atol=1e-2)
    seconds, _ = measure(benchmark, lambda: gradients(ours, features, mask), rounds=3, warmup_rounds=1)
    baseline = best(lambda: gradients(plain, features, mask), rounds=1 if T == 2000 else 3)
    report(
        f"diversity, T = {T}, {kind} mask, {threads}",
        f"{baseline / seconds:.1f} x the plain broadcast ({baseline:.2f} s; ours {seconds:.4f} s)",
        ratio=baseline / seconds,
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


@pytest.mark.parametrize("kind", ["recurrent", "convolutional"])
@pytest.mark.parametrize(("T", "kept"), [(50, 50), (200, 200), (200, 20)])
def test_attribution(benchmark, report, threads, T, kept, kind):
    """B = 32; ``kept`` of the T steps are selected."""
    torch.manual_seed(0)
    x, model = torch.randn(32, T, 4), (Pooled() if kind == "recurrent" else Convolved()).eval()
    mask = torch.zeros(32, T).scatter(1, torch.rand(32, T).topk(kept).indices, 1.0)
    explainer = CounterfactualExplainer(CounterfactualGenerator(4), model)

    def ours():
        return explainer.compute_attribution_scores(x, mask)

    torch.testing.assert_close(ours(), naive.attribution(model, x, mask), rtol=0, atol=1e-6)
    seconds, _ = measure(benchmark, ours, rounds=5, warmup_rounds=1)
    baseline = best(lambda: naive.attribution(model, x, mask), rounds=3)
    report(
        f"attribution by removal, {kind}, {kept} of {T} steps kept, {threads}",
        f"{baseline / seconds:.1f} x the loop ({baseline:.3f} s; ours {seconds:.4f} s)",
        ratio=baseline / seconds,
        overhead=overhead(ours),
    )
