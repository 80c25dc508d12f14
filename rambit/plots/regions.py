"""Pictures of responsibility maps and explanations, over images, volumes, spectra and series."""

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

    Numbers = NDArray[np.float64]
    Bools = NDArray[np.bool_]

#: Features of a series that are named.
MAX_NAMES = 40
#: Slices of a volume that are drawn.
MAX_SLICES = 9
#: matplotlib's map made for colour-blind readers: dark blue to yellow, even in lightness.
_MAP = "cividis"
_KEPT = LINES[1]


def explanation(
    responsibility: Array,
    *,
    x: Array | None = None,
    masks: Mapping[str, Array] | None = None,
    title: str = "",
    feature_names: Sequence[str] | None = None,
    times: NDArray[Any] | None = None,
    unit: str | None = None,
    path: str | Path | None = None,
    cmap: Any = None,
) -> Figure:
    """A responsibility map over the input, and the explanations that were found, cut out of it.

    responsibility: (H, W), with x an image (C, H, W); (Z, H, W), with a volume (C, Z, H, W), drawn as slices; (T,),
    with a spectrum (T,) or (1, T), and (D, T), with a series (D, T), both drawn as curves. Without x the map alone.
    masks: name -> bool over the grid, True = kept; a panel each (of a volume, the first is outlined).
    feature_names, times, unit: of a series, as in `heatmap`. cmap: a matplotlib map or its name instead of ours, which
    is made for colour-blind readers. path: saved there, by its suffix, over an existing file.

    Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    scores = numbers(responsibility, "responsibility", 1, 2, 3)
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"responsibility must hold finite values, given the shape {scores.shape}")
    parts = {name: _mask(mask, name, scores.shape) for name, mask in (masks or {}).items()}
    inputs = None if x is None else numbers(x, "x", *range(1, 5))
    named = feature_names is not None or times is not None
    if named and scores.ndim > 2:
        raise ValueError(f"feature_names and times are for series (D, T), given the shape {scores.shape}")
    if scores.ndim == 1 or named or (inputs is not None and inputs.shape == scores.shape and scores.ndim == 2):
        curves = None if inputs is None else _series(inputs, scores.shape)
        figure = _curves(np.atleast_2d(scores), curves, {n: np.atleast_2d(m) for n, m in parts.items()}, cmap)
        _name_axes(figure, np.atleast_2d(scores).shape, feature_names, times, unit)
    elif inputs is not None and inputs.shape[1:] != scores.shape:
        raise ValueError(f"x must be an input over the grid {scores.shape}, given {inputs.shape}")
    elif scores.ndim == 2:
        figure = _image(scores, inputs, parts, cmap)
    else:
        figure = _slices(scores, inputs, parts, cmap)
    if title:
        figure.suptitle(short(title, 90), fontsize=FONT + 1, parse_math=False)
    return save(figure, path)


# -- images ---------------------------------------------------------------------------------------------------------


def _image(scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any) -> Figure:
    """The map over a grey input, then for each mask the input with everything else faded."""
    picture = None if inputs is None else _picture(inputs)
    panels = 1 + len(masks)
    figure, grid = _panels(panels, scores.shape)
    shown = _overlay(grid[0], scores, picture, float(scores.max()), cmap)
    _heading(grid[0], "responsibility")
    for axes, (name, mask) in zip(grid[1:], masks.items(), strict=False):
        if picture is None:
            axes.imshow(mask, cmap="Greys", vmin=0, vmax=1.4, interpolation="nearest")
        else:
            axes.imshow(np.where(mask[..., None], picture, _faded(picture)), interpolation="nearest")
            _outline(axes, mask)
        _heading(axes, f"{name}, {mask.mean():.1%} kept")
    _bar(figure, shown, grid)
    return figure


def _slices(scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any) -> Figure:
    """Slices across the first axis, the most responsible one among them, with the first mask outlined."""
    outlined = next(iter(masks.values()), None)
    chosen = _chosen_slices(scores, outlined)
    figure, grid = _panels(len(chosen), scores.shape[1:])
    for axes, z in zip(grid, chosen, strict=False):
        picture = None if inputs is None else _picture(inputs)[z]
        shown = _overlay(axes, scores[z], picture, float(scores.max()), cmap)
        if outlined is not None:
            _outline(axes, outlined[z])
        _heading(axes, f"slice {z}")
    _bar(figure, shown, grid)
    if masks:
        figure.supxlabel(f"outlined: {next(iter(masks))}", fontsize=FONT)
    return figure


def _chosen_slices(scores: Numbers, mask: Bools | None) -> list[int]:
    """Evenly from one before the mask to one behind it, or from all."""
    low, high = 0, len(scores) - 1
    if mask is not None and mask.any():
        kept = np.flatnonzero(mask.any(axis=(1, 2)))
        low, high = max(low, int(kept[0]) - 1), min(high, int(kept[-1]) + 1)
    even = np.linspace(low, high, min(MAX_SLICES, high - low + 1)).round().astype(int)
    peak = int(scores.max(axis=(1, 2)).argmax())
    even[np.abs(even - peak).argmin()] = peak
    return sorted(set(even.tolist()))


def _overlay(axes: Any, scores: Numbers, picture: Numbers | None, most: float, cmap: Any) -> Any:
    """Scores as colours, mixed with the grey picture so that its shapes stay visible."""
    least = min(0.0, float(scores.min()))
    if picture is not None:
        axes.imshow(_grey(picture), interpolation="nearest")
    return axes.imshow(
        scores,
        cmap=_MAP if cmap is None else cmap,
        vmin=least,
        vmax=most if most > least else least + 1.0,
        # The picture shows best where little is at stake.
        alpha=None if picture is None else 0.45 + 0.4 * np.clip(scores / most if most > 0 else 0 * scores, 0, 1),
        interpolation="nearest",
    )


def _picture(inputs: Numbers) -> Numbers:
    """An input (C, …) as colours (…, 3) from 0 to 1; three channels are colours, others are averaged to a grey."""
    if inputs.min() < 0 or inputs.max() > 1:
        inputs = (inputs - inputs.min()) / max(float(np.ptp(inputs)), np.finfo(np.float64).tiny)
    if len(inputs) == 3:
        return np.moveaxis(inputs, 0, -1)
    return np.repeat(inputs.mean(axis=0)[..., None], 3, axis=-1)


def _grey(picture: Numbers) -> Numbers:
    """The same without colours, by the weights of ITU-R BT.601."""
    grey: Numbers = np.repeat((picture @ (0.299, 0.587, 0.114))[..., None], 3, axis=-1)
    return grey


def _faded(picture: Numbers) -> Numbers:
    return 0.8 + 0.2 * _grey(picture)


def _outline(axes: Any, mask: Bools) -> None:
    """The border of a mask, along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    rows, columns = np.nonzero(padded[1:, :] != padded[:-1, :])
    flat = [((c - 1.5, r - 0.5), (c - 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = [((c - 0.5, r - 1.5), (c - 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    width = 1.0 if max(mask.shape) <= 100 else 0.6
    axes.add_collection(LineCollection(flat + upright, colors=_KEPT, linewidths=width, capstyle="projecting"))


def _panels(count: int, shape: tuple[int, ...]) -> tuple[Figure, list[Any]]:
    """A figure with `count` panels of images of this shape (H, W), without ticks."""
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    rows = math.ceil(count / columns)
    width = {1: 4.6, 2: 3.8}.get(columns, 3.2)  # of a panel, in inches
    height = min(max(width * shape[0] / shape[1], 0.6), 2 * width)
    figure = new_figure(columns * width + 0.7, rows * (height + 0.3) + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("0.8")
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:count])


def _heading(axes: Any, text: str) -> None:
    axes.set_title(short(text, 40), fontsize=FONT, loc="left", parse_math=False)


def _bar(figure: Figure, shown: Any, panels: Sequence[Any]) -> None:
    """One scale at the right of all panels."""
    bar = figure.colorbar(shown, ax=list(panels), shrink=0.85, aspect=4.5 * figure.get_figheight(), pad=0.02)
    bar.set_label("responsibility", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT)


# -- curves ---------------------------------------------------------------------------------------------------------


def _curves(scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any) -> Figure:
    """A block of rows for each mask, a feature a row: its curve, the kept part in colour, shaded by responsibility."""
    features, steps = scores.shape
    blocks: dict[str, Bools | None] = dict(masks) or {"": None}
    height = min(max(features * (0.5 if features > 1 else 2.0), 1.4), 12.0)
    figure = new_figure(8.4, len(blocks) * (height + 0.35) + 0.5)
    grid = figure.subplots(len(blocks), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (name, mask) in zip(grid, blocks.items(), strict=True):
        rows = None if inputs is None else _stacked(inputs)
        shown = axes.imshow(
            _columns(scores),
            cmap=score_colours(False) if cmap is None else cmap,
            vmin=min(0.0, float(scores.min())),
            vmax=float(scores.max()) if scores.max() > min(0.0, scores.min()) else 1.0,
            aspect="auto",
            interpolation="nearest",
            extent=(-0.5, steps - 0.5, features - 0.5, -0.5),
        )
        if rows is not None:
            _draw_rows(axes, rows, mask)
        elif mask is not None:
            _outline(axes, mask)
        axes.hlines(np.arange(features - 1) + 0.5, -0.5, steps - 0.5, color="0.85", linewidth=0.6)
        _value_ticks(axes, inputs, features)
        axes.tick_params(labelsize=FONT)
        if mask is not None:
            _heading(axes, f"{name}, {mask.mean():.1%} kept")
    grid[-1].set_xlabel("position" if features == 1 else "time step", fontsize=FONT)
    _bar(figure, shown, list(grid))
    return figure


def _name_axes(
    figure: Figure,
    shape: tuple[int, ...],
    feature_names: Sequence[str] | None,
    times: NDArray[Any] | None,
    unit: str | None,
) -> None:
    """What features and times are called, at the axes of all blocks of rows."""
    features, steps = shape
    blocks = [axes for axes in figure.axes if axes.lines or axes.images]
    if feature_names is not None:
        check_length("feature_names", feature_names, features)
        every = math.ceil(features / MAX_NAMES)
        for axes in blocks:
            axes.set_yticks(
                range(0, features, every), [short(name) for name in feature_names[::every]], parse_math=False
            )
    if times is not None:
        title = show_times(blocks[-1], read_times(times, 1, steps)[0], unit, most=8)
        blocks[-1].set_xlabel(title, fontsize=FONT)


def _draw_rows(axes: Any, rows: Numbers, mask: Bools | None) -> None:
    for d, row in enumerate(rows):
        axes.plot(row, color="0.25", linewidth=0.9, solid_joinstyle="round")
        if mask is not None and mask[d].any():
            kept = np.where(mask[d], row, np.nan)
            # Dots show single positions, which make no line.
            axes.plot(kept, color=_KEPT, linewidth=2.0, marker="o", markersize=2.2, markeredgewidth=0)


def _stacked(inputs: Numbers) -> Numbers:
    """Each feature scaled by its own range into its row; row d lies about d, and up is up."""
    low, high = inputs.min(axis=1, keepdims=True), inputs.max(axis=1, keepdims=True)
    level = np.where(high > low, (inputs - low) / np.where(high > low, high - low, 1.0), 0.5)
    rows: Numbers = np.arange(len(inputs))[:, None] + 0.4 - 0.8 * level
    return rows


def _value_ticks(axes: Any, inputs: Numbers | None, features: int) -> None:
    """The values of a single curve, or the number of each feature."""
    if features == 1 and inputs is not None:
        low, high = float(inputs.min()), float(inputs.max())
        axes.set_yticks([0.4, 0.0, -0.4], [f"{value:.3g}" for value in (low, (low + high) / 2, high)])
    elif features == 1:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(0, features, math.ceil(features / MAX_NAMES)))
        axes.set_ylabel("feature", fontsize=FONT)


def _columns(scores: Numbers) -> Numbers:
    """At most as many columns as pixels, each the greatest score of those that it covers, so that no peak is lost."""
    steps, most = scores.shape[1], 8 * DPI
    if steps <= most:
        return scores
    columns: Numbers = np.maximum.reduceat(scores, np.arange(most) * steps // most, axis=1)
    return columns


# -- arguments ------------------------------------------------------------------------------------------------------


def _mask(mask: Array, name: str, shape: tuple[int, ...]) -> Bools:
    array = numbers(mask, f"masks[{name!r}]", len(shape)).astype(bool)
    if array.shape != shape:
        raise ValueError(f"masks[{name!r}] must have the shape of responsibility {shape}, given {array.shape}")
    return array


def _series(inputs: Numbers, shape: tuple[int, ...]) -> Numbers:
    """An input (T,), (1, T) or (D, T) as rows (D, T)."""
    rows = np.atleast_2d(inputs)
    if rows.shape != (math.prod(shape[:-1]), shape[-1]):
        raise ValueError(f"x must be an input over the grid {shape}, given {inputs.shape}")
    return rows
