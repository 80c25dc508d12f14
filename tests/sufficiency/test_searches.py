"""The searches: feasible, irreducible, small, and equal to their one-at-a-time twins."""

from __future__ import annotations

import pytest
import torch

from rambit.game.lockstep import run_together
from rambit.structure import HierarchicalClassifier
from rambit.sufficiency import HEURISTICS, SEARCHES, explain
from rambit.sufficiency.search import removing
from rambit.sufficiency.search.task import Task
from tests.naive import sufficiency as naive
from tests.sufficiency.problems import Linear, hard, nested, optima, randn, rng, tensors

FLAT = [name for name in SEARCHES if not name.startswith("lbyl")]
REMOVING = [name for name in FLAT if not name.endswith("add")]


def listed(found):
    return found if isinstance(found, list) else [found]


class NestedDecision(naive.Decision):
    """A nested sample asked about one mask at a time, by pruning it."""

    def output(self, mask):
        self.rows += 1
        with torch.inference_mode():
            return self.model(self.x.pruned(mask)).softmax(1)[0].double()

    def __init__(self, model, sample):
        self.x = sample
        self.model, self.rows = model, 0
        everything = torch.ones(sample.terms, dtype=torch.bool)
        self.target = int(self.output(everything).argmax())
        self.threshold = 0.9 * self.gap(everything)


def check(model, X, search, heuristic, seed):
    """Whether all answers hold when they are asked again, one by one. Returns how many there were."""
    found = listed(explain(model, X, search=search, heuristic=heuristic, seed=seed, num_samples=20))
    for b, explanation in enumerate(found):
        if isinstance(model, HierarchicalClassifier):
            one = X.take(torch.tensor([b]))
            decision = NestedDecision(model, one)
            mask = explanation.mask[X.output_id == b]
        else:
            decision, mask = naive.Decision(model, X[b]), explanation.mask.flatten()
        assert decision.gap(mask) >= decision.threshold - 1e-12
        assert explanation.gap >= explanation.threshold
        assert explanation.size == int(mask.sum())
        if not search.endswith("add"):
            assert naive.irreducible(decision, mask, 1e-12)
    return len(found)


@pytest.mark.slow
def test_every_heuristic_and_search_is_feasible_on_500_random_problems():
    problems = 0
    for i, heuristic in enumerate(HEURISTICS):
        for j, search in enumerate(SEARCHES):
            seed = 100 * i + j
            if not search.startswith("lbyl"):
                kind = ("linear", "net", "gru", "pairs")[(i + j) % 4]
                problems += check(*tensors(kind, seed), search, heuristic, seed)
            problems += check(*nested(seed), search, heuristic, seed)
    assert problems >= 500


@pytest.mark.parametrize("search", SEARCHES)
def test_answers_are_feasible_and_irreducible(search):
    if not search.startswith("lbyl"):
        for kind in ("linear", "net", "gru"):
            assert check(*tensors(kind, 1), search, "banzhaf", 1) == 4
    assert check(*nested(1, B=2), search, "banzhaf", 1) == 2


# -- small -----------------------------------------------------------------------------------------------------------


