"""Pictures of responsibility maps and explanations, over images, volumes, spectra and series."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rambit.checks import one_of
from rambit.plots.canvas import (
    DPI,
    FONT,
    LINES,
    check_length,
    colour_bar,
    distinct,
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
    Bools = NDArray[np.bool_]
    Drawn = tuple[Figure, NDArray[Any]]  # and its panels

#: Features of a series that are named.
MAX_NAMES = 40
#: Slices of a volume that are drawn.
MAX_SLICES = 9
#: matplotlib's map made for colour-blind readers: dark blue to yellow, even in lightness.
_MAP = "cividis"
_KEPT = LINES[1]
_COLUMNS = 8 * DPI  # of a figure of curves
#: What `explanation` shows.
KINDS = ("all", "map", "part", "input")


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
    kind: str = "all",
    ax: Any = None,
) -> Figure:
    """A responsibility map over the input, and the explanations that were found, cut out of it.

    responsibility: (H, W), with x an image (C, H, W); (Z, H, W), with a volume (C, Z, H, W), drawn as slices; (T,),
    with a spectrum (T,) or (1, T), and (D, T), with a series (D, T), both drawn as curves. Without x the map alone.
    masks: name -> bool over the grid, True = kept; a panel each (of a volume, the first is outlined).
    feature_names, times, unit: of a series, as in `heatmap`. cmap: a matplotlib map or its name instead of ours, which
    is made for colour-blind readers. path: saved there, by its suffix, over an existing file. kind: "all", or only the
    "map", the "part" that the masks keep, or the "input". ax: the matplotlib Axes to draw into where that is one panel.

    Errors: TypeError or ValueError naming the argument; ImportError without matplotlib.
    """
    scores = numbers(responsibility, "responsibility", 1, 2, 3)
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"responsibility must hold finite values, given the shape {scores.shape}")
    parts = {name: _mask(mask, name, scores.shape) for name, mask in (masks or {}).items()}
    inputs = None if x is None else numbers(x, "x", *range(1, 5))
    one_of("kind", kind, KINDS)
    if (kind == "part" and not parts) or (kind == "input" and inputs is None):
        raise ValueError(f"kind={kind!r} needs {'masks' if kind == 'part' else 'x'}, and there is none")
    named = feature_names is not None or times is not None
    if named and scores.ndim > 2:
        raise ValueError(f"feature_names and times are for series (D, T), given the shape {scores.shape}")
    if scores.ndim == 1 or named or (inputs is not None and inputs.shape == scores.shape and scores.ndim == 2):
        draw, inputs = _curves, None if inputs is None else _series(inputs, scores.shape)
        scores, parts = np.atleast_2d(scores), {name: np.atleast_2d(mask) for name, mask in parts.items()}
    elif inputs is not None and inputs.shape[1:] != scores.shape:
        raise ValueError(f"x must be an input over the grid {scores.shape}, given {inputs.shape}")
    else:
        draw = _image if scores.ndim == 2 else _slices
    figure, panels = draw(scores, inputs, {} if kind in ("map", "input") else parts, cmap, kind in ("all", "map"), ax)
    if draw is _curves:
        _name_axes(panels, scores.shape, feature_names, times, unit)
        if kind in ("all", "map"):
            below = f"{panels[-1].get_xlabel()}  {columns_note(scores.shape[1], _COLUMNS)}".strip()
            panels[-1].set_xlabel(below, fontsize=FONT)
    if title and ax is None:
        figure.suptitle(short(title, 90), fontsize=FONT + 1, parse_math=False)
    elif title:
        _heading(ax, title)
    return save(figure, path)


def surface(responsibility: Array, *, title: str = "", path: str | Path | None = None, cmap: Any = None) -> Figure:
    """A responsibility map (H, W) as a surface in space, whose height and colour are the responsibility.

    cmap, path: as in `explanation`. Errors: ValueError naming the argument; ImportError without matplotlib.
    """
    scores = numbers(responsibility, "responsibility", 2)
    if not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"responsibility must hold finite values, given the shape {scores.shape}")
    figure = new_figure(6.4, 5.2)
    axes: Any = figure.add_subplot(projection="3d")
    rows, columns = np.indices(scores.shape)
    # At most so many faces along an axis: more only take time.
    axes.plot_surface(
        columns,
        rows,
        scores,
        cmap=_MAP if cmap is None else cmap,
        rcount=150,
        ccount=150,
        linewidth=0,
        antialiased=False,
    )
    axes.invert_yaxis()  # as the image lies
    axes.set(xlabel="column", ylabel="row", zlabel="responsibility")
    axes.set_box_aspect((scores.shape[1], scores.shape[0], 0.6 * max(scores.shape)), zoom=0.85)
    figure.suptitle(short(title, 90), fontsize=FONT + 1, parse_math=False)
    return save(figure, path)


# -- images ---------------------------------------------------------------------------------------------------------


def _image(
    scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any, with_map: bool, ax: Any
) -> Drawn:
    """The map over a grey input, then for each mask the input with everything else faded; without either the input."""
    picture = None if inputs is None else _picture(inputs)
    alone = not masks and not with_map
    figure, grid = _panels(with_map + len(masks) + alone, scores.shape, ax)
    if with_map:
        shown = _overlay(grid[0], scores, picture, float(scores.max()), cmap)
        _heading(grid[0], "responsibility")
    elif alone:
        grid[0].imshow(picture, interpolation="nearest")
        _heading(grid[0], "input")
    for axes, (name, mask) in zip(grid[with_map:], masks.items(), strict=False):
        if picture is None:
            axes.imshow(mask, cmap="Greys", vmin=0, vmax=1.4, interpolation="nearest")
        else:
            axes.imshow(np.where(mask[..., None], picture, _faded(picture)), interpolation="nearest")
            _outline(axes, mask)
        _heading(axes, f"{name}, {mask.mean():.1%} kept")
    if with_map:
        colour_bar(figure, shown, grid, "responsibility")
    return figure, grid


def _slices(
    scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any, with_map: bool, ax: Any
) -> Drawn:
    """Slices across the first axis, the most responsible one among them, with the first mask outlined."""
    outlined = next(iter(masks.values()), None)
    chosen = _chosen_slices(scores, outlined)
    figure, grid = _panels(len(chosen), scores.shape[1:], ax)
    pictures = None if inputs is None else _picture(inputs)
    for axes, z in zip(grid, chosen, strict=False):
        if with_map:
            shown = _overlay(axes, scores[z], None if pictures is None else pictures[z], float(scores.max()), cmap)
        elif pictures is None:
            axes.imshow(np.zeros(scores.shape[1:]), cmap="Greys", vmin=0, vmax=1.4)
        else:
            kept = np.True_ if outlined is None else outlined[z][..., None]
            axes.imshow(np.where(kept, pictures[z], _faded(pictures[z])), interpolation="nearest")
        if outlined is not None:
            _outline(axes, outlined[z])
        _heading(axes, f"slice {z}")
    if with_map:
        colour_bar(figure, shown, grid, "responsibility")
    if masks and ax is None:
        figure.supxlabel(f"outlined: {next(iter(masks))}", fontsize=FONT)
    return figure, grid


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


def _panels(count: int, shape: tuple[int, ...], ax: Any) -> Drawn:
    """A figure with `count` panels of images of this shape (H, W), without ticks; or of one panel the axes given."""
    columns = {1: 1, 2: 2, 3: 3, 4: 2}.get(count, 3)
    rows = math.ceil(count / columns)
    width = {1: 4.6, 2: 3.8}.get(columns, 3.2)  # of a panel, in inches
    height = min(max(width * shape[0] / shape[1], 0.6), 2 * width)
    if ax is None:
        figure = new_figure(columns * width + 0.7, rows * (height + 0.3) + 0.4)
        grid = figure.subplots(rows, columns, squeeze=False)
    else:
        figure, grid = _given(ax, count)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("0.8")
    for axes in grid.ravel()[count:]:
        axes.set_visible(False)
    return figure, grid.ravel()[:count]


def _given(ax: Any, count: int) -> Drawn:
    """The axes of somebody's, for the one panel that there is."""
    if count > 1:
        raise ValueError(f"ax is for one panel, and these are {count}: kind='map' or another one draws fewer")
    figure, axes = place(ax, 0, 0)
    return figure, np.array([axes])


