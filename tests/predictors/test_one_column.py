"""Models of one column, logits or probabilities, (N,) or (N, 1): class 1 is the positive one everywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import ExactShapley, Occlusion
from rambit.counterfactuals import Zero
from rambit.game import CoalitionFunction, Game, TensorSample
from rambit.metrics import accuracy_at, log_odds
from rambit.predictors import Predictor, Recurrent
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.ops.layouts import rng

X = torch.randn(4, 2, 3, generator=rng(1))


def logit(x):
    """(N,): large where the first feature is."""
    return 3 * x[:, 0].sum(1) + x[:, 1, 0] - 1


def two(x):
    """The same as two columns of logits."""
    return torch.stack((torch.zeros(len(x)), logit(x)), dim=1)


def column(x):
    return logit(x)[:, None]


#: What users of a binary cross entropy have, and what they say of it.
ONE = {
    "(N,) logits": (logit, "logits"),
    "(N, 1) logits": (column, "logits"),
    "(N,) probabilities": (lambda x: logit(x).sigmoid(), "probs"),
    "(N, 1) probabilities": (lambda x: column(x).sigmoid(), "probs"),
}
every = pytest.mark.parametrize("name", ONE)


def predictor(name, **options):
    model, output = ONE[name]
    return Predictor.of(model, output=output, **options)


@every
@pytest.mark.parametrize("method", [Occlusion, ExactShapley, lambda model, **o: RaMbIT(model, L=3, anchor="end", **o)])
def test_attributions_are_those_of_two_columns(name, method):
    for target in (None, 0, 1):
        ours, theirs = (method(m, distance="diff").attribute(X, target=target) for m in (predictor(name), two))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    raised = Occlusion(predictor(name), distance="diff").attribute(X, target=1)[:, 0]
    assert bool((raised.sign() == X[:, 0].sign()).all())  # more of feature 0 speaks for class 1


@every
def test_rex_maps_and_files_are_those_of_two_columns(name, tmp_path):
    options = {"iters": 5, "min_box_size": 1, "weighted": True}
    for b in range(len(X)):
        ours, theirs = (ReX(m, **options).explain(X[b : b + 1]) for m in (predictor(name), two))
        assert ours.target == theirs.target == int(logit(X[b : b + 1]) > 0)
        assert list(ours.maps) == list(theirs.maps)
        for label, of_class in ours.maps.items():
            torch.testing.assert_close(of_class, theirs.maps[label])
        assert torch.equal(ours.mask, theirs.mask)
        ours.save(tmp_path / f"{b}.safetensors")
        loaded = type(ours).load(tmp_path / f"{b}.safetensors")
        assert (loaded.target, list(loaded.maps)) == (theirs.target, list(theirs.maps))
        with pytest.raises(ValueError, match=f"target must be the class that the model gives to x, {ours.target}"):
            ReX(predictor(name), **options).attribute(X[b : b + 1], target=[1 - ours.target])


@every
def test_sufficient_parts_are_those_of_two_columns(name):
    for ours, theirs in zip(explain(predictor(name), X), explain(two, X), strict=True):
        assert ours.target == theirs.target
        assert torch.equal(ours.mask, theirs.mask)
        assert ours.gap == pytest.approx(theirs.gap, abs=1e-6)


# -- the threshold -----------------------------------------------------------------------------------------------------


def game(model):
    return Game(model, TensorSample(X, torch.arange(len(X))), Zero(), evaluation="full")


@every
@pytest.mark.parametrize("threshold", [0.5, 0.02, 0.2, 0.9, 1.0])
def test_class_1_is_decided_from_the_threshold_on(name, threshold):
    model = predictor(name, threshold=threshold)
    p = logit(X).sigmoid()
    expected = [int(v >= threshold) for v in p.tolist()]
    evaluated = game(model)
    assert model.predicted(evaluated.predict()).tolist() == expected
    labels = np.array(expected)
    assert accuracy_at(evaluated, torch.ones(X.shape).numpy(), labels, X.shape[2]) == 1.0
    assert log_odds(evaluated, X.numpy(), 0.5) == log_odds(evaluated, X.numpy(), 0.5, target=labels)
    chosen = Occlusion(model, distance="diff")
    assert torch.equal(chosen.attribute(X), chosen.attribute(X, target=torch.tensor(expected)))
    assert chosen.explain(X).target.tolist() == expected, "what a result says is what its scores explain"
    for b, target in enumerate(expected):
        one = Game(model, TensorSample(X[b : b + 1], torch.arange(1)), Zero(), evaluation="full")
        assert CoalitionFunction(one).target == target
    assert chosen.settings().get("threshold") == (None if threshold == 0.5 else threshold)


def test_the_boundary_belongs_to_class_1():
    even = Predictor.of(lambda x: x[:, 0, :1] * 0)
    assert even.predicted(even.whole(X)[:, :, 0]).tolist() == [1] * len(X)
    both = Predictor.of(lambda x: x[:, 0, :2] * 0)
    assert both.predicted(both.whole(X)[:, :, 0]).tolist() == [0] * len(X)


@pytest.mark.parametrize("name", ["(N,) logits", "(N, 1) probabilities"])
@pytest.mark.parametrize("threshold", [0.1, 0.7])
def test_a_sufficient_part_reaches_its_share_of_the_margin(name, threshold):
    """Against every subset, by hand: class 1 has margin 2 (p - threshold), class 0 its negative."""
    for b, found in enumerate(explain(predictor(name, threshold=threshold), X, search="exact")):
        p = float(logit(X[b : b + 1]).sigmoid())
        sign = 1 if p >= threshold else -1
        assert found.target == int(p >= threshold)
        margins = {}
        for number in range(2**6):
            mask = torch.tensor([bool(number >> i & 1) for i in range(6)])
            kept = float(logit(X[b : b + 1] * mask.view(1, 2, 3)).sigmoid())
            margins[tuple(mask.tolist())] = sign * 2 * (kept - threshold)
        enough = 0.9 * sign * 2 * (p - threshold)
        smallest = min(sum(mask) for mask, margin in margins.items() if margin >= enough)
        assert found.size == smallest
        assert margins[tuple(found.mask.flatten().tolist())] == pytest.approx(found.gap, abs=1e-5)


@every
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.8])
def test_rex_decides_by_it(name, threshold):
    """The search reads decisions alone: its maps are those of a model that only votes."""
    model, output = ONE[name]

    def votes(x):
        vote = (logit(x).sigmoid() >= threshold).float()
        return torch.stack((1 - vote, vote), dim=1)

    options = {"iters": 5, "min_box_size": 1}
    for b in range(len(X)):
        ours = ReX(model, output=output, binary_threshold=threshold, **options).explain(X[b : b + 1])
        theirs = ReX(votes, output="probs", **options).explain(X[b : b + 1])
        assert ours.target == theirs.target
        assert torch.equal(ours.responsibility, theirs.responsibility)
        assert torch.equal(ours.mask, theirs.mask)
        p = float(logit(X[b : b + 1] * ours.mask).sigmoid())
        assert ours.confidence == pytest.approx(p if ours.target else 1 - p, abs=1e-6)
        assert ours.settings["binary_threshold"] == threshold


def test_rex_and_its_predictor_have_one_threshold():
    made = Predictor.of(column, threshold=0.3)
    assert ReX(made).settings()["binary_threshold"] == 0.3
    assert ReX(made, binary_threshold=0.3).predictor is made
    with pytest.raises(ValueError, match=r"threshold='0.4', but the Predictor was made with '0.3'"):
        ReX(made, binary_threshold=0.4)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1, math.nan, math.inf])
def test_thresholds_that_are_none(threshold):
    with pytest.raises(ValueError, match="threshold must be above 0 and at most 1"):
        Predictor.of(column, threshold=threshold)
    with pytest.raises(ValueError, match="binary_threshold must be above 0 and at most 1"):
        ReX(column, binary_threshold=threshold)


def test_where_a_threshold_means_nothing():
    with pytest.raises(TypeError, match="threshold must be a number, got 'half'"):
        Predictor.of(column, threshold="half")
    with pytest.raises(ValueError, match=r"threshold=0.3 is for the decisions of classifiers, got output='regression'"):
        Predictor.of(column, output="regression", threshold=0.3)
    for method in (Occlusion, lambda model: RaMbIT(model, L=2, anchor="end")):
        with pytest.raises(
            ValueError, match=r"threshold=0.3 is for models that return one column.* returned 2 columns"
        ):
            method(Predictor.of(two, threshold=0.3)).attribute(X)
    with pytest.raises(ValueError, match="returned 2 columns"):
        ReX(two, binary_threshold=0.3).explain(torch.ones(1, 2, 3))


def test_every_kind_of_predictor_takes_it():
    class Table:
        def predict_proba(self, x):
            p = logit(torch.from_numpy(x)).sigmoid().numpy()
            return p[:, None]

    class Protocol:
        def predict(self, x, return_all=False):
            return column(x).sigmoid()

    recurrent = Recurrent(nn.GRU(2, 3), nn.Linear(3, 1), threshold=0.3)
    for model in (Predictor.of(Table(), threshold=0.3), Predictor.of(Protocol(), threshold=0.3), recurrent):
        p = model.whole(X)[:, 1, 0]
        assert model.predicted(model.whole(X))[:, 0].tolist() == (p >= 0.3).long().tolist()
        assert model.options()["threshold"] == 0.3
