"""Methods by name, and how the problems of one question are searched together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from rambit.game.lockstep import run_together
from rambit.sufficiency.decisions import Decisions
from rambit.sufficiency.search import adding, exact, removing, tuning
from rambit.sufficiency.search.task import Search, Task


@dataclass(frozen=True)
class Stage:
    """A search that goes on from the mask that it gets, and the most rows that it evaluates for so many players.

    ``soft`` ones need gradients.
    """

    run: Callable[[Task, Tensor], Search]
    worst: Callable[[int], int] | None
    soft: bool = False


@dataclass(frozen=True)
class Method:
    """Stages, one after the other. ``last``: what makes a mask irreducible that was searched level by level."""

    stages: tuple[Stage, ...]
    last: Stage | None = None

    @property
    def ranks(self) -> bool:
        """Whether the heuristic matters."""
        return _RANKED in self.stages


_RANKED = Stage(adding.by_ranking, lambda P: P + 2)
_GREEDY = Stage(adding.greedily, lambda P: P * (P + 1) // 2 + 1)
_GRADIENT = Stage(adding.by_gradient, lambda P: P + 1, soft=True)
_REMOVED_GREEDILY = Stage(removing.greedily, lambda P: P * (P + 1) // 2)
# A pass evaluates what it decides, then about twice as many, or 16; each but the last removes a player.
_REMOVED = Stage(removing.randomly, lambda P: 20 * (P + 1) ** 2)
_TUNED = Stage(tuning.finely, None)
_EXACT = Stage(exact.by_size, lambda P: 2**P - 1)

METHODS = {
    "hadd": Method((_RANKED,)),
    "harr": Method((_RANKED, _REMOVED), _REMOVED),
    "harrft": Method((_RANKED, _REMOVED, _TUNED), _REMOVED),
    "gadd": Method((_GREEDY,)),
    "garr": Method((_GREEDY, _REMOVED), _REMOVED),
    "garrft": Method((_GREEDY, _REMOVED, _TUNED), _REMOVED),
    "gradient": Method((_GRADIENT, _REMOVED_GREEDILY), _REMOVED_GREEDILY),
    "exact": Method((_GREEDY, _REMOVED, _EXACT)),
}
SearchName = Literal[
    "flat_hadd", "flat_harr", "flat_harrft", "flat_gadd", "flat_garr", "flat_garrft", "flat_gradient",
    "lbyl_hadd", "lbyl_harr", "lbyl_harrft", "lbyl_gadd", "lbyl_garr", "lbyl_garrft", "lbyl_gradient", "exact",
]  # fmt: skip
SEARCHES: tuple[SearchName, ...] = get_args(SearchName)


def parse(name: str) -> tuple[str, Method]:
    """Scope and method of a search's name. Raises ValueError for another name."""
    if name not in SEARCHES:
        raise ValueError(f"search must be one of {', '.join(SEARCHES)}, got {name!r}")
    scope, _, method = name.rpartition("_")
    return scope or "flat", METHODS[method]


def search(decisions: Decisions, tasks: Sequence[Task], scope: str, method: Method) -> list[Tensor]:
    """A feasible mask (players,) of each problem."""
    masks = [torch.ones(task.players, dtype=torch.bool) for task in tasks]
    depths = [
        decisions.levels(number) if scope == "lbyl" else torch.zeros(task.players) for number, task in enumerate(tasks)
    ]
    for depth in torch.cat(depths).unique().tolist():  # type: ignore[no-untyped-call]
        free = [(of == depth) & mask for of, mask in zip(depths, masks, strict=True)]
        for stage in method.stages:
            masks = _run(decisions, tasks, masks, free, stage)
        masks = _participating(decisions, masks)
    if scope == "lbyl" and method.last is not None:
        masks = _participating(decisions, _run(decisions, tasks, masks, masks, method.last))
    return masks


def _participating(decisions: Decisions, masks: Sequence[Tensor]) -> list[Tensor]:
    """The masks without what counts for nothing, because something above it is removed."""
    return [mask & decisions.participating(number, mask[None])[0] for number, mask in enumerate(masks)]


def _run(
    decisions: Decisions, tasks: Sequence[Task], masks: Sequence[Tensor], free: Sequence[Tensor], stage: Stage
) -> list[Tensor]:
    """The masks after one stage, which decides about the free players of each problem."""
    width = max(task.players for task in tasks)
    searches = []
    for task, mask, players in zip(tasks, masks, free, strict=True):
        chosen = players.nonzero()[:, 0]
        searches.append(_within(stage.run(task.take(chosen), mask[chosen]), mask, chosen, width))
    return run_together(searches, decisions.soft_margins if stage.soft else decisions.margins)


def _within(search: Search, mask: Tensor, free: Tensor, width: int) -> Search:
    """A search about the free players of a mask, which yields masks of all players, filled up to ``width``."""

    def whole(part: Tensor) -> Tensor:
        rows = part.new_zeros(len(part), width)
        rows[:, : len(mask)] = mask
        rows[:, free] = part
        return rows

    try:
        part = next(search)
        while True:
            margins = yield whole(part)
            if margins.ndim == 2:  # margins with gradients
                margins = torch.cat((margins[:, :1], margins[:, 1:][:, free]), dim=1)
            part = search.send(margins)
    except StopIteration as stop:
        return whole(stop.value[None])[0, : len(mask)]
