"""WinIT's published explainer: generators trained on the data, attributions by window as numpy (B, D, T, W)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from rambit.attribution import WinIT
from rambit.attribution.attributor import Distance
from rambit.checks import flag, warn
from rambit.compat.adapter import Array, GeneratedExplainer
from rambit.counterfactuals import FeatureGenerator, GeneratorModel, JointGenerator, declared


class WinITExplainer(GeneratedExplainer):
    """Importance (B, D, T, W): entry l is observation t - W + l + 1 for the prediction at t.

    Replaced values are drawn from ``train_loader``'s values if there is one, else from the generator that
    ``train_generators`` or ``load_generators`` gave (``joint``: one model for all features; ``conditional``: it sees
    the other features' values at the start of a run); without either they are zero, with a warning. Generators live in
    ``path``.
    """

    #: Whether a name says ``num_samples`` even where it is the default.
    names_samples: ClassVar[bool] = False

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
        **unused: Any,
    ) -> None:
        super().__init__(
            data_name,
            path,
            device=device,
            num_features=num_features,
            train_loader=train_loader,
            random_state=random_state,
            unused=unused,
        )
        if conditional and joint:
            raise ValueError("joint=True draws all features together: it cannot be conditional too")
        self.window_size, self.num_samples, self.metric = window_size, num_samples, metric
        self.conditional, self.joint = conditional, joint

    @property
    def generator_file(self) -> Path:
        """Where the generator is kept."""
        kind = "joint" if self.joint else "conditional" if self.conditional else "feature"
        return self.path / f"{self.data_name}_{kind}_generator.safetensors"

    def _new_generator(self) -> GeneratorModel:
        if self.joint:
            return JointGenerator(self.num_features, prediction_size=self.window_size)
        return FeatureGenerator(self.num_features, prediction_size=self.window_size, conditional=self.conditional)

    def _options(self, all_zero_cf: bool) -> dict[str, Any]:
        values: Any = self.generator or "zero"
        if flag("all_zero_cf", all_zero_cf):
            values = "zero"
        elif self.background is not None:
            values = "marginal"
        elif self.generator is None:
            warn("there is no train_loader, and no generator was trained or loaded: replaced values are zero")
        return {
            "window_size": self.window_size,
            "num_samples": 1 if values == "zero" else self.num_samples,
            "distance": self.metric,
            "counterfactuals": values,
            "background": declared(self.background) if values == "marginal" else None,
            "seed": self.seed,
            "device": self.device,
        }

    def attribute(self, x: Any, all_zero_cf: bool = False) -> Any:
        """Importance (B, D, T, W) of x (B, D, T). ``all_zero_cf``: replaced values are zero."""
        series = self._check(x)
        return as_numpy(WinIT(self.model, **self._options(all_zero_cf)).explain(series, keep_input=False).windows)

    def get_name(self) -> str:
        """The published name."""
        return self._name("winit")

    def _name(self, method: str, *more: str) -> str:
        parts = [method, "window", str(self.window_size)]
        if self.names_samples or self.num_samples != 3:
            parts += ["samples", str(self.num_samples)]
        parts += ["cond"] * self.conditional + ["joint"] * self.joint + [*more, self.metric]
        return "_".join(parts + ["usedatadist"] * (self.background is not None))


class OGWinITExplainer(WinITExplainer):
    """WinIT as RaMbIT's repository runs it: the same scores, under a name that always says the samples."""

    names_samples = True


def as_numpy(windows: Tensor | None) -> Array:
    """A result's windows in float64."""
    assert windows is not None
    return windows.cpu().numpy().astype(np.float64)
