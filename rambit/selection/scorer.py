"""Scores of timestamps from self-attention over a series."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rambit.checks import count, flag
from rambit.models.sequence_classifier import MOST, dropout_rate
from rambit.selection.selection_checks import finite, padding_of, series


class AttentionScorer(nn.Module):
    """One score for each timestamp of series (B, T, D), from one layer of multi-head self-attention.

    ``positions=True`` adds sinusoidal positions (Vaswani et al., 2017) to the projected steps. Without them the scorer
    cannot tell timestamps of equal content apart, whatever their order. ``hidden_dim`` is a multiple of ``num_heads``.
    One layer norm serves before and after the attention.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 128,
        num_heads: int = 4,
        dropout: float = 0.1,
        positions: bool = False,
    ) -> None:
        super().__init__()
        self.input_dim = count("input_dim", input_dim, 1, MOST)
        self.hidden_dim = count("hidden_dim", hidden_dim, 2, MOST)
        self.num_heads = count("num_heads", num_heads, 1, MOST)
        if hidden_dim % num_heads:
            raise ValueError(f"hidden_dim must be a multiple of num_heads={num_heads}, got {hidden_dim}")
        self.positions = flag("positions", positions)
        rate = dropout_rate(dropout)
        # In this order a seed gives the weights that TSInfluenceScoring draws from it.
        self.attention = nn.MultiheadAttention(hidden_dim, num_heads, dropout=rate, batch_first=True)
        self.input_projection = nn.Linear(input_dim, hidden_dim)
        self.score_layer = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim // 2), nn.ReLU(), nn.Dropout(rate), nn.Linear(hidden_dim // 2, 1)
        )
        self.layer_norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor, key_padding_mask: Tensor | None = None) -> Tensor:
        """Scores (B, T) of x (B, T, D); -inf where ``key_padding_mask`` (B, T) bool is True, which is padding.

        Raises ValueError or TypeError for another shape or type, and for NaN (not under ``torch.compile``).
        """
        series("x", x, self.input_dim)
        padding = padding_of(key_padding_mask, x)
        steps = self.layer_norm(self.input_projection(x))
        if self.positions:
            steps = steps + sinusoids(x.shape[1], self.hidden_dim).to(steps)
        attended, _ = self.attention(steps, steps, steps, key_padding_mask=padding, need_weights=False)
        scores = finite("scores", self.score_layer(self.layer_norm(steps + self.dropout(attended))).squeeze(-1))
        return scores if padding is None else scores.masked_fill(padding, -math.inf)


def sinusoids(steps: int, size: int) -> Tensor:
    """Positions (steps, size): sines, then cosines, of wavelengths from 2π to 20000π (Vaswani et al., 2017)."""
    half = (size + 1) // 2
    rate = torch.exp(-math.log(10000) * torch.arange(half) / half)
    angle = torch.arange(steps)[:, None] * rate
    return torch.cat((angle.sin(), angle.cos()), dim=1)[:, :size]
