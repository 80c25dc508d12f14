"""Pictures of scores, responsibility and explanations. Needs matplotlib (the extra `plots`)."""

from rambit.plots.bars import feature_bars, time_bars
from rambit.plots.canvas import DPI
from rambit.plots.pairs import histogram, pair_map
from rambit.plots.regions import explanation, surface
from rambit.plots.series import MAX_PANELS, choose_series, drop_curve, heatmap

__all__ = [
    "DPI",
    "MAX_PANELS",
    "choose_series",
    "drop_curve",
    "explanation",
    "feature_bars",
    "heatmap",
    "histogram",
    "pair_map",
    "surface",
    "time_bars",
]
