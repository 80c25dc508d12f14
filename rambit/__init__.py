"""rambit: explains what a time-series model looked at, exactly and fast."""

from rambit.allocator import tune_allocator
from rambit.attribution import RaMbIT
from rambit.predictors import PredictionError, Predictor
from rambit.results import Attribution

__version__ = "0.1.0"

__all__ = ["Attribution", "PredictionError", "Predictor", "RaMbIT", "__version__", "tune_allocator"]
