"""Pictures of scores, responsibility and explanations. Needs matplotlib (the extra `plots`)."""

from rambit.plots.canvas import DPI
from rambit.plots.pairs import histogram, pair_map
from rambit.plots.regions import explanation
from rambit.plots.series import MAX_PANELS, choose_series, drop_curve, heatmap

__all__ = ["DPI", "MAX_PANELS", "choose_series", "drop_curve", "explanation", "heatmap", "histogram", "pair_map"]
