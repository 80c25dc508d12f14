"""Which coalitions help RaMbIT, on which data, at what cost: ``python -m studies.masks --out DIR``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from rambit.cli import common
from rambit.cli.compare import add_settings, given_settings, in_options
from rambit.compare import table
from rambit.compare.comparison import read_seeds
from rambit.compare.figures import png
from rambit.compare.methods import parse
from rambit.compare.runs import Settings, Study, open_folder
from rambit.compare.table import Line

DATA = ("spike", "spike:delay=2", "state:truth=change", "state:truth=active", "redundant_spike")
SMALL = tuple(name + ("," if ":" in name else ":") + "n=60,T=20" for name in DATA)
#: A GRU that learns these sets in less than a minute.
DEFAULT = Settings(hidden=50, head="linear", epochs=20, lr=1e-2, weight_decay=0.0, dropout=0.0, generator_epochs=15)
SHORT = replace(DEFAULT, hidden=8, epochs=2, series=12, generator_epochs=1)
#: Settings are chosen on one half of the series and reported on the other.
REPORT, CHOOSE = slice(0, None, 2), slice(1, None, 2)

NONE = "none"
FAMILIES = {
    NONE: "leave-one-out:",
    "block": "rambit:L=5,masks=block,",
    "columns": "rambit:L=5,masks=columns,",
    "segments": "rambit:L=5,masks=segments,",
    "rows": "rambit:L=5,masks=rows,Wd_max=1,",
    "bernoulli .1": "rambit:L=5,masks=bernoulli,p=0.1,",
    "bernoulli .3": "rambit:L=5,masks=bernoulli,p=0.3,",
    "bernoulli .5": "rambit:L=5,masks=bernoulli,p=0.5,",
    "permutation": "rambit:L=5,masks=permutation,",
}
#: The other families replace something near the end, after which no step is left for this anchor to look at; segments
#: are so long that they cost three to four times as much as blocks.
AFTER_MASK = ("block", "columns")
#: Where marginal draws are tried as well: enough to see what a generator adds.
WITH_MARGINAL = (NONE, "block")
WINIT = ("winit:cf=marginal,W=10,S=3", "winit:cf=generator,W=10,S=3")
MARKERS: dict[tuple[str, ...], str] = {("cell", "marginal"): "o", ("cell", "generator"): "s", ("mask", "marginal"): "^"}
REPORTED = ("auprc", "auroc", "mean_rank")
NOTE = (
    "Of each family, anchor and kind of values (cf) the reduction and W with the best AUPRC on every other series (the "
    "2nd, 4th, ...). Scores, here and in study.csv, are of the rest (the 1st, 3rd, ...); costs are of all."
)
EPILOG = """\
example:
  python -m studies.masks --out study

Mask families × anchors × values × reductions × window sizes on five data sets, all on the same test series of the
same models. The same command goes on after an interruption. State is there twice, once for each of its ground truths.
"""


@dataclass(frozen=True)
class Setting:
    """One point of the grid."""

    family: str
    anchor: str
    values: str
    reduce: str
    W: int

    def text(self, S: int = 3) -> str:
        """As `rambit compare --methods` takes it."""
        rest = f"cf={self.values},reduce={self.reduce},W={self.W},S={S}"
        return f"{FAMILIES[self.family]}anchor={self.anchor},{rest}"

    @property
    def group(self) -> tuple[str, str, str]:
        """What one colour and marker, and one line of the table, stand for."""
        return self.family, self.anchor, self.values


def grid(*, small: bool) -> Iterator[Setting]:
    """Mask families × anchors × values × reductions × W, as far as they say something of their own."""
    families = (NONE, "block", "bernoulli .5") if small else tuple(FAMILIES)
    for (anchor, values), family in product(tuple(MARKERS), families):
        if family in {"mask": AFTER_MASK, "cell": WITH_MARGINAL if values == "marginal" else tuple(FAMILIES)}[anchor]:
            yield Setting(family, anchor, values, "mean", 1)  # over one horizon the reductions are the same
            for W, reduce in product((3,) if small else (5, 10), ("mean", "max")):
                yield Setting(family, anchor, values, reduce, W)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the study with these arguments, or those of the command line. Exits with 2 and one line after an error."""
    parser = common.Parser(
        prog="studies.masks",
        usage="python -m studies.masks --out DIR [--small] [options]",
        description="Compares RaMbIT's mask families, anchors, reductions and windows on the synthetic data sets.",
        epilog=EPILOG,
    )
    parser.add_argument("--small", action="store_true", help="a minute's version, whose numbers mean nothing")
    add_settings(parser, DEFAULT)
    try:
        run(parser.parse_args(argv))
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {in_options(str(error))}\n")


