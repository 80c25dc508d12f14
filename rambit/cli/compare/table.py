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
from rambit.cli.compare.methods import Method
from rambit.cli.compare.runs import Case, Study
from rambit.results import Attribution
from rambit.store import atomic_write
from rambit.training import load_checkpoint

ALL = slice(None)
COST = ("rows", "row_steps", "seconds")
SCORES = (
    "auprc",
    "auroc",
    "mean_rank",
    "mean_rank_min",
    "iou",
    "aup",
    "aur",
    "information",
    "entropy",
)
HEADS = {
    "auprc": "AUPRC",
    "auroc": "AUROC",
    "mean_rank": "rank",
    "mean_rank_min": "best rank",
    "iou": "IoU",
    "aup": "AUP",
    "aur": "AUR",
    "information": "inform.",
    "row_steps": "row-steps",
}
COUNTS = (*COST[:2], "information", "entropy")
FOOT = (
    "t = 0 is left out everywhere, because WinIT and FIT do not score it. ±: standard error over the seeds, which are "
    "those of weights, training, generators, masks and draws; the data are the same. AUP, AUR, information (inform.) "
    "and entropy change when scores are rescaled."
)


@dataclass(frozen=True)
class Line:
    """One method on one data set: for each number its values by seed; empty where there is no result."""

    data: str
    method: str
    values: dict[str, list[float]]

    def mean(self, name: str) -> float:
        """NaN if there is no result."""
        return float(np.mean(self.values[name])) if self.values else math.nan

    def error(self, name: str) -> float:
        """Standard error of the mean over seeds; NaN for fewer than two."""
        values = self.values.get(name, [])
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan

    def text(self, name: str) -> str:
        """The mean and its standard error."""
        if not self.values:
            return "–"
        digits = 0 if name in COUNTS else 1 if name in ("seconds", "mean_rank", "mean_rank_min") else 3
        mean, error = (f"{value:,.{digits}f}" for value in (self.mean(name), self.error(name)))
        return mean if error == "nan" or name in COST else f"{mean} ± {error}"


def measure(case: Case, method: Method, part: slice = ALL) -> dict[str, float]:
    """The numbers of one stored result on `part` of its series, costs on all; none if there is no result."""
    path = case.result_path(method)
    if not path.exists():
        return {}
    result = Attribution.load(path)
    truth = case.data.explained.salient
    assert truth is not None
    scores = metrics.summary(result.values[part], truth[part], skip_first=True)
    return {**scores, **{name: float(getattr(result, name)) for name in COST}}


def read(study: Study, part: slice = ALL) -> list[Line]:
    """A line for each data set and method, in the order in which they were named; `part`: of the series."""
    lines = []
    for name in dict.fromkeys(case.data.name for case in study.cases):
        cases = [case for case in study.cases if case.data.name == name]
        for method in study.methods:
            found = [numbers for numbers in (measure(case, method, part) for case in cases) if numbers]
            values = {key: [numbers[key] for numbers in found] for key in (*SCORES, *COST)} if found else {}
            lines.append(Line(name, method.text, values))
    return lines


def to_csv(lines: Sequence[Line]) -> bytes:
    """All numbers in full; a standard error is empty where there is one seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = (*SCORES, *COST)
    writer.writerow(["data", "method", "seeds", *(part for name in names for part in (name, f"{name}_stderr"))])
    for line in lines:
        count = len(line.values["auprc"]) if line.values else 0
        numbers = [number for name in names for number in (line.mean(name), line.error(name))]
        writer.writerow([line.data, line.method, count, *("" if math.isnan(n) else repr(n) for n in numbers)])
    return text.getvalue().encode()


def to_text(study: Study, lines: Sequence[Line], notes: Sequence[str], columns: Sequence[str] = SCORES) -> str:
    """One table for each data set."""
    parts = []
    for name in dict.fromkeys(line.data for line in lines):
        rows = [["method", *(HEADS.get(column, column) for column in (*columns, *COST))]]
        rows += [
            [line.method, *(line.text(column) for column in (*columns, *COST))] for line in lines if line.data == name
        ]
        parts.append(f"{_heading(study, name)}\n{_aligned(rows)}")
    return "\n\n".join([*parts, "\n".join([*(f"– {note}" for note in notes), FOOT])])


def _heading(study: Study, name: str) -> str:
    """The data set, the series explained, and how good the models are."""
    cases = [case for case in study.cases if case.data.name == name]
    notes = [load_checkpoint(case.model_path())[1]["extra"] for case in cases if case.model_path().exists()]
    count, features, steps = cases[0].data.explained.X.shape
    line = f"{name}: {count} series of {features} features and {steps} steps; seeds {[case.seed for case in cases]}"
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
    """AUPRC of each method, a panel for each data set."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(line.data for line in lines))
    methods = list(dict.fromkeys(line.method for line in lines))
    size = (3.2 * len(names) + 2.5, 0.3 * len(methods) + 1.2)
    drawing = Figure(figsize=size, dpi=80, layout="constrained", facecolor="white")
    panels = drawing.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for panel, name in zip(panels, names, strict=True):
        here = {line.method: line for line in lines if line.data == name}
        means = [here[method].mean("auprc") for method in methods]
        errors = [np.nan_to_num(here[method].error("auprc")) for method in methods]
        panel.barh(range(len(methods)), np.nan_to_num(means), xerr=errors, color="#0072B2")
        panel.set(title=name, xlabel="AUPRC", xlim=(0, 1), yticks=range(len(methods)))
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
