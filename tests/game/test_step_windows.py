"""Windows of one step: in every mode the distances, outputs and counts that one row at a time gives."""

from __future__ import annotations

import pytest
import torch

from rambit import ops
from rambit.counterfactuals import Replay
from rambit.game import Game, TensorSample, Windows
from rambit.predictors import Predictor
from tests.models_for_tests import GRU


@pytest.mark.parametrize("evaluation", ["prefix", "causal", "stateful"])
@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_against_one_row_at_a_time(evaluation, batch_size):
    torch.manual_seed(batch_size)
    B, D, T, S, C = 3, 2, 5, 2, 3
    model = GRU(D, C=C).double().eval()
    x, values = torch.randn(B, D, T).double(), torch.randn(S, B, D, T).double()
    features, target = torch.tensor([[True, False], [True, True]]), torch.tensor([[0, 2, 1], [1, 1, 0]])

    def game(dry):
        return Game(
            Predictor.of(model, output="regression"),
            TensorSample(x, torch.arange(B)),
            Replay(values),
            anchor="cell",
            draws=S,
            evaluation=evaluation,
            batch_size=batch_size,
            dry=dry,
        )

    played, counted = game(False), game(True)
    for one in (counted, played):
        found, original = one.distances(Windows(features, 1, first=0), ops.Metric.DIFF, target)
    assert (played.runner.rows, played.runner.row_steps) == (counted.runner.rows, counted.runner.row_steps)
    with torch.no_grad():
        for t in range(T):
            before = model(x[:, :, : t + 1])
            torch.testing.assert_close(original[:, :, t], before)
            for m, chosen in enumerate(features):
                changes = []
                for drawn in values:
                    row = x[:, :, : t + 1].clone()
                    row[:, chosen, t] = drawn[:, chosen, t]
                    changes.append((before - model(row)).gather(1, target.T).T)
                torch.testing.assert_close(found[:, m, :, t, 0], torch.stack(changes).mean(0))
