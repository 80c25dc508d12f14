"""A batch of nested samples as one vector of terms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rambit.structure.layout import Layout, Slots
from rambit.structure.masks import FlatView
from rambit.structure.nodes import Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.schema import (
    MEMBER,
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    MapSchema,
    Path,
    ProductSchema,
    Schema,
    SkipSchema,
    SparseSchema,
    TextSchema,
    UnionSchema,
)
from rambit.structure.tree_text import tree_lines


@dataclass(frozen=True, eq=False, repr=False)
class Sample:
    """B nested samples: the observations of ``root``, which look like ``schema``.

    ``layout`` says what the terms are. At first these are the slots of all nodes: features, entries, observations,
    strings and instances that are there, in the order of the tree.
    """

    root: Node
    schema: Schema
    layout: Layout

    @staticmethod
    def of(root: Node, schema: Schema) -> Sample:
        """The samples ``root`` with their slots as terms. Raises ValueError if nodes and schema differ."""
        _check(root, schema, ())
        return Sample(root, schema, Layout.plain(Slots.of(root)))

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, index: int | slice | Sequence[int] | Sequence[bool] | Tensor) -> Sample:
        """The samples at an index, as a batch, their slots as terms. Raises IndexError where there is none."""
        if isinstance(index, bool):
            raise TypeError("index must be an integer, a slice, or a list or tensor of integers or booleans")
        if isinstance(index, slice):
            return self.take(torch.tensor(range(len(self))[index], dtype=torch.int64))
        return self.take(torch.arange(len(self))[index].flatten())

    def __repr__(self) -> str:
        return f"Sample({len(self)} samples, {self.terms:,} terms)"

    def __str__(self) -> str:
        """A tree: what there is at each place of all samples together."""
        return "\n".join([repr(self), *tree_lines(self.root, self.schema)])

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return self.layout.item.device

    @property
    def slots(self) -> Slots:
        """What can be removed, whatever the terms are."""
        return self.layout.slots

    @property
    def terms(self) -> int:
        """How many terms all samples have together."""
        return self.layout.terms

    @property
    def levels(self) -> Tensor:
        """(terms,) int64: how many bags are above each term."""
        return self.layout.levels

    @property
    def output_id(self) -> Tensor:
        """(terms,) int64: the sample that each term belongs to; -1 where a term spans several."""
        return self.layout.output_id

    @property
    def parents(self) -> Tensor:
        """(terms,) int64: the term that keeps the instance around each term, -1 where there is no single one."""
        return self.layout.parents

    def participation(self, masks: Tensor) -> Tensor:
        """(N, terms) bool for masks (N, terms) bool: which terms are not inside a removed instance."""
        if masks.dtype != torch.bool:
            raise ValueError(f"masks must be bool, got {masks.dtype}")
        return self.layout.participation(self.checked(masks))

    def checked(self, masks: Tensor) -> Tensor:
        """``masks`` on the sample's device. Raises ValueError unless they are (N, terms), bool or in [0, 1]."""
        if masks.ndim != 2 or masks.shape[1] != self.terms:
            raise ValueError(f"masks must be (N, {self.terms}), got {tuple(masks.shape)}")
        if masks.dtype != torch.bool and not masks.dtype.is_floating_point:
            raise ValueError(f"masks must be bool or floating, got {masks.dtype}")
        if masks.dtype != torch.bool and not ((masks >= 0) & (masks <= 1)).all():
            raise ValueError("floating masks must lie in [0, 1]")
        return masks.to(self.device)

    def seen_by(self, view: FlatView) -> Sample:
        """The same samples with the terms of ``view``, which must be a view of a mask tree of this sample."""
        if view.layout.slots is not self.slots:
            raise ValueError("view must be over a MaskTree of this sample's slots")
        return replace(self, layout=view.layout)

    def grouped(self, term: Tensor) -> Sample:
        """The same samples with groups of terms as terms: ``term`` (terms,) int64 is the group of each."""
        if term.shape != (self.terms,) or term.dtype != torch.int64 or (len(term) and term.min() < 0):
            raise ValueError(f"term must be ({self.terms},) int64, not negative, got {term.dtype} {tuple(term.shape)}")
        return replace(self, layout=self.layout.grouped(term))

    def take(self, index: Tensor | Sequence[int]) -> Sample:
        """The samples ``index`` (M,), integers, their slots as terms."""
        return Sample.of(self.root.take(torch.as_tensor(index, dtype=torch.int64, device=self.device)), self.schema)

    def to(self, device: torch.device) -> Sample:
        """The same samples on another device, their slots as terms."""
        return Sample.of(self.root.to(device), self.schema)

    def check_range(self, dtype: torch.dtype) -> None:
        """ValueError, naming sample and path, for a number that a model of this type does not hold."""

        def check(node: Node, path: Path) -> None:
            if isinstance(node, Dense | Sparse):
                large = node.values.abs() > torch.finfo(dtype).max
                if bool(large.any()):
                    slots = large.flatten()[node.place] if isinstance(node, Dense) else large
                    span = self.slots.spans.get(path)
                    # What is never explained has no slots, by which to tell whose it is.
                    named = span is not None and span.own > span.start
                    place = span.start + int(slots.int().argmax()) if span is not None and named else 0
                    where = f"sample {int(self.slots.output[place])}" if named else "a sample"
                    value = float(node.values[large][0])
                    raise ValueError(f"{where} holds {value:g} at {path}, more than {dtype} can hold")
            for name, child in node.children().items():
                check(child, (*path, name))
            if isinstance(node, Skip):
                check(node.child, path)

        check(self.root, ())

    def under(self, masks: Tensor) -> Sample:
        """What each of ``masks`` (N, terms) bool keeps: N · B samples, those of the first mask first."""
        kept = self.layout.over_slots(self.checked(masks))
        repeated = self.take(torch.arange(len(self)).repeat(len(masks)))
        # Slots go by node, and within a node by observation: those of the first mask come first again.
        spans = sorted(self.slots.spans.values(), key=lambda span: span.start)
        own = [kept[:, span.start : span.own].flatten() for span in spans]
        return repeated.pruned(torch.cat(own) if own else kept.flatten())

    def pruned(self, mask: Tensor) -> Sample:
        """What ``mask`` (terms,) bool keeps, their slots as terms; an instance without content is gone too."""
        kept = self.layout.over_slots(self.checked(mask[None]))[0]

        def own(path: Path) -> Tensor:
            span = self.slots.spans[path]
            return kept[span.start : span.own]

        return Sample.of(self.root.pruned(own, ()), self.schema)


