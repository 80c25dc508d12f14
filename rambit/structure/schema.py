"""What nested samples look like: one schema for each type of node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rambit.checks import count

Path = tuple[str, ...]
"""Where a node stands: the names from the root down, ``MEMBER`` for the members of a bag."""

MEMBER = "[]"


@dataclass(frozen=True)
class DenseSchema:
    """Numbers: ``features`` of them for each observation."""

    features: int = 1

    def __post_init__(self) -> None:
        count("features", self.features)


@dataclass(frozen=True)
class SparseSchema:
    """Objects of numbers under some of the ``keys``; what is not stored is 0."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        _distinct("keys", self.keys)


@dataclass(frozen=True)
class CategoricalSchema:
    """One of the ``categories``, strings or booleans; any other value of the same type counts as unknown."""

    categories: tuple[str, ...] | tuple[bool, ...]

    def __post_init__(self) -> None:
        _distinct("categories", self.categories)
        if len({type(c) for c in self.categories}) != 1 or not isinstance(self.categories[0], (str, bool)):
            raise TypeError(f"categories must all be strings or all be booleans, got {self.categories}")


@dataclass(frozen=True)
class TextSchema:
    """Strings as hashed ``n``-grams of their UTF-8 bytes, in ``buckets``; ``numbers`` read as text, digit by digit.

    Numbers as text are for ids, and for integers that a float64 does not hold.
    """

    n: int = 3
    buckets: int = 2053
    numbers: bool = False

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 7:
            raise ValueError(f"n must lie in 2..7, got {self.n}")
        count("buckets", self.buckets)


@dataclass(frozen=True)
class BagSchema:
    """Lists of instances that look like ``child``."""

    child: Schema


@dataclass(frozen=True)
class MapSchema:
    """Objects whose keys are data (names of packages, ids, headers): bags of pairs of a key and a ``value``.

    What can be removed is a pair, and what is in its value; a key stays as long as its pair does. Without ``value``
    there are only keys.
    """

    value: Schema | None
    key: TextSchema = TextSchema()

    @property
    def child(self) -> ProductSchema:
        """What a pair looks like."""
        value = () if self.value is None else (("value", self.value),)
        return ProductSchema((("key", SkipSchema(self.key)), *value))


@dataclass(frozen=True)
class ProductSchema:
    """Objects; each part may be absent. The parts are kept in the order of their names."""

    parts: tuple[tuple[str, Schema], ...]

    def __post_init__(self) -> None:
        _distinct("parts", tuple(name for name, _ in self.parts))
        object.__setattr__(self, "parts", tuple(sorted(self.parts, key=lambda part: part[0])))


@dataclass(frozen=True)
class SkipSchema:
    """What looks like ``child``, and is never explained."""

    child: Schema


@dataclass(frozen=True)
class UnionSchema:
    """Values of several JSON types at one place, each of which looks like the one of ``alternatives`` of its type.

    The node is a product, of whose ``parts`` each observation has one.
    """

    alternatives: tuple[Schema, ...]

    def __post_init__(self) -> None:
        _distinct("the JSON types of alternatives", tuple(map(json_type, self.alternatives)))
        object.__setattr__(self, "alternatives", tuple(sorted(self.alternatives, key=json_type)))

    @property
    def parts(self) -> tuple[tuple[str, Schema], ...]:
        """The alternatives by JSON type: boolean, list, number, object or string."""
        return tuple((json_type(schema), schema) for schema in self.alternatives)


Schema = (
    DenseSchema
    | SparseSchema
    | CategoricalSchema
    | TextSchema
    | BagSchema
    | MapSchema
    | ProductSchema
    | UnionSchema
    | SkipSchema
)
SCHEMAS: dict[str, type[Any]] = {
    "dense": DenseSchema,
    "sparse": SparseSchema,
    "categorical": CategoricalSchema,
    "text": TextSchema,
    "bag": BagSchema,
    "map": MapSchema,
    "product": ProductSchema,
    "union": UnionSchema,
    "skip": SkipSchema,
}


def json_type(schema: Schema) -> str:
    """The type of the values that look like ``schema``. Raises ValueError for a union, which has several."""
    if isinstance(schema, SkipSchema):
        return json_type(schema.child)
    if isinstance(schema, UnionSchema):
        raise ValueError("a union must not be an alternative of another one")
    if isinstance(schema, DenseSchema):
        return "number" if schema.features == 1 else "list"
    if isinstance(schema, CategoricalSchema):
        return "boolean" if isinstance(schema.categories[0], bool) else "string"
    if isinstance(schema, TextSchema):
        return "number" if schema.numbers else "string"
    return "list" if isinstance(schema, BagSchema) else "object"


def skip(schema: Schema, path: Path) -> Schema:
    """``schema`` with the node at ``path`` never explained.

    Raises ValueError if there is no such node.
    """

    def replace(node: Schema, rest: Path) -> Schema:
        if not rest:
            return SkipSchema(node)
        if isinstance(node, BagSchema) and rest[0] == MEMBER:
            return BagSchema(replace(node.child, rest[1:]))
        if isinstance(node, MapSchema) and node.value is not None and rest[:2] == (MEMBER, "value"):
            return MapSchema(replace(node.value, rest[2:]), node.key)
        if isinstance(node, ProductSchema | UnionSchema) and rest[0] in dict(node.parts):
            parts = tuple((name, replace(part, rest[1:]) if name == rest[0] else part) for name, part in node.parts)
            return ProductSchema(parts) if isinstance(node, ProductSchema) else UnionSchema(tuple(dict(parts).values()))
        raise ValueError(f"path must name a node of the schema, got {path}")

    return replace(schema, path)


def to_config(schema: Schema) -> dict[str, Any]:
    """The schema as JSON, for a checkpoint."""
    kind = next(kind for kind, cls in SCHEMAS.items() if isinstance(schema, cls))
    if isinstance(schema, BagSchema | SkipSchema):
        return {"type": kind, "child": to_config(schema.child)}
    if isinstance(schema, ProductSchema):
        return {"type": kind, "parts": {name: to_config(part) for name, part in schema.parts}}
    if isinstance(schema, UnionSchema):
        return {"type": kind, "alternatives": [to_config(part) for part in schema.alternatives]}
    if isinstance(schema, MapSchema):
        value = None if schema.value is None else to_config(schema.value)
        return {"type": kind, "value": value, "key": to_config(schema.key)}
    return {"type": kind} | {name: list(v) if isinstance(v, tuple) else v for name, v in vars(schema).items()}


def from_config(config: dict[str, Any]) -> Schema:
    """The schema of ``to_config``. Raises ValueError for anything else."""
    readers: dict[str, Callable[[Any], Any]] = {
        "child": from_config,
        "parts": lambda parts: tuple((name, from_config(part)) for name, part in parts.items()),
        "alternatives": lambda parts: tuple(map(from_config, parts)),
        "value": lambda value: None if value is None else from_config(value),
        "key": from_config,
        "keys": tuple,
        "categories": tuple,
        "numbers": bool,
    }
    try:
        values = {name: readers.get(name, int)(value) for name, value in config.items() if name != "type"}
        return SCHEMAS[config["type"]](**values)  # type: ignore[no-any-return]
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"config must be that of a schema, got {config!r}") from error


def _distinct(name: str, values: tuple[Any, ...]) -> None:
    if not values or len(set(values)) != len(values):
        raise ValueError(f"{name} must be distinct, and there must be one, got {values}")
