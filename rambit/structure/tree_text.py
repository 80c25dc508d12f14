"""Nested samples as people read them: a line for each node."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from rambit.structure.nodes import Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.schema import (
    MEMBER,
    BagSchema,
    CategoricalSchema,
    MapSchema,
    ProductSchema,
    Schema,
    SkipSchema,
    TextSchema,
    UnionSchema,
)


def tree_lines(node: Node, schema: Schema, name: str = "", before: str = "") -> Iterator[str]:
    """The node and those below, indented; ``before`` stands before the lines of those below."""
    skipped = isinstance(node, Skip)
    while isinstance(node, Skip) and isinstance(schema, SkipSchema):
        node, schema = node.child, schema.child
    yield f"{name}{': ' if name else ''}{_described(node, schema)}{', never explained' if skipped else ''}"
    below = list(_below(node, schema))
    for i, (label, child, part) in enumerate(below):
        branch, further = ("└─ ", "   ") if i == len(below) - 1 else ("├─ ", "│  ")
        lines = tree_lines(child, part, label, before + further)
        yield f"{before}{branch}{next(lines)}"
        yield from lines


def _below(node: Node, schema: Schema) -> Iterator[tuple[str, Node, Schema]]:
    """What the nodes right below are called, the nodes and their schemas."""
    if isinstance(schema, MapSchema):
        if schema.value is not None:
            yield "value", node.children()[MEMBER].children()["value"], schema.value
    elif isinstance(schema, BagSchema):
        yield "member", node.children()[MEMBER], schema.child
    elif isinstance(schema, ProductSchema | UnionSchema):
        for name, part in schema.parts:
            yield name, node.children()[name], part


def _described(node: Node, schema: Schema) -> str:
    """What a node is and how much there is in it."""
    if isinstance(node, Product):
        return "one of several types" if isinstance(schema, UnionSchema) else "object"
    if isinstance(node, Bag):
        members = len(node.child)
        return f"map, {members:,} entries" if isinstance(schema, MapSchema) else f"list, {members:,} members"
    values = f"{len(node.observation):,} values"
    if isinstance(node, Dense):
        kind = "number" if node.values.shape[1] == 1 else f"vector of {node.values.shape[1]}"
        there = node.values[~node.values.isnan()]
        return f"{kind}, {values}" + (f" from {there.min():g} to {there.max():g}" if len(there) else "")
    if isinstance(node, Sparse):
        return f"numbers under {node.size} keys, {values}"
    if isinstance(node, Categorical) and isinstance(schema, CategoricalSchema):
        return f"one of {node.size} categories, {values}"
    different = len(torch.unique(node.codes[node.observation])) if isinstance(node, Text) else 0
    kind = "numbers as text" if isinstance(schema, TextSchema) and schema.numbers else "text"
    return f"{kind}, {values}, {different:,} different"
