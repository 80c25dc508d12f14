"""Fails when a tracked ratio has fallen by more than 15 % twice in a row: ``make bench-check``.

bench/thresholds.toml holds what each ratio was when it was last accepted: how many times faster ours is than the
baseline ([higher]), or how many times the bare model's time or memory it takes ([lower]). What falls short is run once
more, to tell noise from loss.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
ALLOWED = 1.15


def run(tests: list[str], record: Path) -> dict[str, float]:
    """The ratio of each tracked figure, by test, from a run of these tests."""
    command = [sys.executable, "-m", "pytest", *tests, "--benchmark-only", "-q", "--record", str(record)]
    subprocess.run(command, cwd=HERE.parent, check=True)
    figures = json.loads(record.read_text())["figures"]
    return {row["test"]: row["ratio"] for row in figures if row["ratio"] is not None}


def losses(found: dict[str, float], thresholds: dict[str, dict[str, float]]) -> dict[str, str]:
    """What is worse than it may be, in words, by test."""
    worse = {}
    for better, accepted in thresholds.items():
        for test, value in accepted.items():
            if test not in found:
                continue
            factor = value / found[test] if better == "higher" else found[test] / value
            if factor > ALLOWED:
                worse[test] = f"{found[test]:.3g}, was {value:.3g} ({better} is better)"
    return worse


def main() -> int:
    thresholds = tomllib.loads((HERE / "thresholds.toml").read_text(encoding="utf-8"))
    record = HERE.parent / "build" / "bench.json"
    found = run(["bench"], record)
    missing = [test for accepted in thresholds.values() for test in accepted if test not in found]
    worse = losses(found, thresholds)
    if worse:
        print("slower than accepted; once more, to tell noise from loss:", *worse, sep="\n  ")
        worse = losses(run([f"bench/{test}" for test in worse], record), thresholds)
    for test, words in worse.items():
        print(f"LOST  {test}: {words}")
    for test in missing:
        print(f"NOT RUN  {test}")
    return 1 if worse or missing else 0


if __name__ == "__main__":
    sys.exit(main())
