"""The heuristics against their definitions."""

from __future__ import annotations

import pytest
import torch

from rambit.counterfactuals import CarryForward
from rambit.game.nested import NestedGame
from rambit.sufficiency import HEURISTICS, explain, heuristics, reading
from rambit.sufficiency.decisions import joined
from rambit.sufficiency.explain import _decide
from rambit.sufficiency.goals import Goal
from rambit.sufficiency.heuristics import uniform
from rambit.sufficiency.subjects import NestedSubject
from tests.naive import sufficiency as naive
from tests.sufficiency.problems import Linear, nested, randn, rng, tensors


def asked_of(model, X, output="auto", **options):
    common = {"counterfactuals": "zero", "terms": None, "output": output, "seed": 0, "max_memory": None}
    subject = reading.subject_of(model, X, **common)
    return decided(subject, **options)


def decided(subject, clusters=None):
    goal = Goal.of(None, None, 0.9, None, None).over(len(subject.terms))
    return _decide(subject, joined(reading.players_of(clusters, subject)), goal)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setitem(heuristics.gnn.__kwdefaults__, "steps", 60)


@pytest.mark.parametrize("name", HEURISTICS)
def test_heuristics_repeat_with_the_seed_and_not_with_another(name):
    evaluated = asked_of(*tensors("net", 0))
    before = torch.random.get_rng_state()
    first, again, other = (HEURISTICS[name](evaluated, 10, seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    same = all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert same == (name in ("const", "grad"))


@pytest.mark.parametrize("name", ["random", "banzhaf", "daf", "gnn"])
def test_a_sample_draws_the_same_whatever_comes_after_it(name):
    model, X = tensors("net", 1)
    torch.testing.assert_close(
        HEURISTICS[name](asked_of(model, X), 20, 0)[0], HEURISTICS[name](asked_of(model, X[:1]), 20, 0)[0]
    )


def test_banzhaf_and_daf_are_differences_of_means():
    model, X = tensors("gru", 2)
    evaluated = asked_of(model, X)
    for number, x in enumerate(X):
        masks = uniform(evaluated, number, 30, seed=5) < 0.5
        decision = naive.Decision(model, x)
        expected = naive.banzhaf(decision, masks)
        for name in ("banzhaf", "daf"):
            torch.testing.assert_close(HEURISTICS[name](evaluated, 30, 5)[number], expected)


def test_participation_in_daf_and_banzhaf():
    model, X = nested(3, B=1)
    subject = NestedSubject(NestedGame(model, X))
    evaluated = decided(subject)
    masks = uniform(evaluated, 0, 60, seed=1) < 0.5
    there = X.participation(masks)
    assert not bool(there.all())
    gaps = evaluated.gaps([(0, masks)])[0][:, 0]
    kept = masks & there

    def difference(inside, outside):
        mean = [(gaps[:, None] * side).sum(0) / side.sum(0).clamp(min=1) for side in (inside, outside)]
        return torch.where(inside.any(0) & outside.any(0), mean[0] - mean[1], 0.0)

    torch.testing.assert_close(HEURISTICS["daf"](evaluated, 60, 1)[0], difference(kept, ~masks & there))
    torch.testing.assert_close(HEURISTICS["banzhaf"](evaluated, 60, 1)[0], difference(kept, ~kept))


def test_shapley_values_sum_to_what_there_is_to_share():
    for model, X in (tensors("net", 4), nested(4)):
        evaluated = asked_of(model, X)
        sizes = [p.players for p in evaluated.problems]
        ends = [
            evaluated.gaps([(n, torch.tensor([[False], [True]]).expand(2, P))])[0][:, 0] for n, P in enumerate(sizes)
        ]
        for values, end in zip(HEURISTICS["shapley"](evaluated, 3, 0), ends, strict=True):
            torch.testing.assert_close(values.sum(), end[1] - end[0])


def test_shapley_of_additive_games_needs_one_order():
    class Additive(torch.nn.Module):
        def forward(self, x):
            p = 0.5 + x.flatten(1).sum(1) / 100
            return torch.stack((p, 1 - p), 1)

    X = randn(1, 2, 5, g=rng(5))
    found = HEURISTICS["shapley"](asked_of(Additive(), X.abs(), output="probs"), 1, 0)[0]
    torch.testing.assert_close(found, X.abs().flatten() / 50)


def test_gradients_are_finite_differences():
    evaluated, step = asked_of(*tensors("gru", 6)), 1e-6
    for number, found in enumerate(HEURISTICS["grad"](evaluated, 0, 0)):
        P = evaluated.problems[number].players
        lower = torch.ones(P, P, dtype=torch.float64) - step * torch.eye(P, dtype=torch.float64)
        target = int(evaluated.criterion.target[number])
        with torch.no_grad():
            ones = torch.ones(1, P, dtype=torch.float64)
            there, below = (evaluated.outputs([(number, masks)])[0][:, 0, target] for masks in (ones, lower))
        torch.testing.assert_close(found, ((there - below) / step).abs(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("make", [lambda: tensors("net", 7), lambda: nested(7)], ids=["net", "nested"])
def test_soft_margins_come_with_their_gradients(make):
    evaluated = asked_of(*make())
    number, P, step = 1, evaluated.problems[1].players, 1e-6
    width = max(p.players for p in evaluated.problems)
    mask = torch.zeros(1, width, dtype=torch.float64)
    mask[0, :P] = torch.rand(P, generator=rng(0), dtype=torch.float64) * 0.8 + 0.1
    owner = torch.tensor([number])
    found = evaluated.soft_margins(mask, owner)[0]
    assert bool((found[1 + P :] == 0).all())
    higher = mask.repeat(P, 1) + step * torch.eye(P, width, dtype=torch.float64)
    above = evaluated.soft_margins(higher, owner.expand(P))[:, 0]
    torch.testing.assert_close(found[1 : 1 + P], (above - found[0]) / step, rtol=1e-3, atol=1e-6)


def test_learned_masks_keep_what_matters(monkeypatch):
    monkeypatch.setitem(heuristics.gnn.__kwdefaults__, "steps", 300)
    weight = torch.zeros(10, dtype=torch.float64)
    weight[[2, 7]] = 0.5
    scores = HEURISTICS["gnn"](asked_of(Linear(weight), torch.ones(1, 2, 5, dtype=torch.float64)), 0, 0)[0]
    assert bool((scores[[2, 7]] > 0.9).all())
    assert int((scores > 0.5).sum()) < 5


def test_gradient_heuristics_need_fixed_counterfactuals():
    model, X = tensors("gru", 0)
    for options, name in (
        ({"heuristic": "grad"}, "heuristic"),
        ({"heuristic": "gnn"}, "heuristic"),
        ({"search": "flat_gradient"}, "search"),
    ):
        with pytest.raises(ValueError, match=f"{name} needs fixed counterfactuals"):
            explain(model, X, counterfactuals=CarryForward(), **options)
    assert len(explain(model, X, counterfactuals=CarryForward())) == 4
