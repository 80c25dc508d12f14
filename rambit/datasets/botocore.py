"""Nested JSON documents offline: the operations in botocore's service models. Label: the operation is paginated."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rambit.datasets.dataset import Array, at_least

Json = Any
T = TypeVar("T")
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class KeyField:
    """A field that makes an operation paginated: ``role`` is input_token, output_token or limit_key.

    ``place`` leads to the field in its document, keys and indices as they are used.
    """

    role: str
    name: str
    place: Place


@dataclass(frozen=True, eq=False)
class Documents:
    """N labelled JSON documents, one for each operation.

    A document is {"input": fields, "output": fields}; a field {"name": ..., "type": ..., "fields": ...}, where the
    inner fields are those of a structure, or of the structures in a list or map. y: (N,) int64, 1 where the operation
    is paginated. keys: the fields by which it is, none where it is not or where they lie deeper than the document.
    """

    name: str
    documents: tuple[Json, ...]
    y: Array
    services: tuple[str, ...]
    operations: tuple[str, ...]
    keys: tuple[tuple[KeyField, ...], ...]

    def __len__(self) -> int:
        return len(self.documents)

    def take(self, indices: Sequence[int] | Array) -> Documents:
        """The documents at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)

        def pick(part: tuple[T, ...]) -> tuple[T, ...]:
            return tuple(part[i] for i in chosen)

        services, operations, keys = pick(self.services), pick(self.operations), pick(self.keys)
        return Documents(self.name, pick(self.documents), self.y[chosen], services, operations, keys)

    def split(self, fraction: float, seed: int = 0) -> tuple[Documents, Documents]:
        """A random `fraction` of the services with all their documents, and the others; neither of them empty."""
        names = sorted(set(self.services))
        if not 0 < fraction < 1 or len(names) < 2:
            raise ValueError(f"fraction must lie in (0, 1) and there must be 2 services, got {fraction}, {len(names)}")
        count = min(max(round(fraction * len(names)), 1), len(names) - 1)
        first = {names[i] for i in np.random.default_rng(seed).permutation(len(names))[:count]}
        inside = np.array([service in first for service in self.services])
        return self.take(inside.nonzero()[0]), self.take((~inside).nonzero()[0])


def botocore_operations(services: Sequence[str] | None = None, *, depth: int = 2) -> Documents:
    """The operations of all services that say which of theirs are paginated, or of the given ones.

    Input and output shapes are written out ``depth`` levels deep; a shape inside itself is not written again. The
    label and the key fields are from each service's paginators file, of which nothing else is read; names and
    documentation of operations are not in the documents. Needs the package botocore (rambit[examples]), whose version
    decides what is in the set, and no network.

    Raises ImportError without botocore, and ValueError for a service that it doesn't have or that has no paginators.
    """
    at_least(1, depth=depth)
    root = _service_models()
    known = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    for service in services or ():
        if service not in known or not _paginators(_latest(known[service])):
            raise ValueError(f"services must have paginated operations in botocore, and {service!r} has none")
    documents, labels, names, operations, keys = [], [], [], [], []
    for service in known if services is None else services:
        folder = _latest(known[service])
        paginators = _paginators(folder)
        for operation, document in _operations(folder, depth) if paginators else ():
            paginator = paginators.get(operation)
            documents.append(document)
            labels.append(paginator is not None)
            names.append(service)
            operations.append(operation)
            keys.append(() if paginator is None else tuple(_key_fields(document, paginator)))
    y = np.array(labels, dtype=np.int64)
    return Documents("botocore", tuple(documents), y, tuple(names), tuple(operations), tuple(keys))


def _service_models() -> Path:
    spec = importlib.util.find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("botocore is not installed: pip install rambit[examples]")
    return Path(spec.submodule_search_locations[0]) / "data"


def _latest(folder: Path) -> Path:
    """The newest version of a service: their names are dates."""
    return max(path for path in folder.iterdir() if path.is_dir())


def _read(folder: Path, name: str) -> Json:
    """A JSON file, which newer wheels compress; {} if there is none."""
    for path in (folder / f"{name}.json.gz", folder / f"{name}.json"):
        if path.exists():
            data = path.read_bytes()
            return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    return {}


def _paginators(folder: Path) -> dict[str, Json]:
    found: dict[str, Json] = _read(folder, "paginators-1").get("pagination", {})
    return found


def _operations(folder: Path, depth: int) -> Iterator[tuple[str, Json]]:
    """Names and documents of a service's operations."""
    model = _read(folder, "service-2")
    for name, operation in sorted(model["operations"].items()):
        sides = {side: operation[side]["shape"] for side in ("input", "output") if side in operation}
        written = {side: _fields(model["shapes"], shape, depth, ()) for side, shape in sides.items()}
        yield name, {side: fields for side, fields in written.items() if fields}


def _fields(shapes: dict[str, Json], shape: str, depth: int, around: tuple[str, ...]) -> list[Json]:
    """The fields of a structure, or of those that a list or map holds; none of one that is already around."""
    if depth == 0 or shape in around:
        return []
    spec = shapes[shape]
    around = (*around, shape)
    inner = {"list": "member", "map": "value"}.get(spec["type"])
    if inner is not None:
        return _fields(shapes, spec[inner]["shape"], depth, around)
    fields = []
    for name, member in spec.get("members", {}).items():
        field = {"name": name, "type": shapes[member["shape"]]["type"]}
        below = _fields(shapes, member["shape"], depth - 1, around)
        fields.append(field | ({"fields": below} if below else {}))
    return fields


def _key_fields(document: Json, paginator: Json) -> Iterator[KeyField]:
    """Where the fields that a paginator names stand in the document."""
    for role, side in (("input_token", "input"), ("output_token", "output"), ("limit_key", "input")):
        named = paginator.get(role) or []
        for expression in [named] if isinstance(named, str) else named:
            for alternative in expression.split("||"):  # JMESPath, of which only names, indices and "or" are used
                names = re.sub(r"\[[^]]*\]", "", alternative).strip().split(".")
                place = _find(document.get(side, []), names, (side,))
                if place is not None:
                    yield KeyField(role, ".".join(names), place)


def _find(fields: list[Json], names: list[str], around: Place) -> Place | None:
    for index, field in enumerate(fields):
        if field["name"] == names[0]:
            place = (*around, index)
            return place if len(names) == 1 else _find(field.get("fields", []), names[1:], (*place, "fields"))
    return None
