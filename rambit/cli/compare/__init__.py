"""`rambit compare`: methods side by side, judged by the salient cells where they are known, and by the model."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from rambit.cli import common
from rambit.cli.compare import table
from rambit.cli.compare.faithful import Size
from rambit.cli.compare.methods import names, parse, split
from rambit.cli.compare.runs import Settings, Study, open_folder
from rambit.cli.terminal import shortened
from rambit.models import HEADS

DATA = "spike,spike:delay=2,state:truth=change,state:truth=active"
METHODS = "rambit-cell,rambit-mask,leave-one-out,winit,fo,afo,random"
EPILOG = f"""\
methods: {", ".join(names())}
Any of them takes options: rambit:anchor=cell,masks=bernoulli,p=0.1,W=5 (W: window_size, S: num_samples, cf:
counterfactuals; cf=generator: a trained one; masks=none: one mask that keeps all, as leave-one-out has).

examples:
  rambit compare --data spike,spike:delay=2 --methods winit:W=10,S=3,rambit:cf=generator,L=10,W=10,S=3,fo,afo \\
      --seeds 0,1,2 --out comparison

Every set's model is trained to answer at every step. Where a series has one label (BasicMotions), that is the label of
all its steps, and methods with an anchor explain the last answer (anchor=end) unless another anchor is named.

Models, generators and results stay in the folder: the same command goes on after an interruption, and with more
methods, data sets or seeds it does only what is new. The table is made from the stored results alone.
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "compare",
        help="methods side by side on data sets, with known salient cells or without",
        usage="rambit compare --out DIR [--data SETS] [--methods METHODS] [options]",
        description="Trains a GRU on each data set, explains the same test series by each method, and compares.",
        epilog=EPILOG,
    )
    parser.add_argument("--data", metavar="SETS", default=DATA, help="data sets, with commas between (%(default)s)")
    parser.add_argument("--methods", metavar="LIST", default=METHODS, help="with commas between (%(default)s)")
    parser.add_argument(
        "--keep", metavar="K", type=common.whole(), help="best timestamps that acc. kept keeps (a tenth of them)"
    )
    parser.add_argument(
        "--cells", metavar="SHARE", type=float, default=Size.cells, help="of suffic. and compreh. (%(default)s)"
    )
    add_settings(parser, Settings())
    parser.set_defaults(run=run)


def add_settings(parser: common.Parser, default: Settings) -> None:
    """--out, --seeds, how models are trained, --force and progress bars: what `compare` and `study` share."""
    parser.add_argument("--out", metavar="DIR", required=True, help="where everything goes, and is resumed from")
    parser.add_argument("--seeds", metavar="0,1,2", default="0", help="of weights, training, masks and draws (0)")
    group = parser.add_argument_group("settings (default)")
    helps = {
        "hidden": "units of the GRU",
        "head": f"what answers from them: {' or '.join(HEADS)}",
        "epochs": "of its training",
        "batch_size": "series in a batch",
        "lr": "learning rate",
        "weight_decay": "of Adam",
        "dropout": "before the answer",
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


def read_settings(args: argparse.Namespace, default: Settings) -> tuple[Settings, list[int]]:
    """The settings, as far as given, and the seeds. Raises ValueError for what can't be."""
    given = {field.name: getattr(args, field.name) for field in fields(Settings)}
    settings = replace(default, **{name: value for name, value in given.items() if value is not None})
    for name in ("hidden", "epochs", "batch_size", "generator_epochs", "series"):
        if getattr(settings, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(settings, name)}")
    seeds = args.seeds.split(",")
    sound = all(seed.isdecimal() and len(seed) < 19 for seed in seeds)
    if not sound or len({int(seed) for seed in seeds}) < len(seeds):
        raise ValueError(f"--seeds must be different whole numbers such as 0,1,2, got {shortened(args.seeds, 80)!r}")
    return settings, [int(seed) for seed in seeds]


def run(args: argparse.Namespace) -> None:
    """Do what is not done yet; then the table, the CSV and the figure."""
    settings, seeds = read_settings(args, Settings())
    methods = [parse(text) for text in split(args.methods)]
    show = common.shows_progress(args)
    names = split(args.data)
    if not methods or not names:
        raise ValueError("--data and --methods must name at least one each")
    # Data and methods are checked before the folder is made.
    study = Study.plan(names, methods, seeds, settings, Path(args.out), show_progress=show)
    size = Size(args.keep, args.cells)
    size.check(case.data for case in study.cases)
    open_folder(args.out, settings, force=args.force)
    notes = study.run(show_progress=show)
    lines = table.read(study, size=size)
    text = table.to_text(study, lines, [*notes, size.note()])
    files = table.write(
        Path(args.out), "compare", lines, text, table.figure(lines) if common.has_matplotlib() else None
    )
    print(f"{text}\n\nwrote {', '.join(map(str, files))}")
