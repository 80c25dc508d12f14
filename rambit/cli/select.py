"""`rambit select`: train a selector with a task, and say which timestamps it keeps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.cli import common
from rambit.datasets import Dataset
from rambit.models.sequence_classifier import seeded
from rambit.selection import InfluenceFramework, ModelAgnosticWrapper, TimestampSelector, save_selector
from rambit.selection.framework import TASKS
from rambit.selection.selector import METHODS

SHOWN = 9  # series in the figure
EPILOG = """\
examples:
  rambit select BasicMotions --k 10 --positions --out selector.safetensors --figure kept.png
  rambit select mine.csv --k 5 --task regression --epochs 60 --out selector.safetensors

A small recurrent network is trained for the task on the selected timestamps, together with the selector; every series
needs one label. In Python: rambit.selection.load_selector("selector.safetensors"), which reads (B, T, D).
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "select",
        help="learn which timestamps suffice for a task",
        usage="rambit select DATA --k N --out FILE [options]",
        description="Trains a timestamp selector on the train part of DATA (of a file: on all of it).",
        epilog=EPILOG,
    )
    common.add_data(parser)
    parser.add_argument("--y", metavar="NAME", help="the array of labels in a file of arrays (default: y)")
    parser.add_argument("--task", choices=tuple(TASKS), help="what is learned (what the labels are)")
    parser.add_argument("--out", metavar="FILE", required=True, help="the selector (.safetensors), and a .json beside")
    parser.add_argument(
        "--figure", metavar="FILE", help=f"what it keeps of the first {SHOWN} series (.png, .pdf, .svg)"
    )
    which = parser.add_argument_group("selector (default)")
    which.add_argument("--method", choices=METHODS, default="topk", help="how timestamps are chosen (%(default)s)")
    which.add_argument(
        "--k", metavar="N", type=common.whole(), help="how many timestamps to keep (needed for topk; gumbel: 1)"
    )
    which.add_argument("--threshold", metavar="P", type=float, default=0.5, help="of --method threshold (%(default)s)")
    which.add_argument("--temperature", metavar="X", type=float, default=1.0, help="of gumbel (%(default)s)")
    which.add_argument(
        "--hidden", metavar="N", type=common.whole(common.MOST_UNITS), default=64, help="units (%(default)s)"
    )
    which.add_argument("--heads", metavar="N", type=common.whole(), default=4, help="of the attention (%(default)s)")
    which.add_argument("--positions", action="store_true", help="the scorer knows where a timestamp stands")
    how = parser.add_argument_group("training (default)")
    how.add_argument(
        "--epochs", metavar="N", type=common.whole(), default=30, help="passes over the series (%(default)s)"
    )
    how.add_argument(
        "--warmup",
        metavar="N",
        type=common.whole(),
        default=10,
        help="epochs before that on random masks (%(default)s)",
    )
    how.add_argument(
        "--batch-size", metavar="N", type=common.whole(), default=32, help="series in a batch (%(default)s)"
    )
    how.add_argument("--lr", metavar="X", type=float, default=2e-3, help="learning rate (%(default)s)")
    how.add_argument(
        "--diversity",
        metavar="X",
        type=common.finite,
        default=0.0,
        help="weight of the loss that spreads the choice (%(default)s)",
    )
    how.add_argument(
        "--seed",
        metavar="N",
        type=common.whole(common.MOST_SEED),
        default=0,
        help="of weights, order and noise (%(default)s)",
    )
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Train, write the selector and the figure, and print what it keeps."""
    common.check_suffix("--out", args.out, ".safetensors")
    beside = Path(args.out).with_suffix(".json")
    if args.figure is not None:
        common.check_figure(args.figure)
    with common.reserved((args.out, beside, args.figure), force=args.force, inputs=(args.data,)) as place:
        _select(args, beside, place)


def _select(args: argparse.Namespace, beside: Path, place: common.Place) -> None:
    common.check_file_options(args, "x", "y", "layout")
    data = common.read(args, "train", y=args.y or "y")
    task, targets, outputs = _task(args, data)
    X = torch.from_numpy(data.X).transpose(1, 2)
    lengths = None if data.lengths is None else torch.from_numpy(data.lengths)

    wrapper = _wrapper(args, X.shape[2], outputs, task)
    center, scale = _units(X, lengths)
    history = wrapper.fit(
        (X - center) / scale,
        targets,
        epochs=args.epochs,
        warmup=args.warmup,
        batch_size=args.batch_size,
        lr=args.lr,
        lengths=lengths,
        seed=args.seed,
        show_progress=common.shows_progress(args),
    )
    padding = None if lengths is None else torch.arange(X.shape[1]) >= lengths[:, None]
    predictions, mask, _ = wrapper((X - center) / scale, return_selection=True, key_padding_mask=padding)
    kept = mask.detach() > 0.5
    score = _score(task, predictions.detach(), targets)
    selector = wrapper.framework.selector
    _read_raw(selector, center, scale)
    notes = {"data": args.data, "task": task, "feature_names": list(data.feature_names), **score}
    path = place(args.out, beside)
    save_selector(path, selector, notes)
    written = [path, path.with_suffix(".json")]
    if args.figure is not None:
        written.append(place(args.figure))
        _draw(written[-1], data, kept)
    print(_report(args, data, task, history, kept, score, written))


class Reader(nn.Module):
    """A recurrent network in both directions, its features' mean over time, and a linear head: (B, T, D) -> (B, C)."""

    def __init__(self, features: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or values, of the series."""
        return cast(Tensor, self.head(self.rnn(x)[0].mean(dim=1)))


def _task(args: argparse.Namespace, data: Dataset) -> tuple[str, Tensor, int]:
    """Which task it is, its targets, and how many outputs the network needs. Raises ValueError where they don't fit."""
    assert data.y is not None
    if data.y.ndim != 1:
        raise ValueError(f"{args.data}: every step has a label, but a selector needs one for each series")
    real = data.y.dtype != np.int64
    task = args.task or ("regression" if real else "classification")
    if task == "classification":
        if real:
            raise ValueError(f"--task classification: the labels of {args.data} are real numbers")
        return task, torch.from_numpy(data.y), len(data.class_names)
    return task, torch.from_numpy(data.y).float()[:, None], 1


def _wrapper(args: argparse.Namespace, features: int, outputs: int, task: str) -> ModelAgnosticWrapper:
    with seeded(args.seed):
        framework = InfluenceFramework(
            features,
            args.hidden,
            args.heads,
            args.method,
            args.k,
            TASKS[task](),
            alpha_diversity=args.diversity,
            use_counterfactual=False,
            diversity_epsilon=1.0,
            temperature=args.temperature,
            threshold=args.threshold,
            positions=args.positions,
        )
        return ModelAgnosticWrapper(Reader(features, args.hidden, outputs), framework)


def _units(X: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature of X (N, T, D) over all steps that are no padding; 1 for constant ones."""
    steps = X.flatten(0, 1) if lengths is None else X[torch.arange(X.shape[1]) < lengths[:, None]]
    deviation = steps.std(dim=0, correction=0)
    return steps.mean(dim=0), deviation.where(deviation > 0, 1.0)


def _read_raw(selector: TimestampSelector, center: Tensor, scale: Tensor) -> None:
    """Put the scaling of the features into the first layer, so that the selector reads the data's own units."""
    first = selector.scorer.input_projection
    weight = first.weight.detach() / scale
    bias = first.bias.detach() - weight @ center
    first.load_state_dict({"weight": weight, "bias": bias})


def _score(task: str, predictions: Tensor, targets: Tensor) -> dict[str, float]:
    """How well the task is done with the selected timestamps alone, on the series trained on."""
    if task == "classification":
        return {"accuracy": float((predictions.argmax(dim=1) == targets).double().mean())}
    return {"mean squared error": float(functional.mse_loss(predictions, targets))}


def _draw(path: Path, data: Dataset, kept: Tensor) -> None:
    from rambit import plots

    count = min(len(data), SHOWN)
    values = kept[:count, None].expand(data.X[:count].shape).double()
    lengths = None if data.lengths is None else data.lengths[:count]
    titles = [f"series {i}: {_steps(kept[i])}" for i in range(count)]
    names: dict[str, Any] = {"feature_names": data.feature_names, "titles": titles, "label": "kept"}
    plots.heatmap(values, X=data.X[:count], **names, lengths=lengths, path=path, top=None, scale="shared")


def _report(
    args: argparse.Namespace,
    data: Dataset,
    task: str,
    history: list[dict[str, float]],
    kept: Tensor,
    score: dict[str, float],
    written: Sequence[Path],
) -> str:
    count, features, steps = data.X.shape
    share = kept.double().mean(dim=0)
    often = [t for t in share.argsort(descending=True, stable=True).tolist() if share[t] > 0][:10]
    rows: list[tuple[str, Any]] = [
        ("data", f"{args.data}: {count} series, {features} features, {steps} steps"),
        ("selector", f"{args.method}, keeps {float(kept.sum(dim=1).double().mean()):.1f} timestamps a series"),
        ("training", f"{task}, {len(history)} epochs, loss {history[-1]['task_loss']:.4g}"),
        *((f"{name}, kept alone", f"{value:.4f}") for name, value in score.items()),
        ("kept most often", ", ".join(f"{t} ({share[t]:.0%})" for t in often) or "none"),
        *((f"series {i}", _steps(kept[i])) for i in range(min(3, count))),
        ("wrote", ", ".join(map(str, written))),
    ]
    return common.table(rows)


def _steps(kept: Tensor) -> str:
    """The kept timestamps, the first dozen of them."""
    steps = kept.nonzero()[:, 0].tolist()
    return "steps " + (", ".join(map(str, steps[:12])) or "none") + (", …" if len(steps) > 12 else "")
