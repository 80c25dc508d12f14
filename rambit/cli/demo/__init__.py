"""`rambit demo`: two models trained and explained in about a minute, and what the numbers mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from rambit.cli import common
from rambit.cli.demo import motions, spike
from rambit.cli.demo.parts import FAST, FULL, Job, one_thread
from rambit.store import make_folder

EPILOG = """\
examples:
  rambit demo
  rambit demo --fast --out demo

No network is needed. BasicMotions comes with sktime (pip install 'rambit[data]'), figures need matplotlib
(pip install 'rambit[plots]'); without them the demo does the rest.
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "demo",
        help="train and explain two models, in about a minute",
        description="Trains two small models on data that comes along, explains them and checks the explanations.",
        epilog=EPILOG,
    )
    parser.add_argument("--out", metavar="DIR", default="rambit-demo", help="where files go (%(default)s)")
    parser.add_argument("--fast", action="store_true", help="less of everything, in seconds; the numbers get worse")
    common.add_force(parser)
    common.add_progress(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Both parts, one after the other; each prints what it did as soon as it is done."""
    out, figures = Path(args.out), common.has_matplotlib()
    if out.exists() and not out.is_dir():
        raise NotADirectoryError(f"{out} is not a folder")
    make_folder(out)
    names = (*motions.FILES, *motions.FIGURES, *spike.FILES, *spike.FIGURES)
    with common.reserved([out / name for name in names], force=args.force) as place:
        _demo(args, Job(out, FAST if args.fast else FULL, figures, common.shows_progress(args), place))


def _demo(args: argparse.Namespace, job: Job) -> None:
    data = motions.read()
    with one_thread():
        if data is None:
            print("BasicMotions is skipped: it comes with sktime, pip install 'rambit[data]'\n", flush=True)
        else:
            print(motions.explain(job, *data), end="\n\n", flush=True)
        print(spike.explain(job), end="\n\n", flush=True)
    drawn = (*(() if data is None else motions.FIGURES), *spike.FIGURES) if job.figures else ()
    print(_closing(job.out, drawn))


def _closing(out: Path, drawn: tuple[str, ...]) -> str:
    return "\n".join(
        [
            f"Written to {out}: the models, and the scores, which rambit.Attribution.load reads.",
            f"Worth a look: {', '.join(drawn)}"
            if drawn
            else "Figures are skipped: they need matplotlib, pip install 'rambit[plots]'",
            "",
            "Next",
            f"  rambit attribute spike:n=20 --split all --model {out / spike.FILES[0]} \\",
            "      --counterfactuals interpolate --out scores.safetensors",
            "  rambit train YOURS.npz --model gru --out model.safetensors     (rambit train --help: what to put in it)",
            "  in Python: rambit.RaMbIT(your_model).attribute(X)              (any torch module or function)",
        ]
    )
