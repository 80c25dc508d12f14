"""The same questions asked by time_interpret's temporal methods: equal evaluations, equal scores, the time of each.

Left out: Dynamask and ExtremalMask, which ours call; its gradients, LIME and SHAP variants, which ask something else.
Replacing values are given to both sides, since each would draw its own.
"""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from bench.timing import best, measure, overhead
from rambit.attribution import FIT, FO, Occlusion
from rambit.counterfactuals import JointGenerator
from rambit.models import GRUClassifier

tint = pytest.importorskip("tint.attr")
ours = importlib.import_module("rambit.compat.tint")

CASES = {"small": (32, 4, 3, 20), "large": (64, 16, 6, 60)}
#: Rows a call of theirs, as many as ours ask at most.
TOGETHER = 2048


class Setting:
    """One case: a model, series and the class whose probability is explained, as each side reads them."""

    def __init__(self, case):
        H, B, D, T = CASES[case]
        torch.manual_seed(0)
        self.model, self.X, self.values = (
            GRUClassifier(D, hidden_size=H).eval(),
            torch.randn(B, D, T),
            torch.randn(D, T),
        )
        self.target = self.model(self.X).argmax(1)
        self.x = self.X.transpose(1, 2).contiguous()
        self.words = f"GRU-{H}, B={B} D={D} T={T}"

    def logits(self, x):
        return self.model(x.transpose(1, 2))

    def probabilities(self, x):
        return self.logits(x).softmax(1)


class Given(JointGenerator):
    """Draws the same values for every series: those of ``values`` (D, T)."""

    def __init__(self, values):
        super().__init__(len(values))
        self.values = values

    def draw_given(self, X, observed, ids, count, seed, first=0):
        drawn = self.values.expand(count, *X.shape).clone()
        drawn[:, :, observed] = X[:, observed]
        return drawn


class GivenFit(tint.Fit):
    """time_interpret's FIT with these values in place of those of a generator that it would train."""

    def __init__(self, forward_func, values):
        super(tint.Fit, self).__init__(forward_func=forward_func)
        self.generator, self.values = self, values

    def to(self, device):
        return self

    def forward_conditional(self, past, now, observed):
        drawn = self.values[:, past.shape[1]].expand_as(now).clone()
        drawn[:, observed] = now[:, observed]
        return drawn, None


