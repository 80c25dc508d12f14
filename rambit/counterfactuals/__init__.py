"""Counterfactual strategies: what stands where a cell is not kept (captum calls these values baselines)."""

from rambit.counterfactuals.strategies import (
    CarryForward,
    Counterfactual,
    Gaussian,
    Interpolate,
    Joint,
    Marginal,
    Mean,
    Replay,
    Uniform,
    Zero,
    read_background,
    resolve,
)

__all__ = [
    "CarryForward",
    "Counterfactual",
    "Gaussian",
    "Interpolate",
    "Joint",
    "Marginal",
    "Mean",
    "Replay",
    "Uniform",
    "Zero",
    "read_background",
    "resolve",
]
