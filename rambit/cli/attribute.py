"""`rambit attribute`: scores of every cell of every series, as a result file and a figure."""

from __future__ import annotations

import argparse
import re

import numpy as np
import torch

from rambit import arrays
from rambit.cli import common
from rambit.cli.models import read_model
from rambit.cli.rambit_options import check_size, is_anchor_open, make_attributor
from rambit.cli.request import ENDS, Request, add_request, make_ending
from rambit.distributed import DataFile, attribute_many
from rambit.results import Attribution, Cell

#: What RaMbIT alone has.
OF_RAMBIT = ("tolerance", "max_rows", "checkpoint")
#: Outputs whose best cell is printed.
MOST_TARGETS = 5
EPILOG = """\
examples:
  rambit attribute BasicMotions --model model.safetensors --background train --anchor end --L 10 \\
      --num-samples 3 --window-size 1 --out scores.safetensors --figure scores.png
  rambit attribute mine.npz --model model.safetensors --series 0,3-7 --counterfactuals interpolate \\
      --out scores.safetensors

  rambit attribute runs.csv --id run --time stamp --label class --model my.py:net --out scores.safetensors
  rambit attribute BasicMotions --model model.safetensors --method winit:window_size=5 --out winit.safetensors
  rambit attribute BasicMotions --model model.safetensors --target Walking --out walking.safetensors
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
        help="score every cell of every series",
        usage="rambit attribute DATA --model MODEL (--out FILE | --store DIR) [options]",
        description="Scores every cell (feature, time step) of every series: how far replacing it moves the model.",
        epilog=EPILOG,
    )
    add_request(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--target",
        metavar="OUTPUT",
        type=_target,
        help="the class or output whose signed change is the score, by number or name; H:Q of forecasts with quantiles",
    )
    which.add_argument(
        "--targets",
        metavar="LIST",
        type=_targets,
        help="several outputs, each with scores of its own, for the cost of one: all, or numbers or names with commas "
        "between",
    )
    parser.add_argument(
        "--tolerance",
        metavar="X",
        type=_tolerance,
        help="add masks until standard error / largest score is below X; or, top:K, until the K highest cells of every "
        "series are sure at 95 %%",
    )
    parser.add_argument(
        "--max-rows", metavar="N", type=common.whole(common.MOST_SEED), help="with --tolerance: stop after about N rows"
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="keep what is done there, so that a killed run goes on")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="FILE", help="the result (.safetensors)")
    where.add_argument(
        "--store", metavar="DIR", help="results in shards, for a file larger than memory; goes on if it exists"
    )
    parser.add_argument("--figure", metavar="FILE", help="heat maps of the first 9 series (.png, .pdf, .svg)")
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Explain the series, write the files and print what was found."""
    if args.max_rows is not None and args.tolerance is None:
        raise ValueError("--max-rows applies with --tolerance only")
    for option in OF_RAMBIT:
        if getattr(args, option) is not None and args.method.kind != "rambit":
            raise ValueError(f"--{option.replace('_', '-')} does not apply to --method {args.method.text}")
    if args.store is not None:
        run_store(args)
        return
    common.check_suffix("--out", args.out, ".safetensors")
    if args.figure is not None:
        if args.targets is not None:
            raise ValueError("--figure is of one output: leave it out, and draw one with rambit plot --target")
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
        targets=args.targets,
        labels=request.labels,
        **{option: getattr(args, option) for option in OF_RAMBIT if getattr(args, option) is not None},
        show_progress=common.shows_progress(args),
    )
    written = [place(args.out)]
    result.save(written[0], force=True)
    if args.figure is not None:
        written.append(place(args.figure))
        count = min(len(result.values), 9)
        result.plot(written[1], series=range(count), titles=_titles(request, result)[:count])

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
    for i, (of, cell) in enumerate(_top(result)):
        where = f"{of}series {request.called(cell.series)}, {request.data.feature_names[cell.feature]}"
        rows.append(("top cells" if i == 0 else "", f"{where}, {_step(request, cell)}: {cell.score:.4g}"))
    rows.append(("wrote", ", ".join(map(str, written))))
    print(common.table(rows))


