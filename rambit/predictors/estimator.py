"""Estimators with ``predict_proba``: scikit-learn, sktime, aeon."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.base import Predictor


class EstimatorPredictor(Predictor):
    """An estimator on arrays (N, D, w). One that was fitted on flat tables gets (N, D * w)."""

    def __init__(self, model: Any, *, output: str = "auto", **common: Any) -> None:
        super().__init__(output="probs" if output == "auto" else output, **common)
        self.model = model

    def call_whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        array = np.ascontiguousarray(x.cpu().numpy())
        if getattr(self.model, "n_features_in_", None) == array.shape[1] * array.shape[2]:
            array = array.reshape(len(array), -1)
        return torch.as_tensor(np.asarray(self.model.predict_proba(array)), device=self.device)
