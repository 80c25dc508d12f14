"""One encoder for each type of node: what candidates leave of its observations -> vectors.

Hard masks are evaluated as if the sample had been pruned, and each observation once for each state that candidates
leave it in. Soft masks are evaluated for each candidate: a value is mixed with what stands for a missing one, and an
instance weighs as much as it is there, so that 0 and 1 mean what they mean to hard masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.structure.nodes import Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.question import Encoded, Question
from rambit.structure.ragged import any_of, offsets_of, segment_any, segment_max, segment_sum, spread
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


class Encoder(nn.Module, ABC):
    """Encodes the observations of one node as vectors (…, width), none of whose numbers is negative."""

    def encode(self, question: Question, node: Node, path: Path) -> Encoded:
        """What each candidate sees. A subtree in which candidates don't differ is evaluated once, and remembered."""
        # ``forward`` itself, since calls of modules take three levels of Python's recursion limit.
        if not question.hard or question.varies(path):
            return self.forward(question, node, path)
        memory, mask = question.memory, question.below(path)
        if memory is not None and path in memory and torch.equal(memory[path][0], mask):
            return memory[path][1]
        encoded = self.forward(question if len(question) == 1 else question.alone(), node, path)
        if memory is not None:
            memory[path] = mask.clone(), encoded
        return encoded

    @abstractmethod
    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        """What each candidate sees, without a look at the memory."""

    def parts(self, node: Node, path: Path) -> list[tuple[Encoder, Node, Path]]:
        """The encoders right below, with their nodes."""
        return []

    def leaves(self, node: Node, path: Path = ()) -> list[tuple[LeafEncoder, Node, Path]]:
        """The encoders of all leaves from here on, with their nodes."""
        return [leaf for encoder, child, place in self.parts(node, path) for leaf in encoder.leaves(child, place)]

    @abstractmethod
    def numbers(self, node: Node, path: Path = ()) -> int:
        """About how many numbers evaluating one more candidate takes, at most."""


class LeafEncoder(Encoder):
    """An encoder that embeds its values before any mask is known."""

    layer: nn.Linear

    @abstractmethod
    def embed(self, node: Node) -> Tensor:
        """The values as vectors, before any mask."""

    def leaves(self, node: Node, path: Path = ()) -> list[tuple[LeafEncoder, Node, Path]]:
        return [(self, node, path)]


