"""``explain`` as users call it: every kind of sample, result and heuristic; what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.counterfactuals import CarryForward
from rambit.models import GRUClassifier
from rambit.rex import ReX
from rambit.structure import HierarchicalClassifier, from_json
from rambit.sufficiency import HEURISTICS, SEARCHES, SufficientExplanation, cost, explain
from tests.naive import sufficiency as naive
from tests.sufficiency.problems import Linear, Net, nested, randn, rng, tensors


class Picture(nn.Module):
    """A small convolutional network on images (N, 2, 6, 5)."""

    def __init__(self, seed):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3)).double()
        g = rng(seed)
        for parameter in self.inner.parameters():
            parameter.data = randn(*parameter.shape, g=g)
            parameter.requires_grad_(False)

    def forward(self, x):
        return self.inner(x)


# -- samples ---------------------------------------------------------------------------------------------------------


def test_tables_images_and_volumes():
    g = rng(0)
    table, image = randn(3, 7, g=g), randn(2, 2, 6, 5, g=g)
    net = Net(7, 2.0, g)
    for model in (net, net.forward):
        found = explain(model, table)
        assert [tuple(e.mask.shape) for e in found] == [(7,)] * 3
        for x, e in zip(table, found, strict=True):
            assert naive.Decision(model, x).gap(e.mask) == pytest.approx(e.gap, abs=1e-12)
    model = Picture(1)
    for x, e in zip(image, explain(model, image), strict=True):
        assert e.mask.shape == (6, 5)
        kept = model((x * e.mask)[None]).softmax(1)[0]
        assert float(kept[e.target] - kept[torch.arange(3) != e.target].max()) == pytest.approx(e.gap, abs=1e-12)
    volume = randn(1, 1, 2, 3, 4, g=g)
    assert explain(Net(24, 2.0, g), volume).mask.shape == (2, 3, 4)


def test_terms_are_kept_or_removed_together():
    model, X = tensors("gru", 1)
    for e in explain(model, X, terms="timestamps"):
        assert bool((e.mask == e.mask[:1]).all())
        assert e.size == int(e.mask[0].sum())
    for e in explain(model, X, terms="features"):
        assert bool((e.mask == e.mask[:, :1]).all())
    group = torch.tensor([[7, 7, 3, 3, 3], [7, 9, 9, 9, 9]])
    for e in explain(model, X, terms=group):
        assert all(len(e.mask[group == name].unique()) == 1 for name in (3, 7, 9))
        assert e.size == len(group[e.mask].unique())
    assert all(
        torch.equal(a.mask, b.mask) for a, b in zip(explain(model, X), explain(model, X, terms="cells"), strict=True)
    )


def test_a_cluster_that_spans_samples_joins_their_searches():
    model, X = tensors("net", 2)
    clusters = torch.arange(40).view(4, 10)
    clusters[1, 3] = clusters[0, 2]
    clusters[3] = clusters[2]
    found = explain(model, X, clusters=clusters, search="flat_harrft")
    assert found[0].mask.flatten()[2] == found[1].mask.flatten()[3]
    assert torch.equal(found[2].mask, found[3].mask)
    assert all(e.gap >= e.threshold for e in found)
    alone = explain(model, X, search="exact")
    assert all(e.size >= a.size for e, a in zip(found[2:], alone[2:], strict=True))


def test_counterfactuals_stand_where_nothing_is_kept():
    model, X = tensors("net", 3)
    values = randn(2, *X.shape, g=rng(1))
    for b, e in enumerate(explain(model, X, counterfactuals=values)):
        p = torch.stack([model(torch.where(e.mask, X[b], v[b])[None]).softmax(1)[0] for v in values]).mean(0)
        assert float(p[e.target] - p[torch.arange(3) != e.target].max()) == pytest.approx(e.gap, abs=1e-12)
    one = explain(model, X, counterfactuals=values[0])
    assert all(
        torch.equal(a.mask, b.mask) for a, b in zip(one, explain(model, X, counterfactuals=values[:1]), strict=True)
    )


def test_tolerances():
    model, X = tensors("net", 4)
    full = [e.threshold for e in explain(model, X, rel_tol=1.0)]
    assert [e.threshold for e in explain(model, X, rel_tol=0.5)] == pytest.approx([0.5 * t for t in full])
    assert [e.threshold for e in explain(model, X, abs_tol=0.05)] == pytest.approx([max(t - 0.05, 0) for t in full])
    assert all(e.threshold == 0 for e in explain(model, X, rel_tol=0.0))


def test_targets_are_the_models_own_choice_unless_given():
    model, X = tensors("net", 5)
    chosen = model(X).argmax(1)
    assert (
        [e.target for e in explain(model, X)] == chosen.tolist() == [e.target for e in explain(model, X, target=chosen)]
    )
    with pytest.raises(ValueError, match=r"does not decide for class \d on sample 0"):
        explain(model, X, target=(chosen + 1) % 3)


def test_a_single_probability_is_one_of_two_classes():
    found = explain(lambda x: x.flatten(1).sum(1, keepdim=True), torch.full((1, 2, 3), 1.0))
    assert found.target == 1
    assert 1 <= found.size <= 6


# -- heuristics from elsewhere ---------------------------------------------------------------------------------------


def test_attributions_as_heuristics():
    model, X = tensors("gru", 6)
    method = RaMbIT(model, anchor="end", window_size=1, L=4, num_samples=1, Wt_max=3, Wd_max=2)
    scores = method.attribute(X)
    expected = [e.mask for e in explain(model, X, heuristic=scores, search="flat_hadd")]
    for heuristic in (method, method.explain(X), scores.clone()):
        found = explain(model, X, heuristic=heuristic, search="flat_hadd")
        assert all(torch.equal(a, e.mask) for a, e in zip(expected, found, strict=True))


def test_rex_results_as_heuristics_give_its_answer_or_a_smaller_one():
    for seed in range(4):
        model, x = Picture(seed), randn(1, 2, 6, 5, g=rng(seed))
        found = ReX(model, iters=3, min_box_size=2, chunk_size=1, seed=seed).explain(x)
        ours = explain(model, x, heuristic=found, rel_tol=0.0)
        assert ours.size <= int(found.mask.sum())
        assert ours.target == found.target
        assert torch.equal(ours.mask, explain(model, x, heuristic=found.responsibility, rel_tol=0.0).mask)


def test_of_a_random_map_the_prefix_is_that_of_rex():
    """A shorter prefix never decides where a longer one does not: bisection and a scan then find the same."""
    for seed in range(20):
        g = rng(seed)
        weight = randn(60, g=g).abs()
        model, x = Linear(weight, -0.4 * float(weight.sum())), torch.ones(1, 2, 6, 5, dtype=torch.float64)
        scores = torch.rand(6, 5, generator=g, dtype=torch.float64)
        prefix = explain(model, x, heuristic=scores, search="flat_hadd", rel_tol=0.0)
        ranking = scores.flatten().argsort(descending=True)
        for size in range(31):
            kept = torch.zeros(30, dtype=torch.bool)
            kept[ranking[:size]] = True
            if int(model(x * kept.view(6, 5)).argmax()) == 0:
                break
        assert torch.equal(prefix.mask.flatten(), kept)
        assert explain(model, x, heuristic=scores, search="flat_harr", rel_tol=0.0).size <= size


def test_scores_of_channels_terms_and_clusters_add_up():
    model, image = Picture(7), randn(1, 2, 6, 5, g=rng(7))
    scores = randn(1, 2, 6, 5, g=rng(8))
    both = [
        explain(model, image, heuristic=s, search="flat_hadd").mask for s in (scores, scores.sum(1), scores[0].sum(0))
    ]
    assert torch.equal(both[0], both[1])
    assert torch.equal(both[0], both[2])


# -- results ---------------------------------------------------------------------------------------------------------


def test_nested_samples_give_documents():
    model, X = nested(2)
    found = explain(model, X, search="lbyl_harr")
    for b, e in enumerate(found):
        assert bool((X.output_id[e.mask] == b).all())
        again = from_json([e.to_json()], model.schema)
        p = model(again).softmax(1)[0].double()
        assert float(p[e.target] - p[torch.arange(3) != e.target].max()) == pytest.approx(e.gap, abs=1e-6)


def test_a_result_can_be_saved_and_loaded(tmp_path):
    for number, (model, X) in enumerate((tensors("net", 1, B=1), nested(1, B=1))):
        found = explain(model, X)
        path = tmp_path / f"{number}.safetensors"
        found.save(path)
        loaded = SufficientExplanation.load(path)
        assert torch.equal(loaded.mask, found.mask)
        assert vars(loaded).keys() == vars(found).keys()
        assert torch.equal(loaded.outputs, found.outputs)
        assert (loaded.x is None) == (found.x is None) == (number == 1)
        assert loaded.x is None or torch.equal(loaded.x, found.x)
        assert all(getattr(loaded, k) == v for k, v in vars(found).items() if k not in ("mask", "outputs", "x"))
        with pytest.raises(FileExistsError, match="force"):
            found.save(path)
        path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(ValueError, match=path.name):
            SufficientExplanation.load(path)


def test_a_result_can_be_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    model, X = tensors("net", 1)
    explain(model, X)[0].plot(tmp_path / "mask.png", x=X[0])
    assert (tmp_path / "mask.png").stat().st_size > 1000
    with pytest.raises(TypeError, match="to_json"):
        explain(*nested(1))[0].plot()
    with pytest.raises(TypeError, match="nested"):
        explain(model, X)[0].to_json()
    assert "kept" not in json.dumps(explain(*nested(1))[0].to_json())


@pytest.mark.parametrize("search", [s for s in SEARCHES if not s.endswith("ft")])
def test_cost_is_an_upper_bound(search):
    for model, X in (tensors("net", 2), nested(2)):
        if search.startswith("lbyl") and not isinstance(model, HierarchicalClassifier):
            continue
        for heuristic in ("banzhaf", "grad", "shapley"):
            options = {"search": search, "heuristic": heuristic, "num_samples": 5}
            assert sum(e.rows for e in explain(model, X, **options)) <= cost(model, X, **options).rows


def test_the_worst_case_of_exact_is_all_masks():
    model, X = tensors("net", 2, B=1)
    assert cost(model, X, search="exact").rows >= 2**10
    with pytest.raises(ValueError, match="no useful bound"):
        cost(model, X, search="flat_harrft")


# -- bad input -------------------------------------------------------------------------------------------------------

BAD = [
    ({"search": "flat_add"}, ValueError, "search must be one of"),
    ({"search": "lbyl_harr"}, ValueError, "nested"),
    ({"heuristic": "banzhaff"}, ValueError, "heuristic must be one of"),
    ({"heuristic": 3}, TypeError, "heuristic must be"),
    ({"heuristic": torch.zeros(4, 3)}, ValueError, "heuristic must have the shape"),
    ({"heuristic": torch.full((4, 2, 5), math.nan)}, ValueError, "heuristic holds NaN"),
    ({"rel_tol": 1.5}, ValueError, "rel_tol must be at least 0 and at most 1, got 1.5"),
    ({"rel_tol": -0.1}, ValueError, "rel_tol"),
    ({"rel_tol": math.nan}, ValueError, "rel_tol"),
    ({"abs_tol": -1.0}, ValueError, "abs_tol"),
    ({"abs_tol": "a"}, TypeError, "abs_tol"),
    ({"num_samples": 0}, ValueError, "num_samples"),
    ({"num_samples": 10**30}, ValueError, "num_samples must be at most 1073741823"),
    ({"num_samples": 2**30}, ValueError, "num_samples must be at most 1073741823, got 1073741824"),
    ({"num_samples": 1.5}, TypeError, "num_samples"),
    ({"seed": -1}, ValueError, "seed"),
    ({"max_memory": 10}, ValueError, "max_memory"),
    ({"terms": "steps"}, ValueError, "terms must be one of"),
    ({"terms": torch.zeros(2, 5)}, ValueError, "terms must be an integer"),
    ({"clusters": torch.zeros(3, dtype=torch.int64)}, ValueError, "clusters must have an id for each of 40"),
    ({"clusters": torch.zeros(40)}, TypeError, "clusters must be an integer"),
    ({"target": 3}, ValueError, "target must lie in"),
    ({"target": 0.5}, TypeError, "target must be an integer, got 0.5"),
    ({"target": "nope"}, TypeError, "target must be given by number, got 'nope'"),
    ({"target": 1j}, TypeError, "target must be an integer, got 1j"),
    ({"target": object()}, TypeError, "target must be an integer, got <object"),
    ({"target": 2**63}, ValueError, "target must be at most 9223372036854775807"),
    ({"target": [0, 1, 2, 2**63]}, ValueError, "target must be at most"),
    ({"target": -1}, ValueError, "target must be at least 0, got -1"),
    ({"target": torch.tensor([0, 1, -1, 0])}, ValueError, "target must be at least 0"),
    ({"target": torch.zeros(4)}, TypeError, "target must be a class or one for each sample, got torch.float32"),
    ({"rel_tol": None}, TypeError, "rel_tol must be a number, got None"),
    ({"show_progress": "yes"}, TypeError, "show_progress must be True or False"),
    ({"target": [0, 1]}, ValueError, "target must be a class or one for each of 4"),
    ({"output": "regression"}, TypeError, "output must not be regression"),
    ({"counterfactuals": "nothing"}, ValueError, "counterfactuals"),
    ({"counterfactuals": torch.zeros(2, 5)}, ValueError, "counterfactuals must be"),
]


@pytest.mark.parametrize(("options", "error", "message"), BAD)
def test_bad_options_are_refused_before_any_work(options, error, message):
    model, X = tensors("net", 0)
    decisions = []

    def watched(x):
        decisions.append(len(x))
        return model(x)

    with pytest.raises(error, match=message):
        explain(watched, X, **options)
    # Only the model knows how many classes it has. The whole samples; before, a model that was not seen yet is looked
    # at: 2 rows for what they cost, then 8 rows, and 7 of them again.
    assert sum(decisions) <= (4 + 2 + 8 + 7 if message == "target must lie in" else 0)


@pytest.mark.parametrize(
    ("sample", "error", "message"),
    [
        (torch.zeros(0, 2, 5), ValueError, "sample is empty"),
        (torch.zeros(1, 2, 0), ValueError, "sample is empty"),
        (torch.zeros(5), ValueError, "sample must be tables"),
        (torch.zeros(1, 2, 5, dtype=torch.int64), TypeError, "sample must be floating"),
        (torch.full((1, 2, 5), math.nan), ValueError, "NaN"),
        ([[1.0]], TypeError, "sample must be a tensor"),
    ],
)
def test_bad_samples(sample, error, message):
    with pytest.raises(error, match=message):
        explain(lambda x: x.flatten(1), sample)


def test_arguments_are_arrays_of_any_kind():
    model = GRUClassifier(3, 4, 2).eval()
    x, plain = randn(2, 3, 4, g=rng(0)).float(), {"search": "flat_harr", "heuristic": "const"}
    classes = model(x).argmax(1)
    given = {
        "target": classes,
        "counterfactuals": torch.ones(2, 3, 4),
        "terms": torch.arange(12).view(3, 4) // 2,
        "clusters": torch.arange(12) // 2,
        "heuristic": randn(2, 3, 4, g=rng(1)),
    }
    one = explain(model, x, **plain | given)
    for change in (
        lambda a: a.numpy(),
        lambda a: a.double() if a.is_floating_point() else a.int(),
        lambda a: a.numpy().astype(a.numpy().dtype.newbyteorder(">")),
        lambda a: np.flip(np.flip(a.numpy()).copy()),
        lambda a: np.ma.array(a.numpy(), mask=False),
    ):
        other = explain(model, change(x), **plain | {name: change(value) for name, value in given.items()})
        assert all(torch.equal(a.mask, b.mask) and a.gap == b.gap for a, b in zip(one, other, strict=True))
    for name, value in {"sample": x, **given}.items():
        for wrong, error, message in (
            (np.ma.array(value.numpy(), mask=value.numpy() == value.numpy().max()), ValueError, "is a masked array"),
            (value.to_sparse(), TypeError, "is stored as"),
            (value.to("meta"), TypeError, "is on the device 'meta'"),
            (value.to(torch.complex64), (TypeError, ValueError), "must"),
        ):
            options = plain | given | {name: wrong}
            with pytest.raises(error, match=f"{name} {message}"):
                explain(model, options.pop("sample", x), **options)
    with pytest.raises(ValueError, match=r"sample holds values beyond torch\.float32"):
        explain(model, x.double() + 1e300)


def test_bad_nested_input():
    model, X = nested(0)
    for options, error, message in (
        ({"counterfactuals": "mean"}, ValueError, "counterfactuals do not apply"),
        ({"terms": "cells"}, ValueError, "terms are those"),
        ({"heuristic": torch.zeros(3)}, ValueError, "heuristic must have a score for each term"),
    ):
        with pytest.raises(error, match=message):
            explain(model, X, **options)
    for wrong in (3, HierarchicalClassifier):
        with pytest.raises(TypeError, match="model must be a HierarchicalClassifier"):
            explain(wrong, X)
    with pytest.raises(ValueError, match="sample is empty"):
        explain(model, X.take(torch.zeros(0, dtype=torch.int64)))


@pytest.mark.parametrize("search", SEARCHES)
def test_a_document_without_anything_is_explained_by_nothing(search):
    torch.manual_seed(0)
    documents = [{"a": 1, "b": ["x", "y"]}, {}, {"a": 2, "b": ["y"]}, None]
    sample = from_json(documents)
    model = HierarchicalClassifier(sample.schema, 2)
    with pytest.warns(UserWarning, match="samples 1, 3 hold nothing: their explanations are empty"):
        found = explain(model, sample, search=search)
    with pytest.warns(UserWarning, match="sample 0 holds nothing: its explanation is empty"):
        alone = explain(model, from_json([{}], sample.schema), search=search)
    assert [e.document for e in found][1::2] == [{}, {}]
    for e in (found[1], found[3], alone):
        assert e.size == 0
        assert not e.mask.any()
        assert e.gap == pytest.approx(alone.gap, abs=1e-6)
        assert "of a sample without anything too" in repr(e)
    if not search.endswith("ft"):
        assert cost(model, sample, search=search).rows > 0


def test_a_sample_without_anything_is_spared_the_class_that_is_explained():
    sample = from_json([{"a": 1.0}, {}])

    def model(given):
        there = given.root.content().double()
        return torch.stack((1 - there, there), dim=1)

    with pytest.warns(UserWarning, match="sample 1 holds nothing"):
        first, second = explain(model, sample, target=1)
    assert (first.size, first.gap, second.size) == (1, 1.0, 0)
    with pytest.raises(ValueError, match="does not decide for class 0 on sample 0"):
        explain(model, from_json([{"a": 1.0}]), target=0)


@pytest.mark.filterwarnings("ignore:sample 0 holds nothing")
@pytest.mark.parametrize("heuristic", HEURISTICS)
def test_every_heuristic_takes_a_document_without_anything(heuristic):
    sample = from_json([{}, {"a": 1.0}])
    model = HierarchicalClassifier(sample.schema, 2)
    assert explain(model, sample, heuristic=heuristic)[0].size == 0
    assert explain(model, sample.take(torch.tensor([0])), heuristic=heuristic).size == 0


@pytest.mark.parametrize("search", SEARCHES)
def test_nothing_is_tried_first(search):
    sample = from_json([{"a": 1.0, "b": [{"c": 2.0}]}, {"a": 3.0}])
    model = HierarchicalClassifier(sample.schema, 2)
    torch.nn.init.zeros_(model.head.weight)
    model.head.bias.data = torch.tensor([0.0, 1.0])  # class 1 whatever is there
    for e in explain(model, sample, search=search):
        assert e.size == 0
        assert "of a sample without anything too" in repr(e)
    if not search.startswith("lbyl"):
        constant = torch.tensor([[-0.5, 0.5]])
        assert explain(lambda x: constant.expand(len(x), 2), torch.ones(1, 2, 5), search=search).size == 0


def test_gradients_that_there_are_not_are_told_of():
    def opaque(x):
        return torch.from_numpy(np.stack((x.numpy().sum((1, 2)), x.numpy().max((1, 2)) * 0), axis=1))

    for options in ({"heuristic": "grad"}, {"heuristic": "gnn"}, {"search": "flat_gradient"}):
        with pytest.raises(ValueError, match="need outputs that torch can differentiate"):
            explain(lambda x: opaque(x.detach()), torch.ones(1, 2, 5), **options)


def test_an_odd_sample_of_a_batch_is_named():
    X = torch.ones(3, 2, 4)
    X[2, 1, 3] = torch.inf
    with pytest.raises(ValueError, match=r"sample holds NaN or infinite values, the first at \(2, 1, 3\)"):
        explain(lambda x: x.flatten(1), X)
    sample = from_json([{"a": 1.0}, {"a": 1e300}])
    with pytest.raises(ValueError, match=r"sample 1 holds 1e\+300 at \('a',\), more than torch.float32 can hold"):
        explain(HierarchicalClassifier(sample.schema, 2), sample)


def test_channels_that_come_last_are_told_of():
    with pytest.warns(UserWarning, match=r"sample \(1, 6, 6, 3\) is read as 6 channels.*sample\.permute\(0, 3, 1, 2\)"):
        explain(lambda x: x.flatten(1)[:, :2], torch.rand(1, 6, 6, 3), num_samples=5)


def test_too_many_terms_for_exact():
    X = torch.ones(1, 5, 5)
    with pytest.raises(ValueError, match="up to 24 terms, got 25"):
        explain(Linear(torch.ones(25)), X, search="exact")
    with pytest.raises(ValueError, match="fills gaps along time"):
        explain(Picture(0), randn(1, 2, 6, 5, g=rng(0)), counterfactuals=CarryForward())


def test_classes_by_name():
    model, X = tensors("net", 0)
    own = [one.target for one in explain(model, X)]
    names = ["a", "b", "c"]
    by_name = explain(model, X, target=[names[c] for c in own], labels={"outputs": names})
    assert [one.target for one in by_name] == own
    with pytest.raises(ValueError, match=r"target must be one of b, .*, got 'B'"):
        explain(model, X, target="B", labels={"outputs": names})
