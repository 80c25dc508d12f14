"""BiWinIT, the explainer over blocks of neighbouring features of RaMbIT's repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rambit.attribution import BiWinIT, Occlusion
from rambit.attribution.attributor import Call, Distance, Part
from rambit.attribution.winit import by_prediction, clipped
from rambit.checks import count, one_of
from rambit.compat.adapter import Array
from rambit.compat.winit import WinITExplainer, as_numpy
from rambit.counterfactuals import Replay
from rambit.game import Game, Windows
from rambit.options import option

MaskStrategy = Literal["box", "upper_triangular"]
STRATEGIES = ("box", "upper_triangular")


class Blocks(BiWinIT):
    """BiWinIT with three tables for one in ``windows``, (B, D, T, 3 W): scores, and the two distances behind them.

    Upper triangular blocks begin with their head alone: the other features are replaced from the next step on.
    """

    shape: MaskStrategy = option(default="box", help="of a block")

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        whole, kept = self._distances(call, game, self._target(call, indices, game))
        seen = whole - kept
        tables = [by_prediction(table) for table in (seen, whole, kept)]
        return Part(self._aggregate(seen), None, torch.cat(tables, dim=-1))

    def _distances(self, call: Call, game: Game, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.shape == "box":
            return super()._distances(call, game, target)
        blocks, W = self._blocks(game), self.window_size
        values = self._values_by_window(game)
        later = values.clone()  # windows that begin a step later: at their first step stands x itself
        later[..., :-1, 1:] = values[..., 1:, :-1]
        later[..., 0] = game.sample.x
        kept, _ = game.distances(Windows(blocks, W, counterfactual=Replay(later)), call.metric, target)
        whole = torch.empty_like(kept)
        for d in range(len(blocks)):
            headed = later.clone()
            headed[:, :, d] = values[:, :, d]
            question = Windows(blocks[d : d + 1], W, counterfactual=Replay(headed))
            whole[:, d : d + 1], _ = game.distances(question, call.metric, target)
        return clipped(whole), clipped(kept)

    def _values_by_window(self, game: Game) -> Tensor:
        """(S, B, D, T, W): what stands at step p + j of a window from p."""
        x, ids, W = game.sample.x, game.sample.ids, self.window_size
        found = game.counterfactuals.windows(x, None, ids, game.draws, W, seed=self.seed)
        if found is not None:
            return found
        draws = game.counterfactuals.draws(x, None, ids, game.draws, seed=self.seed)
        return functional.pad(draws, (0, W - 1)).unfold(3, W, 1).clone()


class BiWinITExplainer(WinITExplainer):
    """What the head cell of a block of ``height`` neighbouring features adds: four arrays (B, D, T, W).

    The block of features d … d + height - 1 is replaced over [t - n, t], n = 0 … W - 1; its head is the cell
    (d, t - n). ``mask_strategy="box"``: all of it; ``"upper_triangular"``: at t - n the head alone, and from
    t - n + 1 on every feature. Other keywords are those of WinITExplainer.
    """

    def __init__(
        self,
        device: Any,
        num_features: int,
        data_name: str,
        path: str | Path,
        train_loader: Any = None,
        window_size: int = 10,
        num_samples: int = 3,
        conditional: bool = False,
        joint: bool = False,
        metric: Distance = "pd",
        random_state: int | None = None,
        *,
        height: int = 2,
        mask_strategy: MaskStrategy | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(
            device,
            num_features,
            data_name,
            path,
            train_loader,
            window_size,
            num_samples,
            conditional,
            joint,
            metric,
            random_state,
            **unused,
        )
        self.height = count("height", height)
        self.mask_strategy: MaskStrategy = one_of(
            "mask_strategy", "box" if mask_strategy is None else mask_strategy, STRATEGIES
        )

    def attribute(self, x: Any, all_zero_cf: bool = True) -> tuple[Array, Array, Array, Array]:
        """Four arrays (B, D, T, W) for x (B, D, T): scores, S1, S2 and their difference.

        In the scores entry l belongs to the head cell at t - W + l + 1, as in WinIT. In the others entry n belongs to
        the head cell at t - n: S1 is the distance of the prediction at t with the whole block replaced, S2 with its
        head kept, and the last S1 - S2. All are 0 where the head would lie at time 0 or before.
        ``all_zero_cf``: replaced values are zero, which is the default there too; else as in WinITExplainer.
        """
        series = self._check(x)
        method = Blocks(self.model, height=self.height, shape=self.mask_strategy, **self._options(all_zero_cf))
        tables = as_numpy(method.explain(series, keep_input=False).windows)
        scores, whole, kept = np.split(tables, 3, axis=3)
        return scores, whole[..., ::-1].copy(), kept[..., ::-1].copy(), scores[..., ::-1].copy()

    def mask_and_score(self, x: Any, coords: Sequence[tuple[int, int]]) -> Tensor:
        """How far the prediction for each series of x (B, D, T) moves, (B,), with the cells (t, d) at zero together.

        Raises ValueError or TypeError for cells that x does not have.
        """
        series = self._check(x)
        return self._together(series, _cells(coords, series))

    def mask_and_score_windowed(self, x: Any, blob: Sequence[tuple[int, int]]) -> list[Tensor | float]:
        """The same for the predictions at the latest of the cells (t, d) and at each of the W - 1 steps after it.

        One entry (B,) for each of W steps, NaN where the series has ended.
        """
        series = self._check(x)
        cells = _cells(blob, series)
        first, T = max(t for t, _ in cells), series.shape[2]
        horizons = range(first, first + self.window_size)
        return [self._together(series[:, :, : t + 1], cells) if t < T else float("nan") for t in horizons]

    def _together(self, series: Tensor, cells: list[tuple[int, int]]) -> Tensor:
        groups = torch.zeros(series.shape[1:], dtype=torch.int64)
        for t, d in cells:
            groups[d, t] = 1
        t, d = cells[0]
        method = Occlusion(self.model, groups=groups, counterfactuals="zero", distance=self.metric, device=self.device)
        return method.attribute(series.contiguous())[:, d, t]

    def get_name(self) -> str:
        """The published name, and the strategy where it is not the default."""
        name = self._name("biwinit", *["height", str(self.height)] * (self.height >= 2))
        return name if self.mask_strategy == "box" else f"{name}_{self.mask_strategy}"


def _cells(given: Sequence[tuple[int, int]], series: Tensor) -> list[tuple[int, int]]:
    """Pairs (t, d) of cells that the series have. Raises ValueError or TypeError for others."""
    D, T = series.shape[1:]
    cells = [(count("t", t, 0, T - 1), count("d", d, 0, D - 1)) for t, d in given]
    if not cells:
        raise ValueError("coords must name at least one cell (t, d)")
    return cells