def _heading(axes: Any, text: str) -> None:
    axes.set_title(short(text, 40), fontsize=FONT, loc="left", parse_math=False)


# -- curves ---------------------------------------------------------------------------------------------------------


def _curves(
    scores: Numbers, inputs: Numbers | None, masks: Mapping[str, Bools], cmap: Any, with_map: bool, ax: Any
) -> Drawn:
    """A block of rows for each mask, a feature a row: its curve, the kept part in colour, shaded by responsibility."""
    features, steps = scores.shape
    blocks: dict[str, Bools | None] = dict(masks) or {"": None}
    height = min(max(features * (0.5 if features > 1 else 2.0), 1.4), 12.0)
    if ax is None:
        figure = new_figure(8.4, len(blocks) * (height + 0.35) + 0.5)
        grid = figure.subplots(len(blocks), 1, squeeze=False, sharex=True)[:, 0]
    else:
        figure, grid = _given(ax, len(blocks))
    colours = score_colours(False) if cmap is None else cmap
    for axes, (name, mask) in zip(grid, blocks.items(), strict=True):
        rows = None if inputs is None else _stacked(inputs)
        shown = axes.imshow(
            pooled(scores, _COLUMNS) if with_map else np.zeros_like(scores[:, :1]),
            cmap=colours if with_map else "Greys",
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
    if with_map:
        colour_bar(figure, shown, grid, "responsibility")
    return figure, grid


def _name_axes(
    blocks: NDArray[Any],
    shape: tuple[int, ...],
    feature_names: Sequence[str] | None,
    times: NDArray[Any] | None,
    unit: str | None,
) -> None:
    """What features and times are called, at the axes of all blocks of rows."""
    features, steps = shape
    if feature_names is not None:
        check_length("feature_names", feature_names, features)
        labels, every = distinct(list(map(str, feature_names))), math.ceil(features / MAX_NAMES)
        for axes in blocks:
            axes.set_yticks(range(0, features, every), labels[::every], parse_math=False)
    if times is not None:
        title = show_times(blocks[-1], read_times(times, 1, steps)[0], unit, most=8)
        blocks[-1].set_xlabel(title, fontsize=FONT)


def _draw_rows(axes: Any, rows: Numbers, mask: Bools | None) -> None:
    for d, row in enumerate(rows):
        draw_curve(axes, row, _COLUMNS, color="0.25", linewidth=0.9, solid_joinstyle="round")
        if mask is not None and mask[d].any():
            kept = np.where(mask[d], row, np.nan)
            # Dots show single positions, which make no line.
            draw_curve(axes, kept, _COLUMNS, color=_KEPT, linewidth=2.0, marker="o", markersize=2.2, markeredgewidth=0)


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
