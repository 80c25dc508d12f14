"""Which explanation is looked for, how, and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

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
            _whole(name, getattr(self, name), 1, _MOST)
        _whole("spotlights", self.spotlights, 1, _SPOTLIGHTS)
        _whole("budget", self.budget, 0, _MOST)
        for name, most in (("minimum_confidence_threshold", math.inf), ("permitted_overlap", 1.0)):
            value = getattr(self, name)
            if not 0 <= value <= most or not math.isfinite(value):
                raise ValueError(f"{name} must be at least 0 and at most {most}, given {value}")
        if not (math.isfinite(self.radius_growth) and self.radius_growth >= 1):
            raise ValueError(f"radius_growth must be at least 1, given {self.radius_growth}")


def _whole(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, given {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, given {value}")
    if value > high:
        raise ValueError(f"{name} must be at most {high:,}, given {value:,}")


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
