"""What the drop-in explainers share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rambit import arrays
from rambit.attribution.attributor import Attributor
from rambit.counterfactuals import read_background


class Explainer(ABC):
    """Set a model with ``predict(x, return_all=False)`` once, then get numpy attributions of batches (B, D, T)."""

    def __init__(self, num_features: int, device: Any, train_loader: Any, random_state: int | None) -> None:
        self.num_features = num_features
        self.device = torch.device(device) if device is not None else None
        self.background = read_background(train_loader)
        if self.background is not None and self.background.shape[1] != num_features:
            got = self.background.shape[1]
            raise ValueError(f"train_loader has series of {got} features, but num_features={num_features}")
        self.seed = 0 if random_state is None else random_state  # explanations repeat unless another seed is given
        self.model: Any = None

    def set_model(self, model: Any) -> None:
        """The model to explain: ``predict(x, return_all=False)`` -> (B, num_states) probabilities."""
        self.model = model

    @abstractmethod
    def get_name(self) -> str:
        """A name for tables, with the settings that matter."""

    @abstractmethod
    def _method(self) -> Attributor:
        """The attributor that does the work."""

    def _check(self, x: Any) -> Tensor:
        if self.model is None:
            raise RuntimeError("call set_model(model) first")
        series = arrays.whole("x", x)
        if series.ndim != 3 or series.shape[1] != self.num_features:
            raise ValueError(f"x must be (B, {self.num_features}, T), got {tuple(series.shape)}")
        return series
