"""How ReX searches: every option of the search, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

SEARCHES = ("single", "conjunctive")
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


@dataclass(frozen=True)
class SearchSettings:
    """The options of the search; the defaults are ReX's.

    iters: independent trees. tree_depth: boxes deeper than this are not split. min_box_size: positions that a box
    needs to be split. search_limit: mutants after which an iteration starts no further generation. queue, queue_len:
    which passing mutants are looked into, and how many (None: all). distribution, dist_args: how cuts are drawn;
    beta-binomial needs its (alpha, beta). confidence_filter: the share of the target's confidence that passes.
    weighted, concentrate: responsibility is multiplied by the mutant's confidence, by the box's depth.
    responsibility_style: how iterations are merged. negative_responsibility: subtract the other classes' maps. search:
    "single" refines the boxes that passed, "conjunctive" everything that was visible, over the whole generation.

    Memory does not grow with iters: so many at a time are searched as fit.

    Errors: TypeError or ValueError naming the option, what was given and what is allowed.
    """

    iters: int = 20
    tree_depth: int = 10
    min_box_size: int = 10
    search_limit: int | None = None
    queue: Queue | str = Queue.Area
    queue_len: int | None = 1
    distribution: Distribution | str = Distribution.Uniform
    dist_args: tuple[float, float] | None = None
    confidence_filter: float = 0.0
    weighted: bool = False
    concentrate: bool = False
    responsibility_style: ResponsibilityStyle | str = ResponsibilityStyle.Multiplicative
    negative_responsibility: bool = False
    search: str = "single"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iters", "tree_depth", "min_box_size"):
            _positive(name, getattr(self, name))
        for name in ("search_limit", "queue_len"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        for name, kind in (
            ("queue", Queue), ("distribution", Distribution), ("responsibility_style", ResponsibilityStyle)
        ):  # fmt: skip
            object.__setattr__(self, name, choice(name, getattr(self, name), kind))
        for name in ("weighted", "concentrate", "negative_responsibility"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        if self.search not in SEARCHES:
            raise ValueError(f"search must be one of {', '.join(SEARCHES)}, got {self.search!r}")
        if not (_is_number(self.confidence_filter) and 0 <= self.confidence_filter < math.inf):
            raise ValueError(f"confidence_filter must be a number of at least 0, got {self.confidence_filter!r}")
        if not _is_whole(self.seed) or not 0 <= self.seed < _SEEDS - self.iters:
            raise ValueError(f"seed must be an integer, 0 … {_SEEDS - self.iters - 1}, got {self.seed!r}")
        unbounded = self.queue in (Queue.All, Queue.DC) or self.queue_len is None
        if self.search == "conjunctive" and unbounded and self.search_limit is None:
            raise ValueError(
                "search='conjunctive' needs a search_limit with the queues all and dc or with queue_len=None, "
                "which multiply its work in every generation"
            )
        object.__setattr__(self, "dist_args", check_dist_args(self.distribution, self.dist_args))


def check_dist_args(distribution: Distribution | str, dist_args: Any) -> tuple[float, float] | None:
    """The (alpha, beta) of a beta-binomial; None for the others. Raises ValueError naming dist_args."""
    if distribution is not Distribution.BetaBinomial:
        if dist_args is not None:
            raise ValueError(f"dist_args belongs to distribution 'betabinom' only, got {dist_args!r}")
        return None
    if (
        not isinstance(dist_args, (tuple, list))
        or len(dist_args) != 2
        or not all(_is_number(v) and 0 < v < math.inf for v in dist_args)
    ):
        raise ValueError(f"dist_args must be two positive numbers (alpha, beta) for 'betabinom', got {dist_args!r}")
    return float(dist_args[0]), float(dist_args[1])


E_ = TypeVar("E_", bound=Enum)


def choice(name: str, value: E_ | str, kind: type[E_]) -> E_:
    """The member of ``kind`` that a user names by itself or by its value. Raises ValueError naming the argument."""
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in kind)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}") from None


def _positive(name: str, value: Any) -> None:
    if not _is_whole(value):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be positive, got {value}")
    if value >= _SEEDS:
        raise ValueError(f"{name} must be below {_SEEDS:,}, got {value:,}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
