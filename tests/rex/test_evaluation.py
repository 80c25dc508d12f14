"""Measures of explanations against plain loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from rambit.game import Game, TensorSample
from rambit.predictors import Predictor
from rambit.rex.decision import Decision
from rambit.rex.evaluation import area_ratio, curves, evaluate, responsibility_entropy, robustness
from rambit.rex.mask_values import mask_values
from rambit.rex.rex_explanation import RexExplanation
from tests.naive import rex_extraction as naive


def asked_about(x, weights, bias, value=0):
    def model(batch):
        logits = torch.stack([(row.double() * weights).sum() for row in batch]) - bias
        return torch.stack((torch.zeros_like(logits), logits), dim=1)

    sample = TensorSample.spatial(x)
    return Decision(Game(Predictor.of(model), sample, mask_values(value, sample)), dimensions=2)


def case(seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(1, 2, 4, 5, generator=rng)
    weights = torch.rand(2, 4, 5, generator=rng).double()
    bias = 0.3 * float((x[0] * weights).sum())
    return x, weights, bias, torch.rand(4, 5, generator=rng)


def probability(x, weights, bias, kept):
    mask = torch.zeros(20, dtype=torch.bool)
    mask[sorted(kept)] = True
    total = float((x[0].double() * weights * mask.view(4, 5)).sum()) - bias
    return 1 / (1 + math.exp(-total))


@given(seed=st.integers(0, 10**6), step=st.integers(1, 30))
@settings(max_examples=20)
def test_curves(seed, step):
    x, weights, bias, map_ = case(seed)
    decision = asked_about(x, weights, bias)
    sizes, insertion, deletion = curves(decision, map_, step=step)
    order = naive.ranking(map_.flatten().tolist())
    assert sizes.tolist() == [*range(0, 20, step), 20]
    for size, inserted, deleted in zip(sizes.astype(int), insertion, deletion, strict=True):
        first = set(order[:size])
        assert inserted == pytest.approx(probability(x, weights, bias, first), abs=1e-6)
        assert deleted == pytest.approx(probability(x, weights, bias, set(order) - first), abs=1e-6)


def test_areas_under_the_curves_are_relative_to_the_confidence():
    x, weights, bias, map_ = case(1)
    decision = asked_about(x, weights, bias)
    found = RexExplanation(map_, {1: map_}, map_ > 0.5, 1, 0.9, 0.5, {}, {}, 0)
    result = evaluate(decision, found, step=3)
    sizes, insertion, deletion = curves(decision, map_, step=3)
    for curve, area in ((insertion, result.insertion), (deletion, result.deletion)):
        pieces = [(b - a) / 20 * (y + z) / 2 for a, b, y, z in zip(sizes, sizes[1:], curve, curve[1:], strict=False)]
        assert area == pytest.approx(sum(pieces) / decision.confidence)
    assert result.area == float((map_ > 0.5).double().mean())
    assert result.entropy == responsibility_entropy(map_)
    assert result.robustness == robustness(decision, map_ > 0.5)
    pytest.importorskip("matplotlib")
    axes = result.plot().axes[0]
    for line, curve in zip(axes.lines, (insertion, deletion), strict=True):
        np.testing.assert_allclose(line.get_xdata(), 100 * sizes / 20)
        np.testing.assert_allclose(line.get_ydata(), curve)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [f"insertion: {result.insertion:.2f}", f"deletion: {result.deletion:.2f}"]


def test_a_better_ranking_has_more_insertion_and_less_deletion():
    x, weights, bias, _ = case(2)
    decision = asked_about(x, weights, bias)
    best = (x[0] * weights).sum(0).float()
    good, bad = (
        evaluate(decision, RexExplanation(m, {1: m}, m > m.median(), 1, 0.9, 0.5, {}, {}, 0), step=1)
        for m in (best, best.max() - best)
    )
    assert good.insertion > bad.insertion
    assert good.deletion < bad.deletion


def test_entropy():
    map_ = torch.rand(6, 7, generator=torch.Generator().manual_seed(0)) + 0.01
    expected = entropy(np.ones(42), map_.double().flatten().numpy(), base=2)
    assert responsibility_entropy(map_) == pytest.approx(expected)
    assert responsibility_entropy(torch.full((3, 4), 0.3)) == pytest.approx(0, abs=1e-12)
    assert responsibility_entropy(torch.tensor([1.0, 0.0])) == math.inf
    for bad in (torch.zeros(3), torch.tensor([1.0, -0.1])):
        with pytest.raises(ValueError, match="responsibility must be non-negative"):
            responsibility_entropy(bad)


def test_a_map_with_negative_values_has_no_entropy():
    x, weights, bias, map_ = case(1)
    map_ = map_ - 0.5
    result = evaluate(asked_about(x, weights, bias), RexExplanation(map_, {1: map_}, map_ > 0, 1, 0.9, 0.5, {}, {}, 0))
    assert math.isnan(result.entropy)
    assert result.insertion > 0


def test_area():
    assert area_ratio(torch.tensor([[True, False], [False, False]])) == 0.25


def test_robustness():
    x = torch.ones(1, 1, 4, 5)
    x[0, 0, 0, 0] = 0.0
    weights = torch.zeros(1, 4, 5, dtype=torch.float64)
    weights[0, 1, 1] = 1.0
    decision = asked_about(x, weights, 0.7)  # class 1 as long as the pixel (1, 1) is above 0.7
    kept = torch.zeros(4, 5, dtype=torch.bool)
    assert 0.15 < robustness(decision, kept, repeats=400) < 0.45
    assert robustness(decision, kept, repeats=400, seed=1) != robustness(decision, kept, repeats=400, seed=2)
    assert robustness(decision, kept, lower=0.8, upper=0.9) == 1.0
    assert robustness(decision, kept, lower=0.1, upper=0.2) == 0.0
    kept[1, 1] = True
    assert robustness(decision, kept) == 1.0


def test_noise_is_drawn_in_pieces_that_fit():
    x = torch.ones(1, 1, 4, 5)
    x[0, 0, 0, 0] = 0.0
    weights = torch.zeros(1, 4, 5, dtype=torch.float64)
    weights[0, 1, 1] = 1.0
    decision = asked_about(x, weights, 0.7)
    kept = torch.zeros(4, 5, dtype=torch.bool)
    whole = robustness(decision, kept, repeats=300, seed=5)
    assert 0 < whole < 1
    decision.game.max_memory = 4 * 7 * 20 * 4  # seven draws
    assert robustness(decision, kept, repeats=300, seed=5) == whole


def test_a_map_without_any_responsibility_is_evaluated():
    x, weights, bias, map_ = case(1)
    map_ = torch.zeros_like(map_)
    result = evaluate(asked_about(x, weights, bias), RexExplanation(map_, {1: map_}, map_ > 0, 1, 0.9, 0.0, {}, {}, 0))
    assert math.isnan(result.entropy)
    assert result.area == 0


def test_a_step_beyond_the_input_is_one_step():
    x, weights, bias, map_ = case(1)
    assert curves(asked_about(x, weights, bias), map_, step=2**62)[0].tolist() == [0, 20]


def test_wrong_arguments():
    x, weights, bias, map_ = case(0)
    decision = asked_about(x, weights, bias)
    with pytest.raises(ValueError, match="step must be at least 1"):
        curves(decision, map_, step=0)
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        robustness(decision, map_ > 0.5, repeats=0)
    with pytest.raises(ValueError, match="lower must be below upper"):
        robustness(decision, map_ > 0.5, lower=1.0, upper=1.0)
