"""What counts as sufficient, and the one way to search for the first prefix of a ranking that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.game.lockstep import run_together
from rambit.game.prefixes import first_passing, prefix_masks
from rambit.rex.decision import Confidences, Decision

#: Bytes of masks that are evaluated at a time, at most.
_MOST_BYTES = 8 << 20
#: Decimals to which confidences are compared, as in ReX; a complete explanation is compared to fewer.
_DECIMALS, _COMPLETE_DECIMALS = 4, 2


class NoExplanationError(RuntimeError):
    """No part of the input that was tried is what was looked for."""


class Bar:
    """What a mask (N, terms) must reach: the target's class, and a share of its confidence, compared to 4 decimals.

    ``necessary``: the share that a necessary part must reach.
    """

    def __init__(self, decision: Decision, share: float, necessary: float = 1.0) -> None:
        self.decision = decision
        self.threshold, self.necessary_threshold = (
            round(decision.confidence * s, _DECIMALS) for s in (share, necessary)
        )

    def sufficient(self, masks: Tensor) -> Tensor:
        """Which masks suffice, (N,) bool."""
        return torch.from_numpy(self._reached(*self.decision.masks(masks)))

    def necessary(self, masks: Tensor) -> Tensor:
        """Which suffice with the confidence that is demanded of them, while what they leave out has another class."""
        classes, confidences = self.decision.masks(torch.cat((masks, ~masks)))
        kept, removed = slice(len(masks)), slice(len(masks), None)
        as_sure = _rounded(confidences[kept], _DECIMALS) >= self.necessary_threshold
        reached = self._reached(classes[kept], confidences[kept])
        return torch.from_numpy(reached & as_sure & (classes[removed] != self.decision.target))

    def complete(self, masks: Tensor) -> Tensor:
        """Which suffice with just the whole input's confidence, to 2 decimals."""
        classes, confidences = self.decision.masks(masks)
        equal = _rounded(confidences, _COMPLETE_DECIMALS) == round(self.decision.confidence, _COMPLETE_DECIMALS)
        return torch.from_numpy(self._reached(classes, confidences) & equal)

    def confidence(self, mask: Tensor) -> float | None:
        """The confidence with one mask (terms,), evaluated on its own; None if it does not suffice."""
        classes, confidences = self.decision.masks(mask[None])
        return float(confidences[0]) if self._reached(classes, confidences)[0] else None

    def nothing(self) -> Part | None:
        """The empty part, if what replaces the input suffices by itself."""
        empty = torch.zeros(self.decision.terms, dtype=torch.bool, device=self.decision.game.device)
        confidence = self.confidence(empty)
        return None if confidence is None else Part(empty, confidence, 0)

    def _reached(self, classes: npt.NDArray[np.int32], confidences: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        reached: npt.NDArray[np.bool_] = classes == self.decision.target
        reached &= _rounded(confidences, _DECIMALS) >= self.threshold
        return reached


def _rounded(confidences: Confidences, decimals: int) -> npt.NDArray[np.float64]:
    rounded: npt.NDArray[np.float64] = confidences.astype(np.float64).round(decimals)
    return rounded


class Part(NamedTuple):
    """A sufficient mask (terms,), the confidence with it alone, and how many positions it keeps."""

    mask: Tensor
    confidence: float
    size: int


def first_part(bar: Bar, ranking: Tensor, sizes: Tensor, test: Callable[[Tensor], Tensor] | None = None) -> Part | None:
    """The first prefix of the ranking, of these sizes, that passes `test` (default: it suffices), or None.

    It is evaluated again on its own, and must suffice then; where outputs depend on the batch it may not, and the
    search goes on.
    """
    while len(sizes):
        search = first_passing(ranking, sizes, width=width(bar.decision))
        [k] = run_together([search], lambda masks, _: (test or bar.sufficient)(masks))
        if k is None:
            return None
        mask = prefix_masks(ranking, sizes[k : k + 1])[0]
        confidence = bar.confidence(mask)
        if confidence is not None:
            return Part(mask, confidence, int(sizes[k]))
        sizes = sizes[k + 1 :]
    return None


def chunks(count: int, chunk: int) -> Tensor:
    """The sizes chunk, 2 · chunk, … and at last `count`."""
    return torch.arange(chunk, count + chunk, chunk).clamp(max=count)


def width(decision: Decision) -> int:
    """How many masks are evaluated at a time, at most: no more than fit one call, since most are not needed."""
    return max(1, min(_MOST_BYTES // decision.terms, decision.game.runner.batch))
