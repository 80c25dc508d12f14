"""Responsibility of many images: a section each, small enough that the page can be sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambit.report.packing import TEXT, Packed
from rambit.report.page import MOST_BYTES, About, page

#: What a section takes beside its arrays, and the least that its arrays get, in bytes.
SECTION, LEAST = 1500, 24_000
#: What is left for the page around the sections.
FRAME = 200_000


@dataclass(frozen=True)
class Panel:
    """A map (H, W), ``masks`` like it by name, and the ``picture`` (C, H, W) below it; a title and a line of text."""

    title: str
    line: str
    score: NDArray[np.float64]
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    picture: NDArray[np.float64] | None = None


def gallery_page(panels: Iterable[Panel], count: int, about: About) -> str:
    """A page of ``count`` panels, which are read one by one.

    They are made smaller, each by a whole factor, so that the page has at most MOST_BYTES; where even small ones would
    be too many, the page says how many are left out.
    """
    shown = min(count, (MOST_BYTES - FRAME) // (LEAST + SECTION))
    room = (MOST_BYTES - FRAME) // shown - SECTION
    packed, sections = Packed("i1"), list[dict[str, Any]]()
    for number, panel in enumerate(_first(panels, shown)):
        one, factor = _fitting(panel, room)
        packed.add(f"score-{number}", one.score.reshape(1, -1), signed=True)
        for index, mask in enumerate(one.masks.values()):
            packed.add(f"mask-{number}-{index}", mask.reshape(1, -1).astype(np.float64), signed=True)
        if one.picture is not None:
            packed.add(f"picture-{number}", one.picture.reshape(1, -1))
        height, width = one.score.shape
        line = panel.line if factor == 1 else f"{panel.line}; shown at 1/{factor} of its size"
        sections.append(
            {"title": panel.title, "line": line, "height": height, "width": width, "masks": list(one.masks)}
        )
    notes = [] if shown == count else [f"the first {shown:,} of {count:,} inputs"]
    return page("gallery", about, {"sections": sections, "notes": notes}, packed)


def _first(panels: Iterable[Panel], most: int) -> Iterable[Panel]:
    return (panel for panel, _ in zip(panels, range(most), strict=False))


def _fitting(panel: Panel, room: int) -> tuple[Panel, int]:
    """The panel with as many masks and pixels as fit so many bytes, and how many times smaller it is each way."""
    picture = None if panel.picture is None else panel.picture[: 3 if len(panel.picture) >= 3 else 1]
    layers = 1 + len(panel.masks) + (0 if picture is None else len(picture))
    height, width = panel.score.shape
    factor = 1
    while layers * TEXT * -(-height // factor) * -(-width // factor) > room and factor < max(height, width):
        factor += 1
    masks = {name: _smaller(mask.astype(np.float64), factor) > 0 for name, mask in panel.masks.items()}
    small = None if picture is None else np.stack([_smaller(channel, factor) for channel in picture])
    return replace(panel, score=_smaller(panel.score, factor), masks=masks, picture=small), factor


def _smaller(grid: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """The means (⌈H/f⌉, ⌈W/f⌉) of squares of a grid (H, W), which it fills up with its edge."""
    if factor == 1:
        return grid
    height, width = grid.shape
    padded = np.pad(grid, ((0, -height % factor), (0, -width % factor)), mode="edge")
    means: NDArray[np.float64] = padded.reshape(len(padded) // factor, factor, -1, factor).mean(axis=(1, 3))
    return means
