"""Estimators: scikit-learn, sktime, aeon, and boosters of LightGBM."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.predictors.predictor import Output, PredictionError, Predictor, face

#: What objectives of LightGBM whose predictions are probabilities, or values, begin with.
_OF_CLASSES = ("binary", "multiclass", "softmax", "multi_logloss", "cross_entropy", "xentropy")
_OF_VALUES = (
    *("regression", "l1", "l2", "rmse", "root_mean", "mean_", "mse", "mae", "mape", "huber", "fair"),
    *("poisson", "quantile", "gamma", "tweedie", "lambdarank", "rank_xendcg"),
)


@face(2)
class EstimatorPredictor(Predictor):
    """An estimator on arrays (N, D, w). One that was fitted on flat tables gets (N, D * w).

    A flat table has the steps of feature 0 first, then those of feature 1: column d * w + t; with ``layout="BTD"`` it
    has column t * D + d. One that was fitted on a data frame gets its column names.

    Under ``output="auto"`` a regressor's ``predict`` gives values (N,) or (N, K); a classifier's ``predict_proba``
    probabilities, or, where it has none, its ``decision_function`` logits; the ``predict`` of a LightGBM booster
    what its objective says. Raises TypeError for a classifier that gives labels alone.
    """

    @classmethod
    def serves(cls, model: Any) -> bool:
        return hasattr(model, "predict_proba") or (hasattr(model, "predict") and not callable(model))

    def __init__(self, model: Any, *, output: Output = "auto", **common: Any) -> None:
        self._method, meant = _how(model, output)
        super().__init__(output=meant, **common)
        self.model = model
        classes = getattr(model, "classes_", None)
        if self.output != "regression" and isinstance(classes, np.ndarray) and classes.ndim == 1:
            self.class_names = tuple(map(str, classes.tolist()))

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        array = np.array(x.cpu().numpy(), order="C")  # a copy: a pipeline may scale in place
        found = getattr(self.model, self._method)(self._as_fitted(array))
        if isinstance(found, list) and np.ndim(found[0]) == 2:
            if len(found) > 1:
                raise PredictionError(
                    f"predict_proba returned {len(found)} tables, one for each of several outputs: explain one of "
                    "them, as in lambda x: torch.as_tensor(model.predict_proba(x.flatten(1).numpy())[0]) with "
                    "output='probs'"
                )
            found = found[0]
        found = np.asarray(found)
        if found.dtype.kind in "OUS":
            raise PredictionError(f"{self._method} returned labels such as {str(found.flat[0])!r}, expected numbers")
        if self._method == "decision_function":
            self._check_decisions(found)
        return torch.as_tensor(found, device=self.device)

    def _as_fitted(self, array: NDArray[Any]) -> Any:
        """The table that the model was fitted on, or the series as they are where it was fitted on series."""
        D, w = array.shape[1:] if self.layout == "BDT" else array.shape[:0:-1]
        columns = _columns(self.model)
        flat = columns == D * w
        if not flat and (columns is None or (columns == D and not hasattr(self.model, "num_feature"))):
            return array
        if not flat:
            raise ValueError(
                f"the model was fitted on tables of {columns} columns, but series of {D} features and {w} steps make "
                f"{D * w}: give it series as long as those, and anchor='end'"
            )
        table = array.reshape(len(array), -1)
        names = getattr(self.model, "feature_names_in_", None)
        if names is None:
            return table
        import pandas

        return pandas.DataFrame(table, columns=names)

    def _check_decisions(self, found: NDArray[Any]) -> None:
        """PredictionError where decisions are not one number for each class, or for the second of two."""
        classes = np.size(getattr(self.model, "classes_", ()))
        given = 2 if found.ndim == 1 else found.shape[1]
        if classes and given != classes:
            raise PredictionError(
                f"decision_function returned {given} numbers for {classes} classes: one for each pair of classes? "
                "decision_function_shape='ovr' gives one for each class"
            )


def _how(model: Any, output: Output) -> tuple[str, Output]:
    """Which method is called, and what it returns. Raises TypeError for a classifier that gives labels alone."""
    kind = _kind(model)
    if kind == "regressor" and hasattr(model, "predict"):
        return "predict", "regression" if output == "auto" else output
    if hasattr(model, "predict_proba"):
        return "predict_proba", "probs" if output == "auto" else output
    if hasattr(model, "decision_function"):
        return "decision_function", "logits" if output == "auto" else output
    if kind == "classifier" and output != "regression":
        raise TypeError(
            f"model {type(model).__name__} predicts labels alone, which do not move until the label does: give one "
            "with predict_proba or decision_function, such as sklearn.calibration.CalibratedClassifierCV of it"
        )
    objective = str((getattr(model, "params", None) or {}).get("objective", ""))
    if output == "auto" and objective.startswith(_OF_CLASSES):
        return "predict", "probs"
    if output == "auto" and objective.startswith(_OF_VALUES):
        return "predict", "regression"
    return "predict", output


def _kind(model: Any) -> str | None:
    """classifier, regressor or another kind of estimator, by what scikit-learn, sktime or aeon keep of it."""
    kind = getattr(model, "_estimator_type", None)
    if kind is None and hasattr(model, "get_tags"):  # of sktime
        kind = model.get_tags().get("object_type")
    if kind is None and hasattr(model, "__sklearn_tags__"):
        kind = model.__sklearn_tags__().estimator_type
    return kind if isinstance(kind, str) else None


def _columns(model: Any) -> int | None:
    """How many columns the table had that it was fitted on; None where it was fitted on series, or does not say."""
    if hasattr(model, "num_feature"):
        return int(model.num_feature())
    columns = getattr(model, "n_features_in_", None)
    return None if columns is None else int(columns)
