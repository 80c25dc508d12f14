"""What `rambit rex` draws: the figure, the map as colours or a surface, and the explained image itself."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.cli import common
from rambit.cli.rex.image_files import IMAGES
from rambit.cli.rex.sources import Input
from rambit.rex import ReX, RexExplanation
from rambit.store import atomic_write

#: How the explained image shows what is not kept.
STYLES = ("raw", "colour", "alpha", "grid")
#: The grey that stands there, of 255, how much of the image shows through it, and the lines of a grid each way.
_GREY, _ALPHA, _LINES = 200, 0.2, 10
#: The options that name what is drawn, in the order of the report.
DRAWN = ("figure", "heatmap", "surface", "picture")


def add_pictures(parser: common.Parser) -> None:
    """The options that name what is drawn."""
    group = parser.add_argument_group("pictures; of many inputs, folders of .png")
    group.add_argument("--figure", metavar="PATH", help="the map and what was found, side by side (.png, .pdf, .svg)")
    group.add_argument("--heatmap", metavar="PATH", help="the map alone, over the input (.png, .pdf, .svg)")
    group.add_argument("--surface", metavar="PATH", help="the map of an image as a surface (.png, .pdf, .svg)")
    group.add_argument("--picture", metavar="PATH", help="the image, cut to what suffices or is necessary (.png, …)")
    group.add_argument(
        "--picture-as",
        choices=STYLES,
        help="what is not kept: raw, as the model reads it; colour, grey; alpha, faint; grid, faint with lines (alpha)",
    )


def named(args: argparse.Namespace) -> dict[str, str]:
    """The paths that were named, by option."""
    return {option: getattr(args, option) for option in DRAWN if getattr(args, option) is not None}


def check_pictures(args: argparse.Namespace, *, many: bool) -> None:
    """Before any work: what was named can be drawn. Raises ImportError or ValueError."""
    if args.picture_as is not None and args.picture is None:
        raise ValueError("--picture-as says how --picture is drawn, which was not given")
    for option, path in named(args).items():
        if option != "picture":
            common.check_figure("any.png" if many else path, f"--{option}")
        elif not many and Path(path).suffix.lower() not in IMAGES:
            raise ValueError(f"--picture must end in one of {', '.join(IMAGES)}, got {path}")


def draw(option: str, path: Path, args: argparse.Namespace, explainer: ReX, found: RexExplanation, one: Input) -> None:
    """Draw one of them, over an existing file. Raises ValueError where there is no such picture of this input."""
    if option != "figure" and option != "heatmap" and found.responsibility.ndim != 2:
        raise ValueError(f"--{option} is for images, got an input over the grid {tuple(found.responsibility.shape)}")
    drawings: dict[str, Callable[[], Any]] = {
        "figure": lambda: found.plot(path, x=one.picture),
        "heatmap": lambda: found.plot(path, x=one.picture, kind="map"),
        "surface": lambda: found.plot(path, kind="surface"),
        "picture": lambda: _write(path, explained(found, explainer, one, args.picture_as or "alpha")),
    }
    drawings[option]()


def explained(found: RexExplanation, explainer: ReX, one: Input, style: str) -> NDArray[np.uint8]:
    """The explained image (H, W, 3), in the size in which the model reads it. Raises ValueError where there is none."""
    if found.settings.get("strategy") == "map_only":
        raise ValueError("--picture shows what was found, and with --map-only nothing is looked for")
    # What the strategy is for: of contrastive the necessary part, of complete the complete one.
    masks = (found.complete, found.necessary, found.mask)
    mask = next(one for one in masks if one is not None)
    kept = mask[..., None].numpy()
    image = _colours(one.picture, explainer)
    if style == "raw":
        return np.where(kept, image, _colours(one.shown(explainer.masked(one.x, mask)), explainer))
    cover = np.where(kept, image, np.uint8(_GREY))
    if style == "colour":
        return cover
    faint = (cover + _ALPHA * (image.astype(np.float64) - cover)).round().astype(np.uint8)
    if style == "grid":
        for axis, extent in enumerate(faint.shape[:2]):
            lines = np.linspace(0, extent, _LINES + 1)[1:-1].astype(int)
            faint[(slice(None),) * axis + (lines,)] = 128
    return faint


def _colours(picture: Tensor, explainer: ReX) -> NDArray[np.uint8]:
    """A picture (1, C, H, W), or with its channels last, as bytes (H, W, 3); what goes beyond 0 … 1 is cut."""
    picture = picture[0] if explainer.layout == "NHWC" else picture[0].movedim(0, -1)
    if picture.shape[-1] not in (1, 3):
        raise ValueError(f"--picture is for images of 1 or 3 channels, got {picture.shape[-1]}")
    picture = picture.expand(*picture.shape[:2], 3).double()
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(image).save(data, format=Image.registered_extensions()[path.suffix.lower()])
    atomic_write(path, data.getvalue())
