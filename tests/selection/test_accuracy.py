"""Accuracy when only the best timestamps are kept, against the loop over series."""

from __future__ import annotations

import pytest
import torch

from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.metrics import accuracy_at
from rambit.predictors import Predictor
from tests.naive import selection as naive


def model(x):
    weight = torch.arange(1.0, 1 + x.shape[1] * x.shape[2] * 3, dtype=x.dtype).sin().view(-1, 3)
    return x.flatten(1) @ weight


def game_of(x, **options):
    return Game(Predictor.of(model), TensorSample(x, torch.arange(len(x))), Zero(), **options)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_accuracy_at_is_the_loop(k):
    random = torch.Generator().manual_seed(k)
    x = torch.randn(40, 2, 7, generator=random, dtype=torch.float64)
    scores = torch.randint(4, x.shape, generator=random).double()  # with ties
    labels = torch.randint(3, (40,), generator=random)
    wanted = naive.accuracy_at(lambda z: model(z)[0], x, scores, labels.tolist(), k)
    assert accuracy_at(game_of(x), scores, labels, k) == wanted
    assert 0 < wanted < 1
    assert accuracy_at(game_of(x), scores, model(x).argmax(dim=1), 7) == 1


def test_wrong_arguments():
    x = torch.randn(4, 2, 7)
    labels = torch.zeros(4, dtype=torch.int64)
    for k in (0, 8):
        with pytest.raises(ValueError, match="k must be between 1 and the number of timestamps, 7"):
            accuracy_at(game_of(x), x, labels, k)
    with pytest.raises(TypeError, match="k must be a count"):
        accuracy_at(game_of(x), x, labels, 0.5)
    with pytest.raises(ValueError, match="labels must be classes 0 to 2"):
        accuracy_at(game_of(x), x, labels + 3, 2)
    with pytest.raises(ValueError, match="labels must hold one class for each"):
        accuracy_at(game_of(x), x, labels[:2], 2)
    with pytest.raises(ValueError, match="game must not be dry"):
        accuracy_at(game_of(x, dry=True), x, labels, 2)
