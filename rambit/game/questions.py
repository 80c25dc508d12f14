"""The questions that a game answers: compact ways to write rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from rambit.counterfactuals import Counterfactual
from rambit.masks import MaskSet


@dataclass(frozen=True)
class Flips:
    """Base masks, and every single cell switched in each: RaMbIT, leave-one-out.

    ``masks`` with owners ask only the owner's cell of each mask. ``number`` is the first mask's place in the stream
    (it keys draws that are not shared); ``fresh_draws`` gives each mask counterfactual values of its own.
    """

    masks: MaskSet
    number: int = 0
    fresh_draws: bool = False


@dataclass(frozen=True)
class Runs:
    """Features replaced from a start on, for ``window`` steps, from every start ``first`` … T - 1: WinIT, BiWinIT, FIT.

    ``features`` (M, D) bool: what each run replaces. ``heads`` (M,) int64: this feature of the run is kept at the start
    itself (its own run then begins one step later). ``counterfactual``: other values than the game's.
    """

    features: Tensor
    window: int
    first: int = 1
    heads: Tensor | None = None
    counterfactual: Counterfactual | None = None


@dataclass(frozen=True)
class Coalitions:
    """Masks over the cells in the order d * T + t, bool, True = kept; answers at the last step.

    (N, terms): each mask is asked of every series. (N, B, terms): row b of a mask is asked of series b. ``players``
    (cells,) int64 makes the terms groups of cells: the term that each cell belongs to.
    """

    masks: Tensor
    players: Tensor | None = None
