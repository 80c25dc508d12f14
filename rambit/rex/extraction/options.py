"""Which explanation is looked for, how, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from rambit.checks import count, number
from rambit.rex.settings import choice

#: Explanations that are looked for at most: each is kept, and compared with all others.
_SPOTLIGHTS = 500
#: More than any input has of anything.
_MOST = 2**31 - 1


class Strategy(Enum):
    """How an explanation is taken from the responsibility map."""

    Global = "global"
    Spatial = "spatial"
    MultiSpotlight = "multi_spotlight"
    Contrastive = "contrastive"
    Complete = "complete"


class Objective(Enum):
    """Where a spotlight without success goes: anywhere, or where its circle holds no less responsibility."""

    Nothing = "none"
    Mean = "mean"
    Max = "max"


@dataclass(frozen=True)
class ExtractionOptions:
    """How the strategies search; the defaults are ReX's.

    chunk_size: positions revealed at a time. minimum_confidence_threshold: the share of the target's confidence that
    an explanation must have. initial_radius, radius_growth: of circles, r <- max(r + 1, int(growth · r)). spotlights:
    how many explanations multi_spotlight looks for, at most 500; expansions: radii that each of its circles tries;
    budget: further places that a spotlight tries; step: how far it walks; objective: where to; permitted_overlap: the
    largest Dice coefficient of two explanations that are returned together.
    """

    chunk_size: int = 10
    minimum_confidence_threshold: float = 0.0
    initial_radius: int = 25
    radius_growth: float = 1.2
    spotlights: int = 10
    expansions: int = 4
    budget: int = 40
    step: int = 5
    objective: Objective | str = Objective.Nothing
    permitted_overlap: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", choice("objective", self.objective, Objective))
        for name in ("chunk_size", "initial_radius", "expansions", "step"):
            object.__setattr__(self, name, count(name, getattr(self, name), 1, _MOST))
        object.__setattr__(self, "spotlights", count("spotlights", self.spotlights, 1, _SPOTLIGHTS))
        object.__setattr__(self, "budget", count("budget", self.budget, 0, _MOST))
        for name, low, high in (
            ("minimum_confidence_threshold", 0.0, math.inf),
            ("radius_growth", 1.0, math.inf),
            ("permitted_overlap", 0.0, 1.0),
        ):
            object.__setattr__(self, name, number(name, getattr(self, name), low, high))


@dataclass(frozen=True)
class Found:
    """Masks (bool, like the map; True = kept), each asked again and sufficient.

    mask: the smallest part found, and the model's confidence for the target with that part alone. necessary: sufficient
    with at least the whole input's confidence, and without it the decision changes. complete: that part and the least
    responsible positions that bring the whole input's confidence about. spotlights: (K, *grid), smallest first.
    """

    mask: Tensor
    confidence: float
    necessary: Tensor | None = None
    complete: Tensor | None = None
    spotlights: Tensor | None = None
