"""The page of an attribution: its scores behind the series, in one HTML file."""

from __future__ import annotations

import math
from typing import Any

from rambit.report import about, series_page
from rambit.results.grid import Grid, as_array


def attribution_page(grid: Grid, titles: list[str], lengths: list[int] | None, score: str, **said: Any) -> str:
    """The HTML text; ``said`` is what `report.about` takes."""
    labels = grid.names.labels
    known = grid.known.expand_as(grid.score)
    value = (
        None if grid.value is None else grid.value.double().masked_fill(~grid.known.any(dim=1, keepdim=True), math.nan)
    )
    return series_page(
        as_array(grid.score.double().masked_fill(~known, math.nan)),
        about(**said),
        features=grid.names.of_features(),
        titles=titles,
        values=None if value is None else as_array(value[:, 0]),
        stderr=None if grid.stderr is None else as_array(grid.stderr.double()),
        targets=grid.names.of_targets(),
        times=labels.times,
        unit=labels.unit,
        lengths=lengths,
        score=score,
    )
