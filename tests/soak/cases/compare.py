"""Comparisons in one call, against one call for each number."""

from __future__ import annotations

import math
import statistics

from rambit.compare import Comparison, compare
from tests.soak.engine import Draw, case

SETS = ("spike:n=60,T=20", "state:n=30,T=15")
METHODS = ("random", "fo:S=1", "leave-one-out:S=1", "rambit:L=1,S=1", "sufficient:num_samples=2")


@case()
def comparisons(draw: Draw) -> None:
    """Data sets, methods and seeds together give what each gives alone; a second call finds all made."""
    data, methods = ([one for one in names if draw.chance()] or [names[0]] for names in (SETS, METHODS))
    seeds = [draw.whole(0, 9), draw.whole(10, 19)][: draw.whole(1, 2)]
    settings = draw.options(hidden=(1, 3), head=("linear", "batchnorm"), epochs=(1, 2), dropout=(0.0, 0.5))
    settings |= draw.note(series=draw.whole(6, 9), keep=draw.whole(1, 15), cells=draw.number(0.05, 1))
    draw.note(data=data, methods=methods, seeds=seeds)
    found = draw.call(compare, data, methods, seeds=seeds, out=draw.folder / "all", **settings)
    draw.true(isinstance(found, Comparison), "a comparison is returned")
    again = draw.call(compare, ",".join(data), methods[::-1], seeds=seeds, out=draw.folder / "all", **settings)
    draw.equal({row["method"]: row for row in again.rows[: len(methods)]}[methods[0]], found.rows[0], what="a row")

    for row in found.rows:
        alone = [
            draw.call(compare, [row["data"]], [row["method"]], seeds=[seed], out=draw.folder / "alone", **settings)
            for seed in seeds
        ]
        draw.equal(row["seeds"], len(seeds), what="the number of seeds")
        for name in alone[0].rows[0].keys() - {"data", "method", "seeds", "seconds"}:
            if not name.endswith("_stderr"):
                values = [one.rows[0][name] for one in alone]
                error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
                draw.close(row[name], statistics.fmean(values), what=name)
                draw.close(row[f"{name}_stderr"], error, 1e-6, 1e-8, what=f"{name}_stderr")
