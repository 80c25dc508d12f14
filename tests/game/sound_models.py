"""Small models of many kinds that nothing is wrong with: no guard may warn of one."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from rambit.models import GRUClassifier, LSTMClassifier, TCNClassifier, TransformerClassifier
from rambit.predictors import Recurrent
from tests.models_for_tests import GRU, Transformer

D, T, C = 2, 5, 3


def made(make, *args, training=False, **options):
    """A model with the same weights every time; ``training``: left as its user forgot it."""
    torch.manual_seed(0)
    return make(*args, **options).train(training)


def mlp(outputs=C, *last):
    return nn.Sequential(nn.Flatten(), nn.Linear(D * T, 8), nn.ReLU(), nn.Linear(8, outputs), *last)


def convolutions(*middle):
    return nn.Sequential(
        nn.Conv1d(D, 8, 3, padding=1),
        *middle,
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, C),
    )


def linear(x):
    return x.flatten(1)[:, :C] * 2


class Times(nn.Module):
    """Another model's outputs times a number, plus another."""

    def __init__(self, model, times, plus=0.0):
        super().__init__()
        self.model, self.times, self.plus = model, times, plus

    def forward(self, x):
        return self.model(x) * self.times + self.plus


class Last(nn.Module):
    """A recurrent network and a head on its last step."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(rnn.hidden_size * (1 + rnn.bidirectional), C)

    def forward(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0][:, -1])


class Attention(nn.Module):
    """An encoder of transformers, and the mean over time."""

    def __init__(self, dropout=0.1):
        super().__init__()
        self.embed = nn.Linear(D, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=dropout, batch_first=True)
        self.head = nn.Linear(8, C)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x.transpose(1, 2))).mean(1))


class Blocks(nn.Module):
    """Blocks that each explain a part of the series and forecast from it, as N-BEATS has them: (N, 4) values."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(D * T, D * T + 4) for _ in range(2))

    def forward(self, x):
        rest, forecast = x.flatten(1), 0.0
        for block in self.blocks:
            back, part = block(rest).split((D * T, 4), dim=1)
            rest, forecast = rest - back.relu(), forecast + part
        return 1000 + 10 * forecast


class Several(nn.Module):
    """Returns its logits by name, among other things."""

    def __init__(self):
        super().__init__()
        self.inner = mlp()

    def forward(self, x):
        return {"loss": None, "logits": self.inner(x)}


class Table:
    """Like a scikit-learn classifier that was fitted on tables."""

    n_features_in_ = D * T

    def predict_proba(self, table):
        p = 1 / (1 + np.exp(-table[:, 1]))
        return np.stack((1 - p, p), axis=1)


class Regressor:
    """Like a scikit-learn regressor."""

    n_features_in_, _estimator_type = D * T, "regressor"

    def predict(self, table):
        return 100 + table.sum(axis=1)


