"""A model that people might bring, and the files that it comes in."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """Two logits of series (B, 2, T)."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0]]) * scale)

    def forward(self, x):
        return x.mean(dim=2) @ self.weight