def run_store(args: argparse.Namespace) -> None:
    """Explain a file piece by piece, into a folder."""
    for option in ("figure", "checkpoint", "tolerance", "targets", "series", "limit", "split"):
        if getattr(args, option) is not None:
            raise ValueError(f"--{option} does not apply with --store")
    if args.force:
        raise ValueError("--force does not apply: --store goes on with a folder, and never overwrites what it holds")
    if not common.is_file(args.data):
        raise ValueError(f"--store is for files, but {args.data} is a data set")
    common.check_file_options(args)
    data = DataFile(args.data, x=args.x or "X", layout=args.layout or "BDT", columns=common.columns(args))
    ends = is_anchor_open(args) and data.has_one_label()
    model = read_model(args, device=getattr(args, "device", None)).check_features(data.features(), args.data)
    dtype = arrays.model_type(model.predictor.module) or torch.float32
    batches = ({**batch, "X": batch["X"].to(dtype)} for batch in data)
    attributor = make_ending(args, model) if ends else make_attributor(args, model)
    check_size(args, attributor, next(iter(data))["X"].shape)
    how = {"target": args.target, "show_progress": common.shows_progress(args)}
    results = attribute_many(attributor, batches, args.store, **how)
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


def _target(text: str) -> int | str | tuple[int, int]:
    """A number or a name, or two numbers of forecasts with quantiles."""
    pair = re.fullmatch(r"(\d+):(\d+)", text)
    return common.output(text) if pair is None else (common.whole()(pair[1]), common.whole()(pair[2]))


def _tolerance(text: str) -> float | str:
    """A number, or what ``explain`` reads as text."""
    try:
        return float(text)
    except ValueError:
        return text


def _targets(text: str) -> str | list[int | str | tuple[int, int]]:
    """All outputs, or a list of them."""
    return text if text == "all" else [_target(part) for part in common.names(text)]


def _top(result: Attribution) -> list[tuple[str, Cell]]:
    """The best cells, three in all, or the best one of each of several outputs, with what that is called."""
    if result.targets is None:
        return [("", cell) for cell in result.top(3)]
    found = [(target, result.top(1, target=target)) for target in result.targets[:MOST_TARGETS]]
    return [(f"output {_called(result, target)}, ", cell) for target, cells in found for cell in cells]


def _called(result: Attribution, target: int | list[int]) -> str:
    """An output's number, or the pair of numbers, and its name where it has one."""
    name = result.labels.output(target, "") if isinstance(target, int) else ""
    return f"{target} {name}".rstrip()


def _step(request: Request, cell: Cell) -> str:
    """The step of a cell, with its time where that is known."""
    times = request.data.times
    if times is None:
        return f"step {cell.time}"
    time = times[cell.time] if times.ndim == 1 else times[cell.series, cell.time]
    return f"step {cell.time} ({np.datetime_as_string(time, unit='auto') if times.dtype.kind == 'M' else time})"


def _titles(request: Request, result: Attribution) -> list[str]:
    """Which series, and what the model says about it."""
    predictor, outputs = request.model.predictor, result.outputs
    assert outputs is not None
    outputs = outputs.flatten(1)
    called = [f"series {request.called(i)}" for i in range(len(outputs))]
    if predictor.output == "regression":
        return [
            f"{name}: {', '.join(f'{value:.4g}' for value in p[:3])}"
            for name, p in zip(called, outputs.tolist(), strict=True)
        ]
    names = result.labels.outputs or [f"class {c}" for c in range(outputs.shape[1])]
    return [
        f"{name}: predicted {names[int(p.argmax())]} ({float(p.max()):.2f})"
        for name, p in zip(called, outputs, strict=True)
    ]
