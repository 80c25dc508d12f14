"""FO and AFO under their published names: one observation replaced by draws, seen by the prediction at its time."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from rambit.attribution import AFO, FO
from rambit.compat.adapter import Array, Explainer
from rambit.counterfactuals import declared


class FOExplainer(Explainer):
    """Feature occlusion with draws from (-3, 3): importance (B, D, T), the mean change of the probabilities.

    ``n_samples``: the name of ``num_samples`` in WinIT's repository. Time 0 scores 0.
    """

    method: ClassVar[type[FO]] = FO
    name: ClassVar[str] = "fo"

    def __init__(
        self,
        device: Any = None,
        num_samples: int = 10,
        *,
        n_samples: int | None = None,
        random_state: int | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(device, random_state=random_state, unused=unused)
        self.num_samples = num_samples if n_samples is None else n_samples

    def _background(self) -> Any:
        return None

    def attribute(self, x: Any) -> Array:
        """Importance (B, D, T) of x (B, D, T)."""
        series = self._check(x)
        method = self.method(
            self.model,
            num_samples=self.num_samples,
            distance="pd",
            background=self._background(),
            seed=self.seed,
            device=self.device,
        )
        found = method.explain(series, keep_input=False)
        assert found.outputs is not None
        # A distance adds the changes of all classes (one state p is two of them, 1 - p and p); here is their mean.
        scores = found.values.cpu().numpy().astype(np.float64) / found.outputs.shape[1]
        scores[:, :, 0] = 0.0
        return scores

    def get_name(self) -> str:
        """The published name."""
        return self.name if self.num_samples == 10 else f"{self.name}_sample_{self.num_samples}"


class AFOExplainer(FOExplainer):
    """Augmented feature occlusion: FO with draws from ``train_loader``'s values of the same feature."""

    method = AFO
    name = "afo"

    def __init__(
        self,
        device: Any,
        train_loader: Any,
        num_samples: int = 10,
        *,
        n_samples: int | None = None,
        random_state: int | None = None,
        **unused: Any,
    ) -> None:
        Explainer.__init__(self, device, train_loader=train_loader, random_state=random_state, unused=unused)
        if self.background is None:
            raise ValueError("train_loader is needed: its values replace observations")
        self.num_samples = num_samples if n_samples is None else n_samples

    def _background(self) -> Any:
        return declared(self.background)
