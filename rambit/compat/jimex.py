"""JIMEx, the published form of RaMbIT: horizons after the block (anchor ``mask``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rambit.attribution import RaMbIT
from rambit.attribution.attributor import Distance
from rambit.checks import count, flag
from rambit.compat.adapter import Array, Explainer
from rambit.counterfactuals import declared
from rambit.game import Flips
from rambit.game.engine import Engine
from rambit.masks import Family, MaskSet
from rambit.options import option

#: The bounds of blocks' heights that a name need not say.
WD_BOUNDS = (1, 3)


class OneCell(RaMbIT):
    """RaMbIT's scores of one cell alone, beside the masks that all cells share."""

    cell: int = option(default=0, low=0, help="the cell d * T + t", recorded=False)

    def _question(self, game: Engine, family: Family, first: int) -> Flips:
        shared = super()._question(game, family, first)
        masks = shared.masks
        target_cells = torch.full((len(masks),), self.cell, dtype=torch.int32, device=masks.masks.device)
        return Flips(MaskSet(masks.masks, masks.weights, target_cells), number=first)


class JIMEx(Explainer):
    """Importance (B, D, T) as numpy, from ``num_masks`` random blocks and ``num_samples`` draws from ``train_loader``.

    ``wt_bounds`` and ``wd_bounds`` bound the blocks' length and height; without a loader, or with ``all_zero_cf``,
    replaced values are zero. All cells share the masks and the draws, which are those of ``random_state``.
    """

    def __init__(
        self,
        num_features: int,
        num_samples: int = 3,
        num_masks: int = 3,
        wt_bounds: tuple[int, int] = (1, 3),
        wd_bounds: tuple[int, int] = WD_BOUNDS,
        device: Any = None,
        metric: Distance = "pd",
        window_size: int = 10,
        train_loader: Any = None,
        random_state: int | None = None,
        all_zero_cf: bool = False,
    ) -> None:
        super().__init__(device, num_features, train_loader, random_state)
        self.num_samples, self.num_masks, self.metric, self.window_size = num_samples, num_masks, metric, window_size
        self.wt_bounds, self.wd_bounds = tuple(wt_bounds), tuple(wd_bounds)
        self.all_zero_cf = flag("all_zero_cf", all_zero_cf)

    def _options(self, all_zero_cf: bool | None) -> dict[str, Any]:
        given = self.all_zero_cf if all_zero_cf is None else flag("all_zero_cf", all_zero_cf)
        zero = given or self.background is None
        return {
            "num_samples": 1 if zero else self.num_samples,
            "L": self.num_masks,
            "window_size": self.window_size,
            "Wt_min": self.wt_bounds[0],
            "Wt_max": self.wt_bounds[1],
            "Wd_min": self.wd_bounds[0],
            "Wd_max": self.wd_bounds[1],
            "anchor": "mask",
            "distance": self.metric,
            "background": None if zero else declared(self.background),
            "all_zero_cf": zero,
            "seed": self.seed,
            "device": self.device,
        }

    def attribute(self, x: Any, all_zero_cf: bool | None = None) -> Array:
        """Importance (B, D, T) of x (B, D, T). ``all_zero_cf``: instead of the constructor's."""
        series = self._check(x)
        return RaMbIT(self.model, **self._options(all_zero_cf)).attribute(series).cpu().numpy()

    def attribute_one_cell(self, x: Any, source_t: int, source_d: int, all_zero_cf: bool | None = None) -> Tensor:
        """Importance (B,) of the cell of feature ``source_d`` at time ``source_t``: ``attribute(x)`` at that cell.

        Only the rows of this cell are evaluated. Raises ValueError or TypeError for a cell that x does not have.
        """
        series = self._check(x)
        D, T = series.shape[1:]
        t, d = count("source_t", source_t, 0, T - 1), count("source_d", source_d, 0, D - 1)
        method = OneCell(self.model, cell=d * T + t, **self._options(all_zero_cf))
        return method.attribute(series)[:, d, t]

    def get_name(self) -> str:
        """The published name, and what it leaves out where that is not the default."""
        wt, wd = ("_".join(map(str, bounds)) for bounds in (self.wt_bounds, self.wd_bounds))
        name = f"jimex_num_masks_{self.num_masks}_window_size_{self.window_size}_num_samples_{self.num_samples}"
        name += f"_wt_bounds_{wt}_{self.metric}"
        if self.background is not None:
            name += "_usedatadist"
        if self.wd_bounds != WD_BOUNDS:
            name += f"_wd_bounds_{wd}"
        if self.all_zero_cf and self.background is not None:  # without data it is zero in any case
            name += "_zero"
        return name
