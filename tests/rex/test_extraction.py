"""Each strategy against its naive twin, on random analytic models; ReX's own masks; what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.game import Game, TensorSample
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.rex.decision import Decision
from rambit.rex.extraction import ExtractionOptions, NoExplanationError, Objective, Strategy, extract, rank
from rambit.rex.extraction.bar import Bar
from rambit.rex.extraction.families import dice, largest_family
from rambit.rex.mask_values import mask_values
from tests.naive import rex_extraction as naive

GOLDEN = Path(__file__).parent / "data" / "rex_golden.npz"
GRIDS = {"spectrum": (1, 1, 60), "image": (1, 9, 11), "series": (1, 4, 20), "volume": (4, 5, 6)}


class Weighing:
    """Class 1 as far as the kept weights exceed `bias`; rows are summed one by one, so batches change nothing."""

    def __init__(self, weights, bias):
        self.weights, self.bias = weights, bias

    def __call__(self, x):
        sums = torch.stack([(row.flatten().double() * self.weights).sum() for row in x])
        logits = 6 * (sums - self.bias)
        return torch.stack((torch.zeros_like(logits), logits), dim=1)


def asked_about(weights, bias, grid, value=0.0):
    kind = tuple(extent for extent in grid if extent > 1)
    ones = torch.ones(1, 1, *kind) if len(kind) == 3 or grid[1] == 9 else torch.ones(1, *grid[1:])
    sample = TensorSample.spatial(ones) if ones.ndim > 3 else TensorSample(ones, torch.zeros(1, dtype=torch.int64))
    game = Game(Predictor.of(Weighing(weights.flatten().double(), bias)), sample, mask_values(value, sample))
    return Decision(game, dimensions=len(kind))


def one_by_one(decision):
    terms = math.prod(decision.grid)

    def evaluate(kept):
        mask = torch.zeros(1, terms, dtype=torch.bool)
        mask[0, sorted(kept)] = True
        classes, confidences = decision.masks(mask)
        return int(classes[0]), float(confidences[0])

    return evaluate


def positions(mask):
    return set(mask.flatten().nonzero().flatten().tolist())


def case(seed, grid, *, sparse=0.7, ties=True):
    """Random weights, a map that is close to them, and a bias that some part of the weights exceeds."""
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.random(grid) * (rng.random(grid) > sparse))
    map_ = (weights + 0.3 * torch.from_numpy(rng.random(grid))).float()
    if ties:
        map_ = (map_ * 8).round() / 8
    total = float(weights.sum())
    return asked_about(weights, rng.uniform(0.1, 0.7) * total, grid), map_


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 12), share=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
@settings(max_examples=12)
def test_global_and_spatial(grid, seed, chunk, share):
    decision, map_ = case(seed, grid)
    evaluate, order = one_by_one(decision), naive.ranking(map_.flatten().tolist())
    given = {"chunk": chunk, "share": share}
    options = ExtractionOptions(chunk_size=chunk, minimum_confidence_threshold=share, initial_radius=2)
    expected = naive.global_part(evaluate, order, decision.target, decision.confidence, **given)
    found = extract(decision, map_.squeeze(), Strategy.Global, options)
    assert found.mask.shape == map_.squeeze().shape
    assert positions(found.mask) == expected
    assert found.confidence == evaluate(expected)[1]

    expected = naive.spatial_part(
        evaluate, map_.flatten().numpy(), grid, order, decision.target, decision.confidence, radius=2, **given
    )
    assert positions(extract(decision, map_.squeeze(), Strategy.Spatial, options).mask) == expected


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 12), share=st.sampled_from([0.0, 0.9]))
@settings(max_examples=12)
def test_contrastive_and_complete(grid, seed, chunk, share):
    decision, map_ = case(seed, grid)
    evaluate, order = one_by_one(decision), naive.ranking(map_.flatten().tolist())
    given = {"chunk": chunk, "share": share}
    options = ExtractionOptions(chunk_size=chunk, minimum_confidence_threshold=share, necessary_from="ranking")
    found = extract(decision, map_, Strategy.Complete, options)
    necessary = naive.necessary_part(evaluate, order, decision.target, decision.confidence, **given)
    assert positions(found.mask) == naive.global_part(evaluate, order, decision.target, decision.confidence, **given)
    assert positions(found.necessary) == necessary
    assert positions(found.complete) == naive.complete_part(
        evaluate, order, necessary, decision.target, decision.confidence, **given
    )
    contrastive = extract(decision, map_, Strategy.Contrastive, options)
    assert torch.equal(contrastive.necessary, found.necessary)
    assert contrastive.complete is None


@pytest.mark.parametrize("grid", [GRIDS["image"], GRIDS["series"]])
@given(seed=st.integers(0, 10**6), chunk=st.integers(1, 6), sure=st.sampled_from([0.0, 0.8, 1.0]))
@settings(max_examples=12)
def test_the_necessary_union(grid, seed, chunk, sure):
    decision, map_ = case(seed, grid)
    evaluate, order = one_by_one(decision), naive.ranking(map_.flatten().tolist())
    given = {"chunk_size": chunk, "necessary_confidence": sure, "initial_radius": 2, "spotlights": 4}
    by = {
        way: extract(decision, map_, Strategy.Contrastive, ExtractionOptions(necessary_from=way, **given), seed=seed)
        for way in ("both", "ranking", "spotlights")
    }
    parts = {way: positions(found.necessary) for way, found in by.items()}
    assert parts["ranking"] == naive.necessary_part(
        evaluate, order, decision.target, decision.confidence, chunk=chunk, sure=sure
    )
    assert parts["both"] == min(parts["ranking"], parts["spotlights"], key=len)

    def necessary(kept):
        return naive.is_necessary(evaluate, kept, set(order), decision.target, decision.confidence, sure=sure)

    kept = parts["spotlights"]
    assert necessary(kept)
    by_rank = [i for i in reversed(order) if i in kept]
    assert (
        not any(necessary(kept - set(by_rank[begin : begin + chunk])) for begin in range(0, len(by_rank), chunk))
        or chunk > 1
    )  # the chunks were those of a larger part


def test_two_places_that_say_the_same():
    squares = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    squares[0, 0, 8:16, 8:16] = squares[1, 0, 44:52, 40:48] = True

    def model(x):
        f = torch.stack([x[:, 0][:, square[0]].mean(1) for square in squares]).amax(0)
        return torch.stack((torch.zeros_like(f), 20 * (f - 0.5)), dim=1)

    x = 0.3 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    x[:, squares.any(0)] = 1
    area = {}
    for way in ("ranking", "both"):
        found = ReX(model, strategy="contrastive", necessary_from=way).explain(x)
        area[way] = float(found.necessary.float().mean())
        alone, without = (model(x * mask).softmax(1)[0, 1] for mask in (found.necessary, ~found.necessary))
        assert alone > found.outputs[1] - 1e-4
        assert without < 0.5
    assert area["both"] < 0.05 < 0.09 < area["ranking"]


def test_completion_adds_the_least_responsible_positions():
    # Negative weights: the necessary part is surer than the whole, which only the rest makes less sure.
    weights = torch.tensor([5.0, 1.0, 0.0, -1.0, -1.0, -2.0]).view(1, 1, 6)
    decision = asked_about(weights, 1.8, (1, 1, 6))
    options = ExtractionOptions(chunk_size=1, necessary_from="ranking")
    found = extract(decision, weights.float(), Strategy.Complete, options)
    order = naive.ranking(weights.flatten().tolist())
    necessary = naive.necessary_part(one_by_one(decision), order, decision.target, decision.confidence, chunk=1)
    expected = naive.complete_part(
        one_by_one(decision), order, necessary, decision.target, decision.confidence, chunk=1
    )
    assert positions(found.necessary) == necessary == {0}
    assert positions(found.complete) == expected
    assert 5 in expected
    assert 1 not in expected


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_spotlights_are_sufficient_apart_and_the_same_again(grid, objective):
    sizes = []
    for seed in range(5):
        decision, map_ = case(seed, grid, sparse=0.4)
        options = ExtractionOptions(
            chunk_size=2, initial_radius=3, spotlights=8, expansions=3, budget=5, step=2, objective=objective
        )
        found = extract(decision, map_, Strategy.MultiSpotlight, options, seed=seed)
        parts = [positions(mask) for mask in found.spotlights]
        evaluate = one_by_one(decision)
        assert all(naive.suffices(evaluate, part, decision.target, decision.confidence, 0.0) for part in parts)
        assert all(naive.dice(a, b) == 0 for i, a in enumerate(parts) for b in parts[:i])
        assert [len(part) for part in parts] == sorted(len(part) for part in parts)
        assert positions(found.mask) == parts[0]
        assert evaluate(parts[0])[1] == found.confidence
        again = extract(decision, map_, Strategy.MultiSpotlight, options, seed=seed)
        assert torch.equal(again.spotlights, found.spotlights)
        sizes.append(len(parts))
    assert sum(sizes) >= len(sizes)


def test_spotlights_find_two_places_that_both_suffice():
    weights = torch.zeros(1, 20, 30)
    weights[0, 4:7, 4:7] = weights[0, 14:17, 22:25] = 1.0
    for objective in Objective:
        decision = asked_about(weights, 4.0, (1, 20, 30))
        options = ExtractionOptions(
            chunk_size=1, initial_radius=3, spotlights=10, expansions=2, step=2, objective=objective
        )
        map_ = torch.zeros(20, 30)
        map_[4:7, 4:7], map_[14:17, 22:25] = 1.0, 0.5
        found = extract(decision, map_, Strategy.MultiSpotlight, options)
        places = {(int(mask[:10].any()), int(mask[10:].any())) for mask in found.spotlights}
        assert places == {(1, 0), (0, 1)}, objective


@given(seed=st.integers(0, 10**6), count=st.integers(1, 8), overlap=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_the_largest_family(seed, count, overlap):
    rng = np.random.default_rng(seed)
    masks = torch.from_numpy(rng.random((count, 12)) < rng.uniform(0.1, 0.5, (count, 1)))
    masks[:, 0] |= ~masks.any(1)
    parts = [positions(mask) for mask in masks]
    table = dice(masks)
    assert table.tolist() == [[pytest.approx(naive.dice(a, b)) for b in parts] for a in parts]
    assert largest_family(masks, overlap) == naive.family(parts, overlap)


def test_the_largest_of_many_masks():
    rows, terms = 240, 4000
    masks = torch.zeros(rows, terms, dtype=torch.bool)
    for pair in range(rows // 2):  # two of a pair overlap; the second is the smaller one in every other pair
        masks[2 * pair, 30 * pair : 30 * pair + 10] = True
        masks[2 * pair + 1, 30 * pair + 9 : 30 * pair + (12 if pair % 2 else 24)] = True
    chosen = [2 * pair + pair % 2 for pair in range(rows // 2)]
    assert largest_family(masks, 0.0) == sorted(chosen, key=lambda i: (int(masks[i].sum()), i))
    assert largest_family(torch.eye(500, dtype=torch.bool), 0.0) == list(range(500))
    assert largest_family(torch.ones(500, 3, dtype=torch.bool), 0.5) == [0]


def test_a_hard_family_ends(monkeypatch):
    rng = np.random.default_rng(0)
    masks = torch.from_numpy(rng.random((40, 60)) < 0.06)
    masks[:, 0] |= ~masks.any(1)
    best = largest_family(masks, 0.0)
    monkeypatch.setattr("rambit.rex.extraction.families._LOOKS", 300)
    found = largest_family(masks, 0.0)
    assert 0 < len(found) <= len(best)
    assert all(not (masks[a] & masks[b]).any() for a in found for b in found if a < b)


@pytest.mark.parametrize("seed", range(3))
def test_many_spotlights_are_those_of_few_at_a_time(monkeypatch, seed):
    decision, map_ = case(seed, GRIDS["image"], sparse=0.4)
    options = ExtractionOptions(chunk_size=2, initial_radius=2, spotlights=40, budget=3, permitted_overlap=0.5)
    found = extract(decision, map_, Strategy.MultiSpotlight, options, seed=seed)
    monkeypatch.setattr("rambit.rex.extraction.circles._TOGETHER", 3)
    again = extract(decision, map_, Strategy.MultiSpotlight, options, seed=seed)
    assert torch.equal(again.spotlights, found.spotlights)


def test_circles_end_with_the_whole_input():
    decision, map_ = case(1, GRIDS["image"])
    plain = extract(decision, map_, Strategy.Spatial, ExtractionOptions(initial_radius=1))
    fast = extract(decision, map_, Strategy.Spatial, ExtractionOptions(initial_radius=1, radius_growth=1e308))
    wide = extract(decision, map_, Strategy.Spatial, ExtractionOptions(initial_radius=2**31 - 1))
    assert torch.equal(wide.mask, extract(decision, map_, Strategy.Global).mask)
    assert Bar(decision, 0.0).sufficient(torch.stack([f.mask.flatten() for f in (plain, fast, wide)])).all()


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_nothing_is_tried_first(grid, share):
    rng = np.random.default_rng(3)
    weights = torch.from_numpy(rng.random(grid))
    decision = asked_about(weights, -0.1, grid)  # class 1 whatever is kept, the surer the more of it
    map_ = weights.float()
    options = ExtractionOptions(chunk_size=3, minimum_confidence_threshold=share, initial_radius=2)
    order = naive.ranking(map_.flatten().tolist())
    for strategy in (Strategy.Global, Strategy.Spatial, Strategy.MultiSpotlight):
        found = extract(decision, map_, strategy, options)
        if share:
            assert positions(found.mask)
        else:
            assert not positions(found.mask)
            assert found.confidence == one_by_one(decision)(set())[1]
    expected = naive.global_part(
        one_by_one(decision), order, decision.target, decision.confidence, chunk=3, share=share
    )
    assert expected  # which is what the ranking alone would have given


@given(seed=st.integers(0, 10**6), levels=st.integers(1, 6))
def test_ranking(seed, levels):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-1, levels, (3, 7)) / levels).astype(np.float32)
    logs = -rng.integers(0, 4, (3, 7)).astype(np.float32)
    flat = scores.ravel().tolist()
    assert rank(torch.from_numpy(scores)).tolist() == naive.ranking(flat)
    assert rank(torch.from_numpy(scores), torch.from_numpy(logs)).tolist() == naive.ranking(flat, logs.ravel().tolist())


# --- ReX's own masks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["area1", "area4", "inter", "add", "all"])
@pytest.mark.parametrize("name", ["planted64", "and64"])
def test_golden_masks(name, variant):
    with np.load(GOLDEN) as golden:
        x, parts = (torch.from_numpy(golden[f"{name}/{key}"]) for key in ("x", "regions"))
        map_, mask = (golden[f"{name}/{variant}/{key}"] for key in ("map1", "mask"))

    def model(x):
        f = torch.stack([x[:, 0][:, part].mean(1) for part in parts]).amin(0)
        return torch.stack((torch.zeros_like(f), 20 * (f - 0.5)), dim=1)

    sample = TensorSample.spatial(x)
    decision = Decision(Game(Predictor.of(model), sample, mask_values(0, sample)), dimensions=2)
    found = extract(decision, torch.from_numpy(map_))
    assert decision.target == 1
    assert np.array_equal(found.mask.numpy(), mask)


# --- what is refused, and models that change their mind ---------------------------------------------------------------


@pytest.mark.parametrize("strategy", [Strategy.Global, Strategy.Spatial, Strategy.MultiSpotlight, Strategy.Complete])
def test_nothing_suffices(strategy):
    decision, map_ = case(0, GRIDS["image"])
    options = ExtractionOptions(minimum_confidence_threshold=5.0)
    with pytest.raises(NoExplanationError, match="not even all of it"):
        extract(decision, map_, strategy, options)


def test_nothing_is_necessary():
    decision = asked_about(torch.ones(1, 1, 8), -1.0, (1, 1, 8))  # class 1 whatever is kept
    with pytest.raises(NoExplanationError, match="both sufficient and necessary"):
        extract(decision, torch.rand(8), Strategy.Contrastive)


class Fickle(Weighing):
    """Surer in company: what suffices in a batch does not on its own, below all the weights."""

    def __call__(self, x):
        logits = super().__call__(x)
        alone = len(x) == 1 and float(x.sum()) < x[0].numel()
        return logits - torch.tensor([0.0, 1e4]) if alone else logits


def test_a_part_that_does_not_suffice_alone_is_not_returned():
    ones = torch.ones(1, 1, 30)
    sample = TensorSample(ones, torch.zeros(1, dtype=torch.int64))
    model = Fickle(torch.ones(30, dtype=torch.float64), 3.0)
    with pytest.warns(UserWarning, match="depends on its batch"):
        decision = Decision(Game(Predictor.of(model), sample, mask_values(0, sample)), dimensions=1)
    found = extract(decision, torch.arange(30.0), options=ExtractionOptions(chunk_size=1))
    assert bool(found.mask.all())


def test_a_map_of_another_size():
    decision, _ = case(0, GRIDS["image"])
    with pytest.raises(ValueError, match="must cover the grid"):
        extract(decision, torch.rand(5, 5))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("chunk_size", 0, ValueError),
        ("chunk_size", 2.0, TypeError),
        ("spotlights", True, TypeError),
        ("initial_radius", 0, ValueError),
        ("budget", -1, ValueError),
        ("expansions", 0, ValueError),
        ("minimum_confidence_threshold", -0.1, ValueError),
        ("minimum_confidence_threshold", math.inf, ValueError),
        ("permitted_overlap", 1.1, ValueError),
        ("necessary_confidence", -0.1, ValueError),
        ("necessary_from", "circles", ValueError),
        ("permitted_overlap", math.nan, ValueError),
        ("radius_growth", 0.9, ValueError),
    ],
)
def test_wrong_options(name, value, error):
    with pytest.raises(error, match=name):
        ExtractionOptions(**{name: value})


def test_batches_stay_small(monkeypatch):
    decision, map_ = case(3, GRIDS["image"])
    plain = extract(decision, map_, options=ExtractionOptions(chunk_size=1))
    monkeypatch.setattr("rambit.rex.extraction.bar._MOST_BYTES", 3 * map_.numel())
    sizes = []
    masks = decision.masks
    decision.masks = lambda rows: sizes.append(len(rows)) or masks(rows)
    found = extract(decision, map_, options=ExtractionOptions(chunk_size=1))
    assert torch.equal(found.mask, plain.mask)
    assert max(sizes) == 3
