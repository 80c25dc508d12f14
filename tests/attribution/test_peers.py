"""Methods of captum and time_interpret behind our call, and gradients over segments, against plain loops."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from rambit.attribution import FeatureAblation, SegmentGradients, TemporalOcclusion, TintFIT
from rambit.compare import compare
from rambit.game import batch_size
from tests.models_for_tests import GRU

B, D, T = 2, 3, 7
X = torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
BACKGROUND = torch.randn(33, D, T, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PACKAGES = {FeatureAblation: "captum.attr", TemporalOcclusion: "tint.attr", TintFIT: "tint.attr"}
KINDS = [SegmentGradients, *PACKAGES]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


def make(kind, model, **options):
    for module in filter(None, (PACKAGES.get(kind), "pytorch_lightning" if kind is TintFIT else None)):
        pytest.importorskip(module)
    small = {SegmentGradients: {"steps": 6, "longest": 3}, TintFIT: {"epochs": 1, "draws": 2}}.get(kind, {})
    return kind(model, **{"background": BACKGROUND, **small, **options})


def model(seed=0):
    torch.manual_seed(seed)
    return GRU().double()


def p(net, x):
    """Probabilities of series (D, T)."""
    with torch.no_grad():
        return net(x[None]).softmax(1)[0]


@pytest.mark.parametrize("kind", PACKAGES)
def test_an_absent_package_is_named_with_its_extra(kind, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, PACKAGES[kind], None)
    with pytest.raises(ImportError, match=r"rambit\[baselines\]"):
        kind(GRU(), background=BACKGROUND)
    name = {FeatureAblation: "ig", TemporalOcclusion: "temporal-occlusion", TintFIT: "tint-fit"}[kind]
    with pytest.raises(ImportError, match=r"rambit\[baselines\]"):
        compare("spike:n=60,T=20", name, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("target", [None, 1])
def test_feature_ablation(absolute, target):
    net = model()
    found = make(FeatureAblation, net, absolute=absolute).attribute(X, target=target)
    for b, x in enumerate(X):
        c = int(p(net, x).argmax()) if target is None else target
        for d in range(D):
            for t in range(T):
                without = x.clone()
                without[d, t] = BACKGROUND.mean(0)[d, t]
                fall = float(p(net, x)[c] - p(net, without)[c])
                assert float(found[b, d, t]) == pytest.approx(abs(fall) if absolute else fall, abs=1e-9)


@pytest.mark.parametrize("target", [None, 1])
def test_temporal_occlusion(target):
    net = model()
    found = make(TemporalOcclusion, net, absolute=False).attribute(X, target=target)
    for b, x in enumerate(X):
        for t in range(T):
            before = p(net, x[:, : t + 1])
            c = int(before.argmax()) if target is None else target
            for d in range(D):
                without = x[:, : t + 1].clone()
                without[d, t] = BACKGROUND.mean(0)[d, t]
                assert float(found[b, d, t]) == pytest.approx(float(before[c] - p(net, without)[c]), abs=1e-6)


def test_fit_is_that_of_time_interpret():
    net = model()
    found = make(TintFIT, net, seed=3).attribute(X)
    import pytorch_lightning
    from tint.attr import Fit
    from tint.attr.models import JointFeatureGeneratorNet

    torch.manual_seed(3)
    trainer = pytorch_lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    twin = Fit(
        lambda x: net(x.transpose(1, 2).double()),
        generator=JointFeatureGeneratorNet(),
        features=BACKGROUND.transpose(1, 2).float(),
        trainer=trainer,
        batch_size=31,  # of 33: not the 32 that leave one over
    )
    with torch.no_grad():
        expected = twin.attribute(X.transpose(1, 2).float(), n_samples=2).transpose(1, 2)
    torch.testing.assert_close(found.float(), expected.float(), rtol=1e-4, atol=1e-5)
    assert bool(found.any())


@pytest.mark.parametrize("anchor", ["end", "cell"])
def test_gradients_over_segments(anchor, monkeypatch):
    """The mean gradient over those points of the line at which a cell moves."""
    net, steps = model(), 6
    stay = torch.rand(steps, D, T, generator=torch.Generator().manual_seed(2)) < 0.4
    given = iter(stay)
    monkeypatch.setattr(SegmentGradients, "_staying", lambda *_: next(given))
    found = make(SegmentGradients, net, absolute=False, anchor=anchor).attribute(X)
    baseline = BACKGROUND.mean(0)
    for b, x in enumerate(X):
        outputs = net(x[None], return_all=True).softmax(1)[0].detach()
        gradients = []
        for i in range(steps):
            point = torch.where(stay[i], x, baseline + (i + 0.5) / steps * (x - baseline)).requires_grad_()
            at = net(point[None], return_all=True).softmax(1)[0]
            chosen = at.gather(0, outputs.argmax(0)[None])[0]
            gradients.append(torch.autograd.grad(chosen.sum() if anchor == "cell" else chosen[-1], point)[0])
        for d in range(D):
            for t in range(T):
                moved = [float(g[d, t]) for g, s in zip(gradients, stay, strict=True) if not s[d, t]]
                mean = sum(moved) / max(1, len(moved))
                assert float(found[b, d, t]) == pytest.approx(float(x[d, t] - baseline[d, t]) * mean, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_segments_are_runs_of_one_feature(seed):
    torch.manual_seed(seed)
    made = make(SegmentGradients, GRU(), segments=1, longest=3)
    for _ in range(20):
        staying = made._staying(D, T)
        [feature] = staying.any(dim=1).nonzero()[:, 0].tolist()
        times = staying[feature].nonzero()[:, 0].tolist()
        assert 1 <= len(times) <= 3
        assert times == list(range(times[0], times[-1] + 1))
    assert not make(SegmentGradients, GRU(), segments=0)._staying(D, T).any()


def test_without_segments_they_are_integrated_gradients():
    net = model()
    found = make(SegmentGradients, net, segments=0, steps=60, absolute=False, background=None).attribute(X)
    for b, x in enumerate(X):
        c = int(p(net, x).argmax())
        change = float(p(net, x)[c] - p(net, torch.zeros_like(x))[c])
        assert float(found[b].sum()) == pytest.approx(change, abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", [None, 1])
def test_rows_are_those_that_the_model_answered(kind, target, monkeypatch):
    if kind is TintFIT and target is not None:
        pytest.skip("takes no target")
    seen = []

    class Counted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model()

        def forward(self, x):
            seen.append(x.shape)
            return self.net(x)

    made = make(kind, Counted())
    made.predictor.looked = True
    monkeypatch.setattr(batch_size, "read_activations", lambda *_: None)
    cost = made.cost(X, target=target)
    assert not seen
    state = torch.get_rng_state()
    result = made.explain(X, target=target)
    assert torch.equal(state, torch.get_rng_state())
    assert result.rows == cost.rows == sum(shape[0] for shape in seen)
    assert result.row_steps == cost.row_steps == sum(shape[0] * shape[2] for shape in seen)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="model must be a classifier"):
        make(TintFIT, model(), output="regression")
    with pytest.raises(ValueError, match="background is needed"):
        make(TintFIT, model(), background=None)
    with pytest.raises(ValueError, match="X must have 6 steps or more"):
        make(TintFIT, model()).attribute(X[:, :, :5])
    with pytest.raises(ValueError, match="target does not apply"):
        make(TintFIT, model()).attribute(X, target=0)
    with pytest.raises(ValueError, match="target is needed"):
        make(TemporalOcclusion, model(), output="regression").attribute(X)
    with pytest.raises(TypeError, match="anchor"):
        make(TemporalOcclusion, model(), anchor="cell")
