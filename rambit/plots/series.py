"""Pictures of scores of time series: heat maps over features and time, and drop curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from rambit.checks import count as whole
from rambit.checks import one_of
from rambit.plots.canvas import (
    DPI,
    FONT,
    LINES,
    check_length,
    colour_bar,
    distinct,
    inches,
    new_figure,
    numbers,
    place,
    save,
    score_colours,
    short,
)
from rambit.plots.columns import columns_note, draw_curve, pooled
from rambit.plots.time_axis import read_times, show_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rambit.plots.canvas import Array

    Numbers = NDArray[np.float64]

MAX_PANELS = 9
#: Features that have a row of their own.
TOP = 40
#: Of the largest score: smaller negative ones are taken for noise about zero, and are as white as that.
_NEGLIGIBLE = 0.01


def heatmap(
    values: Array,
    *,
    X: Array | None = None,
    series: int | Sequence[int] | None = None,
    feature_names: Sequence[str] | None = None,
    titles: Sequence[str] | None = None,
    lengths: Array | None = None,
    times: NDArray[Any] | None = None,
    unit: str | None = None,
    path: str | Path | None = None,
    cmap: Any = None,
    scale: Literal["series", "shared"] = "series",
    top: int | None = TOP,
    salient: Array | None = None,
    label: str = "score",
    ax: Any = None,
) -> Figure:
    """Scores (B, D, T) as colours, one panel a series: features are rows, time steps columns.

    Blue to white to red about zero if there are negative scores beyond 1 % of the largest, white to blue otherwise;
    `cmap` is another matplotlib map or its name. ``scale``: colours span each series' own scores, whose largest
    magnitude stands over its panel, or ("shared") those of all panels. ``label``: what the scores are, beside the
    colours. ``top``: of more features only those of the largest sum of ``|score|`` have rows, and the sums of the
    others' scores one more; None: all.

    X (B, D, T): the input, drawn over each row (up to about 160 features), scaled by the feature's range. series: which
    (None: the first 9). titles: one for each panel. lengths (B,): cells beyond them stay blank (hatched), as NaN does.
    times (T,) or (B, T): what stands under the steps, numbers (in ``unit``), datetime64 or timedelta64. salient (B, D,
    T), bool: cells that are outlined, as those known to decide. ax: the matplotlib Axes to draw one series into. path:
    saved there, by its suffix, over an existing file.

    Where steps outnumber pixels, a column's upper half shows its score of largest magnitude and the lower one its mean,
    and the curves are the means of the input, in a band from its least to its greatest value.

    Errors: ValueError or TypeError naming the argument; ImportError without matplotlib.
    """
    one_of("scale", scale, ("series", "shared"))
    panels = _panels(values, X, series, feature_names, titles, lengths, times, salient, top)
    if ax is not None and len(panels.shown) > 1:
        raise ValueError(f"ax is for one series: say which with series, given {len(panels.shown)} of them")
    largest = [float(np.nanmax(np.abs(one), initial=0.0, where=np.isfinite(one))) or 1.0 for one in panels.shown]
    largest = largest if scale == "series" else [max(largest)] * len(largest)
    signed = any(bool((one < -_NEGLIGIBLE * most).any()) for one, most in zip(panels.shown, largest, strict=True))

    labels, steps = distinct(panels.names), panels.shown.shape[2]
    # Times that differ stand under each panel.
    shared = panels.clock is None or all(np.array_equal(one, panels.clock[0], equal_nan=True) for one in panels.clock)
    with_curves = panels.inputs is not None
    figure, grid, (width, height) = _grid(len(largest), labels, ax, with_curves=with_curves, shared=shared)
    colours = score_colours(signed) if cmap is None else cmap
    pixels, room = max(1, int(width * DPI)), height / len(labels)
    ranges = None if panels.inputs is None else _ranges(panels.inputs)
    axis_title = "time step"
    for panel, (axes, most) in enumerate(zip(grid.flat, largest, strict=False)):
        low = -most if signed else 0.0
        image = _draw_scores(axes, pooled(panels.shown[panel], pixels), (len(labels), steps), colours, low, most)
        _head(
            axes, panels.headings[panel], f"max {'±' if signed else ''}{most:.2g}" if scale == "series" else "", width
        )
        every = math.ceil(0.16 / room)  # a label needs 0.16 inches
        axes.set_yticks(range(0, len(labels), every), labels[::every], parse_math=False)
        axis_title = _time_axis(axes, panels, panel, unit, width, shared=shared)
        axes.tick_params(labelsize=FONT, labelbottom=not shared or panel + grid.shape[1] >= len(largest))
        end = panels.ends[panel]
        if room >= 0.12:
            axes.hlines(np.arange(len(labels) - 1) + 0.5, -0.5, end - 0.5, color="0.85", linewidth=0.6)
            if panels.inputs is not None and ranges is not None:
                _draw_curves(axes, panels.inputs[panel, :, :end], *ranges, pixels)
        if panels.marked is not None:
            _frame_cells(axes, panels.marked[panel])

    if scale == "series" and len(largest) > 1:
        image, label = _percent(colours, signed), f"{label}, in % of the series' maximum"
    colour_bar(figure, image, grid, label)
    left_out = series is None and len(largest) < panels.total
    notes = (
        axis_title if shared else "",
        f"(the first {len(largest)} of {panels.total} series)" if left_out else "",
        columns_note(steps, pixels),
        "" if panels.marked is None else "(outlined: salient)",
    )
    below = "  ".join(filter(None, notes))
    if ax is None:
        figure.supxlabel(below, fontsize=FONT)
        figure.supylabel("feature", fontsize=FONT)
    else:
        ax.set_xlabel(below if shared else axis_title, fontsize=FONT)
        ax.set_ylabel("feature", fontsize=FONT)
    return save(figure, path)


class _Panels(NamedTuple):
    """What the panels of a heat map show: of the chosen series, and the features that have rows."""

    total: int  # series in all
    shown: Numbers  # scores (n, rows, T), NaN beyond a series' end
    inputs: Numbers | None  # like shown
    marked: NDArray[np.bool_] | None  # like shown
    clock: NDArray[Any] | None  # times (n, T)
    ends: NDArray[np.int64]  # (n,)
    names: list[str]  # of rows
    headings: list[str]


def _panels(
    values: Array,
    X: Array | None,
    series: int | Sequence[int] | None,
    feature_names: Sequence[str] | None,
    titles: Sequence[str] | None,
    lengths: Array | None,
    times: NDArray[Any] | None,
    salient: Array | None,
    top: int | None,
) -> _Panels:
    """The arguments of `heatmap`, read and checked."""
    scores = numbers(values, "values", 3)
    count, features, steps = scores.shape
    if not scores.size:
        raise ValueError(f"values must hold at least one cell, given the shape {scores.shape}")
    chosen = choose_series(series, count)
    names = [str(name) for name in (range(features) if feature_names is None else feature_names)]
    check_length("feature_names", names, features)
    headings = [f"series {i}" for i in chosen] if titles is None else [str(title) for title in titles]
    check_length("titles", headings, len(chosen))
    ends = np.full(count, steps) if lengths is None else numbers(lengths, "lengths", 1)
    check_length("lengths", ends, count)
    if not ((ends >= 0) & (ends <= steps)).all():
        raise ValueError(f"lengths must be 0 to {steps}, given {ends.tolist()}")
    inputs = None if X is None else _like("X", numbers(X, "X", 3), scores)[chosen]
    marked = None if salient is None else _like("salient", numbers(salient, "salient", 3), scores)[chosen] > 0
    clock = None if times is None else read_times(times, count, steps)[chosen]
    ends = ends[chosen].astype(np.int64)
    beyond = np.arange(steps) >= ends[:, None, None]
    shown = np.where(beyond, np.nan, scores[chosen])
    inputs = None if inputs is None else np.where(beyond, np.nan, inputs)
    rows = _most_important(shown, top)
    if len(rows) < features:
        names = [names[d] for d in rows] + [f"{features - len(rows)} more, summed"]
        inputs = None if inputs is None else inputs[:, rows]
        marked = None if marked is None else marked[:, rows]
        shown = _with_rest(shown, rows)
    return _Panels(count, shown, inputs, marked, clock, ends, names, headings)


def _head(axes: Any, heading: str, largest: str, width: float) -> None:
    """A panel's title and, at the right, its largest score, within so many inches."""
    axes.set_title(largest, fontsize=FONT, loc="right", color="0.35")
    characters = int(width / 0.08) - (13 if largest else 0)
    axes.set_title(short(heading, max(8, characters)), fontsize=FONT, loc="left", parse_math=False)


