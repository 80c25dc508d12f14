"""What pytest-benchmark cannot do: judge ratios within a run, which it stores as ``extra_info`` but compares none of.

``python -m bench.check`` runs every benchmark and holds its ratios against bench/thresholds.toml: what they must be on
every machine ([at_least], [at_most]). A tracked benchmark that was not measured fails too: a machine that measures
nothing would pass.

``python -m bench.check --against FOLDER`` runs the quick ones there, in that checkout's own environment, and here,
alternately: a ratio that is more than 15 % worse here in each of four pairs fails.

What falls short is run again, alone, to tell noise from loss.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from bench.machine import machine

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
#: How many times worse than another commit's a ratio may be.
ALLOWED = 1.15
#: How many pairs of runs must show it: on a shared machine one ratio in five is off by as much in a single pair.
PAIRS = 4
#: Some of every capability (pytest's -k), of one thread, which disturbs others least and is disturbed least.
QUICK = (
    "test_masked_batch[one and large",
    "test_boxed_batch[one and large",
    "test_recurrent_steps and one",
    "test_against_the_definition[one and gru50-small",
    "test_against_one_call_a_window[one and small",
    "test_feature_ablation[one and batch",
    "test_shapley_sampling[one",
    "test_time_interpret[one and temporal_occlusion-large",
    "test_time_interpret[one and fit-large",
    "test_attribution[one and 200-20-",
    "test_against_one_row_at_a_time[one and 120",
    "test_against_the_twin[one and 128",
    "test_length[one and 100]",
    "with_masks[cell",
    "test_import",
)

Limits = dict[str, dict[str, float]]


def run(folder: Path, storage: Path, *options: str, failures: bool = True) -> dict[str, float]:
    """The ratios of a run in that checkout, by figure; pytest-benchmark keeps it in ``storage``."""
    python = sys.executable if folder == ROOT else str(folder / ".venv" / "bin" / "python")
    command = [python, "-m", "pytest", "--benchmark-only", "--benchmark-quiet", f"--benchmark-storage={storage}"]
    known = set(storage.rglob("*.json"))
    outcome = subprocess.run([*command, *options], cwd=folder).returncode
    stored = set(storage.rglob("*.json")) - known
    if outcome not in ((0, 1) if failures else (0,)) or not stored:  # 1: some failed
        raise SystemExit(f"pytest ended with {outcome} in {folder}")
    return ratios(json.loads(stored.pop().read_text(encoding="utf-8")))


def ratios(stored: dict) -> dict[str, float]:
    """The ratios in what pytest-benchmark stored of a run, by figure: a test, or ``test # part``."""
    return {
        benchmark["fullname"].removeprefix("bench/") + key.removeprefix("ratio").replace(" ", " # ", 1): value
        for benchmark in stored["benchmarks"]
        for key, value in benchmark["extra_info"].items()
        if key.partition(" ")[0] == "ratio"
    }


def tests(figures: dict) -> list[str]:
    """What pytest calls the tests of these figures."""
    return sorted({"bench/" + figure.partition(" # ")[0] for figure in figures})


def losses(found: dict[str, float], reference: Limits, allowed: float = 1.0, said: str = "limit") -> dict[str, str]:
    """What is more than ``allowed`` times worse than in ``reference``, in words, by figure."""
    return {
        figure: f"{found[figure]:.3g}, {said}: {value:.3g}"
        for section, figures in reference.items()
        for figure, value in figures.items()
        if figure in found and allowed < (value / found[figure] if section == "at_least" else found[figure] / value)
    }


def against_limits(limits: Limits, storage: Path) -> dict[str, str]:
    """What falls short of its limit twice or is not measured, in words, by figure."""
    found = run(ROOT, storage, "bench", "--benchmark-autosave")
    worse = losses(found, limits)
    if worse:
        again = run(ROOT, ROOT / "build" / "again", *tests(worse), "--benchmark-autosave")
        still = losses(again, limits)
        worse = {
            figure: still.get(figure, words)
            for figure, words in worse.items()
            if figure in still or figure not in again
        }
    unmeasured = {figure for figures in limits.values() for figure in figures} - found.keys()
    return worse | dict.fromkeys(sorted(unmeasured), "not measured; pytest says why above")


def against_checkout(base: Path, limits: Limits, storage: Path) -> dict[str, str]:
    """What is worse here than in the other checkout, in every pair of runs, in words, by figure."""
    chosen, worse = ["bench", "-k", " or ".join(QUICK)], {}
    known = {figure for figures in limits.values() for figure in figures}
    for pair in range(PAIRS):
        before = run(base, storage, *chosen, "--benchmark-save=base")
        after = run(ROOT, storage, *chosen, "--benchmark-save=head", failures=False)
        reference = {
            section: {figure: before[figure] for figure in figures if figure in before}
            for section, figures in limits.items()
        }
        found = {figure: after[figure] for figure in after if pair == 0 or figure in worse}
        for figure in sorted((before.keys() ^ after.keys()) | (after.keys() - known)):
            print(f"not compared, since not in both or without a limit: {figure}")
        worse = losses(found, reference, ALLOWED, "base")
        if not worse:
            break
        chosen = tests(worse)
    return worse


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, with an environment in .venv")
    parser.add_argument("--storage", type=Path, default=ROOT / "build" / "benchmarks", help="where runs are kept")
    options = parser.parse_args()
    limits = tomllib.loads((HERE / "thresholds.toml").read_text(encoding="utf-8"))
    if options.against is None:
        worse = against_limits(limits, options.storage.resolve() / machine())
    else:
        storage = ROOT / "build" / "compared"
        shutil.rmtree(storage, ignore_errors=True)
        worse = against_checkout(options.against.resolve(), limits, storage)
        compare = [sys.executable, "-m", "pytest_benchmark", f"--storage={storage}", "compare"]
        subprocess.run([*compare, "--columns=min,median", "--group-by=fullname"], check=True)
    for figure, words in worse.items():
        print(f"LOST  {figure}: {words}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
