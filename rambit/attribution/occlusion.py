"""Replace and compare, without masks: FO, AFO and Occlusion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rambit import ops
from rambit.attribution.attributor import DRAWS, METHODS, Call, CellOrEnd, Part
from rambit.attribution.cell_groups import GroupedAttributor
from rambit.checks import count
from rambit.game import Coalitions, Flips, FlipScores, Game
from rambit.masks import MaskSet
from rambit.options import option


@METHODS.register("fo")
class FO(GroupedAttributor):
    """Feature occlusion: the distance of the prediction at t when cell (d, t) alone is replaced (Suresh et al., 2017).

    ``counterfactuals`` are uniform(-3, 3) draws by default, as in the WinIT paper; ``zero`` and ``mean`` are common.
    With ``groups`` each is replaced alone; for anchor ``cell`` its time is that of its latest cell.
    """

    num_samples: int = option(default=10, help=DRAWS)
    anchor: CellOrEnd = option(default="cell", help="where outputs are compared: at the cell's own time, or at the end")
    default = "uniform"

    def __post_init__(self) -> None:
        if self.counterfactuals is None:
            self.counterfactuals = self.default
        super().__post_init__()

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        B, D, T = game.sample.x.shape
        nothing = torch.ones(1, D, T, dtype=torch.bool, device=game.device)
        masks = MaskSet(nothing, torch.ones(1, dtype=torch.float64, device=game.device))
        target, groups = self._target(call, indices, game), self._groups(game)
        scores = FlipScores((B, D, T), call.metric, ops.Reduce.MEAN, "all", target, game.device, groups=groups)
        return Part(game.reduce(Flips(masks, groups=groups), scores).values(), None)


@METHODS.register("afo")
class AFO(FO):
    """Augmented feature occlusion: FO with draws from the data, ``background`` (Tonekaboni et al., NeurIPS 2020)."""

    default = "marginal"


@METHODS.register("occlusion")
class Occlusion(GroupedAttributor):
    """A sliding window of ``height`` features × ``width`` steps is replaced; compared at the last step.

    Each cell scores the mean over the windows that cover it (Zeiler & Fergus, ECCV 2014). One that reaches beyond the
    series covers less, as captum's does. With ``groups`` each of them is a window, and no other slides.
    """

    width: int = option(default=1, help="of the window, in steps")
    height: int = option(default=1, help="of the window, in features")
    stride: tuple[int, int] = option(default=(1, 1), help="from one window to the next, (features, steps)")
    num_samples: int = option(default=1, help=DRAWS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.stride, tuple) or len(self.stride) != 2:
            raise ValueError(f"stride must be (features, steps), got {self.stride!r}")
        self.stride = count("stride", self.stride[0]), count("stride", self.stride[1])
        if self.stride[0] > self.height or self.stride[1] > self.width:
            raise ValueError(f"stride={self.stride} leaves cells out: it must not exceed (height, width)")
        if self.groups is not None and (given := (self.height, self.width, self.stride)) != (1, 1, (1, 1)):
            raise ValueError(f"height, width and stride do not apply beside groups, which are the windows, got {given}")

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {**super().settings(), "stride": list(self.stride)}

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        B, D, T = game.sample.x.shape
        target = self._target(call, indices, game)
        if (groups := self._groups(game)) is not None:
            player = torch.from_numpy(groups.ravel())
            by_group = _group_distances(game, player, call.metric, target)
            return Part(by_group[..., player.to(by_group.device)].view(-1, B, D, T), None)
        steps = T if game.sample.length is None else game.sample.length
        height, width = min(self.height, D), min(self.width, steps)
        rows, columns = window_starts(D, height, self.stride[0]), window_starts(steps, width, self.stride[1])
        corners = torch.cartesian_prod(rows, columns)
        piece = max(1, game.max_memory // 8 // (D * T))
        questions = (
            Coalitions(~_windows(corners[begin : begin + piece], (height, width), (D, T)).flatten(1))
            for begin in range(0, len(corners), piece)
        )
        scores = torch.cat([game.coalition_distances(q, call.metric, target) for q in questions], dim=1)
        by_corner = scores.mean(dim=2).transpose(1, 2).reshape(-1, len(rows), len(columns))  # (K · B, …)
        # First down the features, then along time: windows that start apart never share a place of one pass.
        down = by_corner.new_zeros(len(by_corner), D + height, len(columns))
        total = by_corner.new_zeros(len(by_corner), D, T + width)
        for k in range(height):
            down[:, rows + k] += by_corner
        for k in range(width):
            total[:, :, columns + k] += down[:, :D]
        total = total[:, :, :T].view(-1, B, D, T)
        covered = inside_windows(rows, height, D).sum(0)[:, None] * inside_windows(columns, width, T).sum(0)
        return Part(total / covered.to(total.device).clamp(min=1), None)


def _group_distances(game: Game, player: Tensor, metric: ops.Metric, target: Tensor) -> Tensor:
    """(K, B, n) mean distances over draws when one of n groups is replaced; ``player`` (D * T,): that of each cell."""
    n = int(player.max()) + 1
    piece = max(1, game.max_memory // 8 // (n + len(player)))
    questions = (
        Coalitions(torch.arange(begin, min(n, begin + piece))[:, None] != torch.arange(n), player)
        for begin in range(0, n, piece)
    )
    distances = torch.cat([game.coalition_distances(q, metric, target) for q in questions], dim=1)  # (K, n, S, B)
    return distances.mean(dim=2).transpose(1, 2)


def window_starts(size: int, window: int, stride: int) -> Tensor:
    """Where windows start: every stride, until one reaches the end."""
    return torch.arange(0, size - window + stride, stride)


def _windows(corners: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(n, D, T) bool: what the windows at these corners (n, 2) cover."""
    rows, columns = (inside_windows(corners[:, axis], window[axis], size[axis]) for axis in (0, 1))
    return rows[:, :, None] & columns[:, None]


def inside_windows(starts: Tensor, window: int, size: int) -> Tensor:
    """(n, size) bool: the places that each window covers."""
    after = torch.arange(size) - starts[:, None]
    return (after >= 0) & (after < window)
