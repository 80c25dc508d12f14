"""Recurrent layers that go on from a window, against the module called on whole rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from rambit.predictors import Predictor
from rambit.predictors.incremental import Incremental
from rambit.predictors.incremental.rules import recurrent
from rambit.predictors.trace import trace

D, T, H = 3, 17, 5
READINGS = {
    "last": lambda hidden, state: hidden[:, -1],
    "mean": lambda hidden, state: hidden.mean(1),
    "pooled": lambda hidden, state: nn.functional.adaptive_avg_pool1d(hidden.transpose(1, 2), 1).squeeze(-1),
    "state": lambda hidden, state: (state[0] if isinstance(state, tuple) else state)[-1],
    "every step": lambda hidden, state: torch.tanh(hidden).mean(1),
}


class Network(nn.Module):
    def __init__(self, kind, layers, bidirectional, batch_first, reading):
        super().__init__()
        self.rnn = kind(D, H, layers, batch_first=batch_first, bidirectional=bidirectional)
        self.batch_first, self.reading = batch_first, reading
        self.head = nn.LazyLinear(2)

    def forward(self, x):
        hidden, state = self.rnn(x.transpose(1, 2) if self.batch_first else x.permute(2, 0, 1))
        hidden = hidden if self.batch_first else hidden.transpose(0, 1)
        return self.head(READINGS[self.reading](hidden, state))


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_what_is_read_is_that_of_whole_rows(kind, reading, device, monkeypatch):
    walks, walk = [], recurrent.Direction.walk
    monkeypatch.setattr(recurrent.Direction, "walk", lambda self: walks.append(self.backward) or walk(self))
    generator = np.random.default_rng(0)
    for layers, bidirectional, batch_first in itertools.product((1, 2), (False, True), (True, False)):
        torch.manual_seed(0)
        model = Network(kind, layers, bidirectional, batch_first, reading).double().to(device)
        x, n, width = torch.randn(2, D, T, dtype=torch.float64).to(device), 12, 3
        start, which = generator.integers(0, T - width + 1, n), torch.from_numpy(generator.integers(0, 2, n)).to(device)
        start[:2] = 0, T - width  # both edges
        rows, windows = x[which].clone(), torch.randn(n, D, width, dtype=torch.float64).to(device)
        for row, window, at in zip(rows, windows, start.tolist(), strict=True):
            row[:, at : at + width] = window
        walks.clear()
        with torch.no_grad():
            model.eval()(x)
            found = trace(Predictor.of(model), x)
            assert not isinstance(found, str), found
            incremental = Incremental(found, 2)
            outputs = incremental.outputs(incremental.reference(x)[0], which, windows, start)
            torch.testing.assert_close(outputs, model(rows), atol=1e-12, rtol=1e-12)
        served = reading != "every step" and not (bidirectional and layers > 1)
        served = served and device.type == "cpu"  # where steps are ours
        assert walks == ([False, True] if bidirectional else [False]) * served
