"""Whether two methods differ by more than chance: paired tests over series, and over seeds and folds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]


def over_series(a: Floats, b: Floats) -> float:
    """The two-sided p of Wilcoxon's signed-rank test that a - b is symmetric about 0; NaN for fewer than two pairs.

    a, b: (n,), the same series in both. 1 where all differences are 0. Source: Wilcoxon (1945).
    """
    difference = a - b
    if len(difference) < 2:
        return math.nan
    return float(stats.wilcoxon(difference).pvalue) if difference.any() else 1.0


def over_runs(a: Floats, b: Floats, folds: int = 1) -> float:
    """The two-sided p of a paired t-test that the mean of a - b is 0; NaN for fewer than two pairs.

    a, b: (n,), the same seeds and folds in both. The train parts of ``folds`` folds overlap: the variance of the mean
    is then (1/n + 1/(folds - 1)) s², not s²/n. 1 where all differences are 0. Source: Nadeau and Bengio (2003).
    """
    difference = a - b
    n = len(difference)
    if n < 2:
        return math.nan
    if not difference.any():
        return 1.0
    overlap = 1 / (folds - 1) if folds > 1 else 0.0
    error = math.sqrt((1 / n + overlap) * difference.var(ddof=1))
    return float(2 * stats.t.sf(abs(difference.mean()) / error, n - 1)) if error > 0 else 0.0


def holm(p: Sequence[float]) -> list[float]:
    """These p-values for all tests together, in the same order; NaN stays. Source: Holm (1979)."""
    adjusted = np.full(len(p), math.nan)
    known = [i for i in np.argsort(p) if not math.isnan(p[i])]
    least = 0.0
    for done, i in enumerate(known):
        least = max(least, min(1.0, (len(known) - done) * p[i]))
        adjusted[i] = least
    return adjusted.tolist()


def pairs(
    values: dict[str, dict[Any, float]], series: dict[str, dict[Any, Floats]], folds: int = 1
) -> list[dict[str, Any]]:
    """Every two methods: a, b, difference (of means over the runs that both have), and what the tests say of it.

    values, series: by method and run a number, and the number of each series. Of a series the mean over the seeds
    counts. p_series, p_runs: of `over_series` and `over_runs`; _holm: of all pairs together.
    """
    found: list[dict[str, Any]] = []
    for a, b in itertools.combinations(values, 2):
        runs = [run for run in values[a] if run in values[b]]
        x, y = (np.array([values[name][run] for run in runs]) for name in (a, b))
        both = [run for run in runs if run in series.get(a, {}) and run in series.get(b, {})]
        u, v = (_of_series({run: series[name][run] for run in both}) for name in (a, b)) if both else ([], [])
        one, other = np.asarray(u, dtype=float), np.asarray(v, dtype=float)
        known = np.isfinite(one) & np.isfinite(other)
        found.append(
            {
                "a": a,
                "b": b,
                "difference": float((x - y).mean()) if runs else math.nan,
                "series": int(known.sum()),
                "p_series": over_series(one[known], other[known]),
                "runs": len(runs),
                "p_runs": over_runs(x, y, folds),
            }
        )
    for name in ("p_series", "p_runs"):
        for line, p in zip(found, holm([line[name] for line in found]), strict=True):
            line[f"{name}_holm"] = p
    return found


def _of_series(by_run: dict[Any, Floats]) -> Floats:
    """The mean over seeds of each series, fold after fold."""
    parts: dict[int, list[Floats]] = {}
    for (_, fold), values in by_run.items():
        parts.setdefault(fold, []).append(values)
    return np.concatenate([np.mean(parts[fold], axis=0) for fold in sorted(parts)])
