"""What every picture is made with: numbers from tensors, a figure that belongs to no global state, a whole file."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from rambit import arrays
from rambit.store import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = Tensor | NDArray[Any] | Sequence[Any]

DPI = 100
FONT = 9  # points: legible at 100 dpi
#: Larger values have differences, and steps of an axis, that no number tells.
LARGEST = 1e300
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's


def numbers(value: Array, name: str, *ndims: int) -> NDArray[np.float64]:
    """An argument as an array with one of these numbers of axes, NaN where it is masked.

    Errors: TypeError or ValueError naming it.
    """
    tensor, masked = arrays.read(name, np.asarray(value) if np.isscalar(value) else value)
    if tensor.is_complex():
        raise TypeError(f"{name} must hold real numbers, got {tensor.dtype}")
    tensor = tensor.cpu().double()
    array = (tensor if masked is None else tensor.masked_fill(masked, np.nan)).numpy()
    if array.ndim not in ndims:
        raise ValueError(f"{name} must have {' or '.join(map(str, ndims))} axes, given the shape {array.shape}")
    largest = np.abs(array).max(initial=0.0, where=np.isfinite(array))
    if largest > LARGEST:
        raise ValueError(
            f"{name} must lie within {LARGEST:g} of zero to be drawn, given a value of magnitude {largest:.3g}: divide "
            "it by a number first"
        )
    return array


def check_length(name: str, value: Sequence[Any] | NDArray[Any], length: int) -> None:
    """Raise ValueError unless the argument has as many entries."""
    if len(value) != length:
        raise ValueError(f"{name} must have {length} entries, given {len(value)}")


def short(name: str, most: int = 24) -> str:
    """Both ends of a long name, since names often differ in their last characters."""
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most - most // 2 - 1) :]}"


def distinct(names: Sequence[str], most: int = 24) -> list[str]:
    """Names shortened so that those which differ still do: where both ends are the same, from where they differ on."""
    found = [short(name, most) for name in names]
    for text in {text for text in found if found.count(text) > 1}:
        alike = [i for i, one in enumerate(found) if one == text]
        letters = enumerate(zip(*(names[i] for i in alike), strict=False))
        differ = next((at for at, here in letters if len(set(here)) > 1), 0)
        word = names[alike[0]].rfind(" ", 0, differ) + 1
        start = word if differ - word < most // 2 else differ
        for i in alike:
            rest = names[i][start:]
            found[i] = ("…" if start else "") + (rest if len(rest) < most else f"{rest[: most - 2]}…")
    taken = {text: {name for name, one in zip(names, found, strict=True) if one == text} for text in found}
    return [f"{text} #{i}" if len(taken[text]) > 1 else text for i, text in enumerate(found)]


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, which a notebook shows. Errors: ImportError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install rambit[plots]") from error
    # Not through pyplot, whose figures are global and stay in memory until they are closed.
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure._repr_png_ = partial(_drawn, figure)  # type: ignore[attr-defined]  # what a notebook asks for
    return figure


def place(ax: Any, width: float, height: float) -> tuple[Figure, Any]:
    """A figure and its axes: those given, or a new figure of this size in inches. Errors: TypeError for something else.

    What is drawn into somebody's axes leaves the rest of their figure alone.
    """
    if ax is None:
        figure = new_figure(width, height)
        return figure, figure.subplots()
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, given {type(ax).__name__}")
    return ax.figure, ax  # type: ignore[return-value]


def inches(axes: Any) -> tuple[float, float]:
    """The width and height of axes, as they now stand."""
    box = axes.get_window_extent()
    return box.width / axes.figure.dpi, box.height / axes.figure.dpi


def wrapped(text: str, room: float) -> str:
    """A text in as many lines as it takes within so many inches."""
    return textwrap.fill(text, max(18, int(room / 0.08)))


def _drawn(figure: Figure, kind: str = "png") -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=DPI)
    return data.getvalue()


def score_colours(signed: bool) -> Any:
    """Blue to white to red for scores of both signs, white to blue for others."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    # The dark ends are left out, where a curve drawn over them would be lost.
    if signed:
        return ListedColormap(colormaps["RdBu_r"](np.linspace(0.1, 0.9, 256)), "rambit-signed")
    return ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.8, 256)), "rambit-scores")


def colour_bar(figure: Figure, shown: Any, panels: Any, label: str) -> None:
    """One scale at the right of all panels, and what it is of, in as many lines as that takes."""
    boxes = [axes.get_window_extent() for axes in np.ravel(panels)]
    height = (max(box.y1 for box in boxes) - min(box.y0 for box in boxes)) / figure.dpi
    length = min(0.9 * height, 8.0)
    bar = figure.colorbar(shown, ax=panels, shrink=length / height, aspect=5.0 * length, pad=0.02)
    bar.set_label(wrapped(label, height), fontsize=FONT, parse_math=False)
    bar.ax.tick_params(labelsize=FONT)


def show(figure: Figure) -> None:
    """A window with the figure, until it is closed, or a picture in a notebook; a backend without windows warns."""
    from matplotlib import pyplot

    pyplot.figure(FigureClass=lambda **options: figure)  # windows belong to pyplot, which is lent this figure
    pyplot.show()
    pyplot.close(figure)


def save(figure: Figure, path: str | Path | None) -> Figure:
    """The figure, written to `path` by its suffix if there is one. Errors: ValueError for another suffix."""
    if path is not None:
        kind = Path(path).suffix[1:].lower()
        kinds = sorted(figure.canvas.get_supported_filetypes())
        if kind not in kinds:
            raise ValueError(f"path must end in one of {', '.join(kinds)}, given {str(path)!r}")
        atomic_write(path, _drawn(figure, kind))
    return figure
