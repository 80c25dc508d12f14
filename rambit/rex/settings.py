"""How ReX searches: every option of the search, checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from rambit.checks import count, flag, number

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
            self._set(name, count(name, getattr(self, name), 1, _SEEDS - 1))
        for name in ("search_limit", "queue_len"):
            if getattr(self, name) is not None:
                self._set(name, count(name, getattr(self, name), 1, _SEEDS - 1))
        for name, kind in (
            ("queue", Queue), ("distribution", Distribution), ("responsibility_style", ResponsibilityStyle)
        ):  # fmt: skip
            self._set(name, choice(name, getattr(self, name), kind))
        for name in ("weighted", "concentrate", "negative_responsibility"):
            self._set(name, flag(name, getattr(self, name)))
        if not isinstance(self.search, str) or self.search not in SEARCHES:
            raise ValueError(f"search must be one of {', '.join(SEARCHES)}, got {self.search!r}")
        self._set("confidence_filter", number("confidence_filter", self.confidence_filter, 0.0))
        self._set("seed", count("seed", self.seed, 0, _SEEDS - self.iters - 1))
        unbounded = self.queue in (Queue.All, Queue.DC) or self.queue_len is None
        if self.search == "conjunctive" and unbounded and self.search_limit is None:
            raise ValueError(
                "search='conjunctive' needs a search_limit with the queues all and dc or with queue_len=None, "
                "which multiply its work in every generation"
            )
        self._set("dist_args", check_dist_args(self.distribution, self.dist_args))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


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


E_ = TypeVar("E_", bound=Enum)


def choice(name: str, value: E_ | str, kind: type[E_]) -> E_:
    """The member of ``kind`` that a user names by itself or by its value. Raises ValueError naming the argument."""
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(str(member.value) for member in kind)
        raise ValueError(f"{name} must be one of {allowed}, got {value!r}") from None
