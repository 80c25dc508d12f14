"""The explainers of WinIT's and RaMbIT's repositories over ours, by the same names: the constructors, ``set_model``,
``attribute``, the generator methods and ``get_name``; ``Masker`` and ``Masker1``, which remove what scores high; and
the measures that their runner reports. What differs is in ``docs/winit-and-rambit.md``.
"""

from rambit.compat.adapter import MockExplainer
from rambit.compat.biwinit import BiWinITExplainer
from rambit.compat.gradient_explainers import DeepLiftExplainer, GradientShapExplainer, IGExplainer
from rambit.compat.jimex import JIMEx
from rambit.compat.learned_explainers import DynamaskExplainer, FITExplainer
from rambit.compat.masker import Masker, Masker1, aggregate_scores
from rambit.compat.occlusion_explainers import AFOExplainer, FOExplainer
from rambit.compat.winit import OGWinITExplainer, WinITExplainer
from rambit.metrics import aup_by_rank as aup
from rambit.metrics import auprc_trapezoid as auprc
from rambit.metrics import aur_by_rank as aur

__all__ = [
    "AFOExplainer",
    "BiWinITExplainer",
    "DeepLiftExplainer",
    "DynamaskExplainer",
    "FITExplainer",
    "FOExplainer",
    "GradientShapExplainer",
    "IGExplainer",
    "JIMEx",
    "Masker",
    "Masker1",
    "MockExplainer",
    "OGWinITExplainer",
    "WinITExplainer",
    "aggregate_scores",
    "aup",
    "auprc",
    "aur",
]
