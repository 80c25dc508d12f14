"""One page of many explanations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rambit.report import Panel, about, gallery_page, series_page
from rambit.results.grid import as_array
from rambit.rex.rex_explanation import RexExplanation
from rambit.store import save_text

Numbers = NDArray[np.float64]


def report_all(
    names: Sequence[str],
    read: Callable[[str], RexExplanation],
    path: str | Path,
    *,
    title: str | None = None,
    force: bool = False,
) -> None:
    """Write one HTML file of what was found for each of several inputs of one kind, which are read one by one.

    Images have a section each, volumes one of the slice with the most responsibility, series and spectra curves.
    Raises FileExistsError without ``force``, and ValueError for a path that does not end in .html or for series of
    different features.
    """
    first = read(names[0])
    said = about(title, f"{len(names):,} explanations", first.settings, first.seed, first.model, {})
    if not _is_series(first):
        text = gallery_page((_panel(name, read(name)) for name in names), len(names), said)
    else:
        found = [read(name) for name in names]
        scores = [_steps(as_array(one.responsibility.double())) for one in found]
        if len({len(one) for one in scores}) > 1:
            raise ValueError("one page is for series of the same features: name one of them")
        values = [_steps(as_array(one.x.double())) for one in found if one.x is not None]
        text = series_page(
            _padded(scores)[:, None],
            said,
            features=first.labels.features or range(len(scores[0])),
            titles=[f"{name}: {_said_of(one)}" for name, one in zip(names, found, strict=True)],
            values=_padded(values) if len(values) == len(found) else None,
            lengths=[one.shape[1] for one in scores],
            score="responsibility",
        )
    save_text(path, text.encode(), ".html", force=force)


def _said_of(found: RexExplanation) -> str:
    """The class and how much is kept, in a line."""
    return f"{found._class()}, {found._kept(2)}"


def _is_series(found: RexExplanation) -> bool:
    grid = found.responsibility.ndim
    return grid == 1 or (found.x is not None and found.x.ndim == grid + 1)


def _steps(values: Numbers) -> Numbers:
    """Values of a spectrum (…, T) or a series (…, D, T) as (D, T)."""
    return values.reshape(-1, values.shape[-1])


def _padded(series: Sequence[Numbers]) -> Numbers:
    """Series (D, T) of any length as one array, NaN behind their ends."""
    longest = max(one.shape[1] for one in series)
    return np.stack([np.pad(one, ((0, 0), (0, longest - one.shape[1])), constant_values=np.nan) for one in series])


def _panel(name: str, found: RexExplanation) -> Panel:
    score = as_array(found.responsibility.double())
    masks = {part: as_array(mask) for part, mask in found._masks().items()}
    picture = None if found.x is None else as_array(found._input(found.x).double())
    line = _said_of(found)
    if score.ndim == 3:
        z = int(score.sum(axis=(1, 2)).argmax())
        score, masks, line = score[z], {part: mask[z] for part, mask in masks.items()}, f"{line}; slice {z}"
        picture = None if picture is None else picture[:, z]
    return Panel(name, line, score, masks, picture)
