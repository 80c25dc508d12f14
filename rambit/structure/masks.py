"""Masks of terms that behave like vectors, and one flat view of a whole tree of them. True = kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from rambit.structure.layout import Layout, Slots
from rambit.structure.nodes import Node
from rambit.structure.schema import Path

Index = int | slice | Tensor


@runtime_checkable
class SomeMask(Protocol):
    """A vector of terms that are kept or not, and what it says about a number of positions.

    Most masks have one position for each term; where terms move several positions together, there are more.
    """

    def __len__(self) -> int:
        """How many terms there are."""

    def __getitem__(self, index: Index) -> Tensor:
        """Whether terms are kept."""

    def __setitem__(self, index: Index, kept: bool | Tensor) -> None:
        """Keep or remove terms."""

    def prunemask(self) -> Tensor:
        """(positions,) bool: for taking a subset of the sample."""

    def diffmask(self) -> Tensor:
        """(positions,) in [0, 1], differentiable where there is something to learn: for the soft model."""

    def heuristic(self) -> Tensor:
        """(terms,): how much each term seems to matter."""

    def parts(self) -> list[tuple[SimpleMask, Tensor]]:
        """The stored masks behind this one, each with the term (positions,) that it keeps a position by."""


class _Kept:
    """Is indexed as ``kept`` (n,) bool is."""

    kept: Tensor

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: Index) -> Tensor:
        return self.kept[index]

    def __setitem__(self, index: Index, kept: bool | Tensor) -> None:
        self.kept[index] = kept


class SimpleMask(_Kept):
    """A stored mask: ``kept`` (n,) bool. It holds no opinion on its terms."""

    def __init__(self, kept: Tensor) -> None:
        if kept.ndim != 1 or kept.dtype != torch.bool:
            raise ValueError(f"kept must be one axis of bool, got {kept.dtype} {tuple(kept.shape)}")
        self.kept = kept

    @classmethod
    def full(cls, n: int) -> SimpleMask:
        """``n`` terms, all kept."""
        return SimpleMask(torch.ones(n, dtype=torch.bool))

    def prunemask(self) -> Tensor:
        return self.kept

    def diffmask(self) -> Tensor:
        return self.kept.to(torch.get_default_dtype())

    def heuristic(self) -> Tensor:
        return torch.zeros(len(self), device=self.kept.device)

    def parts(self) -> list[tuple[SimpleMask, Tensor]]:
        return [(self, torch.arange(len(self), device=self.kept.device))]


class HeuristicMask(SimpleMask):
    """A mask whose terms have ``values`` (n,)."""

    def __init__(self, values: Tensor, kept: Tensor | None = None) -> None:
        super().__init__(_all_or(kept, values))
        self.values = values

    def heuristic(self) -> Tensor:
        return self.values


class SigmoidMask(SimpleMask):
    """A mask that can be learned: ``values`` (n,), of any size, go through the logistic function."""

    def __init__(self, values: Tensor, kept: Tensor | None = None) -> None:
        super().__init__(_all_or(kept, values))
        self.values = values

    def diffmask(self) -> Tensor:
        return self.values.sigmoid()

    def heuristic(self) -> Tensor:
        return self.diffmask().detach()


class ScoreMask(SimpleMask):
    """A mask that learns from outputs: the mean output with a term kept minus the mean output without it."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__(kept)
        self.count = torch.zeros(2, len(kept), dtype=torch.float64, device=kept.device)
        self.sum = torch.zeros_like(self.count)

    @classmethod
    def full(cls, n: int) -> ScoreMask:
        return cls(torch.ones(n, dtype=torch.bool))

    def update(self, masks: Tensor, outputs: Tensor, counted: Tensor | None = None) -> None:
        """Adds the ``outputs`` for ``masks`` (N, n) bool: (N, n), or (N, 1) if one output is for all.

        ``counted`` (N, n) bool: which draws a term learns from; default: all.
        """
        for side, member in enumerate((~masks, masks)):
            seen = member if counted is None else member & counted
            self.count[side] += seen.sum(dim=0)
            self.sum[side] += (seen * outputs.double()).sum(dim=0)

    def heuristic(self) -> Tensor:
        """0 for a term that was never kept or never removed."""
        mean = self.sum / self.count.clamp(min=1)
        return torch.where((self.count > 0).all(dim=0), mean[1] - mean[0], 0.0)


class _Wrapper:
    """Acts on the terms of the mask inside."""

    def __init__(self, mask: SomeMask) -> None:
        self.mask = mask

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, index: Index) -> Tensor:
        return self.mask[index]

    def __setitem__(self, index: Index, kept: bool | Tensor) -> None:
        self.mask[index] = kept

    def prunemask(self) -> Tensor:
        return self.mask.prunemask()

    def diffmask(self) -> Tensor:
        return self.mask.diffmask()

    def heuristic(self) -> Tensor:
        return self.mask.heuristic()

    def parts(self) -> list[tuple[SimpleMask, Tensor]]:
        return self.mask.parts()


