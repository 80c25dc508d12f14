"""`rambit suffice --json`: documents with what suffices of them."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import torch

from rambit.cli import common
from rambit.cli.documents import read_documents
from rambit.cli.suffice import outputs
from rambit.cli.terminal import plain
from rambit.datasets.botocore import Documents, botocore_operations
from rambit.models.sequence_classifier import seeded
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
from rambit.structure.documents import read_json
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
        data = read_documents(args.data)
        names, given = data.names, data.documents
    chosen = common.chosen(args.series, args.limit, len(given))
    with outputs.files(args, chosen, documents=True) as write:
        if args.data == "botocore" and not Path(args.model).exists():
            model = _trained(train, args.model, args.seed)
        else:
            model = load_model(args.model)
        sample, ignored = read_json([given[i] for i in chosen], model.schema, args.unknown)
        if ignored:
            print(plain(_ignored(ignored)), file=sys.stderr)
        output = explain(model, sample, labels={"outputs": model.class_names} if model.class_names else None, **options)
        found = output if isinstance(output, list) else [output]
        written = write(found)
    names = [names[i] for i in chosen]
    if written:
        print(_table(names, sample, found))
        print(f"wrote {written} results and documents into {args.out}")
        return
    for name, number, explanation in zip(names, range(len(found)), found, strict=True):
        print(plain(f"{name}: {explanation}"), file=sys.stderr)
        print(shown(sample, number, explanation, colours=sys.stdout.isatty()))


def _ignored(ignored: Counter[tuple[str, ...]]) -> str:
    """What the model has no place for, the most frequent first."""
    listed = [f"{'.'.join(path) or 'the document'} ({count:,})" for path, count in ignored.most_common(5)]
    more = ", …" if len(ignored) > len(listed) else ""
    return f"ignored {ignored.total():,} values that the model has not seen the like of: {', '.join(listed)}{more}"


def _table(names: Sequence[str], sample: Sample, found: Sequence[SufficientExplanation]) -> str:
    """A line for each document: its class, how many of its terms suffice, and how well."""
    terms = sample.layout.belongs.sum(dim=0).tolist()
    rows = [("document", "class", "kept", "of", "gap", "at least", "rows")]
    for name, count, one in zip(names, terms, found, strict=True):
        numbers = f"{one.size:,}", f"{count:,}", f"{one.gap:.4f}", f"{one.threshold:.4f}", f"{one.rows:,}"
        decided = "–" if one.target is None else one.labels.output(one.target, str(one.target))  # – of a criterion
        rows.append((plain(name), plain(decided), *numbers))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{t:<{w}}" if i < 2 else f"{t:>{w}}" for i, (t, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )


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