class ValueEncoder(LeafEncoder):
    """A dense layer on ``size`` numbers, in place of which learned ones stand where a value is missing."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.missing = nn.Parameter(torch.zeros(size))
        self.layer = nn.Linear(size, width)

    @abstractmethod
    def kept(self, own: Tensor, node: Node) -> Tensor:
        """(N, n, 1 or size): which values are there, from the masks (N, slots) of the slots."""

    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        there, observation, row = self._states(question, node, path)
        values, how_much = question.embedded[path][observation], there.to(self.missing.dtype)
        mixed = how_much * values + (1 - how_much) * self.missing
        return Encoded(functional.relu(self.layer(mixed)), any_of(there), row)

    def _states(self, question: Question, node: Node, path: Path) -> tuple[Tensor, Tensor, Tensor]:
        """Of R states what is there (R, 1 or size), and the observation (R,); and the state of each candidate."""
        kept = self.kept(question.own(path, len(node.observation)), node)
        n, width = kept.shape[1:]
        index = torch.arange(n, device=kept.device)
        if question.hard and width == 1 and len(kept) > 1:  # a value is there or not: two states, nothing to look up
            there = torch.arange(2 * n, device=kept.device) < n
            return there[:, None], index.repeat(2), index + n * ~kept[:, :, 0]
        states = question.states(kept.flatten(1), index.repeat_interleave(width), n)
        return kept[states.candidate, states.observation], states.observation, states.row

    def numbers(self, node: Node, path: Path = ()) -> int:
        return len(node) * (2 * self.layer.in_features + self.layer.out_features)


class DenseEncoder(ValueEncoder):
    """Numbers, each feature brought to mean 0 and deviation 1 with what ``standardize`` has seen."""

    mean: Tensor
    scale: Tensor

    def __init__(self, schema: DenseSchema, width: int) -> None:
        super().__init__(schema.features, width)
        self.register_buffer("mean", torch.zeros(schema.features))
        self.register_buffer("scale", torch.ones(schema.features))

    def standardize(self, node: Dense) -> None:
        """Takes over mean and deviation of the values that are there."""
        if not len(node):
            return
        there, count = ~node.values.isnan(), (~node.values.isnan()).sum(dim=0).clamp(min=1)
        mean = node.values.nansum(dim=0) / count
        scale = (torch.where(there, node.values - mean, 0).square().sum(dim=0) / count).sqrt().to(self.scale.dtype)
        # What is the same everywhere has no scale; nor has what differs by less than the model's numbers tell apart.
        differs = node.values.nan_to_num(-torch.inf).amax(dim=0) > node.values.nan_to_num(torch.inf).amin(dim=0)
        self.mean.copy_(mean)
        self.scale.copy_(scale.where(differs & (scale > 0), 1.0))

    def embed(self, node: Node) -> Tensor:
        values = cast(Dense, node).values
        return ((values.to(self.mean.dtype) - self.mean) / self.scale).where(~values.isnan(), 0.0)

    def kept(self, own: Tensor, node: Node) -> Tensor:
        dense = cast(Dense, node)
        kept = own.new_zeros(len(own), dense.values.numel()).index_copy(1, dense.place, own)
        return kept.view(len(own), *dense.values.shape)


class CodedEncoder(ValueEncoder):
    """What categories and strings share: a value is there as a whole or not."""

    def kept(self, own: Tensor, node: Node) -> Tensor:
        return own.new_zeros(len(own), len(node)).index_copy(1, node.observation, own)[:, :, None]


class CategoricalEncoder(CodedEncoder):
    """A learned vector for each category, and one for unknown ones."""

    def __init__(self, schema: CategoricalSchema, width: int) -> None:
        super().__init__(width, width)
        self.embedding = nn.Embedding(len(schema.categories) + 1, width)

    def embed(self, node: Node) -> Tensor:
        codes = cast(Categorical, node).codes
        return cast(Tensor, self.embedding(codes.clamp(0, self.embedding.num_embeddings - 1)))


class TextEncoder(CodedEncoder):
    """The mean of learned vectors of n-grams."""

    def __init__(self, schema: TextSchema, width: int) -> None:
        super().__init__(width, width)
        self.embedding = nn.EmbeddingBag(schema.buckets, width, mode="mean")

    def embed(self, node: Node) -> Tensor:
        text = cast(Text, node)
        strings, which = torch.unique(text.codes.clamp(min=0), return_inverse=True)
        if not len(text.table):  # all strings are missing
            return self.missing.expand(len(text), -1)
        _, place = spread(text.table.offsets, strings)
        offsets = offsets_of(text.table.offsets.diff()[strings])
        return cast(Tensor, self.embedding(text.table.ngrams[place], offsets[:-1]))[which]


class SparseEncoder(LeafEncoder):
    """A dense layer on a row of which only the stored entries are known to differ from 0."""

    def __init__(self, schema: SparseSchema, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(len(schema.keys), width)

    def embed(self, node: Node) -> Tensor:
        sparse = cast(Sparse, node)
        return self.layer.weight.T[sparse.columns] * sparse.values.to(self.layer.weight.dtype)[:, None]

    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        sparse = cast(Sparse, node)
        kept = question.own(path, len(sparse.values))
        states = question.states(kept, sparse.observation, len(sparse))
        owner, entry = spread(sparse.offsets, states.observation)
        there, count = kept[states.candidate[owner], entry], len(states.observation)
        total = segment_sum(there[:, None] * question.embedded[path][entry], owner, count)
        return Encoded(functional.relu(total + self.layer.bias), segment_any(there, owner, count), states.row)

    def numbers(self, node: Node, path: Path = ()) -> int:
        return (2 * len(cast(Sparse, node).values) + len(node)) * self.layer.out_features


class BagEncoder(Encoder):
    """Mean and maximum over the instances that are present, then a dense layer; a learned vector for no instance."""

    def __init__(self, schema: BagSchema | MapSchema, width: int) -> None:
        super().__init__()
        self.child = encoder_of(schema.child, width)
        self.missing = nn.Parameter(torch.zeros(2 * width))
        self.layer = nn.Linear(2 * width, width)

    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        bag = cast(Bag, node)
        child = self.child.encode(question, bag.child, (*path, MEMBER))
        own, row = question.own(path, len(bag.child)), child.row
        there = own & child.present[row] if question.hard else own * child.present[row]
        row = row.expand_as(there)
        states = question.states(torch.where(there > 0, row, -1), bag.observation, len(bag))
        owner, instance = spread(bag.offsets, states.observation)
        candidate = states.candidate[owner]
        weight = there[candidate, instance]
        if question.hard:  # what is removed has gone
            owner, instance, candidate = owner[weight], instance[weight], candidate[weight]
            weight = weight[weight]
        pooled, present = self._pool(child.values[row[candidate, instance]], weight, owner, len(states.observation))
        return Encoded(functional.relu(self.layer(pooled)), present, states.row)

    def _pool(self, values: Tensor, weight: Tensor, owner: Tensor, bags: int) -> tuple[Tensor, Tensor]:
        """(bags, 2 H) mean and maximum of instances with ``values`` (Q, H) >= 0, and how much there is in a bag."""
        present, share = segment_any(weight, owner, bags), weight.to(values.dtype)
        values = values * share[:, None]
        total = segment_sum(share, owner, bags).clamp(min=torch.finfo(values.dtype).tiny)
        mean = segment_sum(values, owner, bags) / total[:, None]
        pooled = torch.cat((mean, segment_max(values, owner, bags)), dim=1)
        there = present.to(values.dtype)[:, None]
        return there * pooled + (1 - there) * self.missing, present

    def parts(self, node: Node, path: Path) -> list[tuple[Encoder, Node, Path]]:
        return [(self.child, cast(Bag, node).child, (*path, MEMBER))]

    def numbers(self, node: Node, path: Path = ()) -> int:
        width, child = self.layer.out_features, cast(Bag, node).child
        return 2 * len(child) * (width + 4) + 5 * len(node) * width + self.child.numbers(child)


class ProductEncoder(Encoder):
    """All parts side by side, then a dense layer."""

    def __init__(self, schema: ProductSchema | UnionSchema, width: int) -> None:
        super().__init__()
        self.names = [name for name, _ in schema.parts]
        # A list first: within ModuleList, a hundred levels would exceed Python's recursion limit.
        self.encoders = nn.ModuleList([encoder_of(part, width) for _, part in schema.parts])
        self.layer = nn.Linear(len(self.names) * width, width)

    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        parts = [encoder.encode(question, child, place) for encoder, child, place in self.parts(node, path)]
        # A part that all candidates see alike tells no states apart.
        count = max(len(part.row) for part in parts)
        rows = torch.stack([part.row for part in parts if len(part.row) == count], dim=2)
        owner = torch.arange(len(node), device=rows.device).repeat_interleave(rows.shape[2])
        states = question.states(rows.flatten(1), owner, len(node))
        seen = [part.row.expand(count, -1)[states.candidate, states.observation] for part in parts]
        values = torch.cat([part.values[row] for part, row in zip(parts, seen, strict=True)], dim=1)
        how_much = [part.present[row] for part, row in zip(parts, seen, strict=True)]
        if not question.hard:
            how_much = [there.to(values.dtype) for there in how_much]
        return Encoded(functional.relu(self.layer(values)), any_of(torch.stack(how_much, dim=1)), states.row)

    def parts(self, node: Node, path: Path) -> list[tuple[Encoder, Node, Path]]:
        nodes = cast(Product, node).parts
        encoders = cast("list[Encoder]", list(self.encoders))
        return [(e, nodes[name], (*path, name)) for e, name in zip(encoders, self.names, strict=True)]

    def numbers(self, node: Node, path: Path = ()) -> int:
        below = sum(encoder.numbers(child, place) for encoder, child, place in self.parts(node, path))
        return len(node) * (self.layer.in_features + self.layer.out_features) + below


class SkipEncoder(Encoder):
    """What is never explained, as it is."""

    def __init__(self, schema: SkipSchema, width: int) -> None:
        super().__init__()
        self.child = encoder_of(schema.child, width)

    def forward(self, question: Question, node: Node, path: Path) -> Encoded:
        return self.child.encode(question.unmasked(), cast(Skip, node).child, path)

    def parts(self, node: Node, path: Path) -> list[tuple[Encoder, Node, Path]]:
        return [(self.child, cast(Skip, node).child, path)]

    def numbers(self, node: Node, path: Path = ()) -> int:
        return 0


def encoder_of(schema: Schema, width: int) -> Encoder:
    """The encoder of a node that looks like ``schema``."""
    encoders: dict[type, type[Encoder]] = {
        DenseSchema: DenseEncoder,
        SparseSchema: SparseEncoder,
        CategoricalSchema: CategoricalEncoder,
        TextSchema: TextEncoder,
        BagSchema: BagEncoder,
        MapSchema: BagEncoder,
        ProductSchema: ProductEncoder,
        UnionSchema: ProductEncoder,
        SkipSchema: SkipEncoder,
    }
    return encoders[type(schema)](schema, width)
