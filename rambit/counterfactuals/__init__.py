"""Counterfactual strategies: what stands where a cell is not kept (captum calls these values baselines)."""

from rambit.counterfactuals.background import declared, read_background
from rambit.counterfactuals.conditional import Conditional
from rambit.counterfactuals.counterfactual import STRATEGIES, Counterfactual
from rambit.counterfactuals.generator import FeatureGenerator, GeneratorModel, JointGenerator
from rambit.counterfactuals.given_values import Generated, Replay
from rambit.counterfactuals.resolve import (
    CounterfactualLike,
    needs_background,
    reads_background,
    resolve,
)
from rambit.counterfactuals.strategies import (
    CarryForward,
    Constant,
    Gaussian,
    Interpolate,
    Joint,
    Marginal,
    Mean,
    Uniform,
    Zero,
)

__all__ = [
    "STRATEGIES",
    "CarryForward",
    "Conditional",
    "Constant",
    "Counterfactual",
    "CounterfactualLike",
    "FeatureGenerator",
    "Gaussian",
    "Generated",
    "GeneratorModel",
    "Interpolate",
    "Joint",
    "JointGenerator",
    "Marginal",
    "Mean",
    "Replay",
    "Uniform",
    "Zero",
    "declared",
    "needs_background",
    "read_background",
    "reads_background",
    "resolve",
]
