"""Pictures of scores of time series: heat maps over features and time, and drop curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit.plots.canvas import DPI, FONT, LINES, check_length, new_figure, numbers, save, score_colours, short
from rambit.plots.time_axis import read_times, show_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rambit.plots.canvas import Array

MAX_PANELS = 9


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
) -> Figure:
    """Scores (B, D, T) as colours, one panel a series: features are rows, time steps columns, one colour scale for all.

    Blue to white to red about zero if there are negative scores, white to blue otherwise (negatives below a millionth
    of the largest score count as rounding); `cmap` is another matplotlib map or its name. X (B, D, T): the input, drawn
    over each row (up to about 160 features), scaled by the feature's range. series: which (None: the first 9). titles:
    one for each panel. lengths (B,): cells beyond them stay blank (hatched), as NaN does. times (T,) or (B, T): what
    stands under the steps, numbers (in ``unit``), datetime64 or timedelta64. path: saved there, by its suffix, over an
    existing file. Where steps outnumber pixels, a column shows the score of largest magnitude.

    Errors: ValueError naming the argument; ImportError without matplotlib.
    """
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
    inputs = None if X is None else numbers(X, "X", 3)
    if inputs is not None and inputs.shape != scores.shape:
        raise ValueError(f"X must have the shape of values {scores.shape}, given {inputs.shape}")
    times = None if times is None else np.asarray(times)
    clock = None if times is None else read_times(times, count, steps)

    beyond = np.arange(steps) >= ends[chosen][:, None, None]
    shown = np.where(beyond, np.nan, scores[chosen])
    largest = float(np.nanmax(np.abs(shown), initial=0.0, where=np.isfinite(shown))) or 1.0
    signed = bool((shown < -1e-6 * largest).any())

    columns = 2 if len(chosen) == 4 else min(len(chosen), 3)
    rows = math.ceil(len(chosen) / columns)
    width = (7.0, 4.4, 3.6)[columns - 1]  # of a panel, in inches
    row, thin = (0.24, 0.08) if inputs is None else (0.42, 0.18)
    height = min(max(features * row, 1.0), max(7.0, features * thin), 20.0)
    room = height / features
    labels = [short(name) for name in names]
    margin = 0.07 * max(map(len, labels))
    figure = new_figure(columns * width + margin + 1.2, rows * (height + 0.35) + 0.5)
    from matplotlib.ticker import MaxNLocator

    # Times that differ stand under each panel.
    apart = [] if clock is None or times is None or times.ndim == 1 else [clock[i] for i in chosen]
    shared = all(bool((one == apart[0]).all()) for one in apart)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=shared, sharey=True)
    every = math.ceil(0.16 / room)  # a label needs 0.16 inches
    for axes in grid.flat[len(chosen) :]:
        axes.set_visible(False)
    axis_title = "time step"
    ranges = None if inputs is None else _ranges(np.where(beyond, np.nan, inputs[chosen]))
    for panel, (axes, i) in enumerate(zip(grid.flat, chosen, strict=False)):
        image = axes.imshow(
            _pool(shown[panel], int(width * DPI)),
            cmap=score_colours(signed) if cmap is None else cmap,
            vmin=-largest if signed else 0.0,
            vmax=largest,
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, steps - 0.5, features - 0.5, -0.5),
        )
        axes.patch.set(facecolor="white", edgecolor="0.88", hatch="////")  # seen only where there is no score
        axes.set_title(short(headings[panel], int(width / 0.08)), fontsize=FONT, loc="left", parse_math=False)
        axes.set_yticks(range(0, features, every), labels[::every], parse_math=False)
        if clock is None:
            axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
        else:
            axis_title = show_times(axes, clock[i][: int(ends[i])] if not shared else clock[i], unit, most=round(width))
            axes.set_xlabel("" if shared else axis_title, fontsize=FONT)
        axes.tick_params(labelsize=FONT, labelbottom=not shared or panel + columns >= len(chosen))
        if room >= 0.12:
            axes.hlines(np.arange(features - 1) + 0.5, -0.5, ends[i] - 0.5, color="0.85", linewidth=0.6)
            if inputs is not None and ranges is not None:
                _draw_curves(axes, inputs[i, :, : int(ends[i])], *ranges)
    bar = figure.colorbar(image, ax=grid, shrink=0.9, aspect=4.5 * figure.get_figheight(), pad=0.02)
    bar.set_label("score", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT)
    note = f"  (the first {len(chosen)} of {count} series)" if series is None and len(chosen) < count else ""
    figure.supxlabel(f"{axis_title if shared else ''}{note}".strip(), fontsize=FONT)
    figure.supylabel("feature", fontsize=FONT)
    return save(figure, path)


def drop_curve(
    fractions: Array,
    curves: Mapping[str, Array],
    path: str | Path | None = None,
    *,
    ylabel: str = "probability of the predicted class",
) -> Figure:
    """Lines of a model's output as more cells are replaced: a steeper fall means better-chosen cells.

    fractions (K,): the share of cells replaced, 0 to 1. curves: name -> (K,), or (N, K) drawn as the mean over N series
    with a band of one standard error. A curve named "random" is dashed and grey. path: as in `heatmap`.

    Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    x = numbers(fractions, "fractions", 1)
    if not curves:
        raise ValueError("curves must hold at least one curve")
    figure = new_figure(6.4, 4.0)
    axes = figure.subplots()
    drawn = 0
    for name, curve in curves.items():
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
        axes.plot(100 * x, mean, label=short(name), linewidth=1.8, **style)
        if y.ndim == 2 and len(y) > 1:
            scale = np.abs(y).max(initial=1.0, where=np.isfinite(y))  # whose square may be beyond float64
            error = (y / scale).std(0, ddof=1) * scale / math.sqrt(len(y))
            axes.fill_between(100 * x, mean - error, mean + error, color=style["color"], alpha=0.18, linewidth=0)
    axes.set_xlabel("cells replaced (%)", fontsize=FONT)
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


def _pool(scores: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most `most` columns, each the score of largest magnitude of those that it covers, so that none gets lost."""
    steps = scores.shape[1]
    if steps <= most:
        return scores
    starts = np.arange(most) * steps // most
    high = np.fmax.reduceat(scores, starts, axis=1)
    low = np.fmin.reduceat(scores, starts, axis=1)
    pooled: NDArray[np.float64] = np.where(-low > high, low, high)
    return pooled


def _ranges(inputs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest value of each feature over all series shown; NaN does not count."""
    finite = np.isfinite(inputs)
    low = np.min(inputs, axis=(0, 2), initial=np.inf, where=finite)
    high = np.max(inputs, axis=(0, 2), initial=-np.inf, where=finite)
    return low, high


def _draw_curves(axes: Any, inputs: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
    from matplotlib.patheffects import Normal, Stroke

    halo = [Stroke(linewidth=2.2, foreground="white", alpha=0.8), Normal()]
    for d, (curve, least, most) in enumerate(zip(inputs, low, high, strict=True)):
        if most > least:
            level = (curve - least) / (most - least)
        else:
            level = np.where(np.isfinite(curve), 0.5, np.nan)
        axes.plot(d + 0.36 - 0.72 * level, color="0.15", linewidth=0.9, path_effects=halo, solid_joinstyle="round")