class ClusteredMask(_Wrapper):
    """Positions that move together: position p follows term ``cluster[p]`` of ``mask``, which is about clusters."""

    def __init__(self, mask: SomeMask, cluster: Tensor) -> None:
        positions = len(mask.prunemask())
        if cluster.ndim != 1 or cluster.dtype != torch.int64:
            raise ValueError(f"cluster must be one axis of int64, got {cluster.dtype} {tuple(cluster.shape)}")
        if len(cluster) and (cluster.min() < 0 or cluster.max() >= positions):
            raise ValueError(f"cluster must lie in 0..{positions - 1}, got {int(cluster.min())}..{int(cluster.max())}")
        super().__init__(mask)
        self.cluster = cluster

    def prunemask(self) -> Tensor:
        return self.mask.prunemask()[self.cluster]

    def diffmask(self) -> Tensor:
        return self.mask.diffmask()[self.cluster]

    def parts(self) -> list[tuple[SimpleMask, Tensor]]:
        return [(mask, term[self.cluster]) for mask, term in self.mask.parts()]


class ObservationMask(ClusteredMask):
    """The slots of a leaf by its observations. Several leaves can share the mask of their observations."""

    @staticmethod
    def over(leaves: Sequence[Node], make: Callable[[int], SomeMask] = SimpleMask.full) -> list[ObservationMask]:
        """One mask for each of ``leaves``, over one shared mask of the observations that have a value in any of them.

        Raises ValueError for leaves that differ in the number of their observations.
        """
        sizes = {len(leaf) for leaf in leaves}
        if len(sizes) != 1:
            raise ValueError(f"leaves must have equally many observations, got {sorted(sizes)}")
        observed = torch.unique(torch.cat([leaf.observation for leaf in leaves]))
        shared = make(len(observed))
        return [ObservationMask(shared, torch.searchsorted(observed, leaf.observation)) for leaf in leaves]


class ParticipationTracker(_Wrapper):
    """Remembers which positions still count: ``participating`` (positions,) bool, False inside a removed instance.

    ``FlatView.participate`` brings it up to date.
    """

    def __init__(self, mask: SomeMask) -> None:
        super().__init__(mask)
        self.participating = torch.ones_like(mask.prunemask())


class FollowingMasks:
    """A position is kept if one of several masks keeps it. The terms are theirs, and are set there."""

    def __init__(self, masks: Sequence[SomeMask]) -> None:
        sizes = {len(mask.prunemask()) for mask in masks}
        if len(sizes) != 1:
            raise ValueError(f"masks must have equally many positions, and there must be one mask, got {sorted(sizes)}")
        self.masks = list(masks)

    def __len__(self) -> int:
        return len(self.masks[0].prunemask())

    def __getitem__(self, index: Index) -> Tensor:
        return self.prunemask()[index]

    def __setitem__(self, index: Index, kept: bool | Tensor) -> None:
        raise TypeError("a mask that follows others cannot be set; set those that it follows")

    def prunemask(self) -> Tensor:
        return torch.stack([mask.prunemask() for mask in self.masks]).any(dim=0)

    def diffmask(self) -> Tensor:
        return torch.stack([mask.diffmask() for mask in self.masks]).amax(dim=0)

    def heuristic(self) -> Tensor:
        values = []
        for mask in self.masks:
            values += [stored.heuristic().double()[term] for stored, term in mask.parts()]
        return torch.stack(values).amax(dim=0)

    def parts(self) -> list[tuple[SimpleMask, Tensor]]:
        return [part for mask in self.masks for part in mask.parts()]


@dataclass(frozen=True, eq=False)
class MaskTree:
    """One mask for each node of a nested sample that has slots, by the node's path; positions are the node's slots.

    Raises ValueError if ``masks`` are not those, or one has another number of positions.
    """

    slots: Slots
    masks: Mapping[Path, SomeMask]

    def __post_init__(self) -> None:
        needed = {path: span.own - span.start for path, span in self.slots.spans.items() if span.own > span.start}
        given = {path: len(mask.prunemask()) for path, mask in self.masks.items()}
        if needed != given:
            raise ValueError(f"masks must have these positions by node: {needed}, got {given}")

    @staticmethod
    def of(slots: Slots, make: Callable[[int], SomeMask] = SimpleMask.full) -> MaskTree:
        """A mask made by ``make`` (from the number of its terms) for each node."""
        owned = {path: span.own - span.start for path, span in slots.spans.items()}
        return MaskTree(slots, {path: make(count) for path, count in owned.items() if count})

    def by_slot(self) -> list[tuple[SomeMask, slice]]:
        """The masks in the order of their slots."""
        spans = ((mask, self.slots.spans[path]) for path, mask in self.masks.items())
        return sorted(((m, slice(s.start, s.own)) for m, s in spans), key=lambda pair: pair[1].start)


