"""Minimal sufficient explanations: the least of a sample that a model needs to decide the same."""

from rambit.renamed import older_names
from rambit.structure.masks import (
    ClusteredMask,
    FlatView,
    FollowingMasks,
    HeuristicMask,
    ParticipationTracker,
    ScoreMask,
    SigmoidMask,
    SimpleMask,
    SomeMask,
)
from rambit.sufficiency.explain import cost, explain
from rambit.sufficiency.heuristics import HEURISTICS
from rambit.sufficiency.search.methods import SEARCHES
from rambit.sufficiency.sufficient_explanation import SufficientExplanation

__all__ = [
    "HEURISTICS",
    "SEARCHES",
    "ClusteredMask",
    "FlatView",
    "FollowingMasks",
    "HeuristicMask",
    "ParticipationTracker",
    "ScoreMask",
    "SigmoidMask",
    "SimpleMask",
    "SomeMask",
    "SufficientExplanation",
    "cost",
    "explain",
]

__getattr__ = older_names(__name__, Explanation="SufficientExplanation")
