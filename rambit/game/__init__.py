"""The waist: masks in, model outputs out. What stands above chooses the masks; what stands below evaluates them."""

from rambit.game.engine import Cost
from rambit.game.function import CoalitionFunction
from rambit.game.game import Game
from rambit.game.horizons import ANCHORS, Anchor
from rambit.game.modes import EVALUATIONS, Evaluation
from rambit.game.progress import progress
from rambit.game.questions import Boxes, Coalitions, Flips, Soft, Windows
from rambit.game.scores import FlipScores
from rambit.game.tensor_sample import TensorSample
from rambit.renamed import older_names

__all__ = [
    "ANCHORS",
    "EVALUATIONS",
    "Anchor",
    "Boxes",
    "CoalitionFunction",
    "Coalitions",
    "Cost",
    "Evaluation",
    "FlipScores",
    "Flips",
    "Game",
    "Soft",
    "TensorSample",
    "Windows",
    "progress",
]

__getattr__ = older_names(__name__, Runs="Windows")