def ratio(problems, **options):
    sizes, best = [], []
    for model, X, optimum in problems:
        sizes += [e.size for e in listed(explain(model, X, **options))]
        best += optimum.tolist()
    return (torch.tensor(sizes) / torch.tensor(best)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs", "net"])
def test_answers_are_close_to_the_optimum(kind):
    problems = hard(kind, 200)
    assert sum(len(X) for _, X, _ in problems) == 200
    assert ratio(problems, search="exact") == 1
    assert ratio(problems, search="flat_harr") <= 1.10
    assert ratio(problems, search="flat_harrft") <= 1.02


def test_exact_is_brute_force():
    for seed in range(3):
        model, X = tensors("net", seed)
        assert [e.size for e in explain(model, X, search="exact")] == optima(model, X).tolist()


def test_the_twin_of_brute_force_agrees():
    model, X = tensors("pairs", 3, B=2)
    assert [naive.smallest(naive.Decision(model, x), 10) for x in X] == optima(model, X).tolist()


@pytest.mark.parametrize("search", ["exact", "flat_gadd", "flat_garr", "flat_harr", "flat_gradient"])
def test_linear_models_have_a_closed_form(search):
    g = rng(4)
    for n in (6, 12, 20):
        model, X = Linear(randn(n, g=g), float(randn((), g=g))), randn(5, 1, n, g=g)
        for x, explanation in zip(X, explain(model, X, search=search, heuristic="shapley"), strict=True):
            sign = 1 if float(model(x[None])[0, 0]) >= 0 else -1
            needed = torch.atanh(torch.tensor(explanation.threshold, dtype=torch.float64)) - sign * model.bias
            assert explanation.size == naive.smallest_linear(sign * model.weight * x[0], float(needed))


@pytest.mark.parametrize("search", FLAT)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_motif_is_found(search, sign):
    motif = torch.tensor([1.0, 0, 0, 0, 0, 1])
    model, X = Linear(sign * motif), torch.ones(1, 1, 6)
    for heuristic in HEURISTICS:
        explanation = explain(model, X, search=search, heuristic=heuristic, rel_tol=1.0)
        kept = explanation.mask.flatten()
        if search in REMOVING:
            assert torch.equal(kept, motif.bool())
        assert bool(kept[motif.bool()].all())
        assert explanation.target == (0 if sign > 0 else 1)


# -- twins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "pairs", "net", "gru"])
def test_greedy_addition_is_that_of_the_twin(kind):
    model, X = tensors(kind, 5)
    for x, explanation in zip(X, explain(model, X, search="flat_gadd"), strict=True):
        assert torch.equal(explanation.mask.flatten(), naive.add_greedily(naive.Decision(model, x), 10))


def test_prefixes_are_feasible_while_the_one_shorter_is_not():
    for seed in range(5):
        model, X = tensors("net", seed)
        scores = randn(*X.shape, g=rng(seed))
        for x, order, explanation in zip(
            X, scores, explain(model, X, heuristic=scores, search="flat_hadd"), strict=True
        ):
            decision, mask = naive.Decision(model, x), explanation.mask.flatten()
            ranking = order.flatten().argsort(descending=True)
            assert set(mask.nonzero()[:, 0].tolist()) == set(ranking[: explanation.size].tolist())
            if explanation.size:
                assert not decision.stands(naive.without(mask, ranking[explanation.size - 1]))


@pytest.mark.parametrize("width", [1, 3, 1000])
@pytest.mark.parametrize("ahead", [(1, 2), (16, 512)])
def test_random_removal_is_that_of_the_twin(monkeypatch, width, ahead):
    monkeypatch.setattr(removing, "LEAST_AHEAD", ahead[0])
    monkeypatch.setattr(removing, "MOST_AHEAD", ahead[1])
    for seed in range(20):
        model, X = tensors(("linear", "pairs", "net", "gru")[seed % 4], seed, B=1)
        decision, rank = naive.Decision(model, X[0], rel_tol=0.7), torch.rand(10, generator=rng(seed))
        start = torch.ones(10, dtype=torch.bool)

        def evaluate(masks, owner, decision=decision):
            return torch.tensor([decision.gap(mask) - decision.threshold for mask in masks], dtype=torch.float64)

        task = Task(torch.zeros(10), rank, width)
        [found] = run_together([removing.randomly(task, start)], evaluate)
        assert torch.equal(found, naive.remove_in_order(decision, start, rank.argsort()))


def test_random_removal_asks_in_few_calls():
    model, X = tensors("linear", 0, B=1)
    calls = []

    def evaluate(masks, owner):
        calls.append(len(masks))
        decision = naive.Decision(model, X[0], rel_tol=0.5)
        return torch.tensor([decision.gap(mask) - decision.threshold for mask in masks], dtype=torch.float64)

    task = Task(torch.zeros(10), torch.rand(10, generator=rng(0)), 1000)
    run_together([removing.randomly(task, torch.ones(10, dtype=torch.bool))], evaluate)
    assert len(calls) <= 8
    assert calls[0] == 10


def test_fine_tuning_never_makes_it_larger():
    for seed in range(4):
        model, X = tensors("net", seed)
        rough, fine = (explain(model, X, search=s, heuristic="random", seed=seed) for s in ("flat_harr", "flat_harrft"))
        assert all(f.size <= r.size for f, r in zip(fine, rough, strict=True))


@pytest.mark.parametrize("method", ["hadd", "harr", "gadd", "garr", "gradient"])
def test_level_by_level_keeps_nothing_below_what_is_removed(method):
    model, X = nested(7)
    for search in (f"flat_{method}", f"lbyl_{method}"):
        for b, explanation in enumerate(explain(model, X, search=search)):
            joint = explanation.mask | (X.output_id != b)
            assert bool((explanation.mask <= X.participation(joint[None])[0]).all())


def test_samples_of_a_batch_do_not_disturb_each_other():
    model, X = tensors("net", 8)
    together = explain(model, X, heuristic="grad", search="flat_hadd")
    for b, one in enumerate(together):
        alone = explain(model, X[b : b + 1], heuristic="grad", search="flat_hadd")
        assert torch.equal(alone.mask, one.mask)
        assert alone.rows == one.rows
    assert together[0].calls < sum(e.rows for e in together)


def test_small_memory_changes_nothing():
    model, X = tensors("net", 9)
    for search in ("flat_harr", "flat_garrft", "exact", "flat_gradient"):
        large, small = (explain(model, X, search=search, max_memory=m) for m in (1 << 30, 1 << 20))
        assert all(torch.equal(a.mask, b.mask) for a, b in zip(large, small, strict=True))