def _time_axis(axes: Any, panels: _Panels, panel: int, unit: str | None, width: float, *, shared: bool) -> str:
    """Ticks of a panel's steps or times, and the axis's title, which stands under it unless it is ``shared``."""
    from matplotlib.ticker import MaxNLocator

    if panels.clock is None:
        axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        return "time step"
    until = panels.clock.shape[1] if shared else panels.ends[panel]
    title = show_times(axes, panels.clock[panel][:until], unit, most=round(width))
    axes.set_xlabel("" if shared else title, fontsize=FONT)
    return title


def drop_curve(
    fractions: Array,
    curves: Mapping[str, Array],
    path: str | Path | None = None,
    *,
    xlabel: str = "cells replaced (%)",
    ylabel: str = "probability of the predicted class",
    ax: Any = None,
) -> Figure:
    """Lines of a model's output as more cells are replaced: a steeper fall means better-chosen cells.

    Curves of insertion, where cells are kept instead, are such lines too, with another ``xlabel``.

    fractions (K,): the share of cells replaced, 0 to 1. curves: name -> (K,), or (N, K) drawn as the mean over N series
    with a band of one standard error. A curve named "random" is dashed and grey. path, ax: as in `heatmap`.

    Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    x = numbers(fractions, "fractions", 1)
    if not curves:
        raise ValueError("curves must hold at least one curve")
    figure, axes = place(ax, 6.4, 4.0)
    labels = distinct(list(map(str, curves)))
    drawn = 0
    for (name, curve), label in zip(curves.items(), labels, strict=True):
        y = numbers(curve, f"curves[{name!r}]", 1, 2)
        if y.shape[-1] != len(x) or not y.size:
            raise ValueError(f"curves[{name!r}] must have one value for each of {len(x)} fractions, given {y.shape}")
        style: dict[str, Any] = {"color": "0.45", "linestyle": (0, (4, 2))}
        if name != "random":
            # Past the last colour the lines repeat with another dash.
            style = {
                "color": LINES[drawn % len(LINES)],
                "linestyle": ("-", "--", "-.", ":")[drawn // len(LINES) % 4],
            }
            drawn += 1
        mean = y if y.ndim == 1 else y.mean(0)
        axes.plot(100 * x, mean, label=label, linewidth=1.8, **style)
        if y.ndim == 2 and len(y) > 1:
            scale = np.abs(y).max(initial=1.0, where=np.isfinite(y))  # whose square may be beyond float64
            error = (y / scale).std(0, ddof=1) * scale / math.sqrt(len(y))
            axes.fill_between(100 * x, mean - error, mean + error, color=style["color"], alpha=0.18, linewidth=0)
    axes.set_xlabel(xlabel, fontsize=FONT)
    axes.set_ylabel(ylabel, fontsize=FONT)
    axes.margins(x=0.01)
    axes.grid(color="0.9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, fontsize=FONT)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return save(figure, path)


def choose_series(series: int | Sequence[int] | None, count: int) -> list[int]:
    """The indices to draw out of `count` series; None: the first MAX_PANELS. Errors: TypeError, ValueError."""
    if series is None:
        return list(range(min(count, MAX_PANELS)))
    several: list[Any] = list(series) if np.iterable(series) else [series]
    if not all(isinstance(i, int) for i in np.asarray(several).ravel().tolist()):
        raise TypeError(f"series must be a number or a list of numbers, given {series!r}")
    chosen = [int(i) for i in several]
    if not chosen or not all(0 <= i < count for i in chosen):
        raise ValueError(f"series must be one or more of 0 to {count - 1}, given {series!r}")
    return chosen


def _like(name: str, array: Numbers, scores: Numbers) -> Numbers:
    if array.shape != scores.shape:
        raise ValueError(f"{name} must have the shape of values {scores.shape}, given {array.shape}")
    return array


def _most_important(shown: Numbers, top: int | None) -> list[int]:
    """The features (n, D, T) that get rows, in their order: those of the largest sum of |score| over all panels."""
    features = shown.shape[1]
    if top is None or features <= whole("top", top):
        return list(range(features))
    total = np.nansum(np.abs(shown), axis=(0, 2))
    return sorted(np.argsort(-total, kind="stable")[:top].tolist())


def _with_rest(shown: Numbers, rows: list[int]) -> Numbers:
    """These features' scores (n, rows, T), and below them the others' sum, NaN where all of them are."""
    others = np.delete(shown, rows, axis=1)
    rest = np.where(np.isnan(others).all(axis=1), np.nan, np.nansum(others, axis=1))
    return np.concatenate([shown[:, rows], rest[:, None]], axis=1)


def _grid(
    panels: int, names: Sequence[str], ax: Any, *, with_curves: bool, shared: bool
) -> tuple[Figure, NDArray[Any], tuple[float, float]]:
    """A figure, its axes as a grid, and a panel's width and height in inches."""
    if ax is not None:
        figure, axes = place(ax, 0, 0)
        return figure, np.array([[axes]]), inches(axes)
    columns = 2 if panels == 4 else min(panels, 3)
    rows = math.ceil(panels / columns)
    width = (7.0, 4.4, 3.6)[columns - 1]
    row, thin = (0.42, 0.18) if with_curves else (0.24, 0.08)
    height = min(max(len(names) * row, 1.0), max(7.0, len(names) * thin), 20.0)
    margin = 0.07 * max(map(len, names))
    figure = new_figure(columns * width + margin + 1.2, rows * (height + 0.35) + 0.5)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=True)
    for axes in grid.flat[panels:]:
        axes.set_visible(False)
    return figure, grid, (width, height)


