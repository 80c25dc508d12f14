"""`rambit train`: one of the built-in models on a data set or a file, as a checkpoint to explain."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rambit.cli import common, train_documents
from rambit.cli.documents import JSON_HELP
from rambit.datasets import Dataset
from rambit.models import HEADS, MODELS, Classifier, build_model
from rambit.training import History, evaluate, fit, save_checkpoint

NAMES = {name.removesuffix("Classifier").lower(): name for name in MODELS}
#: What the options are called as arguments of a model, and those that `fit` has under the same name.
MODEL_OPTIONS = {
    "hidden": "hidden_size",
    "layers": "num_layers",
    "dropout": "dropout",
    "head": "head",
    "standardize": "standardize",
}
TRAINING_OPTIONS = ("epochs", "batch_size", "lr", "weight_decay", "valid", "patience", "standardize", "seed", "device")
MOST_WEIGHTS, MOST_DILATED = 1 << 27, 16
EPILOG = """\
examples:
  rambit train BasicMotions --model gru --hidden 64 --dropout 0.3 --epochs 120 --batch-size 10 --lr 5e-3 \\
      --weight-decay 1e-2 --per-step --standardize --out model.safetensors
  rambit train mine.npz --test-data other.npz --model lstm --valid 0.2 --patience 10 --out model.safetensors

  rambit train --json records.jsonl --label kind --valid 0.2 --out documents.safetensors

A file of arrays holds X (series, features, steps) and y (a class for each series, or for each step). A table
(.csv, .parquet) has the columns series, time, label, then one for each feature. With --json, DATA holds documents;
--label is the key that holds their class (inside another: a.b), --hidden the width (32).
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "train",
        help="train a model to explain",
        usage=f"rambit train DATA --model {'|'.join(NAMES)} --out FILE [options]\n"
        "       rambit train --json DATA --label KEY --out FILE [options]",
        description="Trains a classifier on the train part of DATA (of a file: on all of it).",
        epilog=EPILOG,
    )
    common.add_data(parser)
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.add_argument("--y", metavar="NAME", help="the array of labels in a file of arrays (default: y)")
    parser.add_argument("--test-data", metavar="FILE", help="series (documents) to test on, where DATA is a file")
    parser.add_argument("--model", choices=tuple(NAMES), help="the kind of network, for series")
    parser.add_argument(
        "--out", metavar="FILE", required=True, help="the checkpoint (.safetensors), and, for series, a .json beside"
    )
    model = parser.add_argument_group("model (default)")
    model.add_argument(
        "--hidden",
        metavar="N",
        type=common.whole(common.MOST_UNITS),
        help="units (the model's own default; gru, lstm: 200)",
    )
    model.add_argument(
        "--layers", metavar="N", type=common.whole(1000), help="how many (the model's own default; gru, lstm: 1)"
    )
    model.add_argument("--dropout", metavar="P", type=float, help="share of units that are left out in training (0)")
    model.add_argument("--head", metavar="NAME", choices=HEADS, help=f"of gru, lstm: {' or '.join(HEADS)} ({HEADS[0]})")
    model.add_argument("--standardize", action="store_true", help="the model scales each feature itself")
    how = parser.add_argument_group("training (default)")
    how.add_argument("--epochs", metavar="N", type=common.whole(), default=30, help="at most (%(default)s)")
    how.add_argument(
        "--batch-size", metavar="N", type=common.whole(), default=100, help="series in a batch (%(default)s)"
    )
    how.add_argument("--lr", metavar="X", type=float, default=1e-3, help="learning rate (%(default)s)")
    how.add_argument("--weight-decay", metavar="X", type=float, default=1e-3, help="of Adam (%(default)s)")
    how.add_argument("--valid", metavar="FRACTION", type=float, help="share held out to choose the best epoch (none)")
    how.add_argument(
        "--patience", metavar="N", type=common.whole(), help="stop after N epochs without a better one (never)"
    )
    how.add_argument(
        "--per-step", action="store_true", help="learn from every step (always, if every step has a label)"
    )
    how.add_argument(
        "--seed",
        metavar="N",
        type=common.whole(common.MOST_SEED),
        default=0,
        help="of weights, order and dropout (%(default)s)",
    )
    how.add_argument("--device", metavar="NAME", type=common.device, help="cpu, cuda or cuda:N (cpu)")
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, test, write the checkpoint and say how good it is."""
    if args.json:
        train_documents.run(args)
        return
    if args.model is None:
        raise ValueError("the following arguments are required: --model (see rambit train --help)")
    common.check_suffix("--out", args.out, ".safetensors")
    beside = Path(args.out).with_suffix(".json")
    with common.reserved((args.out, beside), force=args.force, inputs=(args.data, args.test_data)) as place:
        _train(args, beside, place)


def _train(args: argparse.Namespace, beside: Path, place: common.Place) -> None:
    _check_size(args)
    data, test = _read(args)
    model, history = train_classifier(args.model, data, vars(args), show_progress=common.shows_progress(args))
    accuracy = {name: _accuracy(model, part) for name, part in (("train", data), ("test", test)) if part is not None}
    notes = {
        "data": args.data,
        "class_names": list(data.class_names),
        "feature_names": list(data.feature_names),
        "accuracy": accuracy,
    }
    path = place(args.out, beside)
    save_checkpoint(path, model, notes)
    print(_report(args, data, model, history, accuracy, path))


def _check_size(args: argparse.Namespace) -> None:
    """Raise ValueError for a model that would only fill the memory."""
    hidden, layers = args.hidden or 1, args.layers or 1
    if args.model == "tcn" and layers > MOST_DILATED:
        raise ValueError(f"--layers of tcn must be at most {MOST_DILATED}, each of twice the reach, got {layers}")
    if hidden**2 * layers > MOST_WEIGHTS:
        raise ValueError(f"--hidden² × --layers must be at most {MOST_WEIGHTS:,}, got {hidden}² × {layers}")


def train_classifier(
    kind: str, data: Dataset, options: Mapping[str, Any], *, show_progress: bool
) -> tuple[Classifier, History]:
    """The built-in model ``kind``, one of NAMES, trained on ``data``, which has classes, as the user's options say.

    ``options`` are those of `rambit train` by name, ``seed`` among them; what is absent or None is left to the model or
    to `rambit.training.fit`. Where every step has a label, the model learns to give an output at every step.
    """
    assert data.y is not None
    given = {name: value for name, value in options.items() if value is not None}
    config = {argument: given[name] for name, argument in MODEL_OPTIONS.items() if name in given}
    config |= {"model": NAMES[kind], "num_features": data.X.shape[1], "num_classes": len(data.class_names)}
    model = build_model(config, seed=given["seed"])
    history = fit(
        model,
        data.X,
        data.y,
        lengths=data.lengths,
        per_step=given.get("per_step", False) or data.y.ndim == 2,
        show_progress=show_progress,
        **{name: given[name] for name in TRAINING_OPTIONS if name in given},
    )
    return model, history


def _read(args: argparse.Namespace) -> tuple[Dataset, Dataset | None]:
    """What to train on and, if there is something, what to test on. Raises ValueError for labels that don't serve."""
    common.check_file_options(args, "x", "y", "layout", "test_data")
    data = common.read(args, "train", y=args.y or "y")
    _check_classes(data, args.data)
    if args.test_data is not None:
        if not common.is_file(args.test_data):
            raise ValueError(f"--test-data must be a file, got {args.test_data!r}")
        test = common.read(args, None, y=args.y or "y", name=args.test_data)
        _check_classes(test, args.test_data)
        return data, _same_classes(test, data, args.test_data)
    return data, None if common.is_file(args.data) else common.read(args, "test")


