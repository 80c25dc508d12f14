"""A causal Transformer classifier."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.checks import count
from rambit.models.sequence_classifier import LAYERS, MOST, Classifier, at_lengths, dropout_rate


class TransformerClassifier(Classifier):
    """Layers of causal self-attention over the steps of (B, D, T), and a linear head: logits (B, C).

    Sinusoidal positions, so T has no bound. A step sees itself and what is before it. There is no `advance`: its state
    would be the whole past. Vaswani et al., "Attention is all you need", 2017; layer norms stand before the sublayers
    (Xiong et al., "On layer normalization in the Transformer architecture", 2020).
    """

    def __init__(
        self,
        num_features: int,
        hidden_size: int = 32,
        num_classes: int = 2,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.0,
        *,
        standardize: bool = False,
    ) -> None:
        super().__init__(num_features, num_classes, standardize=standardize)
        self.hidden_size = count("hidden_size", hidden_size, 2, MOST)
        self.num_layers = count("num_layers", num_layers, 1, LAYERS)
        self.num_heads = count("num_heads", num_heads, 1, MOST)
        if self.hidden_size % self.num_heads or self.hidden_size % 2:
            raise ValueError(f"hidden_size must be even and a multiple of num_heads={num_heads}, got {hidden_size}")
        self.dropout = dropout_rate(dropout)
        self.embedding = nn.Linear(self.num_features, self.hidden_size)
        self.layers = nn.ModuleList(
            _Layer(self.hidden_size, self.num_heads, self.dropout) for _ in range(self.num_layers)
        )
        self.norm = nn.LayerNorm(self.hidden_size)
        self.head = nn.Linear(self.hidden_size, self.num_classes)

    def forward(self, x: Tensor, return_all: bool = False, lengths: Tensor | None = None) -> Tensor:
        """Logits (B, C) at the last step, or at `lengths - 1`; (B, C, T) at every step with `return_all=True`."""
        hidden = self.embedding(self._standardized(x).transpose(1, 2))
        hidden = functional.dropout(hidden + positions(hidden), self.dropout, self.training)
        for layer in self.layers:
            hidden = layer(hidden)
        if return_all:
            return cast(Tensor, self.head(self.norm(hidden)).transpose(1, 2))
        return cast(Tensor, self.head(self.norm(hidden[:, -1] if lengths is None else at_lengths(hidden, lengths))))

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON; `rambit.models.build_model` reads it."""
        own = {name: getattr(self, name) for name in ("hidden_size", "num_layers", "num_heads", "dropout")}
        return super().config() | own


def positions(like: Tensor) -> Tensor:
    """(T, H) for hidden features (B, T, H): sin and cos of t / 10000^(2i / H), side by side."""
    _, steps, size = like.shape
    rate = torch.exp(torch.arange(0, size, 2, device=like.device) * (-math.log(10000.0) / size))
    angle = torch.arange(steps, device=like.device)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1).to(like.dtype)


class _Layer(nn.Module):
    """(B, T, H) -> (B, T, H): attention and a feed-forward network, each added to what goes in."""

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.up = nn.Linear(hidden_size, 4 * hidden_size)
        self.down = nn.Linear(4 * hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._drop(self.out(self._attend(self.norm1(x))))
        return x + self._drop(self.down(self._drop(self.up(self.norm2(x)).relu())))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, T, H / heads)
        rate = self.dropout if self.training else 0.0
        value = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)
        return value.transpose(1, 2).flatten(2)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
