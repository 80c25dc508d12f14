"""Fails when a tracked ratio has fallen by more than 15 % twice in a row, or was not measured: ``make bench-check``.

bench/thresholds.toml holds what each ratio was when it was last accepted on a machine: how many times faster ours is
than the baseline ([higher]), or how many times the bare model's time or memory it takes ([lower]); and what it must be
on every machine, without any allowance ([at_least], [at_most]). What falls short is run once more, to tell noise from
loss. A benchmark that fails, or that a machine cannot run (a peer that is not installed), is named with the reason and
fails the check, which would otherwise pass on a machine that measures nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
#: How many times worse a ratio may be, and whether more is better, by section of thresholds.toml.
SECTIONS = {"higher": (1.15, True), "lower": (1.15, False), "at_least": (1.0, True), "at_most": (1.0, False)}
#: Sections that hold on the machine alone where they were measured.
ACCEPTED = ("higher", "lower")


def run(tests: list[str], record: Path) -> dict[str, Any]:
    """The record of a run of these tests (bench/conftest.py)."""
    command = [sys.executable, "-m", "pytest", *tests, "--benchmark-only", "--benchmark-quiet", "--record", str(record)]
    outcome = subprocess.run(command, cwd=HERE.parent).returncode
    if outcome not in (0, 1):  # 1: some failed, which the record says
        raise SystemExit(f"pytest ended with {outcome}")
    return json.loads(record.read_text(encoding="utf-8"))


def ratios(record: dict[str, Any]) -> dict[str, float]:
    """The tracked ratios of a run, by figure."""
    return {row["test"]: row["ratio"] for row in record["figures"] if row["ratio"] is not None}


def losses(found: dict[str, float], thresholds: dict[str, dict[str, float]]) -> dict[str, str]:
    """What is worse than it may be, in words, by figure."""
    worse = {}
    for section, accepted in thresholds.items():
        allowed, more_is_better = SECTIONS[section]
        for figure, value in accepted.items():
            if figure not in found:
                continue
            factor = value / found[figure] if more_is_better else found[figure] / value
            if factor > allowed:
                worse[figure] = f"{found[figure]:.3g}, {section.replace('_', ' ')}: {value:.3g}"
    return worse


def missing(record: dict[str, Any], thresholds: dict[str, dict[str, float]]) -> dict[str, str]:
    """Why a tracked figure was not measured, by figure."""
    found = ratios(record)
    return {
        figure: next((why for test, why in record["not_run"].items() if figure.startswith(test)), "no such benchmark")
        for accepted in thresholds.values()
        for figure in accepted
        if figure not in found
    }


def main() -> int:
    thresholds = tomllib.loads((HERE / "thresholds.toml").read_text(encoding="utf-8"))
    accepted_on = thresholds.pop("machine")
    build = HERE.parent / "build"
    record = run(["bench"], build / "bench.json")
    if record["machine"] != accepted_on:
        print(f"{' and '.join(ACCEPTED)} were accepted on {accepted_on}, this is {record['machine']}: not compared")
        thresholds = {section: figures for section, figures in thresholds.items() if section not in ACCEPTED}
    worse = losses(ratios(record), thresholds)
    if worse:
        print("worse than accepted; once more, to tell noise from loss:")
        for figure, words in worse.items():
            print(f"  {figure}: {words}")
        tests = sorted({"bench/" + figure.partition(" # ")[0] for figure in worse})
        found = ratios(run(tests, build / "bench-again.json"))
        still = losses(found, thresholds)
        worse = {
            figure: still.get(figure, words)
            for figure, words in worse.items()
            if figure in still or figure not in found
        }
    not_run = missing(record, thresholds)
    for figure, words in worse.items():
        print(f"LOST  {figure}: {words}")
    for figure, why in not_run.items():
        print(f"NOT RUN  {figure}: {why}")
    return 1 if worse or not_run else 0


if __name__ == "__main__":
    sys.exit(main())
