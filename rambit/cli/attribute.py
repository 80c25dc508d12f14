"""`rambit attribute`: scores of every cell of every series, as a result file and a figure."""

from __future__ import annotations

import argparse

import numpy as np
import torch

from rambit import arrays
from rambit.cli import common
from rambit.cli.models import outputs_of, read_model
from rambit.cli.rambit_options import check_size, make_attributor
from rambit.cli.request import ENDS, Request, add_request, make_ending
from rambit.distributed import DataFile, attribute_many
from rambit.results import Cell

EPILOG = """\
examples:
  rambit attribute BasicMotions --model model.safetensors --background train --anchor end --L 10 \\
      --num-samples 3 --window-size 1 --out scores.safetensors --figure scores.png
  rambit attribute mine.npz --model model.safetensors --series 0,3-7 --counterfactuals interpolate \\
      --out scores.safetensors

  rambit attribute runs.csv --id run --time stamp --label class --model my.py:net --out scores.safetensors
  rambit attribute huge.npz --model net.onnx --store scores/

my.py:net is a model, or a function that returns one: rambit runs my.py. --store is for files larger than memory
(.npy, .npz, .safetensors, and tables sorted by series): the folder holds the scores in shards, and a run that was
killed goes on with the same command. In Python: rambit.distributed.Attributions("scores/")

--anchor end explains the output at the last step, and is the default where each series has one label; --anchor cell
(else the default) explains the outputs from the cell on, for models that have one at every step. rambit cost, with the
same options, says beforehand what it takes.
In Python: rambit.Attribution.load("scores.safetensors").values
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "attribute",
        help="score every cell of every series with RaMbIT",
        usage="rambit attribute DATA --model MODEL (--out FILE | --store DIR) [options]",
        description="Scores every cell (feature, time step) of every series: how far replacing it moves the model.",
        epilog=EPILOG,
    )
    add_request(parser)
    parser.add_argument(
        "--target",
        metavar="N",
        type=_target,
        help="the output whose change is scored: a class, or H,Q of a forecast (--distance diff: the predicted class)",
    )
    parser.add_argument(
        "--tolerance", metavar="X", type=float, help="add masks until standard error / largest score is below X"
    )
    parser.add_argument(
        "--max-rows", metavar="N", type=common.whole(common.MOST_SEED), help="or until the model has evaluated N rows"
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="keep the work there, so that a killed run can go on")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="FILE", help="the result (.safetensors)")
    where.add_argument(
        "--store", metavar="DIR", help="results in shards, for a file larger than memory; goes on if it exists"
    )
    parser.add_argument("--figure", metavar="FILE", help="heat maps of the first 9 series (.png, .pdf, .svg)")
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def _target(text: str) -> int | tuple[int, ...]:
    """A number, or several with commas between."""
    numbers = tuple(map(common.whole(), text.split(",")))
    return numbers[0] if len(numbers) == 1 else numbers


_target.__name__ = "int"  # as messages call it


def run(args: argparse.Namespace) -> None:
    """Explain the series, write the files and print what was found."""
    if args.max_rows is not None and args.tolerance is None:
        raise ValueError("--max-rows applies with --tolerance only")
    if args.store is not None:
        run_store(args)
        return
    common.check_suffix("--out", args.out, ".safetensors")
    if args.figure is not None:
        common.check_figure(args.figure)
    inputs = (args.data, args.model, getattr(args, "background", None))
    with common.reserved((args.out, args.figure), force=args.force, inputs=inputs) as place:
        _explain(args, place)


def _explain(args: argparse.Namespace, place: common.Place) -> None:
    request = Request.read(args)
    result = request.attributor.explain(
        request.X,
        **request.known,
        target=args.target,
        tolerance=args.tolerance,
        max_rows=args.max_rows,
        checkpoint=args.checkpoint,
        show_progress=common.shows_progress(args),
    )
    written = [place(args.out)]
    result.save(written[0], force=True)
    if args.figure is not None:
        written.append(place(args.figure))
        count = min(len(result.values), 9)
        result.plot(
            written[1],
            X=request.X,
            series=range(count),
            feature_names=request.data.feature_names,
            titles=_titles(request)[:count],
        )

    rows: list[tuple[str, object]] = [
        *request.rows(),
        ("mode", result.mode),
        ("rows", result.rows),
        ("row-steps", result.row_steps),
        ("seconds", f"{result.seconds:.2f}"),
        ("scores", f"{float(result.values.min()):.4g} to {float(result.values.max()):.4g}"),
    ]
    if result.stderr is not None:
        rows.append(("std error", f"up to {float(result.stderr.max()):.2g}"))
    for i, cell in enumerate(result.top(3)):
        where = f"series {request.called(cell.series)}, {request.data.feature_names[cell.feature]}"
        rows.append(("top cells" if i == 0 else "", f"{where}, {_step(request, cell)}: {cell.score:.4g}"))
    rows.append(("wrote", ", ".join(map(str, written))))
    print(common.table(rows))


def run_store(args: argparse.Namespace) -> None:
    """Explain a file piece by piece, into a folder."""
    for option in ("figure", "checkpoint", "tolerance", "target", "series", "limit", "split"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} does not apply with --store")
    if args.force:
        raise ValueError("--force does not apply: --store goes on with a folder, and never overwrites what it holds")
    if not common.is_file(args.data):
        raise ValueError(f"--store is for files, but {args.data} is a data set")
    common.check_file_options(args)
    data = DataFile(args.data, x=args.x or "X", layout=args.layout or "BDT", columns=common.columns(args))
    ends = not hasattr(args, "anchor") and data.has_one_label()
    model = read_model(args, device=getattr(args, "device", None)).check_features(data.features(), args.data)
    dtype = arrays.model_type(model.predictor.module) or torch.float32
    batches = ({**batch, "X": batch["X"].to(dtype)} for batch in data)
    attributor = make_ending(args, model) if ends else make_attributor(args, model.predictor)
    check_size(args, attributor, next(iter(data))["X"].shape)
    results = attribute_many(attributor, batches, args.store, show_progress=common.shows_progress(args))
    print(
        common.table(
            [
                ("series", f"{len(results)} of {args.data}"),
                *([("anchor", ENDS)] if ends else []),
                ("rows", results.rows),
                ("row-steps", results.row_steps),
                ("seconds", f"{results.seconds:.2f}"),
                ("wrote", args.store),
            ]
        )
    )


def _step(request: Request, cell: Cell) -> str:
    """The step of a cell, with its time where that is known."""
    times = request.data.times
    if times is None:
        return f"step {cell.time}"
    time = times[cell.time] if times.ndim == 1 else times[cell.series, cell.time]
    return f"step {cell.time} ({np.datetime_as_string(time, unit='auto') if times.dtype.kind == 'M' else time})"


def _titles(request: Request) -> list[str]:
    """Which series, and what the model says about it."""
    predictor = request.model.predictor
    outputs = outputs_of(predictor, request.X, **request.known)
    called = [f"series {request.called(i)}" for i in range(len(outputs))]
    if predictor.output == "regression":
        return [
            f"{name}: {', '.join(f'{value:.4g}' for value in p[:3])}"
            for name, p in zip(called, outputs.tolist(), strict=True)
        ]
    names = request.model.class_names or [f"class {c}" for c in range(outputs.shape[1])]
    return [
        f"{name}: predicted {names[int(p.argmax())]} ({float(p.max()):.2f})"
        for name, p in zip(called, outputs, strict=True)
    ]
