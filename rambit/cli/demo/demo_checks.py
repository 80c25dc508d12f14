"""Two checks of scores that the demo prints: does the probability fall, and are the cells that matter found?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.counterfactuals import Counterfactual
from rambit.game import Coalitions, Game, TensorSample
from rambit.predictors import Predictor


def probability_drop(
    predictor: Predictor,
    counterfactuals: Counterfactual,
    x: Tensor,
    scores: Tensor,
    ks: Sequence[int],
    *,
    series: int,
    draws: int,
    orders: int = 5,
    seed: int = 1,
) -> tuple[Tensor, Tensor]:
    """The probability of the predicted class of x (D, T) once the k highest cells, or any k cells, are replaced.

    Two tensors (K,): by the order of `scores` (D, T), and the mean over `orders` random orders.
    """
    sample = TensorSample(x[None], torch.tensor([series]))
    # Whole series only, so that no stronger mode has to be confirmed for each series anew.
    game = Game(predictor, sample, counterfactuals, draws=draws, evaluation="full", seed=seed)
    cells = x.numel()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + series)
    ranked = torch.sort(scores.flatten(), descending=True, stable=True).indices
    rankings = torch.stack([ranked, *(torch.randperm(cells, generator=generator) for _ in range(orders))])
    # A cell's place in an order says from which k on it is replaced.
    place = torch.argsort(rankings, dim=1)
    masks = place[:, None, :] >= torch.tensor(list(ks))[:, None]  # (1 + orders, K, cells)
    target = int(game.predict()[0].argmax())
    outputs = torch.cat(list(game.evaluate(Coalitions(masks.flatten(0, 1)))))  # (masks, draws, 1, C)
    curves = outputs[:, :, 0, target].mean(dim=1).view(1 + orders, len(ks))
    return curves[0], curves[1:].mean(dim=0)


def average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """AUPRC: the precision at each threshold, weighted by the recall that it adds; equal scores share a threshold."""
    order = np.argsort(-scores.ravel(), kind="stable")
    ranked, hits = scores.ravel()[order], truth.ravel()[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # of each run of equal scores
    found, taken = np.cumsum(hits)[last], np.arange(1, len(hits) + 1)[last]
    return float(np.sum(np.diff(found, prepend=0) / hits.sum() * found / taken))