def _check(node: Node, schema: Schema, path: Path) -> None:
    """ValueError, naming the path, unless the node is what the schema says."""
    fits: dict[type, Callable[[Any], bool]] = {
        DenseSchema: lambda s: isinstance(node, Dense) and node.values.shape[1] == s.features,
        SparseSchema: lambda s: isinstance(node, Sparse) and node.size == len(s.keys),
        CategoricalSchema: lambda s: isinstance(node, Categorical) and node.size == len(s.categories),
        TextSchema: lambda s: isinstance(node, Text) and (node.table.n, node.table.buckets) == (s.n, s.buckets),
        BagSchema: lambda s: isinstance(node, Bag),
        MapSchema: lambda s: isinstance(node, Bag),
        ProductSchema: lambda s: isinstance(node, Product) and list(node.parts) == [name for name, _ in s.parts],
        UnionSchema: lambda s: isinstance(node, Product) and list(node.parts) == [name for name, _ in s.parts],
        SkipSchema: lambda s: isinstance(node, Skip),
    }
    if not fits[type(schema)](schema):
        raise ValueError(f"the node at {path} is a {type(node).__name__} that does not fit {schema}")
    if isinstance(schema, ProductSchema | UnionSchema):
        for name, part in schema.parts:
            _check(node.children()[name], part, (*path, name))
    elif isinstance(schema, BagSchema | MapSchema):
        _check(node.children()[MEMBER], schema.child, (*path, MEMBER))
    elif isinstance(node, Skip) and isinstance(schema, SkipSchema):
        _check(node.child, schema.child, path)
