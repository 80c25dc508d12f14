"""JSON documents in and out: lists become bags, objects products or maps, and what a document lacks is missing.

Empty parts (null, [], {}, and what holds nothing else) say nothing: they are read as missing and never written. Only
the keys of a map count by themselves.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor

from rambit.checks import one_of
from rambit.structure.inference import infer_schema, members
from rambit.structure.json_values import (
    LARGEST,
    Json,
    check_documents,
    is_empty,
    is_large,
    is_number,
    kind_of,
    misfit,
    plain,
)
from rambit.structure.nodes import MISSING, Bag, Categorical, Dense, Node, Product, Skip, Sparse, Text
from rambit.structure.ragged import offsets_of
from rambit.structure.sample import Sample
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
from rambit.structure.strings import StringTable

Place = tuple[str | int, ...]


def from_json(
    documents: Sequence[Any], schema: Schema | None = None, *, unknown: Literal["error", "ignore"] = "error"
) -> Sample:
    """``documents`` as a batch of nested samples that look like ``schema``, by default like they all do.

    Beside JSON, documents may hold tuples, NumPy's scalars and arrays, decimals (the nearest number), dates and times
    (as text, ISO 8601). ``unknown``: what becomes of keys that the schema has not, and of values of a type that it has
    not at their place: an ``error``, or they are missing (``ignore``). Raises ValueError, naming document and place,
    for a document that is not JSON, for a cycle, for more than 100 levels, and for what is unknown; see also
    ``infer_schema``.
    """
    return read_json(documents, schema, unknown)[0]


def read_json(documents: Sequence[Any], schema: Schema | None, unknown: str) -> tuple[Sample, Counter[Path]]:
    """The sample of ``from_json``, and how many values were ignored at each path."""
    one_of("unknown", unknown, ("error", "ignore"))
    check_documents(documents)
    if schema is None:
        schema = infer_schema(documents)
    reader = _Reader(strict=unknown == "error")
    columns = [plain(document, number) for number, document in enumerate(documents)]
    node = reader.node(schema, columns, list(range(len(documents))), ())
    return Sample.of(node, schema), reader.ignored


def to_json(sample: Sample, mask: Tensor | None = None) -> list[Json]:
    """The B documents of what ``mask`` (terms,) bool keeps, by default of everything, without empty parts.

    Encoded again with the sample's schema, they get the model's output for the mask.
    """
    kept = sample if mask is None else sample.pruned(mask)
    empty: Json = {ProductSchema: {}, MapSchema: {}, SparseSchema: {}, BagSchema: []}.get(type(sample.schema))
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
        elif isinstance(node, Bag) and isinstance(schema, MapSchema):
            own = [(*place, key) for place, key in zip(own, _keys(node, schema), strict=True)]
        found.extend(own)
        if isinstance(node, Bag) and isinstance(schema, BagSchema):
            walk(node.child, schema.child, own)
        elif isinstance(node, Bag) and isinstance(schema, MapSchema):
            if schema.value is not None:
                walk(node.child.children()["value"], schema.value, own)
        elif isinstance(node, Product) and isinstance(schema, UnionSchema):
            for kind, part in schema.parts:
                walk(node.parts[kind], part, around)
        elif isinstance(node, Product) and isinstance(schema, ProductSchema):
            for name, part in schema.parts:
                walk(node.parts[name], part, [(*place, name) for place in around])

    walk(sample.root, sample.schema, [()] * len(sample))
    return found


# -- columns: all values at one place of the schema, and the documents that they come from ----------------------------


class _Reader:
    """Reads columns as nodes. What the schema has no place for is an error if ``strict``, else ignored and counted."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self.ignored: Counter[Path] = Counter()

    def unknown(self, number: int, path: Path, expected: str, value: Json) -> None:
        """Deal with a value that the schema has no place for."""
        if self.strict:
            raise misfit(number, path, expected, value)
        self.ignored[path] += 1

    def node(self, schema: Schema, values: list[Json], documents: list[int], path: Path) -> Node:
        """The node of a column."""
        if isinstance(schema, SkipSchema):
            return Skip(self.node(schema.child, values, documents, path))
        if isinstance(schema, DenseSchema):
            return self._dense(schema, values, documents, path)
        if isinstance(schema, CategoricalSchema):
            values = self._of_kind(kind_of(schema.categories[0]), values, documents, path)
            known = {category: code for code, category in enumerate(schema.categories)}
            unknown = dict.fromkeys(v for v in values if v is not None and v not in known)
            known |= {category: len(schema.categories) + i for i, category in enumerate(unknown)}
            return Categorical(_codes(values, known), len(schema.categories), tuple(unknown))
        if isinstance(schema, TextSchema):
            values = self._of_kind("number" if schema.numbers else "string", values, documents, path)
            if schema.numbers:
                values = [None if value is None else json.dumps(value) for value in values]
            strings = {string: code for code, string in enumerate(dict.fromkeys(v for v in values if v is not None))}
            return Text(_codes(values, strings), StringTable.of(list(strings), schema.n, schema.buckets))
        if isinstance(schema, SparseSchema):
            return self._sparse(schema, values, documents, path)
        if isinstance(schema, BagSchema):
            lists = [value or [] for value in self._of_kind("list", values, documents, path)]
            return self._bag(schema.child, lists, documents, path)
        if isinstance(schema, MapSchema):
            objects = [value or {} for value in self._of_kind("object", values, documents, path)]
            pairs = [[{"key": key, "value": value} for key, value in entries.items()] for entries in objects]
            return self._bag(schema.child, pairs, documents, path)
        if isinstance(schema, UnionSchema):
            return self._union(schema, values, documents, path)
        return self._product(schema, values, documents, path)

    def _bag(self, child: Schema, lists: list[Json], documents: list[int], path: Path) -> Bag:
        node = self.node(child, *members(lists, documents), (*path, MEMBER))
        bag = Bag(node, offsets_of(torch.tensor([len(one) for one in lists], dtype=torch.int64)))
        return bag.only(node.content())

    def _union(self, schema: UnionSchema, values: list[Json], documents: list[int], path: Path) -> Product:
        parts = dict(schema.parts)
        kinds = [None if value is None else kind_of(value) for value in values]
        for value, kind, number in zip(values, kinds, documents, strict=True):
            if kind not in parts and not is_empty(value):
                self.unknown(number, path, " or ".join(parts), value)
        columns = {k: [v if kind == k else None for v, kind in zip(values, kinds, strict=True)] for k in parts}
        return Product({k: self.node(part, columns[k], documents, (*path, k)) for k, part in parts.items()})

    def _product(self, schema: ProductSchema, values: list[Json], documents: list[int], path: Path) -> Product:
        objects = [value or {} for value in self._of_kind("object", values, documents, path)]
        parts, names = dict(schema.parts), [name for name, _ in schema.parts]
        some = f"one of the keys {names[:10]}{', …' if len(names) > 10 else ''}"
        for value, number in zip(objects, documents, strict=True):
            for name in value:
                if name not in parts and not is_empty(value[name]):
                    self.unknown(number, (*path, name), some, name)
        return Product({n: self.node(p, [v.get(n) for v in objects], documents, (*path, n)) for n, p in parts.items()})

    def _dense(self, schema: DenseSchema, values: list[Json], documents: list[int], path: Path) -> Dense:
        single = schema.features == 1
        missing, rows = [None] * schema.features, []
        for value, number in zip(values, documents, strict=True):
            row: Json = missing if is_empty(value) else [value] if single else value
            if not isinstance(row, list) or len(row) != schema.features or not all(map(is_number, row)):
                expected = "number" if single else f"a list of {schema.features} numbers"
                self.unknown(number, path, f"{expected} within ±2^53" if is_large(value) else expected, value)
                row = missing
            rows.append([math.nan if is_empty(v) else float(v) for v in row])
        return Dense(torch.tensor(rows, dtype=torch.float64).view(len(values), schema.features))

    def _sparse(self, schema: SparseSchema, values: list[Json], documents: list[int], path: Path) -> Sparse:
        values = self._of_kind("object", values, documents, path)
        column = {key: i for i, key in enumerate(schema.keys)}
        numbers: list[float] = []
        columns, lengths = [], []
        for value, number in zip(values, documents, strict=True):
            before = len(numbers)
            for key, v in (value or {}).items():
                if key not in column or not is_number(v):
                    if not is_empty(v):
                        self.unknown(number, path, f"numbers under keys among {list(schema.keys)[:10]}", {key: v})
                elif not is_empty(v):
                    numbers.append(float(v))
                    columns.append(column[key])
            lengths.append(len(numbers) - before)
        there = torch.tensor(numbers, dtype=torch.float64)
        offsets = offsets_of(torch.tensor(lengths, dtype=torch.int64))
        return Sparse(there, torch.tensor(columns).long(), offsets, len(schema.keys))

    def _of_kind(self, kind: str, values: list[Json], documents: list[int], path: Path) -> list[Json]:
        """A column of values of this kind; empty values of another say as little as null does, and become None."""
        of_kind = []
        for value, number in zip(values, documents, strict=True):
            fits = value is None or kind_of(value) == kind
            if not fits and not is_empty(value):
                self.unknown(number, path, kind, value)
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
    if isinstance(node, Text) and isinstance(schema, TextSchema):
        strings = [json.loads(s) for s in node.table.strings] if schema.numbers else node.table.strings
        return [None if code == MISSING else strings[code] for code in node.codes.tolist()]
    if isinstance(node, Sparse) and isinstance(schema, SparseSchema):
        entries = list(zip((schema.keys[c] for c in node.columns.tolist()), node.values.tolist(), strict=True))
        return [{k: _number(v) for k, v in entries[a:b]} or None for a, b in itertools.pairwise(node.offsets.tolist())]
    if isinstance(node, Bag) and isinstance(schema, BagSchema):
        members = _decode(node.child, schema.child)
        lists = (members[a:b] for a, b in itertools.pairwise(node.offsets.tolist()))
        return [[member for member in one if member is not None] or None for one in lists]
    if isinstance(node, Bag) and isinstance(schema, MapSchema):
        keys, values = _keys(node, schema), [None] * len(node.child)
        if schema.value is not None:
            values = _decode(node.child.children()["value"], schema.value)
        entries = list(zip(keys, values, strict=True))
        return [dict(entries[a:b]) or None for a, b in itertools.pairwise(node.offsets.tolist())]
    parts = cast(ProductSchema | UnionSchema, schema).parts
    columns = {name: _decode(node.children()[name], part) for name, part in parts}
    objects = ({n: column[i] for n, column in columns.items() if column[i] is not None} for i in range(len(node)))
    if isinstance(schema, UnionSchema):
        return [next(iter(alternatives.values()), None) for alternatives in objects]
    return [value or None for value in objects]


def _keys(node: Bag, schema: MapSchema) -> list[Json]:
    """The keys of the pairs of a map."""
    return _decode(node.child.children()["key"], SkipSchema(schema.key))


def _number(value: float) -> float | int | None:
    """As JSON writes it: nothing for a missing one, and whole numbers as integers."""
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() and abs(value) <= LARGEST else value