def _check_classes(data: Dataset, name: str) -> None:
    if data.y is None or data.y.dtype != np.int64:
        raise ValueError(f"{name}: the labels are real numbers, but a classifier needs classes")


def _same_classes(test: Dataset, train: Dataset, name: str) -> Dataset:
    """The test set with the classes numbered as in the training set: each file numbers the names that it holds."""
    if test.X.shape[1] != train.X.shape[1]:
        raise ValueError(f"{name} has {test.X.shape[1]} features, the training data {train.X.shape[1]}")
    unknown = sorted(set(test.class_names) - set(train.class_names))
    if unknown:
        raise ValueError(f"{name} has classes that the training data lacks: {', '.join(unknown)}")
    assert test.y is not None
    number = np.array([train.class_names.index(label) for label in test.class_names], dtype=np.int64)
    return replace(test, y=number[test.y], class_names=train.class_names)


def _accuracy(model: Classifier, data: Dataset) -> float:
    """The share of right classes: at every step if every step has a label, else at the last."""
    assert data.y is not None
    return evaluate(model, data.X, data.y, data.lengths, per_step=data.y.ndim == 2)["accuracy"]


def _report(
    args: argparse.Namespace,
    data: Dataset,
    model: Classifier,
    history: History,
    accuracy: dict[str, float],
    path: Path,
) -> str:
    count, features, steps = data.X.shape
    weights = sum(p.numel() for p in model.parameters())
    best = history.best_epoch
    kept = f"{len(history.train_loss)} epochs in {history.seconds:.1f} s; kept epoch {best + 1}"
    loss = f"training loss {history.train_loss[best]:.4g}"
    if history.valid_loss:
        loss += f", validation loss {history.valid_loss[best]:.4g}, accuracy {history.valid_accuracy[best]:.4f}"
    return common.table(
        [
            (
                "data",
                f"{args.data}: {count} series, {features} features, {steps} steps, {len(data.class_names)} classes",
            ),
            ("model", f"{args.model}, {weights} weights"),
            ("training", f"{kept}, {loss}"),
            *((f"{name} accuracy", f"{value:.4f}") for name, value in accuracy.items()),
            ("wrote", f"{path}, {path.with_suffix('.json')}"),
        ]
    )
