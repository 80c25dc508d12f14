"""How large scores are by feature and by time, as bars, and what a figure says that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rambit.results.grid import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: distance -> what it measures, of {}: the output that is explained, or all of them.
_DISTANCES = {
    "diff": "change of {}",
    "abs": "size of the change of {}",
    "pd": "change of {}, summed",
    "l2": "Euclidean distance of {}",
    "kl": "KL divergence of {}",
    "js": "Jensen-Shannon divergence of {}",
}


def score_label(settings: dict[str, Any], score: str, output: str | None) -> str:
    """What the numbers called ``score`` are: whose, and the change of which output (None: of several) they are."""
    name = f"{settings['method']} {score}" if "method" in settings else score
    distance = str(settings.get("distance"))
    if distance not in _DISTANCES:
        return name
    if output is None and distance in ("diff", "abs"):
        output = "the explained output"
    every = "all outputs" if settings.get("output") == "regression" else "all probabilities"
    return f"{name}: {_DISTANCES[distance].format(output or every)}"


def draw(grid: Grid, kind: str, series: list[int], drawing: dict[str, Any]) -> Figure:
    """The sizes of some series' scores by "features" or "times", with what `plots` is told beside them."""
    from rambit import plots

    labels = grid.names.labels
    if kind == "features":
        return plots.feature_bars(*sizes(grid, -1, series), **{"names": labels.features, **drawing})
    times = None if labels.times is None else np.atleast_2d(labels.times)[series if labels.times.ndim == 2 else [0]]
    if times is not None and not (times == times[:1]).all():
        times = None  # a step is another time in each series
    named = {"times": None if times is None else times[0], "unit": None if times is None else labels.unit}
    return plots.time_bars(*sizes(grid, -2, series), **{**named, **drawing})


def sizes(grid: Grid, axis: int, series: list[int]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The mean of |score| over an axis (-1: times, -2: features), scores being of one target, and its standard error.

    Of several series, their mean and its standard error over them. Of one, that which its scores' errors make, if they
    are independent; None where scores have none.
    """
    means = grid.mean_size(axis)[series]
    if len(series) > 1:
        mean, count = means.nanmean(dim=0), (~means.isnan()).sum(dim=0)
        variance = (means - mean).square().nansum(dim=0) / (count - 1)
        return mean.numpy(), (variance / count).sqrt().numpy()  # NaN of a single series
    if grid.stderr is None:
        return means[0].numpy(), None
    b = series[0]
    known = grid.known[b, 0] & ~grid.score[b, 0].isnan()
    variance = grid.stderr[b, 0].double().square().masked_fill(~known, 0.0).sum(dim=axis)
    return means[0].numpy(), (variance.sqrt() / known.sum(dim=axis)).numpy()
