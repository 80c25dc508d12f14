"""Pictures of interactions: a map over two axes, and a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rambit.plots.canvas import FONT, LINES, check_length, new_figure, numbers, save, score_colours, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rambit.plots.canvas import Array


def pair_map(
    values: Array,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    row_title: str = "",
    column_title: str = "",
    label: str = "interaction",
    path: str | Path | None = None,
) -> Figure:
    """Numbers (R, C) as colours, of pairs by what their first and second cell have; NaN (no pair) stays blank.

    Blue to white to red about zero if there are negative ones, white to blue otherwise. ``rows``, ``columns``: what
    stands beside and below them, by default their numbers. path: saved there, by its suffix, over an existing file.
    Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    shown = numbers(values, "values", 2)
    if not shown.size:
        raise ValueError(f"values must hold at least one number, given the shape {shown.shape}")
    names = []
    for name, given, size in (("rows", rows, shown.shape[0]), ("columns", columns, shown.shape[1])):
        names.append([short(str(one)) for one in (range(size) if given is None else given)])
        check_length(name, names[-1], size)
    largest = float(np.nanmax(np.abs(shown), initial=0.0, where=np.isfinite(shown))) or 1.0
    signed = bool((shown < 0).any())
    height, width = (min(max(size * 0.3, 2.0), 9.0) for size in shown.shape)
    figure = new_figure(width + 0.08 * max(map(len, names[0])) + 2.0, height + 0.8)
    axes = figure.subplots()
    image = axes.imshow(
        shown,
        cmap=score_colours(signed),
        vmin=-largest if signed else 0.0,
        vmax=largest,
        aspect="auto",
        interpolation="nearest",
    )
    axes.patch.set(facecolor="white", edgecolor="0.88", hatch="////")  # seen only where there is no pair
    for axis, texts, inches in ((axes.yaxis, names[0], height), (axes.xaxis, names[1], width)):
        longest = 1 if axis is axes.yaxis else max(map(len, texts))
        every = math.ceil(len(texts) * (0.16 if axis is axes.yaxis else 0.1 * longest + 0.08) / inches)
        axis.set_ticks(range(0, len(texts), every), texts[::every], parse_math=False)
    axes.tick_params(labelsize=FONT)
    axes.set_ylabel(row_title, fontsize=FONT, parse_math=False)
    axes.set_xlabel(column_title, fontsize=FONT, parse_math=False)
    bar = figure.colorbar(image, ax=axes, pad=0.02)
    bar.set_label(label, fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT)
    return save(figure, path)


def histogram(values: Array, *, label: str = "interaction", path: str | Path | None = None) -> Figure:
    """How often numbers of any shape occur, NaN left out, on a logarithmic axis: most interactions are near 0.

    path: as in `pair_map`. Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    shown = numbers(values, "values", 0, 1, 2, 3, 4).ravel()
    shown = shown[np.isfinite(shown)]
    if not shown.size:
        raise ValueError("values must hold at least one finite number")
    figure = new_figure(6.4, 3.2)
    axes = figure.subplots()
    axes.hist(shown, bins=50, color=LINES[0], log=True)
    axes.axvline(0.0, color="0.45", linewidth=0.8)
    axes.set_xlabel(label, fontsize=FONT)
    axes.set_ylabel("how many", fontsize=FONT)
    axes.tick_params(labelsize=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
