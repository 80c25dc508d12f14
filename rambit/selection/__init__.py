"""Learned timestamp selection: which steps of a series (B, T, D) suffice for a task, trained together with it.

The interface is that of the TSInfluenceScoring package: a script of its users needs another import and nothing else,
and a seed gives the weights that it gives there. Other than there, by design: gradients through hard masks, which are
those that `mechanisms` describes; Gumbel selection, which draws k steps if k is given, and in evaluation mode takes the
highest scores; ``total_loss``, which counts the mutual information too; the shuffle of that, which leaves no pair
together; the framework's ``mi_hidden_dim``, by default ``input_dim``; the cosine distance where nothing is left, 0.
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
