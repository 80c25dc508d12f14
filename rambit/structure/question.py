"""Masks evaluated on one batch of nested samples, and what is remembered between them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rambit.structure.groups import States, distinct, every
from rambit.structure.layout import Span
from rambit.structure.schema import Path


class Encoded(NamedTuple):
    """What candidates see of n observations: R states with ``values`` (R, H), of which ``present`` (R,) is there.

    ``row`` (N, n) is the state that each candidate sees, or (1, n) if all see the same.
    """

    values: Tensor
    present: Tensor
    row: Tensor


Memory = dict[Path, tuple[Tensor, Encoded]]
"""By node: the last mask of it and of what is below that was the same for all candidates, and what came of it."""


class Question:
    """N ``masks`` (N, S) of the slots of one batch: bool (hard) or in [0, 1] (soft).

    ``embedded`` holds each leaf's values before any mask; ``memory`` is None where nothing may be remembered.
    """

    def __init__(
        self, masks: Tensor, spans: dict[Path, Span], embedded: dict[Path, Tensor], memory: Memory | None
    ) -> None:
        self.masks, self.spans, self.embedded, self.memory = masks, spans, embedded, memory
        self.hard = masks.dtype == torch.bool
        varies = (masks != masks[:1]).any(dim=0) if self.hard else torch.ones_like(masks[0], dtype=torch.bool)
        self._varying_before = [0, *varies.cumsum(0).tolist()]

    def __len__(self) -> int:
        return len(self.masks)

    def varies(self, path: Path) -> bool:
        """Whether candidates can differ at the node or below."""
        span = self.spans.get(path)
        return span is not None and self._varying_before[span.stop] > self._varying_before[span.start]

    def own(self, path: Path, slots: int) -> Tensor:
        """(N, slots) the masks of a node's own slots; all kept, (1, slots), where there are no masks."""
        span = self.spans.get(path)
        if span is None:
            return torch.ones(1, slots, dtype=torch.bool, device=self.masks.device)
        return self.masks[:, span.start : span.own]

    def below(self, path: Path) -> Tensor:
        """(slots,) the first mask of a node's own slots and those below."""
        span = self.spans.get(path, Span(0, 0, 0))
        return self.masks[0, span.start : span.stop]

    def alone(self) -> Question:
        """Only the first mask."""
        return Question(self.masks[:1], self.spans, self.embedded, self.memory)

    def unmasked(self) -> Question:
        """Everything is kept, once."""
        return Question(self.masks[:1, :0].bool(), {}, self.embedded, None)

    def states(self, left: Tensor, owner: Tensor, observations: int) -> States:
        """The states to encode, from what is ``left`` (N, K) of K items: distinct ones, or under soft masks all."""
        if self.hard:
            return distinct(left.long(), owner, observations)
        return every(len(left), observations, left.device)
