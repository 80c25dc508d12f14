"""How ReX searches: every option of the search, checked."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

from rambit.checks import count, number
from rambit.options import Options, option

Search = Literal["single", "conjunctive"]
#: Seeds of numpy's RandomState are below this, and each iteration has one of its own. No other count needs more.
_SEEDS = 2**32


class Queue(Enum):
    """Which passing mutants are looked into: the smallest, all, those that agree, all without repeats."""

    Area = "area"
    All = "all"
    Intersection = "intersection"
    DC = "dc"


class Distribution(Enum):
    """Where a box is cut: anywhere, by two beta-binomials, or where the target's running map is high."""

    Uniform = "uniform"
    BetaBinomial = "betabinom"
    Adaptive = "adaptive"


class ResponsibilityStyle(Enum):
    """How the maps of the iterations are merged: multiplied and divided by the maximum, or added."""

    Multiplicative = "multiplicative"
    Additive = "additive"


class SearchSettings(Options):
    """The options of the search; the defaults are ReX's.

    Memory does not grow with ``iters``: so many at a time are searched as fit.

    Errors: TypeError or ValueError naming the option, what was given and what is allowed.
    """

    iters: int = option(default=20, high=_SEEDS - 1, help="independent searches, each over a random box tree")
    tree_depth: int = option(default=10, high=_SEEDS - 1, help="boxes deeper than this are not split")
    min_box_size: int = option(default=10, high=_SEEDS - 1, help="boxes of fewer positions are not split")
    search_limit: int | None = option(
        default=None, high=_SEEDS - 1, help="mutants after which a search starts no further generation"
    )
    queue: Queue | str = option(default=Queue.Area, help="which passing mutants are searched further")
    queue_len: int | None = option(default=1, high=_SEEDS - 1, help="how many of them; None: all")
    distribution: Distribution | str = option(default=Distribution.Uniform, help="how boxes are split")
    dist_args: tuple[float, float] | None = option(default=None, help="alpha and beta of betabinom")
    confidence_filter: float = option(
        default=0.0, low=0.0, help="share of the target's confidence that a passing mutant needs"
    )
    weighted: bool = option(default=False, help="weigh responsibility by the mutant's confidence")
    concentrate: bool = option(default=False, help="weigh responsibility by the box's depth")
    responsibility_style: ResponsibilityStyle | str = option(
        default=ResponsibilityStyle.Multiplicative, help="how searches are merged"
    )
    negative_responsibility: bool = option(default=False, help="subtract the other classes' maps")
    search: Search = option(
        default="single",
        help="single refines the boxes that passed; conjunctive, for decisions that need several regions, all seen",
    )
    seed: int = option(default=0, low=0, help="of the box trees and of random values")

    def __post_init__(self) -> None:
        super().__post_init__()
        count("seed", self.seed, 0, _SEEDS - self.iters - 1)
        unbounded = self.queue in (Queue.All, Queue.DC) or self.queue_len is None
        if self.search == "conjunctive" and unbounded and self.search_limit is None:
            raise ValueError(
                "search='conjunctive' needs a search_limit with the queues all and dc or with queue_len=None, "
                "which multiply its work in every generation"
            )
        self.dist_args = check_dist_args(self.distribution, self.dist_args)


def check_dist_args(distribution: Distribution | str, dist_args: Any) -> tuple[float, float] | None:
    """The (alpha, beta) of a beta-binomial; None for the others. Raises ValueError naming dist_args."""
    if distribution is not Distribution.BetaBinomial:
        if dist_args is not None:
            raise ValueError(f"dist_args belongs to distribution 'betabinom' only, got {dist_args!r}")
        return None
    if not isinstance(dist_args, (tuple, list)) or len(dist_args) != 2:
        raise ValueError(f"dist_args must be two positive numbers (alpha, beta) for 'betabinom', got {dist_args!r}")
    alpha, beta = dist_args
    return number("dist_args[0]", alpha, 0.0, above=True), number("dist_args[1]", beta, 0.0, above=True)
