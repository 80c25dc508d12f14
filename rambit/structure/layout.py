"""Where the slots of a nested sample are, and which terms of one flat vector decide them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rambit.structure.nodes import Bag, Node, Skip
from rambit.structure.schema import Path


class Span(NamedTuple):
    """The slots of a node: its own are ``start`` … ``own`` - 1, those of the nodes below go on to ``stop`` - 1."""

    start: int
    own: int
    stop: int


@dataclass(frozen=True, eq=False)
class Slots:
    """The S slots of a tree: of each node its own, then those of the nodes below, in order.

    ``parent`` (S,) is the slot of the instance around, -1 where there is none; ``level`` (S,) counts the bags above;
    ``output`` (S,) is the sample.
    """

    parent: Tensor
    level: Tensor
    output: Tensor
    spans: dict[Path, Span]
    outputs: int

    def __len__(self) -> int:
        return len(self.parent)

    @staticmethod
    def of(root: Node) -> Slots:
        """The slots of a tree of nodes."""
        parent, level, output, spans = [], [], [], {}
        count = 0

        def walk(node: Node, path: Path, around: Tensor, sample: Tensor, depth: int) -> None:
            nonlocal count
            start, own = count, node.observation
            count += len(own)
            parent.append(around[own])
            level.append(torch.full_like(own, depth))
            output.append(sample[own])
            if isinstance(node, Bag):
                around, sample = torch.arange(start, count, device=own.device), sample[own]
            after = count
            for name, child in {} if isinstance(node, Skip) else node.children().items():
                walk(child, (*path, name), around, sample, depth + isinstance(node, Bag))
            spans[path] = Span(start, after, count)

        samples = torch.arange(len(root), device=root.observation.device)
        walk(root, (), torch.full_like(samples, -1), samples, 0)
        return Slots(torch.cat(parent), torch.cat(level), torch.cat(output), spans, len(root))

    @staticmethod
    def unrelated(count: int) -> Slots:
        """The slots of masks that are about one sample and not about a tree."""
        zero = torch.zeros(count, dtype=torch.int64)
        return Slots(zero - 1, zero, zero, {(): Span(0, count, count)}, 1)


@dataclass(frozen=True, eq=False)
class Layout:
    """Which of the ``terms`` decide a slot: it is kept if one of ``item[slot]`` is. ``item`` is (S, k) int64."""

    slots: Slots
    item: Tensor
    terms: int

    @staticmethod
    def plain(slots: Slots) -> Layout:
        """Each slot is a term."""
        return Layout(slots, torch.arange(len(slots), device=slots.parent.device)[:, None], len(slots))

    def grouped(self, term: Tensor) -> Layout:
        """The terms of this layout in groups: ``term`` (terms,) int64 is the group of each."""
        return replace(self, item=term[self.item], terms=int(term.max()) + 1 if len(term) else 0)

    @cached_property
    def is_plain(self) -> bool:
        """Whether slots and terms are the same."""
        return self.item.shape[1] == 1 and torch.equal(self.item, Layout.plain(self.slots).item)

    def over_slots(self, masks: Tensor) -> Tensor:
        """Masks (N, terms), bool or in [0, 1], as masks (N, S) of the slots."""
        if self.is_plain:
            return masks
        if self.item.shape[1] == 1:
            return masks[:, self.item[:, 0]]
        return masks[:, self.item].amax(dim=2)

    @cached_property
    def belongs(self) -> Tensor:
        """(terms, B) bool: the samples in which a term has a slot."""
        belongs = torch.zeros(self.terms, self.slots.outputs, dtype=torch.bool, device=self.item.device)
        belongs[self.item, self.slots.output[:, None]] = True
        return belongs

    @cached_property
    def output_id(self) -> Tensor:
        """(terms,) int64: the sample that each term belongs to; -1 where a term spans several."""
        return self._agreed(self.slots.output)

    @cached_property
    def levels(self) -> Tensor:
        """(terms,) int64: how many bags are above; of a term with several slots, the fewest."""
        return self._over_terms(self.slots.level, "amin", int(self.slots.level.max()) if len(self.slots) else 0)

    @cached_property
    def parents(self) -> Tensor:
        """(terms,) int64: the term that keeps the instance around; -1 without one, or if several do."""
        instance = self.slots.parent
        return self._agreed(torch.where((instance >= 0) & (self.item.shape[1] == 1), self.item[instance, 0], -1))

    def _agreed(self, values: Tensor) -> Tensor:
        """(terms,): the value >= -1 that all slots of a term have in ``values`` (S,); -1 where they differ."""
        low = self._over_terms(values, "amin", torch.iinfo(torch.int64).max)
        return torch.where(low == self._over_terms(values, "amax", -1), low, -1)

    def _over_terms(self, values: Tensor, how: str, start: int) -> Tensor:
        """(terms,): the smallest or largest of ``values`` (S,) over the slots of each term, and ``start``."""
        each = values[:, None].expand_as(self.item).flatten()
        return torch.full((self.terms,), start, device=values.device).scatter_reduce(0, self.item.flatten(), each, how)

    @cached_property
    def _by_level(self) -> list[tuple[Tensor, Tensor]]:
        """The slots of each level below the first, and their parents."""
        deepest = int(self.slots.level.max()) if len(self.slots) else 0
        found = ((self.slots.level == level).nonzero()[:, 0] for level in range(1, deepest + 1))
        return [(slots, self.slots.parent[slots]) for slots in found]

    def slot_participation(self, masks: Tensor) -> Tensor:
        """(N, S) bool for masks (N, terms) bool: no instance around the slot has been removed."""
        kept = self.over_slots(masks)
        inside = torch.ones_like(kept)
        for slots, parents in self._by_level:
            inside[:, slots] = inside[:, parents] & kept[:, parents]
        return inside

    def participation(self, masks: Tensor) -> Tensor:
        """(N, terms) bool for masks (N, terms) bool: a slot of the term is not inside a removed instance."""
        inside = self.slot_participation(masks)
        if self.is_plain:
            return inside
        count = torch.zeros(len(masks), self.terms, dtype=torch.int64, device=masks.device)
        each = inside[:, :, None].expand(-1, *self.item.shape).flatten(1)
        return count.index_add(1, self.item.flatten(), each.long()) > 0
