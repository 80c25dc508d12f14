"""Attribution methods: each chooses masks, evaluates a game and reduces the outputs to importance (B, D, T)."""

from rambit.attribution.attributor import METHODS, Attributor
from rambit.attribution.fit import FIT
from rambit.attribution.gradients import FeatureAblation, Gradients, SegmentGradients
from rambit.attribution.interactions import Interactions
from rambit.attribution.occlusion import AFO, FO, Occlusion
from rambit.attribution.perturbation import Dynamask, ExtremalMask
from rambit.attribution.prefixes import TemporalOcclusion, TintFIT
from rambit.attribution.rambit import RaMbIT
from rambit.attribution.shapley import Banzhaf, ExactShapley, ShapleySampling
from rambit.attribution.winit import BiWinIT, WinIT

__all__ = [
    "AFO",
    "FIT",
    "FO",
    "METHODS",
    "Attributor",
    "Banzhaf",
    "BiWinIT",
    "Dynamask",
    "ExactShapley",
    "ExtremalMask",
    "FeatureAblation",
    "Gradients",
    "Interactions",
    "Occlusion",
    "RaMbIT",
    "SegmentGradients",
    "ShapleySampling",
    "TemporalOcclusion",
    "TintFIT",
    "WinIT",
]
