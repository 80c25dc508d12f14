"""ReX: causal responsibility and sufficient masks (Chockler, Kelly, Kroening, Sun, 2024)."""

from rambit.renamed import older_names
from rambit.rex.boxes import Box, initialise_tree, subbox
from rambit.rex.decision import Decision
from rambit.rex.evaluation import Evaluation
from rambit.rex.explainer import ReX
from rambit.rex.extraction import ExtractionOptions, NoExplanationError, Strategy
from rambit.rex.maps import ResponsibilityMaps
from rambit.rex.mutants import Mutant, get_combinations, prune
from rambit.rex.rex_explanation import RexExplanation
from rambit.rex.search import SearchResult, causal_explanation, search
from rambit.rex.settings import Distribution, Queue, ResponsibilityStyle, SearchSettings

__all__ = [
    "Box",
    "Decision",
    "Distribution",
    "Evaluation",
    "ExtractionOptions",
    "Mutant",
    "NoExplanationError",
    "Queue",
    "ReX",
    "ResponsibilityMaps",
    "ResponsibilityStyle",
    "RexExplanation",
    "SearchResult",
    "SearchSettings",
    "Strategy",
    "causal_explanation",
    "get_combinations",
    "initialise_tree",
    "prune",
    "search",
    "subbox",
]

__getattr__ = older_names(__name__, Asked="Decision", Explanation="RexExplanation")
