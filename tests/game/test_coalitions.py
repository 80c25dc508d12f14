"""Coalitions: one mask for all series or one for each, in order, in bounded chunks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.counterfactuals import CarryForward, Interpolate, Mean, Replay, Zero
from rambit.game import Coalitions, Game, TensorSample
from rambit.predictors import PredictionError, Predictor
from tests.naive.rambit import fill

B, D, T = 3, 2, 4


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


X = torch.randn(B, D, T, dtype=torch.float64, generator=rng())


def model(x):
    """Order matters: every cell has a weight of its own. The arithmetic of a row does not depend on its batch."""
    time = torch.arange(1.0, x.shape[2] + 1, dtype=x.dtype, device=x.device)
    a, b = ((x[:, d] * time ** (d + 1) / 10).sum(-1) for d in range(2))
    return torch.stack((torch.sin(a), torch.cos(b), a - b), dim=1)


def game(strategy, *, observed=None, evaluate=model, layout="BDT", device="cpu", **options):
    sample = TensorSample(X.to(device), torch.arange(B, device=device), observed)
    return Game(Predictor.of(evaluate, output="regression", layout=layout, device=device), sample, strategy, **options)


def naive(masks, draws, kind, observed=None):
    """(N, S, B, C), one row at a time; masks (N, B, D, T), draws (S, B, D, T) or None."""
    outputs = []
    for mask in masks:
        for s in range(1 if draws is None else len(draws)):
            for b in range(B):
                draw = None if draws is None else draws[s, b]
                outputs.append(model(fill(X[b], mask[b], draw, kind, None if observed is None else observed[b])[None]))
    return torch.cat(outputs).view(len(masks), -1, B, 3)


DRAWS = torch.randn(2, B, D, T, dtype=torch.float64, generator=rng(1))
STRATEGIES = {
    "zero": (Zero(), torch.zeros(1, B, D, T, dtype=torch.float64), "fixed"),
    "mean": (Mean(), X.mean(2, keepdim=True).expand(1, B, D, T), "fixed"),
    "replay": (Replay(DRAWS), DRAWS, "fixed"),
    "carry_forward": (CarryForward(), None, "carry_forward"),
    "interpolate": (Interpolate(), None, "interpolate"),
}


@pytest.mark.parametrize("name", STRATEGIES)
@given(
    seed=st.integers(0, 10**6), count=st.integers(1, 7), batch=st.sampled_from([1, 2, 6, 7, 100]), missing=st.booleans()
)
def test_each_series_gets_its_own_mask(name, seed, count, batch, missing):
    strategy, draws, kind = STRATEGIES[name]
    masks = torch.rand(count, B, D, T, generator=rng(seed)) < 0.5
    observed = torch.rand(B, D, T, generator=rng(seed + 1)) < 0.7 if missing else None
    if missing and name == "mean":
        draws = strategy.draws(X, observed, torch.arange(B), 1, seed=0)
    evaluated = game(strategy, observed=observed, draws=1 if draws is None else len(draws), batch_size=batch)
    outputs = torch.cat(list(evaluated.evaluate(Coalitions(masks.flatten(2)))))
    torch.testing.assert_close(outputs, naive(masks, draws, kind, observed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("batch", [1, 6, 100])
def test_one_mask_for_all_is_that_mask_for_each(name, batch):
    strategy, draws, _ = STRATEGIES[name]
    masks = torch.rand(5, D * T, generator=rng(2)) < 0.5
    evaluated = game(strategy, draws=1 if draws is None else len(draws), batch_size=batch)
    shared = list(evaluated.evaluate(Coalitions(masks)))
    each = list(evaluated.evaluate(Coalitions(masks[:, None].expand(5, B, D * T))))
    assert [len(part) for part in shared] == [len(part) for part in each]
    assert torch.equal(torch.cat(shared), torch.cat(each))


def test_players_are_groups_of_cells():
    player = torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])
    terms = torch.rand(4, B, 3, generator=rng(3)) < 0.5
    evaluated = game(Zero(), batch_size=4)
    grouped = torch.cat(list(evaluated.evaluate(Coalitions(terms, player))))
    assert torch.equal(grouped, torch.cat(list(evaluated.evaluate(Coalitions(terms[..., player])))))


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_on_every_device_and_layout(device, layout):
    masks = torch.rand(5, B, D * T, generator=rng(4)) < 0.5
    evaluate = model if layout == "BDT" else lambda x: model(x.transpose(1, 2))
    there = game(Zero(), evaluate=evaluate, layout=layout, device=device)
    outputs = torch.cat(list(there.evaluate(Coalitions(masks.to(device)))))
    from_host = torch.cat(list(there.evaluate(Coalitions(masks))))
    expected = naive(masks.view(5, B, D, T), torch.zeros(1, B, D, T, dtype=torch.float64), "fixed")
    torch.testing.assert_close(outputs.cpu(), expected, rtol=0, atol=1e-12)
    assert torch.equal(outputs, from_host)


def test_no_call_exceeds_the_batch():
    sizes = []

    def counting(x):
        sizes.append(len(x))
        return model(x)

    for batch in (1, 2, 7, 13):
        sizes.clear()
        evaluated = game(Replay(DRAWS), evaluate=counting, draws=2, batch_size=batch)
        evaluated.runner.begin()
        assert max(sizes) <= batch
        sizes.clear()
        parts = list(evaluated.evaluate(Coalitions(torch.ones(5, B, D * T, dtype=torch.bool))))
        assert max(sizes) <= batch
        assert sum(sizes) == evaluated.cost().rows == 5 * 2 * B
        assert all(len(part) == max(1, batch // (2 * B)) for part in parts[:-1])


def test_a_dry_game_counts():
    evaluated = game(Replay(DRAWS), draws=2, dry=True)
    assert list(evaluated.evaluate(Coalitions(torch.ones(5, B, D * T, dtype=torch.bool)))) == []
    assert evaluated.cost().rows == 5 * 2 * B


@pytest.mark.parametrize("batch", [1, 6, 100])
def test_an_error_names_the_mask_by_its_place_in_the_question(batch):
    masks = torch.ones(5, B, D * T, dtype=torch.bool)
    masks[3, 2] = False

    def fails(x):
        return torch.where((x == 0).all(2).all(1)[:, None], torch.nan, model(x))

    evaluated = game(Zero(), evaluate=fails, batch_size=batch)
    with pytest.raises(PredictionError, match="series id 2, draw 0, mask 3, no flip"):
        list(evaluated.evaluate(Coalitions(masks)))


@pytest.mark.parametrize(
    "masks",
    [
        torch.ones(5, D * T),
        torch.ones(5, D * T - 1, dtype=torch.bool),
        torch.ones(D * T, dtype=torch.bool),
        torch.ones(5, B + 1, D * T, dtype=torch.bool),
        torch.ones(5, B, D, T, dtype=torch.bool),
        torch.ones(5, B, D * T, dtype=torch.uint8),
    ],
)
def test_bad_masks(masks):
    def never(x):
        raise AssertionError("the model was evaluated")

    with pytest.raises(ValueError, match=r"masks must be \(N, 8\) or \(N, 3, 8\) bool"):
        list(game(Zero(), evaluate=never, evaluation="full").evaluate(Coalitions(masks)))
