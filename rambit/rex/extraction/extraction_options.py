"""Which explanation is looked for, how, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from torch import Tensor

from rambit.options import Options, option

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
    MapOnly = "map_only"


class Objective(Enum):
    """Where a spotlight without success goes: anywhere, or where its circle holds no less responsibility."""

    Nothing = "none"
    Mean = "mean"
    Max = "max"


class CircleOptions(Options):
    """How the strategies spatial and multi_spotlight search; the defaults are ReX's."""

    initial_radius: int = option(default=25, high=_MOST, help="of circles")
    radius_growth: float = option(default=1.2, low=1.0, help="factor by which circles grow, at least by 1")
    spotlights: int = option(default=10, high=_SPOTLIGHTS, help="explanations that are looked for")
    expansions: int = option(default=4, high=_MOST, help="radii that each spotlight tries at a place")
    budget: int = option(default=40, low=0, high=_MOST, help="further places that it tries")
    step: int = option(default=5, high=_MOST, help="how far it walks")
    objective: Objective | str = option(
        default=Objective.Nothing,
        help="where to: anywhere, or where the mean or max responsibility is no less",
    )
    permitted_overlap: float = option(
        default=0.0, low=0.0, high=1.0, help="largest Dice coefficient of two explanations that are returned together"
    )


class ExtractionOptions(CircleOptions):
    """How the strategies search; the defaults are ReX's."""

    chunk_size: int = option(default=10, high=_MOST, help="positions revealed at a time")
    minimum_confidence_threshold: float = option(
        default=0.0, low=0.0, help="share of the target's confidence that an explanation must have"
    )
    necessary_confidence: float = option(
        default=1.0, low=0.0, help="share of the whole input's confidence that a necessary part must have alone"
    )
    necessary_from: Literal["both", "ranking", "spotlights"] = option(
        default="both",
        help="the necessary part: a prefix of the ranking (as rex-xai), a union of spotlights, or the smaller of both",
    )


@dataclass(frozen=True)
class Found:
    """Masks (bool, like the map; True = kept), each evaluated again and sufficient.

    mask: the smallest part found, and the model's confidence for the target with that part alone. necessary: sufficient
    with the confidence that is demanded, and without it the decision changes. complete: that part and the least
    responsible positions that bring the whole input's confidence about. spotlights: (K, *grid), smallest first.
    """

    mask: Tensor
    confidence: float
    necessary: Tensor | None = None
    complete: Tensor | None = None
    spotlights: Tensor | None = None
