"""`rambit compare`: methods side by side, judged by the salient cells where they are known, and by the model."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from typing import Any

from rambit.cli import common
from rambit.cli.models import add_model, read_model
from rambit.compare import DATA, METHODS, compare
from rambit.compare.judging import Judging
from rambit.compare.methods import names
from rambit.compare.runs import COUNTS, Settings
from rambit.datasets import Dataset
from rambit.metrics import FAITHFULNESS, MEASURES
from rambit.models import HEADS
from rambit.options import Option

EPILOG = f"""\
methods: {", ".join(names())}
Any of them takes options: rambit:anchor=cell,masks=bernoulli,p=0.1,W=5 (W: window_size, S: num_samples, cf:
counterfactuals; cf=generator: a trained one; masks=none: one mask that keeps all, as leave-one-out has).
metrics: of known cells {", ".join(MEASURES)}; of the model {", ".join(FAITHFULNESS)}
Their options are those of the functions: auc_drop:extent=end,per=all.

examples:
  rambit compare --data spike,spike:delay=2 --methods winit:W=10,S=3,rambit:cf=generator,L=10,W=10,S=3,fo,afo \\
      --seeds 0,1,2 --out comparison

  rambit compare --data runs.csv --id run --time stamp --model my.py:net --methods rambit,fo,random --out mine

  rambit compare --data spike --methods rambit,winit,ig,random --metrics auprc,comprehensiveness,cpd,cpp \\
      --cells 0.05,0.1,0.2 --counterfactuals zero,mean --order most,least --curves 20 --folds 5 --out judged

With --model, every method explains that model, all series of a file, and nothing but generators is trained. Without,
every set's model is trained on every step (of a file, on four fifths of the series). Where a series has one label
(BasicMotions), that is the label of all its steps, and methods with an anchor explain the last output (anchor=end),
where each step has one, all outputs (anchor=cell), unless another anchor is named.

Models, generators and results stay in the folder: the same command goes on after an interruption, and with more
methods, data sets or seeds it does only what is new. The table and the figures, one of them quality against row-steps
(compare-cost.png), are made from the stored results alone.
"""
#: How an error of `compare` begins that names an argument.
NAMED = re.compile(
    rf"(data|methods|seeds|folds|{'|'.join((*(one.name for one in Judging.options()), *COUNTS))})"
    r"(?=: | must | names | and | \S+: )"
)


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="methods side by side on data sets, with known salient cells or without",
        usage="rambit compare --out DIR [--data SETS] [--methods METHODS] [options]",
        description="Trains a GRU on each data set, explains the same test series by each method, and compares.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--data", metavar="SETS", default=DATA, help="data sets, with commas between, or one file (%(default)s)"
    )
    parser.add_argument("--methods", metavar="LIST", default=METHODS, help="methods, with commas between (%(default)s)")
    parser.add_argument(
        "--folds",
        metavar="N",
        type=common.whole(),
        default=1,
        help="cut a set into so many parts, each the test part once (1)",
    )
    group = parser.add_argument_group("what the table says (default)")
    for one in Judging.options():
        _add_option(group, one)
    add_settings(parser, Settings())
    common.add_file_options(parser)
    add_model(parser, required=False)
    parser.set_defaults(run=run)


def _add_option(group: Any, one: Option) -> None:
    """The flag of one option of the judgement."""
    whole = int in one.kinds
    group.add_argument(
        f"--{one.name}",
        metavar="N" if whole else "LIST",
        type=common.whole() if whole else str,
        default=argparse.SUPPRESS,
        help=one.help if one.default is None else f"{one.help} ({one.default})",
    )


def add_settings(parser: common.Parser, default: Settings) -> None:
    """--out, --seeds, how models are trained, --force and progress bars: what `compare` and `study` share."""
    parser.add_argument("--out", metavar="DIR", required=True, help="where everything goes, and is resumed from")
    parser.add_argument("--seeds", metavar="0,1,2", default="0", help="of weights, training, masks and draws (0)")
    group = parser.add_argument_group("settings (default)")
    helps = {
        "hidden": "units of the GRU",
        "head": f"its last layers: {' or '.join(HEADS)}",
        "epochs": "of its training",
        "batch_size": "series in a batch",
        "lr": "learning rate",
        "weight_decay": "of Adam",
        "dropout": "before the output",
        "generator_epochs": "of the generators' training",
        "series": "test series that are explained",
    }
    for name, text in helps.items():
        value = getattr(default, name)
        kind = type(value)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            metavar={int: "N", float: "X", str: "NAME"}[kind],
            type=common.whole(common.MOST_UNITS if name == "hidden" else common.MOST) if kind is int else kind,
            choices=HEADS if name == "head" else None,
            help=f"{text} ({value})",
        )
    common.add_force(parser)
    common.add_progress(parser)


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given."""
    names = [*(field.name for field in fields(Settings)), *(one.name for one in Judging.options())]
    values = {name: getattr(args, name, None) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def in_options(text: str) -> str:
    """An error of `compare` in the words of the command line: `batch_size must …` as `--batch-size must …`."""
    name = NAMED.match(text)
    if name:
        text = f"--{name[0].replace('_', '-')}{text[name.end() :]}"
    text = text.replace("data and methods must", "data and --methods must")
    return text.replace("another out, or force=True", "another --out, or --force")


def _given(args: argparse.Namespace) -> tuple[str | Dataset, Any]:
    """The user's own series and model, or the names of data sets and None. Raises ValueError, OSError, ImportError."""
    common.check_file_options(args, "x", "layout")
    data = args.data
    if common.is_file(args.data):
        data = common.read(args, None, need_labels=args.model is None)
    if args.model is None:
        for option in ("select", "model_id"):
            if getattr(args, option) is not None:
                raise ValueError(f"--{option.replace('_', '-')} applies with --model only")
        return data, None
    model = read_model(args)
    return data, (model if isinstance(data, str) else model.check_features(data.X.shape[1], args.data)).bare


def run(args: argparse.Namespace) -> None:
    """Do what is not done yet; then the table, the CSV and the figure."""
    try:
        data, model = _given(args)
        comparison = compare(
            data,
            args.methods,
            out=args.out,
            model=model,
            seeds=args.seeds,
            folds=args.folds,
            force=args.force,
            show_progress=common.shows_progress(args),
            **given_settings(args),
        )
    except (ValueError, FileExistsError) as error:
        if (said := in_options(str(error))) == str(error):
            raise
        raise type(error)(said) from error
    print(f"{comparison}\n\nwrote {', '.join(map(str, comparison.save()))}")
