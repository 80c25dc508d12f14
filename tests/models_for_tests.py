"""Small models of every kind that the engine must be able to ask."""

from __future__ import annotations

import torch
from torch import nn


class GRU(nn.Module):
    """Causal and stateful; ``bidirectional`` makes both claims false."""

    def __init__(self, D=3, H=6, C=3, layers=1, bidirectional=False, cell=nn.GRU):
        super().__init__()
        self.rnn = cell(D, H, layers, batch_first=True, bidirectional=bidirectional)
        self.head = nn.Linear(H * (2 if bidirectional else 1), C)

    def forward(self, x, return_all=False):
        outputs = self.head(self.rnn(x.transpose(1, 2))[0]).transpose(1, 2)
        return outputs if return_all else outputs[:, :, -1]

    def advance(self, x, state):
        if state is not None:
            state = (
                state.transpose(0, 1).contiguous()
                if isinstance(state, torch.Tensor)
                else tuple(s.transpose(0, 1).contiguous() for s in state)
            )
        hidden, after = self.rnn(x.transpose(1, 2), state)
        after = after.transpose(0, 1) if isinstance(after, torch.Tensor) else tuple(s.transpose(0, 1) for s in after)
        return self.head(hidden).transpose(1, 2), after


class Transformer(nn.Module):
    """Causal attention with learned positions: an answer at every step, no state."""

    def __init__(self, D=3, H=8, C=3, T=64):
        super().__init__()
        self.embed = nn.Linear(D, H)
        self.position = nn.Parameter(torch.randn(T, H) * 0.3)
        self.layer = nn.TransformerEncoderLayer(H, 2, 16, dropout=0.1, batch_first=True)
        self.head = nn.Linear(H, C)

    def forward(self, x, return_all=False):
        T = x.shape[2]
        h = self.embed(x.transpose(1, 2)) + self.position[:T]
        causal = torch.triu(torch.ones(T, T, dtype=torch.bool, device=x.device), 1)
        outputs = self.head(self.layer(h, src_mask=causal)).transpose(1, 2)
        return outputs if return_all else outputs[:, :, -1]


class Exact:
    """Arithmetic that does not depend on the batch: elementwise, in float64 sums over small integers of time."""

    def __init__(self, D=3, seed=0):
        self.weight = torch.randn(D, generator=torch.Generator().manual_seed(seed)).double()

    def advance(self, x, state):
        total = torch.zeros(len(x), 1, dtype=torch.float64, device=x.device) if state is None else state
        outputs = []
        for t in range(x.shape[2]):
            step = x[:, 0, t].double() * self.weight[0]
            for d in range(1, x.shape[1]):
                step = step + x[:, d, t].double() * self.weight[d]
            total = total * 0.9 + step[:, None]
            outputs.append(torch.cat((total / (1 + total * total), total * 0.5), dim=1))
        return torch.stack(outputs, dim=2), total

    def __call__(self, x, return_all=False):
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]


def plain(x):
    """A callable that only answers for what it is given: order matters, and so does the length."""
    time = torch.arange(1, x.shape[2] + 1, dtype=x.dtype, device=x.device)
    a = (x[:, 0] * time).sum(-1) / time.sum()
    b = torch.tanh(x[:, 1]).cumsum(-1)[:, -1] * x[:, 2, -1]
    return torch.stack((a, b, a * b), dim=1)
