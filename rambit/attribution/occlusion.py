"""Replace and compare, without masks: FO, AFO and Occlusion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from rambit import ops
from rambit.attribution.base import DISTANCES, METHODS, Answer, Attributor, Call, CellOrEnd, Common, Part, only_common
from rambit.checks import count, one_of
from rambit.game import Coalitions, Flips, FlipScores, Game
from rambit.masks import MaskSet


@METHODS.register("fo")
class FO(Attributor):
    """Feature occlusion: the distance of the prediction at t when cell (d, t) alone is replaced (Suresh et al., 2017).

    ``counterfactuals`` are uniform(-3, 3) draws by default, as in the WinIT paper; ``zero`` and ``mean`` are common.
    ``anchor="cell"`` compares at the cell's own time, ``"end"`` at the last step.
    """

    default = "uniform"

    def __init__(
        self, model: Any, *, num_samples: int = 10, anchor: CellOrEnd = "cell", **common: Unpack[Common]
    ) -> None:
        only_common(type(self), common)
        one_of("anchor", anchor, ("cell", "end"))
        if common.get("counterfactuals") is None:
            common["counterfactuals"] = self.default
        super().__init__(model, num_samples=num_samples, anchor=anchor, **common)

    def _answer(self, call: Call) -> Answer:
        def answer(game: Game, places: Tensor) -> Part:
            B, D, T = game.sample.x.shape
            nothing = torch.ones(1, D, T, dtype=torch.bool, device=game.device)
            masks = MaskSet(nothing, torch.ones(1, dtype=torch.float64, device=game.device))
            target = self._target(call, places, game)
            scores = FlipScores((B, D, T), DISTANCES[self.metric], ops.Reduce.MEAN, "all", target, game.device)
            return Part(game.reduce(Flips(masks), scores).values(), None)

        return answer


@METHODS.register("afo")
class AFO(FO):
    """Augmented feature occlusion: FO with draws from the data, ``background`` (Tonekaboni et al., NeurIPS 2020)."""

    default = "marginal"


@METHODS.register("occlusion")
class Occlusion(Attributor):
    """A sliding window of ``height`` features × ``width`` steps is replaced; compared at the last step.

    Each cell scores the mean over the windows that cover it (Zeiler & Fergus, ECCV 2014). Windows start at multiples of
    ``stride`` (features, steps); one that reaches beyond the series covers less, as captum's does.
    """

    def __init__(
        self,
        model: Any,
        *,
        width: int = 1,
        height: int = 1,
        stride: tuple[int, int] = (1, 1),
        num_samples: int = 1,
        **common: Unpack[Common],
    ) -> None:
        only_common(type(self), common)
        super().__init__(model, num_samples=num_samples, **common)
        self.width, self.height = count("width", width), count("height", height)
        if not isinstance(stride, tuple) or len(stride) != 2:
            raise ValueError(f"stride must be (features, steps), got {stride!r}")
        self.stride = count("stride", stride[0]), count("stride", stride[1])
        if self.stride[0] > self.height or self.stride[1] > self.width:
            raise ValueError(f"stride={self.stride} leaves cells out: it must not exceed (height, width)")

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {**super().settings(), "width": self.width, "height": self.height, "stride": list(self.stride)}

    def _answer(self, call: Call) -> Answer:
        def answer(game: Game, places: Tensor) -> Part:
            B, D, T = game.sample.x.shape
            target = self._target(call, places, game)
            steps = T if game.sample.length is None else game.sample.length
            height, width = min(self.height, D), min(self.width, steps)
            rows, columns = _starts(D, height, self.stride[0]), _starts(steps, width, self.stride[1])
            corners = torch.cartesian_prod(rows, columns)
            piece = max(1, game.max_memory // 8 // (D * T))
            questions = (
                Coalitions(~_windows(corners[begin : begin + piece], (height, width), (D, T)).flatten(1))
                for begin in range(0, len(corners), piece)
            )
            scores = torch.cat([game.coalition_distances(q, DISTANCES[self.metric], target) for q in questions])
            by_corner = scores.mean(dim=1).T.reshape(B, len(rows), len(columns))
            # First down the features, then along time: windows that start apart never share a place of one pass.
            down = by_corner.new_zeros(B, D + height, len(columns))
            total = by_corner.new_zeros(B, D, T + width)
            for k in range(height):
                down[:, rows + k] += by_corner
            for k in range(width):
                total[:, :, columns + k] += down[:, :D]
            total = total[:, :, :T]
            covered = _inside(rows, height, D).sum(0)[:, None] * _inside(columns, width, T).sum(0)
            return Part(total / covered.to(total.device).clamp(min=1), None)

        return answer


def _starts(size: int, window: int, stride: int) -> Tensor:
    """Where windows start: every stride, until one reaches the end."""
    return torch.arange(0, size - window + stride, stride)


def _windows(corners: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(n, D, T) bool: what the windows at these corners (n, 2) cover."""
    rows, columns = (_inside(corners[:, axis], window[axis], size[axis]) for axis in (0, 1))
    return rows[:, :, None] & columns[:, None]


def _inside(starts: Tensor, window: int, size: int) -> Tensor:
    """(n, size) bool: the places that each window covers."""
    after = torch.arange(size) - starts[:, None]
    return (after >= 0) & (after < window)
