"""Soft masks: at 0 and 1 they are coalitions, between them their gradients are those of the formula."""

from __future__ import annotations

import pytest
import torch

from rambit.counterfactuals import CarryForward, Replay, Zero
from rambit.game import Coalitions, Game, Soft, TensorSample
from rambit.predictors import Predictor

B, D, T = 3, 2, 5


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def evaluated(game, question):
    return torch.cat(list(game.evaluate(question)))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(D * T, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)
    ).double()


X = torch.randn(B, D, T, dtype=torch.float64, generator=rng(1))
DRAWS = torch.randn(2, B, D, T, dtype=torch.float64, generator=rng(2))


@pytest.mark.parametrize("series", [None, torch.tensor([0, 2, 1, 1, 0, 2, 2])])
@pytest.mark.parametrize("batch", [1, 5, 100])
def test_soft_masks_at_zero_and_one(net, series, batch):
    game = Game(Predictor.of(net), TensorSample(X, torch.arange(B)), Replay(DRAWS), draws=2, batch_size=batch)
    masks = torch.rand(7, D * T, generator=rng(3)) < 0.5
    soft = evaluated(game, Soft(masks.double(), series))
    torch.testing.assert_close(soft.detach(), evaluated(game, Coalitions(masks, series=series)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spatial", [False, True])
def test_gradients_are_those_of_the_formula(net, spatial):
    x = X.view(B, D, 1, T) if spatial else X
    sample = TensorSample.spatial(x) if spatial else TensorSample(x, torch.arange(B))
    game = Game(Predictor.of(net), sample, Replay(DRAWS[:1]), batch_size=4)
    masks = torch.rand(4, sample.terms, dtype=torch.float64, generator=rng(4), requires_grad=True)
    series = torch.tensor([2, 0, 1, 1])
    weight = torch.randn(4, 3, dtype=torch.float64, generator=rng(5))
    (found,) = torch.autograd.grad((evaluated(game, Soft(masks, series))[:, 0, 0] * weight).sum(), masks)
    kept = masks.view(4, 1 if spatial else D, T)
    rows = kept * X[series] + (1 - kept) * DRAWS[0, series]
    (expected,) = torch.autograd.grad((net(rows).softmax(1) * weight).sum(), masks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert game.cost().rows == 4
    assert torch.is_grad_enabled()


def test_bad_soft_masks(net):
    sample = TensorSample(X, torch.arange(B))
    game = Game(Predictor.of(net), sample, Zero())
    for masks in (torch.ones(2, D * T, dtype=torch.bool), torch.ones(2, D * T + 1), torch.ones(D * T)):
        with pytest.raises(ValueError, match=r"masks must be \(N, 10\) floating"):
            list(game.evaluate(Soft(masks)))
    with pytest.raises(ValueError, match="fixed counterfactuals"):
        list(Game(Predictor.of(net), sample, CarryForward()).evaluate(Soft(torch.ones(2, D * T))))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_masks_that_are_no_numbers(value):
    game = Game(Predictor.of(lambda x: x[:, :2, -1]), TensorSample(torch.randn(2, 3, 4), torch.arange(2)), Zero())
    masks = torch.ones(3, 12)
    masks[1, 5] = value
    with pytest.raises(ValueError, match="masks hold NaN or infinite values"):
        list(game.evaluate(Soft(masks)))
