"""A causal convolutional classifier that can stop anywhere and go on from a state."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.checks import count
from rambit.models.sequence_classifier import MOST, Classifier, at_lengths, dropout_rate

# Up to here a matrix product of the few steps is faster than a convolution: on a CPU, four times for one step.
SHORT = 4
# The next layer would reach back by another 2^16 kernels, further than any series; and each doubles the state.
LAYERS = 16


class TCNClassifier(Classifier):
    """Residual blocks of two causal convolutions each, dilated by 1, 2, 4, ..., and a linear head: logits (B, C).

    The output at a step depends on `receptive_field` steps, itself included. State: the last inputs of each of the
    2 num_layers convolutions, (N, (kernel_size - 1) dilation, channels), so that a step costs the same whatever the
    receptive field. Bai, Kolter and Koltun, "An empirical evaluation of generic convolutional and recurrent networks
    for sequence modeling", 2018; without weight normalisation. num_layers: at most 16.
    """

    def __init__(
        self,
        num_features: int,
        hidden_size: int = 32,
        num_classes: int = 2,
        num_layers: int = 4,
        kernel_size: int = 3,
        dropout: float = 0.0,
        *,
        standardize: bool = False,
    ) -> None:
        super().__init__(num_features, num_classes, standardize=standardize)
        self.hidden_size = count("hidden_size", hidden_size, 1, MOST)
        self.num_layers = count("num_layers", num_layers, 1, LAYERS)
        self.kernel_size = count("kernel_size", kernel_size, 2, MOST)
        self.dropout = dropout_rate(dropout)
        sizes = [self.num_features] + [self.hidden_size] * (self.num_layers - 1)
        self.blocks = nn.ModuleList(
            _Block(size, self.hidden_size, self.kernel_size, 2**layer, self.dropout) for layer, size in enumerate(sizes)
        )
        self.head = nn.Linear(self.hidden_size, self.num_classes)

    @property
    def receptive_field(self) -> int:
        """How many steps an output depends on."""
        return 1 + 2 * (self.kernel_size - 1) * ((1 << self.num_layers) - 1)

    def advance(self, x: Tensor, state: tuple[Tensor, ...] | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Walk over the segment `x` (N, D, w) from `state` (None: the start): logits (N, C, w) and the new state.

        The batch is the first axis of every tensor of a state, so that rows of it can be picked and repeated.
        """
        hidden, new = self._walk(x, state)
        return self.head(hidden).transpose(1, 2), tuple(part.contiguous() for part in new)

    def forward(self, x: Tensor, return_all: bool = False, lengths: Tensor | None = None) -> Tensor:
        """Logits (B, C) at the last step, or at `lengths - 1`; (B, C, T) at every step with `return_all=True`."""
        hidden, _ = self._walk(x, None)
        if return_all:
            return cast(Tensor, self.head(hidden).transpose(1, 2))
        return cast(Tensor, self.head(hidden[:, -1] if lengths is None else at_lengths(hidden, lengths)))

    def _walk(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, list[Tensor]]:
        """Hidden features (N, w, H) at every step, and views of the state after the last."""
        value, new = self._standardized(x).transpose(1, 2), []
        for i, block in enumerate(self.blocks):
            value, parts = cast(_Block, block)(value, None if state is None else state[2 * i : 2 * i + 2])
            new += parts
        return value, new

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON; `rambit.models.build_model` reads it."""
        own = {name: getattr(self, name) for name in ("hidden_size", "num_layers", "kernel_size", "dropout")}
        return super().config() | own


class _Block(nn.Module):
    """(N, w, C) -> (N, w, H): relu(x + F(x)), with F two convolutions, each with relu and dropout."""

    def __init__(self, size: int, hidden_size: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.past = (kernel_size - 1) * dilation
        self.first = nn.Conv1d(size, hidden_size, kernel_size, dilation=dilation)
        self.second = nn.Conv1d(hidden_size, hidden_size, kernel_size, dilation=dilation)
        self.skip = nn.Linear(size, hidden_size) if size != hidden_size else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, list[Tensor]]:
        value, new = x, []
        for i, convolution in enumerate((self.first, self.second)):
            # Before the start there is nothing: zeros, which is also what padding would put there.
            before = value.new_zeros(value.shape[0], self.past, value.shape[2]) if state is None else state[i]
            seen = torch.cat((before, value), dim=1)
            new.append(seen[:, x.shape[1] :])
            value = self.dropout(_convolve(convolution, seen).relu())
        return (self.skip(x) + value).relu(), new


def _convolve(convolution: nn.Conv1d, seen: Tensor) -> Tensor:
    """(N, past + w, C) -> (N, w, H)."""
    size, dilation = convolution.kernel_size[0], convolution.dilation[0]
    steps = seen.shape[1] - (size - 1) * dilation
    if steps > SHORT:
        return cast(Tensor, convolution(seen.transpose(1, 2))).transpose(1, 2)
    taps = torch.cat([seen[:, i * dilation : i * dilation + steps] for i in range(size)], dim=2)
    return functional.linear(taps, convolution.weight.transpose(1, 2).flatten(1), convolution.bias)
