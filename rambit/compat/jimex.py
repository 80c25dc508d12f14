"""JIMEx, the published form of RaMbIT: horizons after the block (anchor ``mask``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rambit.attribution import RaMbIT
from rambit.attribution.attributor import Distance
from rambit.compat.adapter import Explainer
from rambit.counterfactuals import declared


class JIMEx(Explainer):
    """Importance (B, D, T) as numpy, from ``num_masks`` random blocks and ``num_samples`` draws from ``train_loader``.

    ``wt_bounds`` and ``wd_bounds`` bound the blocks' length and height; without a loader, or with ``all_zero_cf``,
    replaced values are zero.
    """

    def __init__(
        self,
        num_features: int,
        num_samples: int = 3,
        num_masks: int = 3,
        wt_bounds: tuple[int, int] = (1, 3),
        wd_bounds: tuple[int, int] = (1, 3),
        device: Any = None,
        metric: Distance = "pd",
        window_size: int = 10,
        train_loader: Any = None,
        random_state: int | None = None,
        all_zero_cf: bool = False,
    ) -> None:
        super().__init__(num_features, device, train_loader, random_state)
        self.num_samples, self.num_masks, self.metric, self.window_size = num_samples, num_masks, metric, window_size
        self.wt_bounds, self.wd_bounds = tuple(wt_bounds), tuple(wd_bounds)
        self.zero = all_zero_cf or self.background is None

    def _method(self) -> RaMbIT:
        return RaMbIT(
            self.model,
            num_samples=1 if self.zero else self.num_samples,
            L=self.num_masks,
            window_size=self.window_size,
            Wt_min=self.wt_bounds[0],
            Wt_max=self.wt_bounds[1],
            Wd_min=self.wd_bounds[0],
            Wd_max=self.wd_bounds[1],
            anchor="mask",
            distance=self.metric,
            background=None if self.zero else declared(self.background),
            all_zero_cf=self.zero,
            seed=self.seed,
            device=self.device,
        )

    def attribute(self, x: Any) -> npt.NDArray[np.floating[Any]]:
        """Importance (B, D, T) of x (B, D, T)."""
        x = self._check(x)
        return self._method().explain(x).to_numpy()

    def get_name(self) -> str:
        """``jimex`` with samples, masks and window."""
        return f"jimex_samples_{self.num_samples}_masks_{self.num_masks}_window_{self.window_size}"
