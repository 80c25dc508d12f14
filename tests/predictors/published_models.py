"""Classifiers with the interface of those that were published with WinIT and RaMbIT: what they take, keep and return.

They read (N, D, T) and return (N, S, T), or (N, S) with ``return_all=False``, which is *not* the default: logits from
``forward``, and from ``predict`` probabilities, a softmax or, for one state, a sigmoid.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn


class Published(nn.Module):
    """What both have in common; a subclass has ``forward(series, return_all=True)``."""

    def __init__(self, features, states, hidden):
        super().__init__()
        self.feature_size, self.num_states, self.hidden_size = features, states, hidden
        self.activation = nn.Sigmoid() if states == 1 else nn.Softmax(dim=1)
        self.device = torch.device("cpu")

    def predict(self, series, return_all=True):
        return self.activation(self.forward(series, return_all=return_all))


class StateClassifier(Published):
    """A recurrent network, time first, and a head with batch normalisation; it also takes a state to start from."""

    def __init__(self, features, states, hidden=5, rnn="GRU", layers=1):
        super().__init__(features, states, hidden)
        self.num_layers, self.rnn_type = layers, rnn
        self.rnn = {"GRU": nn.GRU, "LSTM": nn.LSTM}[rnn](features, hidden, num_layers=layers)
        self.regressor = nn.Sequential(nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5), nn.Linear(hidden, states))

    def forward(self, series, return_all=True, past_state=None):
        self.rnn.to(self.device)
        self.regressor.to(self.device)
        steps = series.permute(2, 0, 1).to(self.device)
        self.shape = T, N, _ = steps.shape  # kept, as such models do
        if past_state is None:
            past_state = series.new_zeros(self.num_layers, N, self.hidden_size)
        hidden, last = self.rnn(steps, past_state if self.rnn_type == "GRU" else (past_state, past_state))
        if not return_all:
            last = last if self.rnn_type == "GRU" else last[0]
            return self.regressor(last[-1])
        return self.regressor(hidden.view(T * N, -1)).view(T, N, self.num_states).permute(1, 2, 0)


class ConvClassifier(Published):
    """Convolutions that look ahead: an output at a step is not what the steps until then alone would give."""

    def __init__(self, features, states, hidden=5, kernel=4):
        super().__init__(features, states, hidden)
        sizes = [features, hidden, hidden, states]
        layers = [
            layer
            for a, b in itertools.pairwise(sizes)
            for layer in (nn.Conv1d(a, b, kernel, padding=kernel // 2, padding_mode="replicate"), nn.ReLU())
        ]
        self.regressor = nn.Sequential(*layers[:-1])

    def forward(self, series, return_all=True):
        self.regressor.to(self.device)
        found = self.regressor(series.to(self.device))[:, :, -series.shape[2] :]
        return found if return_all else found[:, :, -1]
