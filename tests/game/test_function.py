"""A game as a function of coalitions, alone and under shapiq."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from rambit.attribution import ExactShapley
from rambit.counterfactuals import Replay
from rambit.game import CoalitionFunction, Game, TensorSample
from rambit.game.players import group_cells
from rambit.predictors import Predictor
from tests.models_for_tests import GRU

D, T = 6, 5


def setting():
    torch.manual_seed(0)
    model = GRU(D=D).double().eval()
    X, draws = torch.randn(1, D, T, dtype=torch.float64), torch.randn(2, 1, D, T, dtype=torch.float64)
    game = Game(Predictor.of(model), TensorSample(X, torch.zeros(1, dtype=torch.int64)), Replay(draws), draws=2)
    return model, X, draws, game


def test_worth_of_coalitions():
    model, X, draws, game = setting()
    function = CoalitionFunction(game, players=group_cells("features", D, T, 1))
    coalitions = np.random.RandomState(0).rand(9, D) < 0.5
    worth = function(coalitions)
    with torch.no_grad():
        target = int(model(X).argmax())
        for k, c in enumerate(coalitions):
            x = torch.where(torch.from_numpy(c)[:, None], X, draws[:, 0])
            expected = float(model(x).softmax(1)[:, target].mean())
            assert abs(worth[k] - expected) < 1e-12
    assert isinstance(function(coalitions[0]), float)
    assert function(coalitions[0]) == worth[0]
    assert function.empty == function(np.zeros((1, D)))[0]
    assert function(np.zeros((0, D))).shape == (0,)


def test_bad_input():
    _, X, _, game = setting()
    with pytest.raises(ValueError, match="coalitions"):
        CoalitionFunction(game)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="target"):
        CoalitionFunction(game, target=7)
    with pytest.raises(ValueError, match="players"):
        CoalitionFunction(game, players=torch.zeros(3, dtype=torch.int64))
    two = Game(
        Predictor.of(lambda x: x[:, :2, -1]), TensorSample(X.repeat(2, 1, 1), torch.arange(2)), game.counterfactuals
    )
    with pytest.raises(ValueError, match="one series"):
        CoalitionFunction(two)


def test_shapiq_drives_a_game():
    shapiq = pytest.importorskip("shapiq")
    model, X, draws, game = setting()
    function = CoalitionFunction(game, players=group_cells("features", D, T, 1))
    exact = ExactShapley(model).attribute(X, counterfactuals=draws)[0, :, 0].numpy()
    approximator = shapiq.KernelSHAP(n=D, random_state=0)
    values = approximator.approximate(budget=2**D, game=function)
    found = np.array([values[(i,)] for i in range(D)])
    np.testing.assert_allclose(found, exact, atol=1e-8)


@pytest.mark.parametrize("index", ["STII", "SII", "BII"])
@pytest.mark.parametrize("players", [1, 2, 6, 10])
def test_interactions_equal_shapiqs(players, index):
    shapiq = pytest.importorskip("shapiq")
    _, _, _, game = setting()
    function = CoalitionFunction(game, players=torch.arange(D * T) % players)
    found = function.interactions(index)
    expected = shapiq.ExactComputer(function, n_players=players)(index, order=min(2, players))
    for i, j in itertools.combinations_with_replacement(range(players), 2):
        assert found[i, j] == pytest.approx(expected[(i,) if i == j else (i, j)], abs=1e-12)
        assert found[i, j] == found[j, i]
    assert np.abs(found).max() > 1e-4


def test_shapley_taylor_shares_out_what_is_won():
    _, _, _, game = setting()
    function = CoalitionFunction(game, players=group_cells("features", D, T, 1))
    won = function(np.ones(D, dtype=bool)) - function.empty
    assert np.triu(function.interactions()).sum() == pytest.approx(won)


def test_interactions_that_cannot_be_had():
    _, _, _, game = setting()
    with pytest.raises(ValueError, match="index must be one of STII, SII, BII, got 'FSII'"):
        CoalitionFunction(game).interactions("FSII")
    with pytest.raises(ValueError, match="players: 30 are too many for exact values"):
        CoalitionFunction(game).interactions()