#: Models that an all-defaults call explains without a word. Those that read series of one length alone are called with
#: ``anchor="end"``, as docs/models.md says.
SOUND = {
    "linear": lambda: made(nn.Sequential, nn.Flatten(), nn.Linear(D * T, C)),
    "mlp": lambda: made(mlp),
    "two classes": lambda: made(mlp, 2),
    "one logit": lambda: made(mlp, 1),
    "many classes": lambda: made(mlp, 100),
    "convolutions": lambda: made(convolutions),
    "batch norm": lambda: made(convolutions, nn.BatchNorm1d(8)),
    "batch norm left in training mode": lambda: made(convolutions, nn.BatchNorm1d(8), training=True),
    "layer norm": lambda: made(nn.Sequential, nn.LayerNorm(T), *mlp()),
    "instance norm": lambda: made(convolutions, nn.InstanceNorm1d(8)),
    "group norm": lambda: made(convolutions, nn.GroupNorm(2, 8)),
    "dropout left in training mode": lambda: made(mlp, C, nn.Dropout(0.9), training=True),
    "dropout behind a function": lambda: (lambda model: lambda x: model(x))(made(convolutions, nn.Dropout(0.9))),
    "gru": lambda: made(Last, nn.GRU(D, 8, batch_first=True)),
    "lstm": lambda: made(Last, nn.LSTM(D, 8, batch_first=True)),
    "bidirectional": lambda: made(Last, nn.LSTM(D, 8, batch_first=True, bidirectional=True)),
    "two layers with dropout": lambda: made(Last, nn.GRU(D, 8, 2, dropout=0.5, batch_first=True), training=True),
    "gru with a state": lambda: made(GRU, D=D),
    "gru and head": lambda: Recurrent(made(nn.GRU, D, 8), made(nn.Linear, 8, C)),
    "causal attention": lambda: made(Transformer, D=D),
    "attention": lambda: made(Attention),
    "attention left in training mode": lambda: made(Attention, 0.5, training=True),
    "our gru": lambda: made(GRUClassifier, D, 8, C),
    "our lstm": lambda: made(LSTMClassifier, D, 8, C),
    "our tcn": lambda: made(TCNClassifier, D, 8, C),
    "our transformer": lambda: made(TransformerClassifier, D, 8, C),
    "scripted": lambda: torch.jit.script(made(mlp)),
    "traced": lambda: torch.jit.trace(made(convolutions), torch.zeros(3, D, T)),
    "exported": lambda: torch.export.export(
        made(mlp), (torch.zeros(3, D, T),), dynamic_shapes=({0: torch.export.Dim("N")},)
    ).module(),
    "double": lambda: made(mlp).double(),
    "a function": lambda: linear,
    "half precision": lambda: lambda x: linear(x).half(),
    "log probabilities": lambda: made(mlp, C, nn.LogSoftmax(dim=1)),
    "nearly uniform": lambda: made(Times, mlp(), 1e-4),
    "nearly the same for every row": lambda: made(Times, mlp(), 1e-3, 5.0),
    "very confident": lambda: made(Times, mlp(), 60.0),
    "one very confident logit": lambda: made(Times, mlp(1), 40.0),
    "positive logits": lambda: made(mlp, C, nn.Softplus()),
    "logits between 0 and 1": lambda: made(Times, mlp(C, nn.Tanh()), 0.5, 0.5),
    "small positive logit": lambda: made(Times, mlp(1), 0.1, 0.5),
    "a hard sigmoid's logits": lambda: made(mlp, C, nn.Hardsigmoid()),
    "returns a dict": lambda: made(Several),
    "an estimator": Table,
    "a regressor": Regressor,
}
#: Models whose outputs are probabilities: an all-defaults call says that it takes them as such, and no more.
PROBABILITIES = {
    "softmax": lambda: made(mlp, C, nn.Softmax(dim=1)),
    "confident softmax": lambda: nn.Sequential(made(Times, mlp(), 60.0), nn.Softmax(dim=1)),
    "softmax of a function": lambda: lambda x: linear(x).softmax(1),
    "one sigmoid": lambda: made(mlp, 1, nn.Sigmoid()),
    "one sigmoid of a function": lambda: lambda x: torch.sigmoid(linear(x).sum(1))[:, None],
    "one column of a softmax": lambda: lambda x: linear(x).softmax(1)[:, 1:2],
    "traced sigmoid": lambda: torch.jit.trace(made(mlp, 1, nn.Sigmoid()), torch.zeros(3, D, T)),
}
#: Models that an all-defaults call would take wrongly, and what is to be said of them.
TOLD = {
    "softmax": (lambda: made(mlp, C, nn.Softmax(dim=1)), {"output": "probs"}),
    "one sigmoid": (lambda: made(mlp, 1, nn.Sigmoid()), {"output": "probs"}),
    "a vector of probabilities": (lambda: made(mlp, 1, nn.Sigmoid(), nn.Flatten(0)), {"output": "probs"}),
    "a vector of logits": (lambda: made(mlp, 1, nn.Flatten(0)), {"output": "logits"}),
    "blocks that forecast": (lambda: made(Blocks), {"output": "regression"}),
    "large forecasts": (lambda: made(Times, mlp(24), 1.0, 1e4), {"output": "regression"}),
    "one value": (lambda: made(Times, mlp(1), 1e4), {"output": "regression"}),
    "several labels": (lambda: made(mlp, C, nn.Sigmoid()), {"output": "regression"}),
    "small values": (lambda: made(Times, mlp(), 1e-30), {"output": "regression"}),
}
