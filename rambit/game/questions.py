"""The questions that a game answers: compact ways to write rows."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
class Coalitions:
    """Masks (N, terms) bool over the cells in the order d * T + t, True = kept; answers at the last step."""

    masks: Tensor
