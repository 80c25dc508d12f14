"""Scores of series: curves with the scores behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambit.report.packing import Packed, kind_for
from rambit.report.page import MOST_BYTES, About, page

#: What is left for what is not numbers, of the bytes of a page.
FRAME = 400_000
_STEPS = {"f4": "as 32-bit numbers", "i2": "to 1/65,534 of a curve's range", "i1": "to 1/254 of a curve's range"}


def series_page(
    scores: NDArray[np.float64],
    about: About,
    *,
    features: Sequence[Any],
    titles: Sequence[str],
    values: NDArray[np.float64] | None = None,
    stderr: NDArray[np.float64] | None = None,
    targets: Sequence[str] = (),
    times: NDArray[Any] | None = None,
    unit: str | None = None,
    lengths: Sequence[int] | None = None,
    score: str = "score",
) -> str:
    """A page of scores (B, K, D, T), NaN where there is none, and of ``values`` (B, D, T) and ``stderr`` like scores.

    K ``targets``, D ``features`` and B ``titles`` have names; ``times`` (T,) or (B, T): numbers in ``unit``, datetime64
    or timedelta64. ``score`` says what a score is. Numbers are packed so that the page has at most MOST_BYTES, from
    float32 down to 8 bits; then standard errors and, at last, series are left out, which the page says.
    """
    B, K, D, T = scores.shape
    room = MOST_BYTES - FRAME - (0 if times is None else times.size * 11)
    each = D * T * (K * (1 if stderr is None else 2) + (values is not None))
    kind, notes = kind_for(B * each, room), []
    if kind is None and stderr is not None:
        stderr, each = None, each - K * D * T
        kind = kind_for(B * each, room)
        notes.append("standard errors are left out for size")
    if kind is None:
        kind, shown = "i1", max(1, int(room // (each * 4 / 3)))
        notes.append(f"the first {shown} of {B} series")
        B = min(B, shown)
    packed = Packed(kind)
    for b in range(B):
        packed.add(f"score-{b}", scores[b], signed=True)
        if values is not None:
            packed.add(f"value-{b}", values[b])
        if stderr is not None:
            packed.add(f"stderr-{b}", stderr[b])
    clock = None if times is None else _numbers(times)
    if clock is not None:
        packed.add("times", clock[:B] if clock.ndim == 2 else clock, exact=True)
    data = {
        "features": [str(name) for name in features],
        "series": [{"title": str(titles[b]), "steps": T if lengths is None else int(lengths[b])} for b in range(B)],
        "targets": [str(name) for name in targets],
        "steps": T,
        "score": score,
        "times": None if times is None else {"M": "date", "m": "seconds"}.get(times.dtype.kind, "number"),
        "unit": unit,
        "notes": [f"numbers are kept {_STEPS[kind]}", *notes],
    }
    return page("series", about, data, packed)


def _numbers(times: NDArray[Any]) -> NDArray[np.float64]:
    """Dates and durations in seconds."""
    if times.dtype.kind == "M":
        return times.astype("datetime64[ns]").astype(np.int64) / 1e9
    if times.dtype.kind == "m":
        return times.astype("timedelta64[ns]").astype(np.int64) / 1e9
    return times.astype(np.float64)
