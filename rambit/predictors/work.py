"""How many multiplications a model's rows take, from the shapes of its weights."""

from __future__ import annotations

from torch import nn


def multiplications(module: nn.Module, T: int) -> int:
    """About how many a row of T steps takes: of layers that sum over features each weight works at every step."""
    total = 0
    for part in module.modules():
        weights = sum(weight.numel() for weight in part.parameters(recurse=False))
        if isinstance(part, nn.Linear) and part.in_features >= T:  # it reads whole series
            total += weights
        elif isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.RNNBase)):
            total += weights * T
    return total
