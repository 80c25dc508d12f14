"""IG, DeepLift and GradientShap under their published names: captum's (extra ``baselines``), called as there."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rambit.attribution.external import library
from rambit.compat.adapter import Array, Explainer
from rambit.predictors import Predictor
from rambit.predictors.module import takes


class GradientExplainer(Explainer):
    """Absolute attributions (B, D, T) of a module's one output, before its activation, from a baseline of zeros.

    Raises ImportError without captum, TypeError for what is no module, ValueError for more than one state.
    """

    method: ClassVar[str]
    name: ClassVar[str]

    def __init__(self, device: Any = None) -> None:
        self.captum = library("captum.attr", "captum")
        super().__init__(device)

    def set_model(self, model: Any, set_eval: bool = True) -> None:
        """The module to explain, (N, D, T) -> (N, 1)."""
        if not isinstance(model, nn.Module):
            raise TypeError(f"{type(self).__name__} needs an nn.Module, for its gradients, got {type(model).__name__}")
        if (states := getattr(model, "num_states", 1)) != 1:
            raise ValueError(f"{type(self).__name__} explains models of one state, got num_states={states}")
        super().set_model(model, set_eval)

    def attribute(self, x: Any) -> Array:
        """Importance (B, D, T) of x (B, D, T), from the generators' state where a method is random."""
        series = self._check(x)
        series = series if self.device is None else series.to(self.device)
        method = getattr(self.captum, self.method)(self.model)
        one_output = {"additional_forward_args": (False,)} if takes(self.model.forward, "return_all") else {}
        # cuDNN's recurrent layers have no gradients in evaluation mode.
        with Predictor.of(self.model).session(gradients=True), torch.backends.cudnn.flags(enabled=False):
            scores: Tensor = method.attribute(series, **self._options(series), **one_output)
        return scores.abs().detach().cpu().numpy()

    def _options(self, series: Tensor) -> dict[str, Any]:
        return {"baselines": torch.zeros_like(series)}

    def get_name(self) -> str:
        """The published name."""
        return self.name


class IGExplainer(GradientExplainer):
    """Integrated gradients (Sundararajan et al., 2017)."""

    method, name = "IntegratedGradients", "ig"


class DeepLiftExplainer(GradientExplainer):
    """DeepLIFT (Shrikumar et al., 2017)."""

    method, name = "DeepLift", "deeplift"


class GradientShapExplainer(GradientExplainer):
    """Gradient SHAP (Lundberg and Lee, 2017): 50 points between x and a baseline, which is zero or x itself."""

    method, name = "GradientShap", "gradientshap"

    def _options(self, series: Tensor) -> dict[str, Any]:
        baselines = torch.cat((torch.zeros_like(series), series))
        return {"baselines": baselines, "n_samples": 50, "stdevs": 0.0001}
