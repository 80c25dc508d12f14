"""`rambit plot`: a saved result as a picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from rambit.cli import common
from rambit.cli.file_kinds import check_result
from rambit.plots.canvas import save
from rambit.results import Attribution
from rambit.results.attribution import KINDS as SCORE_KINDS
from rambit.results.pair_attribution import AXES, PairAttribution
from rambit.rex import RexExplanation
from rambit.rex.rex_explanation import KINDS as REX_KINDS
from rambit.store import open_file, read_header
from rambit.sufficiency import SufficientExplanation
from rambit.text import shortened

EPILOG = """\
examples:
  rambit plot scores.safetensors --series 0-3 --out scores.pdf
  rambit plot scores.safetensors --kind features --top 10
  rambit plot cat.safetensors --kind surface --out surface.png
  rambit plot kept/3.safetensors --title needed
  rambit plot scores.safetensors --data runs.csv --id run --time stamp

RESULT is what attribute, rex, suffice or compare wrote: scores, a ReX explanation or a sufficient one; or interactions
of pairs that Python saved. Without --out the picture goes beside it, under the same name (.png). Series are counted as
the command that wrote them counted.
"""
#: What `PairAttribution.plot` draws.
PAIR_KINDS = (*AXES, "histogram")
#: How the name of a saved result's record begins -> its class.
KINDS: dict[str, Any] = {
    "rambit-attribution-": Attribution,
    "rambit-pairs-": PairAttribution,
    "rambit-rex-": RexExplanation,
    "rambit-sufficiency-": SufficientExplanation,
}


def add(commands: common.Commands) -> None:
    """The command and its arguments."""
    parser = commands.add_parser(
        "plot",
        help="draw a saved result",
        usage="rambit plot RESULT [--out FILE] [options]",
        description="Draws a saved result into a file.",
        epilog=EPILOG,
    )
    parser.add_argument("result", metavar="RESULT", help="a result file (.safetensors)")
    parser.add_argument("--out", metavar="FILE", help="the picture (.png, .pdf, .svg; default: RESULT with .png)")
    kinds = f"of scores: {', '.join(SCORE_KINDS)}; of ReX: {', '.join(REX_KINDS)}; of pairs: {', '.join(PAIR_KINDS)}"
    parser.add_argument("--kind", metavar="KIND", help=f"{kinds} (the first)")
    parser.add_argument("--series", metavar="0,3-7", help="of scores: only these series (the first 9)")
    parser.add_argument("--target", metavar="NAME", help="of scores of several outputs: which, by number or name")
    parser.add_argument("--scale", metavar="SCALE", help="of scores: colours span each series, or (shared) all of them")
    parser.add_argument(
        "--top", metavar="N", type=common.whole(), help="of scores: only so many features, others summed"
    )
    parser.add_argument("--title", metavar="TEXT", help="over the picture")
    add_input(parser)
    common.add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read the result, draw it and write the picture."""
    out = Path(args.out) if args.out is not None else Path(args.result).with_suffix(".png")
    common.check_figure(str(out), "--out")
    result = with_input(load(args.result), args)
    with common.reserved((out,), force=args.force, inputs=(args.result, args.data)) as place:
        figure = _drawn(result, args)
        if args.title is not None:
            figure.suptitle(args.title)
        path = place(out)
        save(figure, path)
    print(common.table([("result", repr(result)), ("wrote", path), *without_input(result)]))


def add_input(parser: common.Parser) -> None:
    """--data, and how it is read."""
    parser.add_argument(
        "--data", metavar="DATA", help="of scores that hold no copy of their series: DATA of the command that made them"
    )
    parser.add_argument("--split", choices=("train", "test", "all"), help="the part of a data set (test)")
    common.add_file_options(parser)


def with_input(result: Any, args: argparse.Namespace) -> Any:
    """The result, with the series of --data. Raises ValueError where they are not its own, OSError, ImportError."""
    if args.data is None:
        for option in ("split", "x", "layout", *common.COLUMNS):
            if getattr(args, option) is not None:
                raise ValueError(f"--{option} says how --data is read: give that too")
        return result
    if not isinstance(result, Attribution):
        raise ValueError(f"--data is for scores of series, and this is a {type(result).__name__}")
    common.check_file_options(args, "x", "layout")
    if args.split is not None and common.is_file(args.data):
        raise ValueError(f"--split is for data sets, but {args.data} is a file")
    data = common.read(args, None if args.split == "all" else args.split or "test", y=None)
    indices = list(range(len(result.values)) if result.ids is None else map(int, result.ids))
    if max(indices) >= len(data):
        raise ValueError(f"--data {args.data} has {len(data)} series, but the result is of series {max(indices)} too")
    X = torch.from_numpy(data.take(indices).X)
    return replace(result, X=X.mT if result.settings.get("layout") == "BTD" else X)


def without_input(result: Any) -> list[tuple[str, object]]:
    """A line that says so where scores hold no copy of their series."""
    if not isinstance(result, Attribution) or result.X is not None:
        return []
    return [("note", "drawn without the series, of which the result holds no copy: --data reads them")]


def load(path: str) -> Any:
    """A saved result of any kind. Raises ValueError naming a file that is none, OSError."""
    check_result(path)
    with open_file(path) as file:
        entries = read_header(file, path).get("__metadata__") or {}
    for begin, kind in KINDS.items():
        if any(name.startswith(begin) for name in entries):
            return kind.load(path)
    raise ValueError(f"{path} is a safetensors file, but not a saved result of rambit")


def _drawn(result: Any, args: argparse.Namespace) -> Any:
    """The figure. Raises ValueError for what the result does not hold, or has no use for."""
    target = args.target
    if target is not None and getattr(result, "targets", None) is None:
        raise ValueError("--target is for scores of several outputs, and these are of one")
    given = {name: getattr(args, name) for name in ("kind", "scale", "top") if getattr(args, name) is not None}
    if not isinstance(result, Attribution):
        allowed = ("kind",) if isinstance(result, (RexExplanation, PairAttribution)) else ()
        for name in ("series", "kind", "scale", "top"):
            if getattr(args, name) is not None and name not in allowed:
                raise ValueError(f"--{name} is for scores of several series, and this is a {type(result).__name__}")
        if isinstance(result, PairAttribution):
            return result.plot() if args.kind is None else result.plot(of=args.kind)
        return result.plot(**given)
    if args.kind not in (None, SCORE_KINDS[0]) and args.scale is not None:
        raise ValueError(f"--scale is for --kind {SCORE_KINDS[0]}, given --kind {args.kind}")
    if args.kind == "times" and args.top is not None:
        raise ValueError("--top is of features, given --kind times")
    which: Any = int(target) if target is not None and target.isdecimal() and len(target) < 10 else target
    chosen = None if args.series is None else places(args.series, result)
    return result.plot(series=chosen, target=which, **given)


def places(series: str, result: Attribution) -> Sequence[int]:
    """Where in a result the series stand that are called so: by their ids, if it has any."""
    if result.ids is None:
        return common.chosen(series, None, len(result.values))
    ids = [int(one) for one in result.ids]
    places: list[int] = []
    for part in common.ranges(series):
        if sum(one in part for one in ids) < len(part):
            listed = ", ".join(map(str, ids[:20])) + (", …" if len(ids) > 20 else "")
            raise ValueError(f"--series {shortened(series, 80)}: the result holds series {listed}")
        places.extend(ids.index(one) for one in part)
    if len(set(places)) < len(places):
        raise ValueError(f"--series names a series twice: {series!r}")
    return places