def run(args: argparse.Namespace) -> None:
    """Do what is not done yet; then the tables, the CSV and the plot."""
    settings, seeds = Settings.read(given_settings(args), SHORT if args.small else DEFAULT), read_seeds(args.seeds)
    names = SMALL if args.small else DATA
    points = {point.text(): point for point in grid(small=args.small)}
    show = common.shows_progress(args)
    methods = [parse(text) for text in (*points, *WINIT)]
    study = Study.plan(names, methods, seeds, settings, Path(args.out), show_progress=show)
    _check_halves(study, settings)
    open_folder(args.out, settings, force=args.force)
    notes = study.run(show_progress=show)

    lines, _ = table.read(study, REPORT)
    best = _best(table.read(study, CHOOSE)[0], lines, points)
    text = table.to_text(study, best, [*notes, NOTE], REPORTED)
    tables = {".csv": table.to_csv(table.to_rows(lines)), ".txt": (text + "\n").encode()}
    drawings = {".png": png(plot(lines, points))} if common.has_matplotlib() else {}
    files = table.write(Path(args.out), "study", {**tables, **drawings})
    print(f"{text}\n\nwrote {', '.join(map(str, files))}")


def _groups(lines: Sequence[Line], points: dict[str, Setting], name: str) -> dict[tuple[str, ...], list[Line]]:
    """The lines of one data set by family, anchor and values, and those of WinIT, each on its own."""
    groups: dict[tuple[str, ...], list[Line]] = {}
    for line in lines:
        if line.data == name and line.values:
            point = points.get(line.method)
            groups.setdefault(point.group if point else (line.method,), []).append(line)
    return groups


def _check_halves(study: Study, settings: Settings) -> None:
    """Raise ValueError if one half of a data set's series has nothing to find."""
    for case in study.cases:
        truth = case.data.explained.salient
        assert truth is not None
        if not all(truth[half, :, 1:].any() for half in (REPORT, CHOOSE)):
            raise ValueError(f"--series {settings.series}: every other of them has no salient cell in {case.data.name}")


def _best(candidates: Sequence[Line], lines: Sequence[Line], points: dict[str, Setting]) -> list[Line]:
    """For each data set and group the line of the best candidate; the highest first."""
    by_name = {(line.data, line.method): line for line in lines}
    found: list[Line] = []
    for name in dict.fromkeys(line.data for line in lines):
        groups = _groups(candidates, points, name).values()
        best = [max(group, key=lambda line: line.mean("auprc")) for group in groups]
        found += sorted((by_name[name, line.method] for line in best), key=lambda line: -line.mean("auprc"))
    return found


def plot(lines: Sequence[Line], points: dict[str, Setting]) -> Any:
    """AUPRC against row-steps: a panel for each data set, a colour for each family, a marker for anchor and values."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    names = list(dict.fromkeys(line.data for line in lines))
    drawing = Figure(figsize=(3.4 * len(names) + 2, 4.2), dpi=80, layout="constrained", facecolor="white")
    panels = drawing.subplots(1, len(names), sharey=True, squeeze=False)[0]
    colours = {family: f"C{i}" for i, family in enumerate(FAMILIES)}
    for panel, name in zip(panels, names, strict=True):
        for group, here in _groups(lines, points, name).items():
            panel.scatter(
                [line.mean("row_steps") for line in here],
                [line.mean("auprc") for line in here],
                s=22,
                color=colours.get(group[0], "black"),
                marker=MARKERS.get(group[1:], "*" if "marginal" in group[0] else "P"),
                label=" ".join(group).partition(",W")[0],
            )
        panel.set(title=name, xlabel="row-steps", xscale="log", ylim=(-0.02, 1.02))
        panel.xaxis.set_minor_formatter(NullFormatter())
    panels[0].set_ylabel("AUPRC")
    handles, labels = panels[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside right upper", fontsize=7)
    return drawing


if __name__ == "__main__":
    main()
