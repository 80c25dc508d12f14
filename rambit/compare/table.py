"""Tables and figures from stored results alone."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rambit import metrics
from rambit.compare.judging import LOW, Floats, Judge, Judging
from rambit.compare.pairs import pairs
from rambit.compare.runs import Study
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
    "average_prediction_difference": "APD",
    "auc_drop": "AUC drop",
    "cpd": "CPD",
    "cpp": "CPP",
    "masked_count": "masked",
    "row_steps": "row-steps",
}
Run = tuple[int, int]  # seed and fold
#: Differences with a p below this count as such.
ALPHA = 0.05
COUNTS = (*COST[:2], "information", "entropy")
FOOT = (
    "Beside known cells t = 0 is left out, because WinIT and FIT do not score it. ±: standard error over seeds and "
    "folds; a seed is that of weights, training, generators, masks and draws, on the same data. AUP, AUR, information "
    "(inform.) and entropy change when scores are rescaled. Costs leave out the training of models, generators and "
    "selectors."
)


@dataclass(frozen=True)
class Line:
    """One method on one data set: each number by seed and fold; empty where there is no result.

    series: the numbers of each series, of those whose differences are tested. curves: what the model says, by what is
    removed.
    """

    data: str
    method: str
    values: dict[str, dict[Run, float]]
    series: dict[str, dict[Run, Floats]] = field(default_factory=dict, compare=False)
    curves: dict[str, dict[Run, Floats]] = field(default_factory=dict, compare=False)

    def mean(self, name: str) -> float:
        """NaN if there is no result, or no such number for this data set."""
        return float(np.mean(list(self.values[name].values()))) if name in self.values else math.nan

    def error(self, name: str) -> float:
        """Standard error of the mean over seeds and folds; NaN for fewer than two."""
        values = list(self.values.get(name, {}).values())
        return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan

    def text(self, name: str) -> str:
        """The mean and its standard error."""
        if name not in self.values:
            return "–"
        digits = 0 if name in COUNTS else 1 if name in ("seconds", "mean_rank", "mean_rank_min") else 3
        mean, error = (f"{value:,.{digits}f}" for value in (self.mean(name), self.error(name)))
        return mean if error == "nan" or name in COST else f"{mean} ± {error}"


def read(study: Study, part: slice = ALL, judging: Judging | None = None) -> tuple[list[Line], list[str]]:
    """A line for each data set and method, in the order in which they were named, and why a metric serves no set.

    `part` of the series are compared with known cells by every measure; with a ``judging`` all of them, and the model
    judges, too.
    """
    lines: dict[tuple[str, str], Line] = {}
    notes: dict[str, None] = {}
    for case in study.cases:
        judge = Judge(case, judging or Judging(metrics=list(metrics.MEASURES)))
        for method in study.methods:
            line = lines.setdefault((case.data.name, method.text), Line(case.data.name, method.text, {}))
            path = case.result_path(method)
            if not path.exists():
                continue
            result = Attribution.load(path)
            for column in judge.columns:
                try:
                    number = judge.number(column, result.values, part)
                except ValueError as error:
                    notes[f"{column.name} on {case.data.name}: {' '.join(str(error).split())}"] = None
                    continue
                line.values.setdefault(column.name, {})[case.run] = float(number)
                if column.name in judge.tested:
                    found = judge.by_series(column, result.values, number)
                    if found is not None:
                        line.series.setdefault(column.name, {})[case.run] = found
            for name, curve in judge.curves(result.values).items():
                line.curves.setdefault(name, {})[case.run] = curve
            for name in COST:
                line.values.setdefault(name, {})[case.run] = float(getattr(result, name))
        case.forget()
    return list(lines.values()), list(notes)


def differences(lines: Sequence[Line], judging: Judging, folds: int = 1) -> list[dict[str, Any]]:
    """`pairs` of methods on each data set, by each metric that is tested there."""
    found = []
    for data, here in by_data(lines).items():
        for metric in judging.tested_of(numbers(here)):
            values = {line.method: line.values[metric] for line in here if metric in line.values}
            series = {line.method: line.series[metric] for line in here if metric in line.series}
            found += [{"data": data, "metric": metric, **pair} for pair in pairs(values, series, folds)]
    return found


def by_data(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of each data set."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.data, []).append(line)
    return found


def curve_rows(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """data, method, curve (what is removed or kept), share (of the cells), and the mean probability over runs."""
    rows = []
    for line in lines:
        for curve, by_run in line.curves.items():
            mean = np.mean(list(by_run.values()), axis=0)
            for share, value in zip(np.linspace(0, 1, len(mean)).tolist(), mean.tolist(), strict=True):
                rows.append({"data": line.data, "method": line.method, "curve": curve, "share": share, "mean": value})
    return rows


def numbers(lines: Sequence[Line]) -> list[str]:
    """All numbers that some line has: those of known cells first, what they cost last."""
    found = dict.fromkeys(name for line in lines for name in line.values if name not in COST)
    ordered = sorted(found, key=lambda name: name.partition(":")[0] not in metrics.MEASURES)
    return [*ordered, *(name for name in COST if any(name in line.values for line in lines))]


def to_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """data, method, seeds (how many), then each number's mean over the seeds and its standard error.

    Every line has all numbers that some line has: NaN where it has none, a standard error also where there is one seed.
    """
    names = numbers(lines)
    rows: list[dict[str, Any]] = []
    for line in lines:
        count = len(line.values["rows"]) if line.values else 0
        rows.append({"data": line.data, "method": line.method, "seeds": count})
        for name in names:
            rows[-1] |= {name: line.mean(name), f"{name}_stderr": line.error(name)}
    return rows


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The rows with all numbers in full; empty where there is none."""
    text = io.StringIO()
    table = csv.DictWriter(text, rows[0], lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue().encode()


def to_text(
    study: Study,
    lines: Sequence[Line],
    notes: Sequence[str],
    columns: Sequence[str] | None = None,
    tests: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One table for each data set, with those of the columns that it has; None: all that there are.

    Numbers for one of several ways of removing cells (`…@…`) have a table of their own below. ``tests``: what
    `differences` found, of which each table says what the best method differs from.
    """
    parts = []
    for name, here in by_data(lines).items():
        shown = [one for one in numbers(here) if columns is None or one in (*columns, *COST)]
        parts.append(f"{_heading(study, name)}\n{_table(here, [one for one in shown if '@' not in one])}")
        for where in dict.fromkeys(one.partition("@")[2] for one in shown if "@" in one):
            parts[-1] += f"\n\n@ {where}\n{_table(here, [one for one in shown if one.endswith('@' + where)])}"
        for metric in dict.fromkeys(test["metric"] for test in tests if test["data"] == name):
            parts[-1] += "\n" + _best(here, metric, [t for t in tests if (t["data"], t["metric"]) == (name, metric)])
    return "\n\n".join([*parts, "\n".join([*(f"– {note}" for note in notes), FOOT])])


def _table(lines: Sequence[Line], names: Sequence[str]) -> str:
    heads = [name.partition("@")[0] for name in names]
    rows = [["method", *(HEADS.get(head, head) for head in heads)]]
    return _aligned(rows + [[line.method, *map(line.text, names)] for line in lines])


def _best(lines: Sequence[Line], metric: str, tests: Sequence[Mapping[str, Any]]) -> str:
    """Which method is the best by a metric, and which ones the tests do not tell from it."""
    known = [line for line in lines if metric in line.values]
    best = min(known, key=lambda line: line.mean(metric) * (1 if low(metric) else -1)).method
    kind = "runs" if all(math.isnan(test["p_series"]) for test in tests) else "series"
    p = {
        test["b"] if test["a"] == best else test["a"]: test[f"p_{kind}_holm"]
        for test in tests
        if best in (test["a"], test["b"])
    }
    if all(map(math.isnan, p.values())):
        return f"{metric}: {best} is the best; too few series and runs for a test"
    near = [name for name, value in p.items() if not value < ALPHA]
    return f"{metric}: {best} is the best; over {kind}, p >= {ALPHA} (Holm) beside it: {', '.join(near) or 'none'}"


def low(name: str) -> bool:
    """Whether low numbers of this column are good."""
    metric, _, where = name.partition("@")
    return (metric.partition(":")[0] in LOW) != ("least" in where.split())


def _heading(study: Study, name: str) -> str:
    """The data set, the series explained, and how good the models are."""
    cases = [case for case in study.cases if case.data.name == name]
    notes = [load_checkpoint(case.model_path())[1]["extra"] for case in cases if case.model_path().exists()]
    count, features, steps = cases[0].data.explained.X.shape
    folds, seeds = {case.data.fold for case in cases}, list(dict.fromkeys(case.seed for case in cases))
    line = f"{name}: {count} series of {features} features and {steps} steps; seeds {seeds}"
    line += f"; {len(folds)} folds" if len(folds) > 1 else ""
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


def write(folder: Path, name: str, contents: Mapping[str, bytes]) -> list[Path]:
    """Files by what stands behind the name, such as .csv and -cost.png, each over an older one of the same name."""
    for end, content in contents.items():
        atomic_write(folder / f"{name}{end}", content)
    return [folder / f"{name}{end}" for end in contents]
