"""JSON documents in and out: lists become bags, objects products, and what a document lacks is missing.

Empty parts (null, [], {}, and what holds nothing else) say nothing: they are read as missing and never written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from rambit.structure.nodes import MISSING, Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.ragged import offsets_of
from rambit.structure.sample import Sample
from rambit.structure.schema import (
    MEMBER,
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    Path,
    ProductSchema,
    Schema,
    SkipSchema,
    SparseSchema,
    TextSchema,
)
from rambit.structure.strings import StringTable

Json = Any
Place = tuple[str | int, ...]

MAX_DEPTH = 100
"""Documents nested deeper than this are refused: a model would have as many layers."""

LARGEST = 2**53
"""Up to here a float64 holds every integer."""


def infer_schema(documents: Sequence[Json], *, max_categories: int = 20) -> Schema:
    """What all of ``documents`` look like.

    Numbers are dense, booleans categories, lists bags and objects products, any key of which may be absent. Strings
    are categories if there are at most ``max_categories`` different ones, each seen 5 times on average, else text.
    Raises ValueError, naming document and place, for what is not JSON, a cycle, more than ``MAX_DEPTH`` levels and
    values of different types at the same place; ValueError if nothing is in the documents.
    """
    for number, document in enumerate(documents):
        _check_json(document, number)
    schema = _infer(list(documents), list(range(len(documents))), (), max_categories)
    if schema is None:
        raise ValueError(f"there is nothing in the documents, of which there are {len(documents)}")
    return schema


def from_json(documents: Sequence[Json], schema: Schema | None = None) -> Sample:
    """``documents`` as a batch of nested samples that look like ``schema``, by default like they all do.

    Raises ValueError, naming document and place, for a document that is not JSON or does not fit the schema, for a
    cycle, for more than ``MAX_DEPTH`` levels, and for an integer beyond ±2^53; see also ``infer_schema``.
    """
    if schema is None:
        schema = infer_schema(documents)
    else:
        for number, document in enumerate(documents):
            _check_json(document, number)
    return Sample.of(_encode(schema, list(documents), list(range(len(documents))), ()), schema)


def to_json(sample: Sample, mask: Tensor | None = None) -> list[Json]:
    """The B documents of what ``mask`` (terms,) bool keeps, by default of everything, without empty parts.

    Encoded again with the sample's schema, they get the model's output for the mask.
    """
    kept = sample if mask is None else sample.pruned(mask)
    empty: Json = {ProductSchema: {}, SparseSchema: {}, BagSchema: []}.get(type(sample.schema))
    return [empty if document is None else document for document in _decode(kept.root, kept.schema)]


def places(sample: Sample) -> list[Place]:
    """For each slot of a sample from JSON, the keys and indices that lead to it in its document of ``to_json``."""
    found: list[Place] = []

    def walk(node: Node, schema: Schema, around: list[Place]) -> None:
        own: list[Place] = [around[i] for i in node.observation.tolist()]
        if isinstance(node, Sparse) and isinstance(schema, SparseSchema):
            own = [(*place, schema.keys[c]) for place, c in zip(own, node.columns.tolist(), strict=True)]
        elif isinstance(node, Dense) and node.values.shape[1] > 1:
            features = (node.place % node.values.shape[1]).tolist()
            own = [(*place, feature) for place, feature in zip(own, features, strict=True)]
        elif isinstance(node, Bag) and isinstance(schema, BagSchema):
            index = (torch.arange(len(own)) - node.offsets.cpu()[node.observation.cpu()]).tolist()
            own = [(*place, i) for place, i in zip(own, index, strict=True)]
        found.extend(own)
        if isinstance(node, Bag) and isinstance(schema, BagSchema):
            walk(node.child, schema.child, own)
        elif isinstance(node, Product) and isinstance(schema, ProductSchema):
            for name, part in schema.parts:
                walk(node.parts[name], part, [(*place, name) for place in around])

    walk(sample.root, sample.schema, [()] * len(sample))
    return found


# -- checks ------------------------------------------------------------------------------------------------------------


def _check_json(document: Json, number: int) -> None:
    """ValueError unless the document is JSON, is not cyclic, and is not too deep."""
    place: list[str | int] = []
    around: set[int] = set()

    def fail(reason: str) -> ValueError:
        where = "".join(f"[{key!r}]" for key in place[:10]) + (" …" if len(place) > 10 else "")
        return ValueError(f"document {number}{where and ' at ' + where}: {reason}")

    def check(value: Json) -> None:
        if isinstance(value, list | dict):
            if id(value) in around:
                raise fail("it contains itself")
            if len(place) >= MAX_DEPTH:
                raise fail(f"it has more than {MAX_DEPTH} levels")
            around.add(id(value))
            for key, child in value.items() if isinstance(value, dict) else enumerate(value):
                place.append(key)
                if isinstance(value, dict) and not isinstance(key, str):
                    raise fail(f"keys must be strings, got {key!r}")
                check(child)
                place.pop()
            around.remove(id(value))
        elif isinstance(value, int | float):
            if abs(value) > LARGEST if isinstance(value, int) else not math.isfinite(value):
                raise fail(f"numbers must be finite, and integers within ±2^53, got {value}")
        elif value is not None and not isinstance(value, str):
            raise fail(f"it must be JSON, got {type(value).__name__}")

    check(document)


def _kind(value: Json) -> str:
    """The JSON type of a value."""
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return next(name for cls, name in kinds.items() if isinstance(value, cls))


def _is_empty(value: Json) -> bool:
    """Whether there is nothing in a value."""
    if isinstance(value, dict):
        return all(map(_is_empty, value.values()))
    return value is None or (isinstance(value, list) and all(map(_is_empty, value)))


def _misfit(number: int, path: Path, expected: str, value: Json) -> ValueError:
    text = repr(value)
    shown = text if len(text) <= 60 else text[:59] + "…"
    return ValueError(f"document {number} does not fit the schema at {path}: expected {expected}, got {shown}")


# -- columns: all values at one place of the schema, and the documents that they come from ----------------------------


def _infer(values: list[Json], documents: list[int], path: Path, max_categories: int) -> Schema | None:
    """The schema of a column; None if there is nothing in it."""
    there = [(value, number) for value, number in zip(values, documents, strict=True) if not _is_empty(value)]
    if not there:
        return None
    values, documents = [value for value, _ in there], [number for _, number in there]
    kind = _kind(values[0])
    for value, number in there:
        if _kind(value) != kind:
            raise _misfit(number, path, f"{kind}, as in document {documents[0]}", value)
    if kind == "object":
        parts = []
        for name in sorted(set().union(*values)):
            column = [(value[name], number) for value, number in there if name in value]
            part = _infer([v for v, _ in column], [n for _, n in column], (*path, name), max_categories)
            parts += [] if part is None else [(name, part)]
        return ProductSchema(tuple(parts))
    if kind == "list":
        members = _infer(*_members(values, documents), (*path, MEMBER), max_categories)
        return BagSchema(cast(Schema, members))
    if kind == "number":
        return DenseSchema()
    if kind == "boolean":
        return CategoricalSchema((False, True))
    distinct = set(values)
    few = len(distinct) <= max_categories and len(values) >= 5 * len(distinct)
    return CategoricalSchema(tuple(sorted(distinct))) if few else TextSchema()


def _members(values: list[Json], documents: list[int]) -> tuple[list[Json], list[int]]:
    """The column of what is in a column of lists."""
    numbers = ([number] * len(value) for value, number in zip(values, documents, strict=True))
    return list(itertools.chain.from_iterable(values)), list(itertools.chain.from_iterable(numbers))


def _encode(schema: Schema, values: list[Json], documents: list[int], path: Path) -> Node:
    """The node of a column."""
    if isinstance(schema, SkipSchema):
        return Skip(_encode(schema.child, values, documents, path))
    if isinstance(schema, DenseSchema):
        return _encode_dense(schema, values, documents, path)
    if isinstance(schema, CategoricalSchema):
        values = _of_kind(_kind(schema.categories[0]), values, documents, path)
        known = {category: code for code, category in enumerate(schema.categories)}
        unknown = dict.fromkeys(v for v in values if v is not None and v not in known)
        known |= {category: len(schema.categories) + i for i, category in enumerate(unknown)}
        return Categorical(_codes(values, known), len(schema.categories), tuple(unknown))
    if isinstance(schema, TextSchema):
        values = _of_kind("string", values, documents, path)
        strings = {string: code for code, string in enumerate(dict.fromkeys(v for v in values if v is not None))}
        return Text(_codes(values, strings), StringTable.of(list(strings), schema.n, schema.buckets))
    if isinstance(schema, SparseSchema):
        return _encode_sparse(schema, values, documents, path)
    if isinstance(schema, BagSchema):
        lists = [value or [] for value in _of_kind("list", values, documents, path)]
        child = _encode(schema.child, *_members(lists, documents), (*path, MEMBER))
        bag = Bag(child, offsets_of(torch.tensor([len(v) for v in lists], dtype=torch.int64)))
        return bag.only(child.content())
    values = _of_kind("object", values, documents, path)
    names = {name for name, _ in schema.parts}
    for value, number in zip(values, documents, strict=True):
        for name in (value or {}).keys() - names:
            if not _is_empty(value[name]):
                raise _misfit(number, path, f"one of the keys {sorted(names)}", name)
    objects = [value or {} for value in values]
    return Product({n: _encode(s, [v.get(n) for v in objects], documents, (*path, n)) for n, s in schema.parts})


def _encode_dense(schema: DenseSchema, values: list[Json], documents: list[int], path: Path) -> Dense:
    if schema.features == 1:
        there = _of_kind("number", values, documents, path)
        rows = [[math.nan if value is None else float(value)] for value in there]
    else:
        rows = []
        for value, number in zip(values, documents, strict=True):
            row: Json = [None] * schema.features if _is_empty(value) else value
            fits = isinstance(row, list) and len(row) == schema.features
            if not fits or any(not _is_empty(v) and _kind(v) != "number" for v in row):
                raise _misfit(number, path, f"a list of {schema.features} numbers", value)
            rows.append([math.nan if _is_empty(v) else float(v) for v in row])
    return Dense(torch.tensor(rows, dtype=torch.float64).view(len(values), schema.features))


def _encode_sparse(schema: SparseSchema, values: list[Json], documents: list[int], path: Path) -> Sparse:
    values = _of_kind("object", values, documents, path)
    column = {key: i for i, key in enumerate(schema.keys)}
    numbers, columns, lengths = [], [], []
    for value, number in zip(values, documents, strict=True):
        entries = {key: v for key, v in (value or {}).items() if not _is_empty(v)}
        for key, v in entries.items():
            if key not in column or _kind(v) != "number":
                raise _misfit(number, path, f"numbers under keys among {list(schema.keys)[:10]}", {key: v})
            numbers.append(float(v))
            columns.append(column[key])
        lengths.append(len(entries))
    offsets = offsets_of(torch.tensor(lengths, dtype=torch.int64))
    return Sparse(torch.tensor(numbers, dtype=torch.float64), torch.tensor(columns).long(), offsets, len(schema.keys))


def _of_kind(kind: str, values: list[Json], documents: list[int], path: Path) -> list[Json]:
    """A column of values of this kind; empty values of another say as little as null does, and become None."""
    of_kind = []
    for value, number in zip(values, documents, strict=True):
        fits = value is None or _kind(value) == kind
        if not fits and not _is_empty(value):
            raise _misfit(number, path, kind, value)
        of_kind.append(value if fits else None)
    return of_kind


def _codes(values: list[Json], code: dict[Any, int]) -> Tensor:
    return torch.tensor([MISSING if value is None else code[value] for value in values], dtype=torch.int64)


def _decode(node: Node, schema: Schema) -> list[Json]:
    """The column of a node; None where there is nothing."""
    if isinstance(node, Skip) and isinstance(schema, SkipSchema):
        return _decode(node.child, schema.child)
    if isinstance(node, Dense):
        rows = [[_number(v) for v in row] for row in node.values.tolist()]
        return [None if all(v is None for v in row) else row[0] if len(row) == 1 else row for row in rows]
    if isinstance(node, Categorical) and isinstance(schema, CategoricalSchema):
        names = (*schema.categories, *(node.unknown or ("unknown",)))
        return [None if code == MISSING else names[code] for code in node.codes.tolist()]
    if isinstance(node, Text):
        return [None if code == MISSING else node.table.strings[code] for code in node.codes.tolist()]
    if isinstance(node, Sparse) and isinstance(schema, SparseSchema):
        entries = list(zip((schema.keys[c] for c in node.columns.tolist()), node.values.tolist(), strict=True))
        return [{k: _number(v) for k, v in entries[a:b]} or None for a, b in itertools.pairwise(node.offsets.tolist())]
    if isinstance(node, Bag) and isinstance(schema, BagSchema):
        members = _decode(node.child, schema.child)
        lists = (members[a:b] for a, b in itertools.pairwise(node.offsets.tolist()))
        return [[member for member in one if member is not None] or None for one in lists]
    columns = {name: _decode(node.children()[name], part) for name, part in cast(ProductSchema, schema).parts}
    objects = ({n: column[i] for n, column in columns.items() if column[i] is not None} for i in range(len(node)))
    return [value or None for value in objects]


def _number(value: float) -> float | int | None:
    """As JSON writes it: nothing for a missing one, and whole numbers as integers."""
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= LARGEST else value
