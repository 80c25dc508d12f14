"""Counterfactual strategies: what stands where a cell is not kept (captum calls these values baselines)."""

from rambit.counterfactuals.generator import FeatureGenerator, GeneratorModel, JointGenerator
from rambit.counterfactuals.strategies import (
    CarryForward,
    Counterfactual,
    CounterfactualLike,
    Gaussian,
    Generated,
    Interpolate,
    Joint,
    Marginal,
    Mean,
    Replay,
    Uniform,
    Zero,
    declared,
    read_background,
    resolve,
)

__all__ = [
    "CarryForward",
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
    "read_background",
    "resolve",
]
