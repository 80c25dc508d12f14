"""`rambit suffice --json`: documents with what suffices of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import torch

from rambit.cli import common
from rambit.cli.suffice import outputs
from rambit.cli.terminal import plain
from rambit.datasets.botocore import Documents, botocore_operations
from rambit.models.sequence_classifier import seeded
from rambit.store import read_file
from rambit.structure import (
    HierarchicalClassifier,
    Sample,
    fit,
    from_json,
    infer_schema,
    load_model,
    places,
    save_model,
    to_json,
)
from rambit.sufficiency import SufficientExplanation, explain

#: botocore: the services whose documents a model is trained on, and how.
TRAIN_FRACTION = 0.7
TRAINING: dict[str, Any] = {"epochs": 5, "batch_size": 100, "lr": 3e-3}
_KEPT, _REST, _PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"


def run(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Explain documents and print them."""
    for name in ("x", "layout", "split", "terms", "counterfactuals", "select", "model_id", *common.COLUMNS):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for series, not for documents")
    if args.data == "botocore":
        train, test = botocore_operations().split(TRAIN_FRACTION)
        names = [f"{service} {operation}" for service, operation in zip(test.services, test.operations, strict=True)]
        given: list[Any] = list(test.documents)
    else:
        given = _read(args.data)
        names = [f"document {i}" for i in range(len(given))]
    chosen = common.chosen(args.series, args.limit, len(given))
    with outputs.files(args, chosen) as write:
        if args.data == "botocore" and not Path(args.model).exists():
            model = _trained(train, args.model, args.seed)
        else:
            model = load_model(args.model)
        sample = from_json([given[i] for i in chosen], model.schema)
        output = explain(model, sample, **options)
        found = output if isinstance(output, list) else [output]
        write(found)
    for name, number, explanation in zip([names[i] for i in chosen], range(len(found)), found, strict=True):
        print(plain(f"{name}: {explanation}"), file=sys.stderr)
        print(shown(sample, number, explanation, colours=sys.stdout.isatty()))


def _read(path: str) -> list[Any]:
    """The documents of a file. Raises ValueError for what is no list in JSON."""
    data = read_file(path)
    try:
        found = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path} must hold a list of documents")
    return found


def shown(sample: Sample, number: int, explanation: SufficientExplanation, *, colours: bool) -> str:
    """The kept part of one document of the sample; with ``colours`` the whole document, that part highlighted."""
    if not colours:
        return _text(explanation.to_json(), indent=2)
    where = places(sample)
    kept = {where[term] for term in explanation.mask.nonzero()[:, 0].tolist()}
    around = {place[:end] for place in kept for end in range(len(place) + 1)}
    return "\n".join(_lines(to_json(sample)[number], (), around, ""))


def _lines(value: Any, place: tuple[str | int, ...], kept: Set[tuple[str | int, ...]], label: str) -> Iterator[str]:
    """The value in the manner of JSON, a line each; lines that lead to kept places, or are one, are highlighted."""
    indent, style = "  " * len(place), _KEPT if place in kept else _REST
    if not isinstance(value, dict | list) or not value:
        yield f"{style}{indent}{label}{_text(value)}{_PLAIN}"
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield f"{style}{indent}{label}{opening}{_PLAIN}"
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        name = f"{_text(key)}: " if isinstance(value, dict) else ""
        yield from _lines(child, (*place, key), kept, name)
    yield f"{style}{indent}{closing}{_PLAIN}"


def _text(value: Any, indent: int | None = None) -> str:
    """JSON as people read it, in which what can't be printed (an escape of a terminal, say) is escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _trained(train: Documents, path: str, seed: int) -> HierarchicalClassifier:
    """A model that tells paginated operations from others, trained and kept at ``path``."""
    common.check_suffix("--model", path, ".safetensors")
    with common.reserved((path,), force=False) as place:
        print(f"training on {len(train):,} operations …", file=sys.stderr)
        schema = infer_schema(train.documents)
        with seeded(seed):
            model = HierarchicalClassifier(schema, 2)
        fit(model, from_json(train.documents, schema), torch.from_numpy(train.y), seed=seed, **TRAINING)
        save_model(place(path), model)
    return model
