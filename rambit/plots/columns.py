"""Long series in as many columns as there are pixels: peaks stay seen, and so does what is usual between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]


def pooled(scores: Numbers, most: int) -> Numbers:
    """Scores (D, T) as they are, or where T > ``most`` as (2 · D, most): each feature's peaks, below them its means.

    A column's peak is the score of largest magnitude of the steps that it covers. NaN counts only where all are.
    """
    steps = scores.shape[1]
    if steps <= most:
        return scores
    low, mean, high = _summary(scores, _starts(steps, most))
    return np.stack([np.where(-low > high, low, high), mean], axis=1).reshape(-1, most)


def columns_note(steps: int, most: int) -> str:
    """What `pooled` scores are, to stand under them."""
    return f"(a column is {steps / most:.3g} steps: above their peak, below their mean)" if steps > most else ""


def draw_curve(axes: Any, curve: Numbers, most: int, **style: Any) -> None:
    """A line through (T,) values, or where T > ``most`` through the means of columns, in a band of all their values."""
    steps = len(curve)
    if steps <= most:
        axes.plot(curve, **style)
        return
    starts = _starts(steps, most)
    middle = (starts + np.append(starts[1:], steps) - 1) / 2
    low, mean, high = (one[0] for one in _summary(curve[None], starts))
    axes.fill_between(middle, low, high, color=style["color"], alpha=0.3, linewidth=0)
    axes.plot(middle, mean, **style)


def _starts(steps: int, most: int) -> NDArray[np.intp]:
    return np.arange(most) * steps // most


def _summary(values: Numbers, starts: NDArray[np.intp]) -> tuple[Numbers, Numbers, Numbers]:
    """The least, mean and greatest value of the columns that start there, (D, columns) each."""
    known = ~np.isnan(values)
    count = np.add.reduceat(known, starts, axis=1, dtype=np.float64)
    size = np.maximum(count, 1.0)
    # Divided before they are added, since the sum of large values may overflow.
    share = np.where(known, values, 0.0) / np.repeat(size, np.diff(np.append(starts, values.shape[1])), axis=1)
    mean = np.where(count > 0, np.add.reduceat(share, starts, axis=1), np.nan)
    return np.fmin.reduceat(values, starts, axis=1), mean, np.fmax.reduceat(values, starts, axis=1)
