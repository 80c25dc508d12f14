"""A result as a small HTML table for notebooks: styles inline, no scripts, every name escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Series, and features of each, that are shown; colours in one bar.
MOST_SERIES, MOST_FEATURES, MOST_COLOURS = 4, 10, 60
_BLANK = (236, 236, 236)
_HIGH = {True: (178, 24, 43), False: (8, 69, 148)}  # with negative scores red, which then are blue; else blue
_LOW = (33, 102, 172)
_CELL = "padding:1px 8px;text-align:left;border:0"


@dataclass(frozen=True)
class Panel:
    """Scores (D, T) of one series and target, NaN where there is none, under a title."""

    title: str
    scores: NDArray[np.float64]


def table(heading: str, features: Sequence[str], panels: Sequence[Panel], note: str) -> str:
    """A line of text, then for each panel its features of largest mean magnitude with a bar of colours over time."""
    largest = max((float(np.nanmax(np.abs(panel.scores), initial=0.0)) for panel in panels), default=0.0)
    signed = any(bool((panel.scores < 0).any()) for panel in panels)
    rows = [row for panel in panels for row in _rows(panel, features, largest or 1.0, signed)]
    end = f"<tr><td colspan='3' style='{_CELL}'>{escape(note)}</td></tr>" if note else ""
    return (
        f"<div><div style='font-family:monospace'>{escape(heading)}</div>"
        f"<table style='border-collapse:collapse;font-size:90%'>{''.join(rows)}{end}</table></div>"
    )


def _rows(panel: Panel, features: Sequence[str], largest: float, signed: bool) -> list[str]:
    known = ~np.isnan(panel.scores)
    size = np.where(known, np.abs(panel.scores), 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    shown = np.sort(np.argsort(-size, kind="stable")[:MOST_FEATURES])
    more = f" (the {len(shown)} of {len(size)} features of largest mean |score|)" if len(shown) < len(size) else ""
    rows = [f"<tr><th colspan='3' style='{_CELL}'>{escape(panel.title + more)}</th></tr>"]
    for d in shown:
        bar = _bar(panel.scores[d], largest, signed)
        rows.append(
            f"<tr><td style='{_CELL}'>{escape(features[d])}</td><td style='{_CELL}'>{size[d]:.3g}</td>"
            f"<td style='{_CELL}'><div style='width:{MOST_COLOURS * 5}px;height:12px;background:{bar}'></div></td></tr>"
        )
    return rows


def _bar(scores: NDArray[np.float64], largest: float, signed: bool) -> str:
    """A CSS gradient with hard edges, a colour for each step, or for each run of steps their largest magnitude."""
    parts = np.array_split(scores, min(len(scores), MOST_COLOURS))
    stops = []
    for i, part in enumerate(parts):
        known = part[~np.isnan(part)]
        value: Any = known[np.abs(known).argmax()] if len(known) else np.nan
        begin, end = 100 * i / len(parts), 100 * (i + 1) / len(parts)
        stops.append(f"{_colour(float(value), largest, signed)} {begin:.4g}% {end:.4g}%")
    return f"linear-gradient(to right,{','.join(stops)})"


def _colour(value: float, largest: float, signed: bool) -> str:
    share = min(1.0, abs(value) / largest) if np.isfinite(value) else 1.0
    most = _BLANK if np.isnan(value) else _LOW if value < 0 else _HIGH[signed]
    return "#" + "".join(f"{round(255 + share * (channel - 255)):02x}" for channel in most)
