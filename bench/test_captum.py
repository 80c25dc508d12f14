"""The same questions asked by captum: equal evaluations, equal scores, the time of each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.timing import best, measure, overhead
from rambit.attribution import FO, Occlusion, ShapleySampling
from rambit.models import GRUClassifier

captum = pytest.importorskip("captum.attr")


class Probability(nn.Module):
    """What captum explains: the chosen class's probability."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x).softmax(1)


class Free(nn.Module):
    """A model that costs next to nothing: what is timed is the tool."""

    def forward(self, x):
        total = x.sum(dim=(1, 2))
        return torch.stack((total, -total), dim=1)


def compare(benchmark, report, what, cost, ours, theirs, tolerance):
    """Check both sides equal, time both, report the ratio."""
    found, expected = ours(), theirs()
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-3, atol=tolerance)
    seconds, _ = measure(benchmark, ours, rounds=5)
    captum_seconds = best(theirs, rounds=3)
    report(
        what,
        f"{captum_seconds / seconds:.1f} x captum ({captum_seconds:.3f} s; ours {seconds:.4f} s)",
        ratio=captum_seconds / seconds,
        rows=cost.rows,
        row_steps=cost.row_steps,
        overhead=overhead(ours),
    )


CASES = {
    "gru-240": (lambda: GRUClassifier(6, hidden_size=64), 1, 6, 40),
    "gru-240-batch": (lambda: GRUClassifier(6, hidden_size=64), 16, 6, 40),
    "free-16384": (Free, 1, 64, 256),
}


@pytest.mark.parametrize("case", CASES)
def test_feature_ablation(benchmark, report, place, case):
    make, B, D, T = CASES[case]
    torch.manual_seed(0)
    X = (torch.randn(B, D, T) * (0.01 if case.startswith("free") else 1)).to(place.device)
    model = make().eval().to(place.device)
    target = model(X).argmax(1)
    method = FO(model, anchor="end", counterfactuals="zero", distance="diff", num_samples=1)
    ablation = captum.FeatureAblation(Probability(model))

    def theirs():
        with torch.no_grad():
            return ablation.attribute(X, target=target, perturbations_per_eval=max(1, 256 // B))

    what = f"FeatureAblation, {case}, B={B}, {place}"
    compare(benchmark, report, what, method.cost(X), lambda: method.attribute(X, target=target), theirs, 1e-6)


@pytest.mark.parametrize("case", ["gru-240", "free-16384"])
def test_occlusion(benchmark, report, place, case):
    make, B, D, T = CASES[case]
    torch.manual_seed(0)
    X = (torch.randn(B, D, T) * (0.01 if case.startswith("free") else 1)).to(place.device)
    model = make().eval().to(place.device)
    target = model(X).argmax(1)
    method = Occlusion(model, width=4, height=1, counterfactuals="zero", distance="diff")
    occlusion = captum.Occlusion(Probability(model))

    def theirs():
        with torch.no_grad():
            return occlusion.attribute(X, (1, 4), target=target, perturbations_per_eval=256)

    what = f"Occlusion of 4 steps, {case}, {place}"
    compare(benchmark, report, what, method.cost(X), lambda: method.attribute(X, target=target), theirs, 1e-6)


def test_shapley_sampling(benchmark, report, place):
    """Its draws are its own: equal for an additive model, where every permutation gives the same values."""
    X = torch.randn(4, 6, 10, generator=torch.Generator().manual_seed(0)).to(place.device)
    weight = torch.randn(6, 10, generator=torch.Generator().manual_seed(1)).to(place.device)

    def model(x):
        return (x * weight).sum(dim=(1, 2), keepdim=False)[:, None]

    method = ShapleySampling(
        model, players="cells", num_permutations=25, counterfactuals="zero", output="regression", distance="diff"
    )
    sampling = captum.ShapleyValueSampling(model)
    target = torch.zeros(4, dtype=torch.int64, device=place.device)

    def theirs():
        with torch.no_grad():
            return sampling.attribute(X, target=0, n_samples=25, perturbations_per_eval=16)

    what = f"ShapleyValueSampling, 60 cells, 25 permutations, {place}"
    compare(benchmark, report, what, method.cost(X), lambda: method.attribute(X, target=target), theirs, 1e-4)
