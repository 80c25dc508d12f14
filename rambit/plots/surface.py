"""A responsibility map as a surface."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit.plots.canvas import new_figure, numbers, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rambit.plots.canvas import Array


def surface(responsibility: Array, *, path: str | Path | None = None, cmap: Any = None) -> Figure:
    """The map (H, W) of an image as a surface, saved if ``path`` is given; ``cmap`` as in `explanation`.

    Errors: ValueError for a map that is of no image; ImportError without matplotlib.
    """
    heights = numbers(responsibility, "responsibility", 2)
    figure = new_figure(6.4, 4.8)
    axes: Any = figure.add_subplot(projection="3d")
    rows, columns = np.indices(heights.shape)
    axes.plot_surface(columns, rows, heights, cmap="cividis" if cmap is None else cmap)
    axes.invert_yaxis()  # as the image lies
    axes.set(xlabel="column", ylabel="row", zlabel="responsibility")
    return save(figure, path)
