"""The questions that a game evaluates: compact ways to write rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rambit.counterfactuals import Counterfactual
from rambit.masks import MaskSet


@dataclass(frozen=True)
class Pairs:
    """Sets of cells d * T + t, and which two of them make each pair: these share no cell.

    Set i holds ``cells[offsets[i] : offsets[i + 1]]``, at least one; ``index`` (P, 2) names the sets of each pair.
    """

    cells: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    index: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Flips:
    """Base masks, and every single cell switched in each: RaMbIT, leave-one-out.

    ``masks`` with target cells: only the target cell of each mask is switched. ``number`` is the first mask's place in
    the stream (it keys draws that are not shared); ``fresh_draws`` gives each mask counterfactual values of its own.
    ``groups`` (D, T), numbers 0 … n-1: cells of one number are switched together, and are scored as one. ``pairs``: of
    each pair of sets both, either and neither are replaced (``PairFlips``), and nothing else is switched.
    """

    masks: MaskSet
    number: int = 0
    fresh_draws: bool = False
    groups: npt.NDArray[np.int64] | None = None
    pairs: Pairs | None = None

    @property
    def of_cells(self) -> bool:
        """Whether single cells are switched."""
        return self.groups is None and self.pairs is None


@dataclass(frozen=True)
class Windows:
    """Features replaced from a start on, for ``window`` steps, from every start ``first`` … T - 1: WinIT, BiWinIT, FIT.

    ``features`` (M, D) bool: what each window replaces. ``heads`` (M,) int64: this feature of the window is kept at its
    start (and replaced from the next step on). ``counterfactual``: other values than the game's.
    """

    features: Tensor
    window: int
    first: int = 1
    heads: Tensor | None = None
    counterfactual: Counterfactual | None = None


@dataclass(frozen=True)
class Coalitions:
    """Masks over the sample's terms (cells in the order d * T + t), bool, True = kept; outputs at the last step.

    (N, terms): each mask for every series, outputs (N, S, B, C). (N, B, terms): row b of a mask for
    series b. ``series`` (N,) int64: mask n is evaluated on series[n] alone, outputs (N, S, 1, C). ``players`` (terms,)
    int64 groups the sample's terms: the one that each belongs to.
    """

    masks: Tensor
    players: Tensor | None = None
    series: Tensor | None = None


@dataclass(frozen=True)
class Boxes:
    """Unions of boxes of the sample's grid that are kept: ReX. Outputs as for Coalitions that each have one series.

    ``boxes`` (K, 6) int32: half-open [z0, z1, y0, y1, x0, x1); row n keeps boxes offsets[n] … offsets[n + 1] - 1,
    ``offsets`` (N + 1,) int64. ``series`` (N,) int64: which series or image each row is of; None where there is one.
    """

    offsets: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int32]
    series: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Soft:
    """Masks (N, terms) float in [0, 1]: each value stands between its counterfactual (0) and itself (1).

    Outputs carry gradients with respect to the masks: plain torch, fixed counterfactuals. ``series`` as in Coalitions.
    """

    masks: Tensor
    series: Tensor | None = None
