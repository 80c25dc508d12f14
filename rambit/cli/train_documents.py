"""`rambit train --json`: a classifier of JSON documents."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from rambit.cli import common
from rambit.cli.documents import Documents, read_documents, take_labels
from rambit.models.sequence_classifier import seeded
from rambit.structure import HierarchicalClassifier, Sample, evaluate, fit, from_json, infer_schema, save_model

#: Options of `rambit train` that are for series.
FOR_SERIES = ("x", "y", "layout", "model", "layers", "dropout", "head", "id", "time", "features")


def run(args: argparse.Namespace) -> None:
    """Train, test, write the model and say how good it is."""
    for name in FOR_SERIES:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} is for series, not for documents")
    for name in ("standardize", "per_step"):
        if getattr(args, name):
            raise ValueError(f"--{name.replace('_', '-')} is for series, not for documents")
    if args.label is None:
        raise ValueError("--json needs --label KEY: the key of the documents that holds their class")
    common.check_suffix("--out", args.out, ".safetensors")
    with common.reserved((args.out,), force=args.force, inputs=(args.data, args.test_data)) as place:
        print(_trained(args, place))


def _trained(args: argparse.Namespace, place: common.Place) -> str:
    data, labels = take_labels(read_documents(args.data), args.label, args.data)
    classes = _classes(labels)
    if len(classes) < 2:
        raise ValueError(
            f"{args.data}: --label {args.label} is {classes[0]!r} in every document; there must be classes"
        )
    train, valid = _split(len(data), args.valid, args.seed)
    schema = infer_schema([data.documents[i] for i in train])
    with seeded(args.seed):
        model = HierarchicalClassifier(schema, len(classes), width=args.hidden or 32, class_names=classes)
    model.to(args.device or "cpu")
    parts = {"train": _part(model, data, labels, train), "validation": _part(model, data, labels, valid)}
    if args.test_data is not None:
        test, of_test = take_labels(read_documents(args.test_data), args.label, args.test_data)
        if unknown := sorted(set(of_test) - set(classes)):
            raise ValueError(f"{args.test_data} has classes that the training data lacks: {', '.join(unknown)}")
        parts["test"] = _part(model, test, of_test, range(len(test)))
    options = {name: getattr(args, name) for name in ("epochs", "batch_size", "lr", "weight_decay", "patience", "seed")}
    held_out = parts["validation"]
    history = fit(model, *parts["train"], valid=held_out if len(held_out[0]) else None, **options)
    path = place(args.out)
    save_model(path, model)
    accuracy = {name: evaluate(model, *part)["accuracy"] for name, part in parts.items() if len(part[0])}
    weights = sum(p.numel() for p in model.parameters())
    best = history.best_epoch
    trained = f"{len(history.train_loss)} epochs in {history.seconds:.1f} s; kept epoch {best + 1}"
    return common.table(
        [
            ("data", f"{args.data}: {len(data)} documents, {len(classes)} classes by {args.label}"),
            ("model", f"documents, {weights} weights, {parts['train'][0].terms} terms to learn from"),
            ("training", f"{trained}, training loss {history.train_loss[best]:.4g}"),
            *((f"{name} accuracy", f"{value:.4f}") for name, value in accuracy.items()),
            ("wrote", path),
        ]
    )


def _classes(labels: list[str]) -> tuple[str, ...]:
    """The distinct labels, numbers in their order."""
    distinct = set(labels)
    try:
        return tuple(sorted(distinct, key=int))
    except ValueError:
        return tuple(sorted(distinct))


def _split(count: int, fraction: float | None, seed: int) -> tuple[list[int], list[int]]:
    """Which documents to train on, and which are held out."""
    if fraction is None:
        return list(range(count)), []
    if not 0 < fraction < 1:
        raise ValueError(f"--valid must lie between 0 and 1, got {fraction:g}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = min(max(round(fraction * count), 1), count - 1)
    return sorted(order[held_out:]), sorted(order[:held_out])


def _part(model: HierarchicalClassifier, data: Documents, labels: list[str], chosen: Any) -> tuple[Sample, list[int]]:
    """These documents and the numbers of their classes; what the model's schema has no place for is missing."""
    sample = from_json([data.documents[i] for i in chosen], model.schema, unknown="ignore")
    return sample.to(model.head.weight.device), [model.class_names.index(labels[i]) for i in chosen]
