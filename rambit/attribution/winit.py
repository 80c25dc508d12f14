"""WinIT and BiWinIT: how much a window of the past matters, and the observation at its head."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rambit.attribution.attributor import DRAWS, LONGEST, METHODS, Call, Part, RemovalAttributor
from rambit.game import Game, Windows
from rambit.options import option

CLIP = 1e6
Aggregate = Literal["mean", "max", "absmax"]


@METHODS.register("winit")
class WinIT(RemovalAttributor):
    """Importance of each observation for each prediction that it could still influence (Leung et al., ICLR 2023).

    For t ≥ 1 and n = 1 … min(t, window_size): i(n) is the mean over draws of the distance between the output at t and
    the output with feature d replaced over [t - n + 1, t], clipped to ±1e6; i(0) = 0. The importance of observation
    (d, t - n + 1) for the prediction at t is i(n) - i(n - 1).

    ``explain(X).windows`` is (B, D, T, window_size): entry l is observation t - window_size + l + 1 seen from t, zero
    where there is none; time 0 is zero. ``attribute`` aggregates it to (B, D, T) over the predictions that saw the
    observation: ``aggregate`` is ``mean``, ``max`` or ``absmax`` (the value of largest magnitude).

    ``counterfactuals`` may be values by window (S, B, D, T, W): entry [..., p, j] stands at p + j in a window from p.
    """

    window_size: int = option(default=10, high=LONGEST, help="longest window before a prediction, in steps (W)")
    num_samples: int = option(default=3, help=DRAWS)
    aggregate: Aggregate = option(default="mean", help="over the predictions that saw an observation")
    anchor = "cell"

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        seen = self._seen(call, game, self._target(call, indices, game))  # (K, B, D, T, W): by observation and age
        if game.sample.observed is not None:
            seen = seen * game.sample.observed[..., None]
        after_the_first = torch.arange(game.rule.T, device=game.device) > 0  # no window begins at time 0
        return Part(self._aggregate(seen), None, by_prediction(seen), after_the_first)

    def _seen(self, call: Call, game: Game, target: Tensor) -> Tensor:
        """(K, B, D, T, W): entry [k, b, d, p, j] is observation (d, p) for the prediction at p + j."""
        D = game.sample.x.shape[1]
        features = torch.eye(D, dtype=torch.bool)
        distances, _ = game.distances(Windows(features, self.window_size), call.metric, target)
        distances = distances.clamp(-CLIP, CLIP)
        shorter = torch.zeros_like(distances)  # the window that begins one step later, at the same prediction
        shorter[..., :-1, 1:] = distances[..., 1:, :-1]
        seen = (distances - shorter).transpose(1, 2)
        seen[..., 0, :] = 0.0  # no window begins at time 0
        return seen

    def _aggregate(self, seen: Tensor) -> Tensor:
        T, W = seen.shape[3:]
        exists = _exists(T, W, seen.device)
        if self.aggregate == "mean":
            return seen.sum(dim=4) / exists.sum(dim=1)
        if self.aggregate == "max":
            return seen.masked_fill(~exists, -torch.inf).amax(dim=4)
        return seen.gather(4, seen.abs().argmax(dim=4, keepdim=True))[..., 0]


def _exists(T: int, W: int, device: torch.device) -> Tensor:
    """(T, W): whether p + j is a step of the series."""
    return torch.arange(T, device=device)[:, None] + torch.arange(W, device=device) < T


def by_prediction(seen: Tensor) -> Tensor:
    """From [p, j], observation and age, to [t, l]: observation t - W + l + 1 seen from t."""
    T, W = seen.shape[3:]
    out = torch.zeros_like(seen)
    for j in range(min(W, T)):
        out[..., j:, W - 1 - j] = seen[..., : T - j, j]
    return out


@METHODS.register("biwinit")
class BiWinIT(WinIT):
    """WinIT over blocks of neighbouring features: i(block) - i(block with its head cell kept).

    The block of features d … d + height - 1 is replaced over [t - n, t], n = 0 … window_size - 1; the score of its head
    cell (d, t - n) for the prediction at t is the distance with the whole block replaced, minus the distance with the
    head cell kept. Results as in WinIT. Source: the repository of RaMbIT (visriv/rambit), whose BiWinIT this is.
    """

    height: int = option(default=2, help="features in a block")

    def _seen(self, call: Call, game: Game, target: Tensor) -> Tensor:
        whole, kept = self._distances(call, game, target)
        return whole - kept

    def _distances(self, call: Call, game: Game, target: Tensor) -> tuple[Tensor, Tensor]:
        """With the whole block replaced, and with its head kept: each (K, B, D, T, W), by observation and age."""
        blocks = self._blocks(game)
        whole, _ = game.distances(Windows(blocks, self.window_size), call.metric, target)
        heads_kept = Windows(blocks, self.window_size, heads=torch.arange(len(blocks)))
        kept, _ = game.distances(heads_kept, call.metric, target)
        return clipped(whole), clipped(kept)

    def _blocks(self, game: Game) -> Tensor:
        """(D, D) bool: row d holds the features of the block whose head is d."""
        feature = torch.arange(game.sample.x.shape[1])
        return (feature >= feature[:, None]) & (feature < feature[:, None] + self.height)


def clipped(distances: Tensor) -> Tensor:
    """Distances (K, D, B, T, W) of windows, as (K, B, D, T, W) within ±1e6."""
    return distances.clamp(-CLIP, CLIP).transpose(1, 2)
