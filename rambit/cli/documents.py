"""JSON documents that commands read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rambit.cli.terminal import shortened
from rambit.store import read_file

Json = Any

JSON_HELP = "DATA holds JSON documents: a list (.json), a document on each line (.jsonl), or a folder of .json files"


@dataclass(frozen=True)
class Documents:
    """Documents and what they are called."""

    documents: list[Json]
    names: list[str]

    def __len__(self) -> int:
        return len(self.documents)


def read_documents(path: str) -> Documents:
    """The documents of a file or folder. Raises OSError, or ValueError naming what can't be read."""
    folder = Path(path)
    if folder.is_dir():
        found = sorted(one for one in folder.rglob("*.json") if one.is_file())
        documents, names = (
            [_parsed(one, read_file(one)) for one in found],
            [str(one.relative_to(folder)) for one in found],
        )
    elif folder.suffix in (".jsonl", ".ndjson"):
        documents = list(_lines(path))
        names = [f"document {i}" for i in range(len(documents))]
    else:
        documents = _parsed(path, read_file(path))
        if not isinstance(documents, list):
            raise ValueError(f"{path} must hold a list of documents")
        names = [f"document {i}" for i in range(len(documents))]
    if not documents:
        raise ValueError(
            f"{path} must hold a list of documents" if folder.is_file() else f"{path} holds no .json files"
        )
    return Documents(documents, names)


def _lines(path: str) -> Iterator[Json]:
    for number, line in enumerate(read_file(path).splitlines(), start=1):
        if line.strip():
            yield _parsed(f"{path}, line {number},", line)


def _parsed(what: str | Path, data: bytes) -> Json:
    try:
        return json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{what} is not a JSON file: {error}") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(f"{what}: {error}") from error


def take_labels(data: Documents, key: str, source: str) -> tuple[Documents, list[str]]:
    """The documents without what stands under ``key`` (of a key inside another: a.b), and that, as text.

    Raises ValueError naming a document that has no label there, or none that can be a class.
    """
    labels, rest = [], []
    for document, name in zip(data.documents, data.names, strict=True):
        label, without = _without(document, [key] if isinstance(document, dict) and key in document else key.split("."))
        if isinstance(label, float) or not isinstance(label, str | int):
            shown = shortened(json.dumps(label), 80)
            raise ValueError(f"{source}, {name}: --label {key} must be text, a whole number or a boolean, got {shown}")
        labels.append(label if isinstance(label, str) else json.dumps(label))
        rest.append(without)
    return Documents(rest, data.names), labels


def _without(document: Json, keys: list[str]) -> tuple[Json, Json]:
    """What stands under the keys, one inside the other, None if nothing does; and the document without it."""
    if not isinstance(document, dict) or keys[0] not in document:
        return None, document
    if len(keys) == 1:
        return document[keys[0]], {key: value for key, value in document.items() if key != keys[0]}
    label, without = _without(document[keys[0]], keys[1:])
    return label, document | {keys[0]: without}
