"""Estimators with ``predict_proba``: scikit-learn, sktime, aeon."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.predictor import Output, PredictionError, Predictor, face


@face(2)
class EstimatorPredictor(Predictor):
    """An estimator on arrays (N, D, w). One that was fitted on flat tables gets (N, D * w)."""

    @classmethod
    def serves(cls, model: Any) -> bool:
        return hasattr(model, "predict_proba")

    def __init__(self, model: Any, *, output: Output = "auto", **common: Any) -> None:
        super().__init__(output="probs" if output == "auto" else output, **common)
        self.model = model

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        array = np.array(x.cpu().numpy(), order="C")  # a copy: a pipeline may scale in place
        if getattr(self.model, "n_features_in_", None) == array.shape[1] * array.shape[2]:
            array = array.reshape(len(array), -1)
        found = self.model.predict_proba(array)
        if isinstance(found, list) and len(found) > 1 and np.ndim(found[0]) == 2:
            raise PredictionError(
                f"predict_proba returned {len(found)} tables, one for each of several outputs: explain one of them, as "
                "in lambda x: torch.as_tensor(model.predict_proba(x.flatten(1).numpy())[0]) with output='probs'"
            )
        return torch.as_tensor(np.asarray(found), device=self.device)