def temporal_occlusion(s):
    """Each cell replaced by 0, compared at its own time."""
    method = FO(s.model, anchor="cell", counterfactuals="zero", distance="diff", num_samples=1)
    theirs = tint.TimeForwardTunnel(tint.TemporalOcclusion(s.probabilities))
    return lambda: method.explain(s.X, target=s.target), lambda: theirs.attribute(
        s.x, sliding_window_shapes=(1,), target=s.target, perturbations_per_eval=max(1, TOGETHER // len(s.x))
    )


def temporal_augmented_occlusion(s):
    """Each cell replaced by that of another series, compared at its own time."""
    method = FO(s.model, anchor="cell", counterfactuals=s.values.expand(1, *s.X.shape), distance="diff", num_samples=1)
    theirs = tint.TimeForwardTunnel(
        tint.TemporalAugmentedOcclusion(s.probabilities, data=s.values.t()[None], is_temporal=True)
    )
    return lambda: method.explain(s.X, target=s.target), lambda: theirs.attribute(
        s.x, sliding_window_shapes=(1,), target=s.target, perturbations_per_eval=max(1, TOGETHER // len(s.x))
    )


def occlusion(s):
    """Four steps of a feature replaced by 0, compared at the last step."""
    method = Occlusion(s.model, width=4, counterfactuals="zero", distance="diff")
    theirs = tint.Occlusion(s.probabilities)
    return lambda: method.explain(s.X, target=s.target), lambda: theirs.attribute(
        s.x, (4, 1), target=s.target, perturbations_per_eval=max(1, TOGETHER // len(s.x))
    )


def augmented_occlusion(s):
    """Each cell replaced by that of another series, compared at the last step."""
    method = FO(s.model, anchor="end", counterfactuals=s.values.expand(1, *s.X.shape), distance="diff", num_samples=1)
    theirs = tint.AugmentedOcclusion(s.probabilities, data=s.values.t()[None])
    return lambda: method.explain(s.X, target=s.target), lambda: theirs.attribute(
        s.x, (1, 1), target=s.target, perturbations_per_eval=max(1, TOGETHER // len(s.x))
    )


def feature_ablation(s):
    """Each cell replaced by 0, compared at the last step."""
    method = FO(s.model, anchor="end", counterfactuals="zero", distance="diff", num_samples=1)
    theirs = tint.FeatureAblation(s.probabilities)
    return lambda: method.explain(s.X, target=s.target), lambda: theirs.attribute(
        s.x, target=s.target, perturbations_per_eval=max(1, TOGETHER // len(s.x))
    )


def fit(s):
    """What each observation adds to the prediction at its own time, given what the others are drawn as."""
    method = FIT(s.model, generator=Given(s.values), num_samples=1)
    theirs = GivenFit(s.logits, s.values)
    return lambda: method.explain(s.X), lambda: theirs.attribute(s.x, n_samples=1)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "method", [temporal_occlusion, temporal_augmented_occlusion, occlusion, augmented_occlusion, feature_ablation, fit]
)
def test_time_interpret(benchmark, report, threads, method, case):
    setting = Setting(case)
    ours, evaluated = method(setting)

    def theirs():
        with torch.no_grad():
            return evaluated()

    found, expected = ours().values, theirs().transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    seconds, result = measure(benchmark, ours, rounds=5)
    tint_seconds = best(theirs, rounds=2)
    report(
        f"{method.__name__}, {setting.words}, {threads}",
        f"{tint_seconds / seconds:.1f} x time_interpret ({tint_seconds:.3f} s; ours {seconds:.4f} s)",
        ratio=tint_seconds / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
        overhead=overhead(ours),
    )


class Recurrent(nn.Module):
    """A GRU as people write it: it claims nothing."""

    def __init__(self, D, H):
        super().__init__()
        self.rnn, self.head = nn.GRU(D, H, batch_first=True), nn.Linear(H, 2)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


class WithState(Recurrent):
    """The same, that says so."""

    def advance(self, x, state):
        hidden, after = self.rnn(x, None if state is None else state.transpose(0, 1).contiguous())
        return self.head(hidden).transpose(1, 2), after.transpose(0, 1)


class Opaque(nn.Module):
    """Convolutions that look both ways: it has no state."""

    def __init__(self, D, H):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(D, H, 5, padding=2), nn.ReLU(), nn.Conv1d(H, H, 5, padding=2), nn.ReLU())
        self.head = nn.Linear(H, 2)

    def forward(self, x):
        return self.head(self.layers(x.transpose(1, 2)).mean(2))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [Recurrent, WithState, Opaque])
@pytest.mark.parametrize("augmented", [False, True], ids=["occlusion", "augmented"])
def test_drop_in(benchmark, report, threads, augmented, kind, case):
    """The tunnel with one import changed, beside time_interpret's at its default and with whole steps in a call."""
    H, B, D, T = CASES[case]
    torch.manual_seed(0)
    model, x, data = kind(D, H).eval(), torch.randn(B, T, D), torch.randn(20, T, D)
    method = (
        tint.TemporalAugmentedOcclusion(model, data, is_temporal=True) if augmented else tint.TemporalOcclusion(model)
    )
    tunnel, theirs = ours.TimeForwardTunnel(method), tint.TimeForwardTunnel(method)

    def attribute(side, **options):
        torch.manual_seed(0)
        return side.attribute(x, sliding_window_shapes=(1,), target=1, **options)

    torch.testing.assert_close(attribute(tunnel), attribute(theirs), rtol=1e-3, atol=1e-6)
    seconds, _ = measure(benchmark, lambda: attribute(tunnel), rounds=5)
    default = best(lambda: attribute(theirs), rounds=2)
    together = min(best(lambda n=n: attribute(theirs, perturbations_per_eval=n), rounds=2) for n in (2, 3, D))
    words = f"tunnel over {'augmented ' * augmented}occlusion, {kind.__name__}-{H}, B={B} D={D} T={T}, {threads}"
    for part, baseline in {"": default, "best": together}.items():
        of = f"time_interpret's {'best perturbations_per_eval' if part else 'default'}"
        figure = f"{baseline / seconds:.1f} x ({baseline:.4f} s; ours {seconds:.4f} s)"
        report(f"{words}: {of}", figure, ratio=baseline / seconds, part=part)