def _draw_scores(axes: Any, scores: Numbers, shape: tuple[int, int], colours: Any, low: float, high: float) -> Any:
    """Scores of ``shape`` (rows, steps), or what they were pooled to, as an image that spans them."""
    rows, steps = shape
    axes.patch.set(facecolor="white", edgecolor="0.88", hatch="////")  # seen only where there is no score
    extent = (-0.5, steps - 0.5, rows - 0.5, -0.5)
    style: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest", "extent": extent}
    return axes.imshow(scores, cmap=colours, vmin=low, vmax=high, **style)


def _percent(colours: Any, signed: bool) -> Any:
    """The scale of all panels, where each has its own maximum."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-100.0 if signed else 0.0, 100.0), colours)


def _frame_cells(axes: Any, marked: NDArray[np.bool_]) -> None:
    """Outlines of the marked cells (rows, T), one around each run of steps."""
    for d, row in enumerate(marked):
        edges = np.flatnonzero(np.diff(np.pad(row, 1).astype(int)))
        runs = [(start - 0.5, stop - start) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
        axes.broken_barh(runs, (d - 0.5, 1.0), facecolor="none", edgecolor=LINES[2], linewidth=1.6, zorder=3)


def _ranges(inputs: Numbers) -> tuple[Numbers, Numbers]:
    """The least and the greatest value of each feature over all series shown; NaN does not count."""
    finite = np.isfinite(inputs)
    low = np.min(inputs, axis=(0, 2), initial=np.inf, where=finite)
    high = np.max(inputs, axis=(0, 2), initial=-np.inf, where=finite)
    return low, high


def _draw_curves(axes: Any, inputs: Numbers, low: Numbers, high: Numbers, most: int) -> None:
    from matplotlib.patheffects import Normal, Stroke

    halo = [Stroke(linewidth=2.2, foreground="white", alpha=0.8), Normal()]
    for d, (curve, least, greatest) in enumerate(zip(inputs, low, high, strict=False)):
        if greatest > least:
            level = (curve - least) / (greatest - least)
        else:
            level = np.where(np.isfinite(curve), 0.5, np.nan)
        style: dict[str, Any] = {"color": "0.15", "linewidth": 0.9, "path_effects": halo}
        draw_curve(axes, d + 0.36 - 0.72 * level, most, solid_joinstyle="round", **style)
