"""Tables and figures from stored results alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rambit import metrics
from rambit.compare.faithful import MEASURES, Judge, Size
from rambit.compare.methods import Method
from rambit.compare.runs import Case, Study
from rambit.results import Attribution
from rambit.store import atomic_write
from rambit.training import load_checkpoint

ALL = slice(None)
COST = ("rows", "row_steps", "seconds")
HEADS = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "mean_rank": "rank",
    "mean_rank_min": "best rank",
    "iou": "IoU",
    "aup": "AUP",
    "aur": "AUR",
    "information": "inform.",
    "accuracy": "acc.",
    "accuracy_kept": "acc. kept",
    "sufficiency": "suffic.",
    "comprehensiveness": "compreh.",
    "row_steps": "row-steps",
}
#: What the figure shows, where it is known.
DRAWN = ("auprc", "accuracy_kept")
COUNTS = (*COST[:2], "information", "entropy")
FOOT = (
    "Beside known cells t = 0 is left out, because WinIT and FIT do not score it. ±: standard error over the seeds, "
    "which are those of weights, training, generators, masks and draws; the data are the same. AUP, AUR, information "
    "(inform.) and entropy change when scores are rescaled. Costs leave out the training of models, generators and "
    "selectors."
)


@dataclass(frozen=True)
class Line:
    """One method on one data set: for each number its values by seed; empty where there is no result."""

    data: str
    method: str
    values: dict[str, list[float]]

    def mean(self, name: str) -> float:
        """NaN if there is no result, or no such number for this data set."""
        return float(np.mean(self.values[name])) if name in self.values else math.nan

    def error(self, name: str) -> float:
        """Standard error of the mean over seeds; NaN for fewer than two."""
        values = self.values.get(name, [])
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan

    def text(self, name: str) -> str:
        """The mean and its standard error."""
        if name not in self.values:
            return "–"
        digits = 0 if name in COUNTS else 1 if name in ("seconds", "mean_rank", "mean_rank_min") else 3
        mean, error = (f"{value:,.{digits}f}" for value in (self.mean(name), self.error(name)))
        return mean if error == "nan" or name in COST else f"{mean} ± {error}"


def measure(case: Case, method: Method, part: slice = ALL, judge: Judge | None = None) -> dict[str, float]:
    """The numbers of one stored result; none if there is no result.

    Of `part` of the series: how well the known cells are found. Of all: what the `judge` says, and costs.
    """
    path = case.result_path(method)
    if not path.exists():
        return {}
    result = Attribution.load(path)
    truth = case.data.explained.salient
    scores = {} if truth is None else metrics.summary(result.values[part], truth[part], skip_first=True)
    judged = {} if judge is None else judge.measure(result.values)
    return {**scores, **judged, **{name: float(getattr(result, name)) for name in COST}}


def read(study: Study, part: slice = ALL, size: Size | None = None) -> list[Line]:
    """A line for each data set and method, in the order in which they were named.

    `part` of the series are compared with the known cells; with a `size` the model judges all of them, too.
    """
    lines: dict[tuple[str, str], Line] = {}
    for case in study.cases:
        judge = None if size is None else Judge(case, size)
        for method in study.methods:
            line = lines.setdefault((case.data.name, method.text), Line(case.data.name, method.text, {}))
            for key, number in measure(case, method, part, judge).items():
                line.values.setdefault(key, []).append(number)
        case.forget()
    return list(lines.values())


def _known(lines: Sequence[Line], names: Sequence[str]) -> list[str]:
    """Those of the names that some line has a number for."""
    return [name for name in names if any(name in line.values for line in lines)]


def to_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """data, method, seeds (how many), then each number's mean over the seeds and its standard error.

    Every line has all numbers that some line has: NaN where it has none, a standard error also where there is one seed.
    """
    names = _known(lines, (*metrics.MEASURES, *MEASURES, *COST))
    rows: list[dict[str, Any]] = []
    for line in lines:
        count = len(line.values["rows"]) if line.values else 0
        rows.append({"data": line.data, "method": line.method, "seeds": count})
        for name in names:
            rows[-1] |= {name: line.mean(name), f"{name}_stderr": line.error(name)}
    return rows


def to_csv(lines: Sequence[Line]) -> bytes:
    """The rows with all numbers in full; empty where there is none."""
    rows, text = to_rows(lines), io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue().encode()


def to_text(study: Study, lines: Sequence[Line], notes: Sequence[str], columns: Sequence[str] | None = None) -> str:
    """One table for each data set, with those of the columns that it has; None: all that there are."""
    columns = (*metrics.MEASURES, *MEASURES) if columns is None else columns
    parts = []
    for name in dict.fromkeys(line.data for line in lines):
        here = [line for line in lines if line.data == name]
        shown = _known(here, (*columns, *COST))
        rows = [["method", *(HEADS.get(column, column) for column in shown)]]
        rows += [[line.method, *map(line.text, shown)] for line in here]
        parts.append(f"{_heading(study, name)}\n{_aligned(rows)}")
    return "\n\n".join([*parts, "\n".join([*(f"– {note}" for note in notes), FOOT])])


def _heading(study: Study, name: str) -> str:
    """The data set, the series explained, and how good the models are."""
    cases = [case for case in study.cases if case.data.name == name]
    notes = [load_checkpoint(case.model_path())[1]["extra"] for case in cases if case.model_path().exists()]
    count, features, steps = cases[0].data.explained.X.shape
    line = f"{name}: {count} series of {features} features and {steps} steps; seeds {[case.seed for case in cases]}"
    if cases[0].given is not None:
        return f"{line}\nthe model that was given: {type(cases[0].given).__name__}"
    if not notes:
        return line
    right = ", ".join(f"{note['accuracy']:.4f}" for note in notes)
    units, majority = cases[0].settings.hidden, notes[0]["majority"]
    return f"{line}\nGRU of {units} units; test accuracy {right} (the larger class alone: {majority:.4f})"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def figure(lines: Sequence[Line]) -> Any:
    """AUPRC and accuracy of each method, a panel for each data set and what is known of it.

    None without a result, or without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None

    by_name: dict[str, dict[str, Line]] = {}
    for line in lines:
        by_name.setdefault(line.data, {})[line.method] = line
    panes = [(name, column) for name, here in by_name.items() for column in _known(list(here.values()), DRAWN)]
    if not panes:
        return None
    methods = list(dict.fromkeys(line.method for line in lines))
    size = (3.2 * len(panes) + 2.5, 0.3 * len(methods) + 1.2)
    drawing = Figure(figsize=size, dpi=80, layout="constrained", facecolor="white")
    panels = drawing.subplots(1, len(panes), sharey=True, squeeze=False)[0]
    for panel, (name, column) in zip(panels, panes, strict=True):
        here = by_name[name]
        means = [here[method].mean(column) for method in methods]
        errors = [np.nan_to_num(here[method].error(column)) for method in methods]
        panel.barh(range(len(methods)), np.nan_to_num(means), xerr=errors, color="#0072B2")
        panel.set(title=name, xlabel=HEADS[column], xlim=(0, 1), yticks=range(len(methods)))
        panel.set_yticklabels(methods)
    panels[0].invert_yaxis()
    return drawing


def write(folder: Path, name: str, lines: Sequence[Line], text: str, drawing: Any) -> list[Path]:
    """The CSV, the table as printed and, if there is one, the figure: each over an older one of the same name."""
    files = {f"{name}.csv": to_csv(lines), f"{name}.txt": (text + "\n").encode()}
    if drawing is not None:
        image = io.BytesIO()
        drawing.savefig(image, format="png", metadata={"Software": None})
        files[f"{name}.png"] = image.getvalue()
    for file, content in files.items():
        atomic_write(folder / file, content)
    return [folder / file for file in files]
