"""Mechanisms that turn scores (B, T) into masks (B, T) through which gradients reach the scores.

A step whose score is -inf is padding and never selected. A hard mask holds exactly 0 and 1; its gradient is that of a
soft quantity (straight-through: Bengio et al., 2013).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from rambit.checks import count, flag, number
from rambit.selection.selection_checks import share

#: Keeps the deviation of equal scores above 0.
_LEAST = 1e-8


class TopKSelector(nn.Module):
    """The k highest scores (all of them where k exceeds T).

    ``hard``: 1 for those and 0 elsewhere, with the gradient of the standardized scores, which like the mask do not
    change when all scores are shifted or stretched: so the scores' size is not driven up. Otherwise the softmax over
    all steps for those, and 0 elsewhere.
    """

    def __init__(self, k: int, hard: bool = True) -> None:
        super().__init__()
        self.k, self.hard = count("k", k), flag("hard", hard)

    def forward(self, scores: Tensor) -> Tensor:
        """The mask (B, T) of scores (B, T)."""
        highest = _top(scores, self.k)
        return _straight_through(highest, _standardized(scores)) if self.hard else scores.softmax(dim=-1) * highest


class GumbelSoftmaxSelector(nn.Module):
    """k steps drawn without replacement with chances softmax(scores), by Gumbel noise: in training only.

    Soft: k successive softmaxes at ``temperature``, each without what the former ones took; a step may exceed 1 a
    little and the mask sums to k. ``hard``: the k highest noisy scores, with the gradient of the soft mask. k None is
    one step: the Gumbel-softmax. In evaluation mode there is no noise, so that the highest scores are selected.

    Sources: Jang et al., 2017; Kool et al., 2019 (Gumbel top-k); Xie and Ermon, 2019 (its relaxation).
    """

    def __init__(self, temperature: float = 1.0, hard: bool = False, k: int | None = None) -> None:
        super().__init__()
        self.temperature, self.hard = number("temperature", temperature, 0.0, above=True), flag("hard", hard)
        self.k = None if k is None else count("k", k)

    def forward(self, logits: Tensor) -> Tensor:
        """The mask (B, T) of logits (B, T)."""
        k = min(self.k or 1, logits.shape[-1])
        keys = logits - torch.empty_like(logits).exponential_().log() if self.training else logits
        soft = self._relaxed(keys, k)
        return _straight_through(_top(keys, k), soft) if self.hard else soft

    def _relaxed(self, keys: Tensor, k: int) -> Tensor:
        tiny = torch.finfo(keys.dtype).tiny
        total = one = (keys / self.temperature).softmax(dim=-1)
        for _ in range(k - 1):
            keys = keys + (1 - one).clamp(min=tiny).log()
            one = (keys / self.temperature).softmax(dim=-1)
            total = total + one
        return total


class ThresholdSelector(nn.Module):
    """The steps whose sigmoid(score) is above ``threshold``; the gradient is that of the sigmoid."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = share("threshold", threshold)

    def forward(self, scores: Tensor) -> Tensor:
        """The mask (B, T) of scores (B, T)."""
        chance = scores.sigmoid()
        return _straight_through((chance > self.threshold).to(scores.dtype), chance)


def _top(scores: Tensor, k: int) -> Tensor:
    """1 for the k highest scores of each row and 0 elsewhere."""
    best = scores.topk(min(k, scores.shape[-1]), dim=-1).indices
    ones = torch.zeros_like(scores).scatter(-1, best, 1.0)
    return ones * (scores > -math.inf)


def _standardized(scores: Tensor) -> Tensor:
    """Scores with mean 0 and deviation 1 over the steps that are no padding; 0 for padding."""
    there = scores > -math.inf
    size = there.sum(dim=-1, keepdim=True).clamp(min=1)
    known = scores.masked_fill(~there, 0.0)
    centred = (known - known.sum(dim=-1, keepdim=True) / size).masked_fill(~there, 0.0)
    variance = centred.square().sum(dim=-1, keepdim=True) / size
    return centred / (variance + _LEAST).sqrt()


def _straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of ``hard``, exactly, with the gradient of ``soft``."""
    return hard + (soft - soft.detach())
