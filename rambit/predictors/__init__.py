"""Predictors: one face on every kind of model. A new kind is one class here."""

from rambit.predictors.estimator import EstimatorPredictor
from rambit.predictors.exported import ExportedPredictor
from rambit.predictors.module import ModulePredictor, ProtocolPredictor
from rambit.predictors.onnx import OnnxPredictor
from rambit.predictors.predictor import PredictionError, Predictor, Walk
from rambit.predictors.recurrent import Recurrent

__all__ = [
    "EstimatorPredictor",
    "ExportedPredictor",
    "ModulePredictor",
    "OnnxPredictor",
    "PredictionError",
    "Predictor",
    "ProtocolPredictor",
    "Recurrent",
    "Walk",
]
