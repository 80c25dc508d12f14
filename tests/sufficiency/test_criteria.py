"""What is kept beside the decision for a class: a function of the outputs, regression values; and whose model it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rambit.predictors import PredictionError
from rambit.structure import from_json, to_json
from rambit.sufficiency import HEURISTICS, SEARCHES, SufficientExplanation, explain
from tests.structure.trees import BY_TYPE, random_masks, random_model, random_sample
from tests.sufficiency.problems import nested, randn, rng, tensors

FLAT = [search for search in SEARCHES if not search.startswith("lbyl")]


def smallest(stands, n):
    """The size of the smallest mask (n,) that stands."""
    sizes = (size for size in range(n + 1) for kept in itertools.combinations(range(n), size) if stands(list(kept)))
    return next(sizes)


# -- own criteria and regression -------------------------------------------------------------------------------------


@pytest.mark.parametrize("search", ["exact", "flat_harr"])
def test_a_function_of_the_outputs_is_kept(search):
    model, X = tensors("net", 1)

    def likely(p):
        return p[:, 0] + 0.5 * p[:, 2]

    for x, one in zip(X, explain(model, X, criterion=likely, search=search, abs_tol=0.05), strict=True):

        def value(mask, x=x):
            return float(likely(model((x * mask)[None]).softmax(1)))

        whole = value(torch.ones(2, 5))
        assert one.gap == pytest.approx(value(one.mask), abs=1e-12)
        assert one.threshold == pytest.approx(whole - 0.05, abs=1e-12)
        assert one.gap >= one.threshold
        assert one.target is None
        assert one.settings["criterion"] == "likely"
        assert "criterion likely" in repr(one)
        best = smallest(
            lambda k, v=value, w=whole: (
                v(torch.zeros(10).index_fill(0, torch.tensor(k).long(), 1).view(2, 5)) >= w - 0.05
            ),
            10,
        )
        assert one.size == best if search == "exact" else one.size >= best


def test_a_criterion_may_say_yes_or_no():
    model, X = tensors("net", 2)
    found = explain(model, X, criterion=lambda p: p.argmax(1) >= 0, search="flat_harr")
    assert [(e.size, e.gap) for e in found] == [(0, 1.0)] * 4
    X = X[model(X).softmax(1).amax(1) > 0.4]
    assert len(X) > 1
    for x, one in zip(X, explain(model, X, criterion=lambda p: (p.amax(1) > 0.4).numpy(), search="exact"), strict=True):

        def sure(kept, x=x):
            mask = torch.zeros(10).index_fill(0, torch.tensor(kept).long(), 1).view(2, 5)
            return float(model((x * mask)[None]).softmax(1).max()) > 0.4

        assert one.size == smallest(sure, 10)


@pytest.mark.parametrize("search", FLAT)
def test_values_stay_within_a_tolerance(search):
    weight, X = randn(2, 6, g=rng(3)), randn(2, 1, 6, g=rng(4))
    tolerance = [0.5, 0.1]

    def model(x):
        return x.flatten(1) @ weight.T

    for x, far, one in zip(
        X, tolerance, explain(model, X, output="regression", tolerance=tolerance, search=search), strict=True
    ):
        kept = (model((x * one.mask)[None]) - model(x[None]))[0].abs()
        assert one.gap == pytest.approx(-float(kept.max()), abs=1e-12)
        assert float(kept.max()) <= far + 1e-12
        assert one.threshold == pytest.approx(-far)
        assert (one.target, one.settings["tolerance"]) == (None, far)
        lost = (weight * x) @ (1 - torch.cartesian_prod(*[torch.arange(2.0).double()] * 6)).T
        best = int((6 - (1 - torch.cartesian_prod(*[torch.arange(2.0)] * 6)).sum(1))[(lost.abs().amax(0) <= far)].min())
        assert one.size == best if search == "exact" else one.size >= best


def test_one_output_of_regression():
    X = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64)
    found = explain(lambda x: x[:, 0], X, output="regression", tolerance=0.0, target=1)
    assert found.mask.tolist() == [[False, True, False]]
    assert found.target == 1
    assert explain(lambda x: x[:, 0], X, output="regression", criterion=lambda v: v[:, 2] > 2).mask.tolist() == [
        [False, False, True]
    ]
    assert explain(lambda x: x.sum((1, 2)), X, output="regression", tolerance=1.0).size == 2


@pytest.mark.parametrize("heuristic", [*sorted({*HEURISTICS} - {"gnn"}), "gnn:steps=20,lr=0.5,size=0.1,entropy=0"])
def test_every_heuristic_ranks_by_what_is_kept(heuristic):
    weight = torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    X = torch.ones(1, 1, 4, dtype=torch.float64)
    options = {"heuristic": heuristic, "num_samples": 20}
    found = [
        explain(lambda x: x.flatten(1) @ weight, X, output="regression", tolerance=1.5, **options),
        explain(
            lambda x: torch.stack((x.flatten(1) @ weight, x[:, 0, 0] * 0), 1), X, criterion=lambda p: p[:, 0], **options
        ),
    ]
    for one in found:
        assert one.mask.tolist() == [[False, True, False, False]]
        assert one.settings["heuristic"] == heuristic


def test_tolerances_of_each_sample():
    model, X = tensors("net", 4)
    shares = [1.0, 0.5, 0.25, 0.0]
    for given in (shares, tuple(shares), torch.tensor(shares), np.array(shares)):
        found = explain(model, X, rel_tol=given)
        for share, one, alone in zip(shares, found, (explain(model, X, rel_tol=s) for s in shares), strict=True):
            b = shares.index(share)
            assert one.settings["rel_tol"] == share
            assert (one.threshold, one.size) == (alone[b].threshold, alone[b].size)
    lost = explain(model, X, abs_tol=[0.0, 0.1, 0.2, 2.0])
    assert [e.settings["abs_tol"] for e in lost] == [0.0, 0.1, 0.2, 2.0]
    assert lost[3].threshold == 0


def test_a_result_without_a_class_can_be_saved(tmp_path):
    model, X = tensors("net", 1, B=1)
    found = explain(model, X, criterion=lambda p: p[:, 0])
    found.save(tmp_path / "a.safetensors")
    loaded = SufficientExplanation.load(tmp_path / "a.safetensors")
    assert loaded.target is None
    assert loaded.gap == found.gap


BAD = [
    ({"criterion": 3}, TypeError, "criterion must be a function"),
    ({"criterion": dict}, TypeError, "criterion must be a function"),
    ({"criterion": lambda: 1}, TypeError, "criterion must be a function"),
    ({"criterion": lambda p: {}}, ValueError, "criterion must return a number for each row .*, got dict"),
    ({"criterion": len, "target": 0}, ValueError, "target and criterion exclude each other"),
    ({"criterion": len, "tolerance": 1}, ValueError, "tolerance and criterion exclude each other"),
    ({"criterion": len}, ValueError, r"criterion must return a number for each row of outputs \(4, 3\)"),
    ({"criterion": lambda p: p}, ValueError, "criterion must return a number"),
    ({"criterion": lambda p: p[:, 0] / 0}, ValueError, "criterion returned NaN"),
    ({"criterion": lambda p: -p[:, 0]}, ValueError, r"criterion is -\S+ on sample 0 as a whole: it must be above 0"),
    ({"tolerance": 1.0}, ValueError, "tolerance is for output='regression'"),
    ({"tolerance": -1.0, "output": "regression"}, ValueError, "tolerance must be at least 0"),
    ({"tolerance": 1.0, "abs_tol": 1.0, "output": "regression"}, ValueError, "abs_tol is for classes and criteria"),
    ({"tolerance": 1.0, "target": 3, "output": "regression"}, ValueError, "target must lie in"),
    ({"rel_tol": [0.5, 0.5]}, ValueError, "rel_tol must be a number or one for each of 4 samples, got 2"),
    ({"rel_tol": torch.tensor([0.5, 0.5, 0.5, 2.0])}, ValueError, "rel_tol must be at least 0 and at most 1"),
    ({"abs_tol": ["a"] * 4}, TypeError, "abs_tol must be a number"),
    ({"heuristic": "gnn:size=-1"}, ValueError, "heuristic gnn: size must be at least 0"),
    ({"heuristic": "gnn:steps=0"}, ValueError, "heuristic gnn: steps must be at least 1"),
    ({"heuristic": "gnn:seed=1"}, ValueError, "heuristic gnn has no option 'seed=1'; its options"),
    ({"heuristic": "grad:steps=3"}, ValueError, "its options .*: none"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_what_does_not_go_together(options, error, message):
    model, X = tensors("net", 0)
    with pytest.raises(error, match=message):
        explain(model, X, **options)


# -- any model of nested samples ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_TYPE)
def test_samples_under_masks_are_pruned_ones(name):
    sample = random_sample(BY_TYPE[name], 3)
    masks = random_masks(sample, 4, 3)
    documents = [document for mask in masks for document in to_json(sample, mask)]
    assert to_json(sample.under(masks)) == documents
    model = random_model(sample.schema)
    with torch.no_grad():
        torch.testing.assert_close(model(sample.under(masks)), model.evaluate(sample, masks).flatten(0, 1))


@pytest.mark.parametrize("search", ["flat_harr", "lbyl_garr"])
def test_any_model_of_nested_samples_gives_what_ours_gives(search):
    ours, X = nested(5)
    expected = explain(ours, X, search=search)
    for model in (ours.forward, lambda sample: ours(sample).detach().numpy()):
        for one, same in zip(explain(model, X, search=search), expected, strict=True):
            assert torch.equal(one.mask, same.mask)
            assert one.document == same.document
            assert one.gap == pytest.approx(same.gap, abs=1e-9)


def test_a_model_of_documents():
    """No torch at all: rules on JSON."""
    documents = [{"user": "me", "items": [{"price": 3}, {"price": 40}]}, {"items": [{"price": 2}]}]

    def model(sample):
        prices = [[i.get("price", 0) for i in d.get("items", [])] for d in to_json(sample)]
        dear = torch.tensor([float(max(p, default=0) > 30) for p in prices])
        return torch.stack((1 - dear, dear), dim=1)

    found = explain(model, from_json(documents), output="probs")
    assert [e.to_json() for e in found] == [{"items": [{"price": 40}]}, {}]
    total = explain(
        lambda sample: torch.tensor(
            [float(sum(i.get("price", 0) for i in d.get("items", []))) for d in to_json(sample)]
        ),
        from_json(documents),
        output="regression",
        tolerance=3,
    )
    assert [e.to_json() for e in total] == [{"items": [{"price": 40}]}, {}]


def test_models_of_nested_samples_that_do_not_serve():
    _, X = nested(0)
    rows = len(X)
    for options in ({"heuristic": "grad"}, {"search": "flat_gradient"}):
        with pytest.raises(ValueError, match="for nested samples a HierarchicalClassifier"):
            explain(lambda sample: torch.zeros(len(sample), 2), X, **options)
    for output, message in (
        (lambda sample: sample, f"the model returned Sample for {rows} nested samples"),
        (lambda sample: torch.zeros(3, 2), r"the model returned \(3, 2\)"),
        (lambda sample: torch.full((len(sample), 2), torch.nan), "NaN or infinite values for nested sample 0"),
    ):
        with pytest.raises(PredictionError, match=message):
            explain(output, X)
    with pytest.raises(PredictionError, match="no probabilities"):
        explain(lambda sample: torch.ones(len(sample), 2), X, output="probs")
