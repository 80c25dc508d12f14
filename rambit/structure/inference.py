"""What JSON documents look like."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from rambit.checks import count, number, one_of
from rambit.structure.json_values import (
    Json,
    check_documents,
    is_empty,
    is_large,
    is_number,
    kind_of,
    misfit,
    plain,
)
from rambit.structure.schema import (
    MEMBER,
    BagSchema,
    CategoricalSchema,
    DenseSchema,
    MapSchema,
    Path,
    ProductSchema,
    Schema,
    TextSchema,
    UnionSchema,
)

Kind = Literal["map", "object", "vector", "list", "text", "categories"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: So many lists of numbers of one length make a vector, and so many of each string categories, on average.
OFTEN = 5


def infer_schema(
    documents: Sequence[Any],
    *,
    max_categories: int = 20,
    map_share: float = 0.1,
    kinds: Mapping[Path, Kind] | None = None,
) -> Schema:
    """What all of ``documents`` look like; what is null or empty throughout is left out.

    * Numbers are dense; where one is an integer beyond ±2^53, all are text. Booleans are categories; strings are if
      there are at most ``max_categories`` different ones, each seen 5 times on average, else text.
    * Lists are bags, or vectors if there are at least 5, all of the same two or more numbers (or null).
    * Objects are products, any key of which may be absent, or maps, whose keys are data, if most of what is in them
      stands under keys that less than a share of ``map_share`` of the objects have (0: never).
    * Values of several types at one place are a union.

    ``kinds`` says by hand what stands at a path (``MEMBER`` for the members of a list): ``map`` or ``object``,
    ``vector`` or ``list``, ``text`` or ``categories`` of strings, and ``text`` of numbers that are ids. Raises
    ValueError, naming document and place, for what is not JSON, a cycle, more than 100 levels, and a path of ``kinds``
    at which nothing of that kind stands; ValueError if nothing is in the documents.
    """
    check_documents(documents)
    inference = _Inference(
        count("max_categories", max_categories, 0), number("map_share", map_share, 0.0, 1.0), dict(kinds or {})
    )
    return inference.schema([plain(document, i) for i, document in enumerate(documents)])


class _Inference:
    """Walks down columns: all values at one place, and the documents that they come from."""

    def __init__(self, max_categories: int, map_share: float, kinds: Mapping[Path, Kind]) -> None:
        for path, kind in kinds.items():
            one_of(f"kinds[{path}]", kind, KINDS)
        self.max_categories, self.map_share, self.kinds = max_categories, map_share, kinds
        self.unused = set(kinds)

    def schema(self, documents: list[Json]) -> Schema:
        schema = self.infer(documents, list(range(len(documents))), ())
        if schema is None:
            raise ValueError(f"there is nothing in the documents, of which there are {len(documents)}")
        if self.unused:
            path = min(self.unused)
            raise ValueError(f"kinds names {path} as {self.kinds[path]}, but there is nothing of that kind there")
        return schema

    def infer(self, values: list[Json], documents: list[int], path: Path) -> Schema | None:
        """The schema of a column; None if there is nothing in it."""
        # Where a map was chosen, or above it, {"80/tcp": {}} holds something: a key.
        to_map = any(kind == "map" and place[: len(path)] == path for place, kind in self.kinds.items())
        columns: dict[str, tuple[list[Json], list[int]]] = {}
        for value, document in zip(values, documents, strict=True):
            if not (value in (None, [], {}) if to_map else is_empty(value)):
                column = columns.setdefault(kind_of(value), ([], []))
                column[0].append(value)
                column[1].append(document)
        several = len(columns) > 1
        found = [self._of(k, *column, path, (*path, k) if several else path) for k, column in columns.items()]
        schemas = [schema for schema in found if schema is not None]
        return UnionSchema(tuple(schemas)) if len(schemas) > 1 else next(iter(schemas), None)

    def _of(self, kind: str, values: list[Json], documents: list[int], path: Path, below: Path) -> Schema | None:
        """The schema of a column of values of one JSON type; ``below`` is ``path``, with the type in a union."""
        if kind == "boolean":
            return CategoricalSchema((False, True))
        if kind == "number":
            text = self._chosen(path, "text") is not None or any(map(is_large, values))
            return TextSchema(numbers=True) if text else DenseSchema()
        if kind == "string":
            return self._strings(values, path)
        return (self._lists if kind == "list" else self._objects)(values, documents, path, below)

    def _chosen(self, path: Path, *kinds: Kind) -> Kind | None:
        """Which of these kinds was chosen by hand."""
        chosen = self.kinds.get(path)
        if chosen not in kinds:
            return None
        self.unused.discard(path)
        return chosen

    def _strings(self, values: list[Json], path: Path) -> Schema:
        distinct = set(values)
        few = len(distinct) <= self.max_categories and len(values) >= OFTEN * len(distinct)
        chosen = self._chosen(path, "text", "categories") or ("categories" if few else "text")
        return CategoricalSchema(tuple(sorted(distinct))) if chosen == "categories" else TextSchema()

    def _lists(self, values: list[Json], documents: list[int], path: Path, below: Path) -> Schema | None:
        length = len(values[0])
        odd = next(
            (i for i, value in enumerate(values) if len(value) != length or not all(map(is_number, value))), None
        )
        vectors = odd is None and length > 1 and len(values) >= OFTEN
        if (self._chosen(path, "vector", "list") or ("vector" if vectors else "list")) == "list":
            member = self.infer(*members(values, documents), (*below, MEMBER))
            return None if member is None else BagSchema(member)
        if odd is not None:
            raise misfit(documents[odd], path, f"a list of {length} numbers", values[odd])
        return DenseSchema(length)

    def _objects(self, values: list[Json], documents: list[int], path: Path, below: Path) -> Schema | None:
        chosen = self._chosen(path, "map", "object") or ("map" if self._keys_are_data(values) else "object")
        if chosen == "map":
            held, numbers = members([list(value.values()) for value in values], documents)
            return MapSchema(self.infer(held, numbers, (*below, MEMBER, "value")))
        parts = []
        for name in sorted(set().union(*values)):
            column = [(value[name], number) for value, number in zip(values, documents, strict=True) if name in value]
            part = self.infer([v for v, _ in column], [n for _, n in column], (*below, name))
            parts += [] if part is None else [(name, part)]
        return ProductSchema(tuple(parts)) if parts else None

    def _keys_are_data(self, objects: list[Json]) -> bool:
        """Whether most entries of objects stand under keys that few of the objects have."""
        objects_with = Counter(itertools.chain.from_iterable(objects))
        rare = sum(n for n in objects_with.values() if n < self.map_share * len(objects))
        return 2 * rare > objects_with.total()


def members(values: list[Json], documents: list[int]) -> tuple[list[Json], list[int]]:
    """The column of what is in a column of lists."""
    numbers = ([number] * len(value) for value, number in zip(values, documents, strict=True))
    return list(itertools.chain.from_iterable(values)), list(itertools.chain.from_iterable(numbers))
