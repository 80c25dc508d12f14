"""Learned timestamp selection: which steps of a series (B, T, D) suffice for a task, trained together with it.

The interface is that of the TSInfluenceScoring package: a script of its users needs another import, and nothing else.
"""

from rambit.plots.selection import visualize_selection
from rambit.selection.counterfactuals import CounterfactualExplainer, CounterfactualGenerator
from rambit.selection.framework import InfluenceFramework, ModelAgnosticWrapper, create_simple_framework
from rambit.selection.losses import CombinedLoss, DiversityLoss, MutualInformationLoss, TaskConsistencyLoss
from rambit.selection.mechanisms import GumbelSoftmaxSelector, ThresholdSelector, TopKSelector
from rambit.selection.scorer import AttentionScorer
from rambit.selection.selection_attributor import SelectionAttributor
from rambit.selection.selector import TimestampSelector
from rambit.selection.selector_files import load_selector, save_selector

__all__ = [
    "AttentionScorer",
    "CombinedLoss",
    "CounterfactualExplainer",
    "CounterfactualGenerator",
    "DiversityLoss",
    "GumbelSoftmaxSelector",
    "InfluenceFramework",
    "ModelAgnosticWrapper",
    "MutualInformationLoss",
    "SelectionAttributor",
    "TaskConsistencyLoss",
    "ThresholdSelector",
    "TimestampSelector",
    "TopKSelector",
    "create_simple_framework",
    "load_selector",
    "save_selector",
    "visualize_selection",
]
