"""`rambit report`: a saved result as one HTML file that can be sent."""

from __future__ import annotations

import argparse
from pathlib import Path

from rambit.cli import common
from rambit.cli.plot import add_input, load, places, with_input, without_input
from rambit.results import Attribution

EPILOG = """\
examples:
  rambit report scores.safetensors --title "why the pump failed"
  rambit report scores.safetensors --series 0-9 --out explained.html
  rambit report scores.safetensors --data runs.csv --id run --time stamp

RESULT is what attribute, rex, suffice or compare wrote: scores, a ReX explanation or a sufficient one. Without --out
the page goes beside it, under the same name (.html). It is one file: no network, no server, nothing to install.
"""


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "report",
        help="one HTML file of a saved result, to be sent",
        usage="rambit report RESULT [--out FILE] [options]",
        description="Writes a saved result as one HTML file that shows itself: curves with the scores behind them.",
        epilog=EPILOG,
    )
    parser.add_argument("result", metavar="RESULT", help="a result file (.safetensors)")
    parser.add_argument("--out", metavar="FILE", help="the page (.html; default: RESULT with .html)")
    parser.add_argument("--series", metavar="0,3-7", help="of scores: only these series")
    parser.add_argument("--title", metavar="TEXT", help="over the page")
    add_input(parser)
    common.add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the result and write the page."""
    out = Path(args.out) if args.out is not None else Path(args.result).with_suffix(".html")
    if out.suffix.lower() != ".html":
        raise ValueError(f"--out must end in .html, got {out}")
    result = with_input(load(args.result), args)
    with common.reserved((out,), force=args.force, inputs=(args.result, args.data)) as place:
        if isinstance(result, Attribution) and args.series is not None:
            result = result.isel(series=list(places(args.series, result)))
        elif args.series is not None:
            raise ValueError(f"--series is for scores of several series, and this is a {type(result).__name__}")
        if not hasattr(result, "report"):
            raise ValueError(f"a {type(result).__name__} has no page: rambit plot draws it")
        path = place(out)
        result.report(path, title=args.title, force=True)
    print(common.table([("result", repr(result)), ("wrote", path), *without_input(result)]))
