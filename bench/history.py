"""One page with a line for each tracked figure over commits, of the runs that pytest-benchmark stored.

``python -m bench.history FOLDER > page.html``: every run below FOLDER, by class of machine.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from html import escape
from math import log
from pathlib import Path

from bench.check import ratios

WIDTH, HEIGHT = 600, 40
STYLE = "body{font:14px sans-serif;margin:2em} td{padding:0 1em 0 0} polyline{fill:none;stroke:#036} circle{fill:#036}"
#: Machine, figure, then its points: what the point is called, and the ratio.
History = dict[str, dict[str, list[tuple[str, float]]]]


def read(folder: Path) -> History:
    """The ratios of all runs below ``folder``, the oldest first."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("[0-9]*_*.json")]
    history: History = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: run["datetime"]):
        name = f"{run['commit_info']['id'][:9]} of {run['datetime'][:10]}"
        for figure, ratio in ratios(run).items():
            history[run["machine_info"].get("class", "another machine")][figure].append((name, ratio))
    return history


def line(points: list[tuple[str, float]]) -> str:
    """A drawing of one figure: equal distances are equal factors, the whole height at least twofold."""
    logs = [log(max(ratio, 1e-9)) for _, ratio in points]
    middle, span = (max(logs) + min(logs)) / 2, max(max(logs) - min(logs), log(2))
    step = (WIDTH - 12) / max(len(points) - 1, 1)
    places = [(6 + step * i, 6 + (HEIGHT - 12) * (0.5 - (value - middle) / span)) for i, value in enumerate(logs)]
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{escape(name)}: {ratio:.3g}</title></circle>'
        for (x, y), (name, ratio) in zip(places, points, strict=True)
    )
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<svg width="{WIDTH}" height="{HEIGHT}"><polyline points="{path}"/>{dots}</svg>'


def page(history: History) -> str:
    """The page, in one file that needs no other."""
    rows = []
    for machine, figures in sorted(history.items()):
        rows.append(f'<tr><th colspan="3" align="left"><h2>{escape(machine)}</h2></th></tr>')
        for figure, points in sorted(figures.items()):
            last = f"{points[-1][1]:.3g}"
            rows.append(f"<tr><td>{escape(figure)}</td><td>{line(points)}</td><td>{last}</td></tr>")
    body = "\n".join(rows)
    return (
        f'<!doctype html><meta charset="utf-8"><title>Benchmarks over commits</title><style>{STYLE}</style>\n'
        f"<h1>Benchmarks over commits</h1><p>Ratios within a run, logarithmic; the last one on the right.</p>\n"
        f"<table>\n{body}\n</table>\n"
    )


if __name__ == "__main__":
    print(page(read(Path(sys.argv[1]))), end="")
