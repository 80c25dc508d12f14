"""How many steps the effect of a replaced value takes to show: a window size that is measured, not guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import ops
from rambit.game import Flips, FlipScores, Game, TensorSample
from rambit.masks import Whole

#: Window sizes that are tried, and the share of the longest one's effect that the chosen one must hold.
SIZES = (1, 2, 4, 8, 16, 32)
SHARE = 0.95
#: Steps that are replaced, each alone, in whole series spread over the background. Few salient steps are enough, as
#: squares leave the many others no say; but some must be among them.
STEPS = 1024


def pilot_series(background: Tensor) -> Tensor | None:
    """Series (n, D, T) of a background (N, D, T) with no value missing, together about ``STEPS`` steps; None: none."""
    complete = torch.nonzero(~background.isnan().flatten(1).any(dim=1))[:, 0]
    if len(complete) == 0:
        return None
    count = min(len(complete), max(1, STEPS // background.shape[2]))
    spread = torch.linspace(0, len(complete) - 1, count).round().long()
    return background[complete[spread.to(complete.device)], :, :STEPS]


def choose_window(sample: TensorSample, *game: Any, **options: Any) -> int:
    """The least of ``SIZES`` that holds ``SHARE`` of what the longest sees; ``game``: what a Game is made of.

    The effect is the sum over series and times of the square of the largest distance between outputs, from the replaced
    time on, of the series as it is and with all values of one time replaced by one draw.
    """
    longest = _effect(SIZES[-1], sample, *game, **options)
    # The longest first: then the shorter ones, of which mostly few are needed, cost less than it did.
    return next((W for W in SIZES[:-1] if _effect(W, sample, *game, **options) >= SHARE * longest), SIZES[-1])


def _effect(window_size: int, sample: TensorSample, predictor: Any, strategy: Any, **options: Any) -> float:
    game = Game(predictor, sample, strategy, anchor="cell", window_size=window_size, draws=1, **options)
    B, D, T = game.sample.x.shape
    times = np.tile(np.arange(T), (D, 1))
    target = torch.zeros(1, B, dtype=torch.int64, device=game.device)
    scores = FlipScores((B, D, T), ops.Metric.PD, ops.Reduce.MAX, "all", target, game.device, groups=times)
    masks = Whole().sample(1, D, T, seed=0, device=game.device)
    game.reduce(Flips(masks, groups=times), scores)
    return float(game.to_host(scores.sum.square().sum()))
