"""Pictures of how much whole features, and whole time steps, matter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit.checks import count
from rambit.plots.canvas import DPI, FONT, LINES, check_length, distinct, inches, numbers, place, save, wrapped
from rambit.plots.columns import draw_curve
from rambit.plots.time_axis import read_times, show_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from rambit.plots.canvas import Array

#: Bars that are told apart, and can carry a standard error, in a figure of the usual width.
_MOST_BARS = 100


def feature_bars(
    sizes: Array,
    stderr: Array | None = None,
    *,
    names: Sequence[str] | None = None,
    top: int = 30,
    label: str = "mean |score|",
    title: str = "",
    path: str | Path | None = None,
    ax: Any = None,
) -> Figure:
    """A bar for each feature, the largest at the top, with its standard error.

    sizes, stderr: (D,); NaN has no bar. names: D. ``top``: of more features the ``top`` largest have bars, and the sum
    of the others one more. label, title: what stands along the bars, and over them. ax, path: as in `heatmap`.

    Errors: TypeError or ValueError naming the argument; ImportError without matplotlib.
    """
    values, errors = _read(sizes, stderr)
    named = [str(name) for name in (range(len(values)) if names is None else names)]
    check_length("names", named, len(values))
    order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
    shown, rest = order[: count("top", top)], order[top:]
    texts = distinct([named[i] for i in shown])
    lengths, spread = values[shown], None if errors is None else errors[shown]
    if len(rest):
        texts.append(f"{len(rest)} more, summed")
        lengths = np.append(lengths, np.nansum(values[rest]))
        if errors is not None and spread is not None:
            spread = np.append(spread, np.sqrt(np.nansum(errors[rest] ** 2)))
    figure, axes = place(ax, 6.4, 0.26 * len(texts) + 0.9)
    colours = [LINES[0]] * len(shown) + ["0.6"] * bool(len(rest))
    axes.barh(range(len(texts)), lengths, xerr=spread, color=colours, ecolor="0.2", capsize=2)
    axes.set_yticks(range(len(texts)), texts, parse_math=False)
    axes.set_ylim(len(texts) - 0.4, -0.6)
    axes.set_xlabel(label, fontsize=FONT, parse_math=False)
    axes.set_ylabel("feature", fontsize=FONT)
    return _finished(figure, axes, title, path)


def time_bars(
    sizes: Array,
    stderr: Array | None = None,
    *,
    times: NDArray[Any] | None = None,
    unit: str | None = None,
    label: str = "mean |score|",
    title: str = "",
    path: str | Path | None = None,
    ax: Any = None,
) -> Figure:
    """A bar for each time step with its standard error, or of many steps a line in a band of one standard error.

    sizes, stderr: (T,); NaN stays empty. times (T,), unit: as in `heatmap`; the rest as in `feature_bars`. Where steps
    outnumber pixels, the line shows means of columns, and a paler band their least and greatest values.
    """
    values, errors = _read(sizes, stderr)
    steps = len(values)
    clock = None if times is None else read_times(times, 1, steps)[0]
    figure, axes = place(ax, 7.5, 2.4)
    width, height = inches(axes)
    if steps <= _MOST_BARS:
        axes.bar(range(steps), values, 0.85, yerr=errors, color=LINES[0], ecolor="0.2", capsize=2 if steps <= 40 else 0)
    else:
        draw_curve(axes, values, max(1, int(width * DPI)), color=LINES[0], linewidth=1.0)
        if errors is not None and steps <= width * DPI:
            axes.fill_between(range(steps), values - errors, values + errors, color="0.5", alpha=0.4, linewidth=0)
    axes.set_xlim(-0.6, steps - 0.4)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axis_title = "time step" if clock is None else show_times(axes, clock, unit, most=round(width))
    axes.set_xlabel(axis_title, fontsize=FONT)
    axes.set_ylabel(wrapped(label, height), fontsize=FONT, parse_math=False)
    return _finished(figure, axes, title, path)


def _read(sizes: Array, stderr: Array | None) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    values = numbers(sizes, "sizes", 1)
    if not values.size:
        raise ValueError("sizes must hold at least one number")
    errors = None if stderr is None else numbers(stderr, "stderr", 1)
    if errors is not None:
        check_length("stderr", errors, len(values))
    return values, errors


def _finished(figure: Figure, axes: Any, title: str, path: str | Path | None) -> Figure:
    axes.set_title(title, fontsize=FONT, loc="left", parse_math=False)
    axes.tick_params(labelsize=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    return save(figure, path)
