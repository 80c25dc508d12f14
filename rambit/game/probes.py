"""Rows as the engine will make them, a few of a batch: what a model's claims and its outputs are checked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.counterfactuals import Counterfactual, Replay
from rambit.game.rows import base_rows
from rambit.game.runner import Inputs
from rambit.game.tensor_sample import TensorSample

SERIES = 4
STEPS = 32  # of a replaced window whose values depend on its start: the last goes on in longer ones
#: Two ways to the same output may differ by ABSOLUTE · largest output + RELATIVE · |output|: rounding, not meaning.
TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-9, 1e-7)}


def rows(sample: TensorSample, strategy: Counterfactual, seed: int, features_last: bool) -> tuple[Tensor, Tensor]:
    """(n, D, T): up to four series spread over the batch as they are, and with about half of their cells replaced.

    And which series each row is of, (n,).
    """
    which, sample, strategy = _spread(sample, strategy)
    D, T = sample.x.shape[1:]
    inputs = Inputs.of(sample, strategy, 1, seed=seed, features_last=features_last, window=_window(strategy))
    masks = memory.full((2, D, T), torch.empty(0), True, torch.bool)
    masks[1] = _coins((D, T), seed)
    described = torch.from_numpy(base_rows(np.zeros(2, dtype=np.int32), 1, len(sample)))
    out = memory.empty((len(described), D, T), sample.x)
    if features_last:
        out = memory.empty((len(described), T, D), sample.x).transpose(1, 2)
    place = sample.x.device
    ops.masked_batch(
        out, sample.x, inputs.draws, masks.to(place), described.to(place), inputs.observed, inputs.fill, inputs.windows
    )
    return out, which.to(place).repeat(2)


def extremes(sample: TensorSample, strategy: Counterfactual, draws: int, seed: int, count: int = 2) -> Tensor:
    """(count, D, T): series of the smallest and largest values of each feature, in the batch and in what replaces.

    These are the bounds of all draws, of which each mask may have its own. Where a strategy knows none, as a generator,
    they are those of the first draws for a few series: values farther out, of later ones, are not looked at.
    """
    values = [sample.x.transpose(0, 1).flatten(1)]
    extent = strategy.extent()
    if extent is not None:
        values.append(extent.to(sample.x).expand(sample.x.shape[1], 2))
    else:
        _, few, strategy = _spread(sample, strategy)
        inputs = Inputs.of(few, strategy, draws, seed=seed, features_last=False, window=_window(strategy))
        given = inputs.draws if inputs.windows is None else inputs.windows
        values.append(given.movedim(2, 0).flatten(1))
    known = torch.nan_to_num(torch.cat(values, dim=1))
    low, high = known.amin(dim=1)[:, None], known.amax(dim=1)[:, None]
    return torch.where(_coins((count, *sample.x.shape[1:]), seed).to(known.device), low, high)


def _spread(sample: TensorSample, strategy: Counterfactual) -> tuple[Tensor, TensorSample, Counterfactual]:
    """A few series over the whole batch: which, themselves, and the strategy for them."""
    which = torch.linspace(0, len(sample) - 1, min(SERIES, len(sample))).round().long()
    if isinstance(strategy, Replay):
        strategy = strategy.take(which, sample.x.shape[2])
    return which, sample.take(which.to(sample.x.device)), strategy


def _window(strategy: Counterfactual) -> int | None:
    return STEPS if strategy.fill == ops.Fill.WINDOWS else None


def _coins(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed % 2**31)) < 0.5


def allowed(value: Tensor) -> Tensor:
    """By how much two ways to these outputs may differ."""
    absolute, relative = TOLERANCE[value.dtype]
    return absolute * value.abs().amax().clamp(min=1) + relative * value.abs()


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """float32 products in full, for the whole process: a GPU may round their factors to 10 bits (TF32), as torch lets
    cuDNN do unless told otherwise, and two ways to an output then differ by more than ``allowed``.
    """
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    kinds = (cudnn.conv, cudnn.rnn, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def generators(device: torch.device) -> list[Tensor]:
    """The states of torch's generators that a model on this device may draw from: they change where it does."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def vary(outputs: Tensor) -> bool:
    """Whether outputs (n, C) differ by more than rounding."""
    return bool((outputs.amax(dim=0) - outputs.amin(dim=0) > 10 * allowed(outputs).amax(dim=0)).any())