class FlatView(_Kept):
    """One vector over all terms of a mask, of several masks, or of a tree of masks. A shared mask appears once.

    ``kept`` (terms,) bool holds them all: the masks' own values are views of it, until another view takes them over.
    ``layout`` says which slots the terms decide; ``rambit.structure.Sample.seen_by`` makes it a sample's.
    """

    def __init__(self, masks: SomeMask | Sequence[SomeMask] | MaskTree) -> None:
        if isinstance(masks, MaskTree):
            self._masks, slots = masks.by_slot(), masks.slots
        else:
            self._masks = _in_a_row([masks] if isinstance(masks, SomeMask) else masks)
            slots = Slots.unrelated(self._masks[-1][1].stop if self._masks else 0)
        stored = [part for mask, _ in self._masks for part, _ in mask.parts()]
        self._stored: dict[SimpleMask, slice] = {}
        count = 0
        for mask in dict.fromkeys(stored):
            self._stored[mask] = slice(count, count + len(mask))
            count += len(mask)
        self.kept = torch.cat([mask.kept for mask in self._stored]) if self._stored else torch.ones(0, dtype=torch.bool)
        for mask, place in self._stored.items():
            mask.kept = self.kept[place]
        self.layout = Layout(slots, self._items(slots), count)

    def _items(self, slots: Slots) -> Tensor:
        """(S, k): the terms of each slot, the first one repeated where there are fewer than k."""
        width = max((len(mask.parts()) for mask, _ in self._masks), default=1)
        items = torch.zeros(len(slots), width, dtype=torch.int64, device=slots.parent.device)
        for mask, place in self._masks:
            terms = [term + self._stored[stored].start for stored, term in mask.parts()]
            items[place] = torch.stack(terms + terms[:1] * (width - len(terms)), dim=1)
        return items

    def fill(self, kept: bool) -> None:
        """Keep or remove every term."""
        self.kept.fill_(kept)

    @property
    def levels(self) -> Tensor:
        """(terms,) int64: how many bags are above each term."""
        return self.layout.levels

    @property
    def output_id(self) -> Tensor:
        """(terms,) int64: the sample that each term belongs to; -1 where a term spans several."""
        return self.layout.output_id

    def participate(self) -> Tensor:
        """(terms,) bool: which terms no mask above has removed. Brings every ParticipationTracker up to date."""
        kept = self.kept[None].to(self.layout.item.device)
        inside = self.layout.slot_participation(kept)[0]
        for mask, place in self._masks:
            if isinstance(mask, ParticipationTracker):
                mask.participating = inside[place]
        return self.layout.participation(kept)[0]

    def heuristic(self) -> Tensor:
        """(terms,) float64: the values of the stored masks."""
        values = [mask.heuristic().detach().double() for mask in self._stored]
        return torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)

    def diffmask(self) -> Tensor:
        """(terms,) in [0, 1], with gradients to what the masks learn."""
        values = [mask.diffmask() for mask in self._stored]
        return torch.cat(values) if values else torch.zeros(0)

    def update(self, masks: Tensor, outputs: Tensor, counted: Tensor | None = None) -> None:
        """Hands outputs on to every ScoreMask: ``masks`` (N, terms) bool, ``outputs`` (N, B), one for each sample.

        A term learns from its own sample only, or from the mean over the samples that it spans. ``counted``
        (N, terms) bool: which draws count, by default all.
        """
        share = self.layout.belongs.double()
        each = outputs.double() @ (share / share.sum(dim=1, keepdim=True).clamp(min=1)).T
        for mask, place in self._stored.items():
            if isinstance(mask, ScoreMask):
                mask.update(masks[:, place], each[:, place], None if counted is None else counted[:, place])


def _in_a_row(masks: Sequence[SomeMask]) -> list[tuple[SomeMask, slice]]:
    places, start = [], 0
    for mask in masks:
        stop = start + len(mask.prunemask())
        places.append((mask, slice(start, stop)))
        start = stop
    return places


def _all_or(kept: Tensor | None, values: Tensor) -> Tensor:
    if values.ndim != 1:
        raise ValueError(f"values must have one axis, got {tuple(values.shape)}")
    if kept is None:
        return torch.ones(len(values), dtype=torch.bool, device=values.device)
    if kept.shape != values.shape:
        raise ValueError(f"kept must have shape {tuple(values.shape)}, as values, got {tuple(kept.shape)}")
    return kept
