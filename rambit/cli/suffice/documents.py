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
from rambit.datasets.botocore import Documents, botocore_operations
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
from rambit.sufficiency import Explanation, explain

#: botocore: the services whose documents a model is trained on, and how.
TRAIN_FRACTION = 0.7
TRAINING: dict[str, Any] = {"epochs": 5, "batch_size": 100, "lr": 3e-3}
_KEPT, _REST, _PLAIN = "\x1b[1;32m", "\x1b[2m", "\x1b[0m"


def run(args: argparse.Namespace, options: dict[str, Any]) -> None:
    """Explain documents and print them."""
    for name in ("x", "layout", "split", "terms", "counterfactuals"):
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} is for series, not for documents")
    if args.data == "botocore":
        train, test = botocore_operations().split(TRAIN_FRACTION)
        names = [f"{service} {operation}" for service, operation in zip(test.services, test.operations, strict=True)]
        given: list[Any] = list(test.documents)
        chosen = common.chosen(args.series, args.limit, len(given))
        model = load_model(args.model) if Path(args.model).exists() else _trained(train, args.model, args.seed)
    else:
        given = _read(args.data)
        names = [f"document {i}" for i in range(len(given))]
        chosen = common.chosen(args.series, args.limit, len(given))
        model = load_model(args.model)
    files = outputs.paths(args, chosen)
    sample = from_json([given[i] for i in chosen], model.schema)
    answer = explain(model, sample, **options)
    found = answer if isinstance(answer, list) else [answer]
    outputs.write(files, found, force=args.force)
    for name, number, explanation in zip([names[i] for i in chosen], range(len(found)), found, strict=True):
        print(f"{name}: {explanation}", file=sys.stderr)
        print(shown(sample, number, explanation, colours=sys.stdout.isatty()))


def _read(path: str) -> list[Any]:
    """The documents of a file. Raises ValueError for what is no list in JSON."""
    try:
        found = json.loads(read_file(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path} must hold a list of documents")
    return found


def shown(sample: Sample, number: int, explanation: Explanation, *, colours: bool) -> str:
    """The kept part of one document of the sample; with ``colours`` the whole document, that part highlighted."""
    if not colours:
        return json.dumps(explanation.to_json(), indent=2, ensure_ascii=False)
    where = places(sample)
    kept = {where[term] for term in explanation.mask.nonzero()[:, 0].tolist()}
    around = {place[:end] for place in kept for end in range(len(place) + 1)}
    return "\n".join(_lines(to_json(sample)[number], (), around, ""))


def _lines(value: Any, place: tuple[str | int, ...], kept: Set[tuple[str | int, ...]], label: str) -> Iterator[str]:
    """The value in the manner of JSON, a line each; lines that lead to kept places, or are one, are highlighted."""
    indent, style = "  " * len(place), _KEPT if place in kept else _REST
    if not isinstance(value, dict | list) or not value:
        yield f"{style}{indent}{label}{json.dumps(value, ensure_ascii=False)}{_PLAIN}"
        return
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    yield f"{style}{indent}{label}{opening}{_PLAIN}"
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        name = f"{json.dumps(key, ensure_ascii=False)}: " if isinstance(value, dict) else ""
        yield from _lines(child, (*place, key), kept, name)
    yield f"{style}{indent}{closing}{_PLAIN}"


def _trained(train: Documents, path: str, seed: int) -> HierarchicalClassifier:
    """A model that tells paginated operations from others, trained and kept at ``path``."""
    common.check_suffix("--model", path, ".safetensors")
    print(f"training on {len(train):,} operations …", file=sys.stderr)
    schema = infer_schema(train.documents)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = HierarchicalClassifier(schema, 2)
    fit(model, from_json(train.documents, schema), torch.from_numpy(train.y), seed=seed, **TRAINING)
    save_model(path, model)
    return model
