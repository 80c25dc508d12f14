"""Image files as inputs: their samples, their size, and in which order the model reads them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.checks import warn
from rambit.cli.rex.sources import Input, Source
from rambit.rex.explainer import MAX_POSITIONS, Layout
from rambit.store import open_file

Numbers = NDArray[np.float32]
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
#: The largest magnitude that usual preprocessing gives pixels of 0 … 1: as bytes.
MOST = 256.0
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # whatever the name: pillow hands others to other programs


@dataclass(frozen=True)
class Preparation:
    """How an image file becomes an input: its size, and (pixel - mean) / std of each channel, pixels from 0 to 1."""

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    grey: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and self.size[0] * self.size[1] > MAX_POSITIONS:
            raise ValueError(f"size must have at most {MAX_POSITIONS:,} positions, got {self.size[0]} x {self.size[1]}")
        channels = 1 if self.grey else 3
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            if len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
                raise ValueError(f"{name} must hold 1 or {channels} finite numbers, got {numbers}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")

    def doubt(self, picture: Tensor) -> str | None:
        """What speaks against mean and std, if anything: they are of a scale other than that of the picture's values.

        The scale is 0 … 1, and further where values are beyond. A mean lies on it, and no usual preprocessing makes it
        narrower than 1, or values larger than MOST.
        """
        low, high = (float(end) for end in torch.aminmax(torch.cat((picture.flatten(), torch.tensor([0.0, 1.0])))))
        for mean, std in np.broadcast(self.mean, self.std):
            ends = (low - mean) / std, (high - mean) / std
            if not low <= mean <= high or ends[1] - ends[0] < 1 or max(-ends[0], ends[1]) > MOST:
                return (
                    f"with the mean {mean:g} and the std {std:g} a model reads {ends[0]:.4g} … {ends[1]:.4g} of pixels "
                    f"that are {low:g} … {high:g}: of which scale are --mean and --std?"
                )
        return None


class ImageFiles:
    """Image files, read as the options say; what they leave open, `fit` reads from the model, before the first is read.

    options: those of `Preparation`. layout: in which order the model reads axes.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = dict(options)
        self.preparation, self.layout = Preparation(**options), "NCHW"
        self.doubted = False

    def fit(self, declared: Sequence[int | None], layout: Layout) -> None:
        """Take the size, and whether there is one channel, from the sizes that a model declares, in this layout."""
        self.layout = layout
        if len(declared) != 4:
            return
        channels, height, width = (declared[-1], *declared[1:-1]) if layout == "NHWC" else declared[1:]
        if "size" not in self.options and height is not None and width is not None:
            self.preparation = replace(self.preparation, size=(height, width))
        if channels == 1 and not self.preparation.grey:
            self.preparation = replace(self.preparation, grey=True)

    def source(self, path: Path, name: str) -> Source:
        """An image file whose header was read. Raises ValueError or OSError naming it."""
        with _open(path) as image:
            width, height = image.size
        if width * height > MAX_POSITIONS:  # of the file, also where it is scaled down: it is decoded whole
            raise ValueError(f"{path} has {width} x {height} pixels, more than the limit of {MAX_POSITIONS:,}")
        return Source(name, partial(self.read, path))

    def read(self, path: Path) -> Input:
        """The file as the model reads it. Raises ValueError or OSError naming it."""
        one = _read_image(path, self.preparation)
        self._check(path, one.picture)
        if self.layout == "NCHW":
            return one
        last = partial(torch.movedim, source=1, destination=-1)
        return Input(last(one.x), last(one.picture), lambda x: last(one.shown(x.movedim(-1, 1))))

    def _check(self, path: Path, picture: Tensor) -> None:
        """Say what speaks against mean and std: once, since all files of a folder are alike."""
        doubt = self.preparation.doubt(picture) if self.options.keys() & {"mean", "std"} else None
        if doubt is not None and not self.doubted:
            self.doubted = True
            warn(f"{path}: {doubt}")


def _open(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("image files need pillow: pip install 'rambit[images]'") from error
    open_file(path).close()  # no such file, or none that ends
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            return Image.open(path, formats=FORMATS)
    except Exception as error:  # what a broken header makes a decoder raise
        raise ValueError(f"{path} can't be read as an image: {error}") from error


def _read_image(path: Path, preparation: Preparation) -> Input:
    """The first picture of a file, without transparency. Samples of any kind keep their values (see `_wide`)."""
    try:
        with _open(path) as opened:
            wide = _wide(opened, path)
            image = None if wide is not None else _plain(opened, path, grey=preparation.grey)
            pictures = getattr(opened, "n_frames", 1)
    except Refused:
        raise
    except Exception as error:  # truncated or broken beyond the header
        raise ValueError(f"{path} can't be read as an image: {error}") from error
    if pictures > 1:
        warn(f"{path} holds {pictures} pictures, of which the first is explained")
    pixels = _bytes(image, preparation) if wide is None else _numbers(wide, preparation)
    if not bool(torch.isfinite(pixels).all()):
        raise ValueError(f"{path} holds NaN or infinite values")
    picture = pixels.permute(2, 0, 1)[None].contiguous()
    mean, std = (torch.tensor(numbers).view(1, -1, 1, 1) for numbers in (preparation.mean, preparation.std))
    return Input((picture - mean) / std, picture, lambda x: x * std + mean)


class Refused(ValueError):
    """A file that is whole, but of a kind whose values can't be had."""


def _plain(image: Any, path: Path, *, grey: bool) -> Any:
    """A picture of 8 bits a sample, upright, in one channel or three."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            warn(f"{path} is transparent in places: the colours that are stored there are read")
    return image.convert("L" if grey else "RGB")


def _bytes(image: Any, preparation: Preparation) -> Tensor:
    """(H, W, C) from 0 to 1."""
    from PIL import ImageOps

    if preparation.size is not None:
        image = ImageOps.fit(image, preparation.size[::-1])
    return torch.from_numpy(np.array(image, dtype=np.float32)).view(image.height, image.width, -1) / 255


def _wide(image: Any, path: Path) -> Numbers | None:
    """The samples (H, W, C) float32 of a picture that has more than 8 bits each; None for others.

    Unsigned ones of up to 16 bits are scaled to 0 … 1, as bytes are; others, which have no such end, stay what they
    are: integers of 32 bits, signed ones, floats. Pillow reads one channel of these, and of colours of 16 bits a byte.
    """
    from PIL import ImageOps

    tags = getattr(image, "tag_v2", {})
    kind = tags.get(339, (1,))[0]  # 1: unsigned, 2: signed, 3: floating
    bits = max(tags.get(258, (8,)))
    way = _way(image.tile[0]) if image.tile else ""
    if image.mode in ("F", "I") or image.mode.startswith("I;16") or (image.mode == "L" and kind == 2):
        values = np.asarray(ImageOps.exif_transpose(image), np.float64)
        if image.mode == "L":  # pillow takes them for unsigned ones, and those of 32 bits below for signed ones
            values = np.where(values > 127, values - 256, values)
        elif image.mode.startswith("I;16") or image.format == "PNG":
            values /= (1 << bits if bits > 8 else 1 << 16) - 1
            values = 1 - values if tags.get(262) == 0 else values  # 0 is white
        elif kind == 1 and image.mode == "I" and bits == 32:
            values %= 1 << 32
        return np.asarray(values, np.float32)[..., None]
    if way in ("RGB;16B", "RGB;16L", "RGBA;16B", "RGBA;16L", "RGBX;16B", "RGBX;16L"):
        # The same samples, in the order of bytes that they have and in the other: the upper bytes and the lower.
        other = way[:-1] + ("L" if way.endswith("B") else "B")
        upper, lower = (_in_way(path, each)[..., :3] for each in (way, other))
        return np.asarray((upper << 8) | lower, np.float32) / np.float32(65535)
    if bits > 8 or kind in (2, 3) or (";16" in way and not way.startswith("BGR")):
        raise Refused(
            f"{path} has samples of a kind ({way or image.mode}, {max(bits, 8)} bits) whose values pillow does not "
            "keep: save it as RGB or grey of 8 or 16 bits, or as an array (.npy)"
        )
    return None


def _way(tile: Any) -> str:
    """How pillow unpacks the samples of a file."""
    way = tile[3] if isinstance(tile[3], str) else tile[3][0]
    return str(way).replace(";16N", ";16L" if sys.byteorder == "little" else ";16B")


def _in_way(path: Path, way: str) -> NDArray[np.uint16]:
    """The bytes (H, W, C) that come out when the samples are unpacked in that way."""
    from PIL import ImageOps

    with _open(path) as image:
        for i, (*where, arguments) in enumerate(image.tile):
            make = getattr(type(image.tile[i]), "_make", tuple)  # a plain tuple before pillow 11
            image.tile[i] = make((*where, way if isinstance(arguments, str) else (way, *arguments[1:])))
        return np.asarray(ImageOps.exif_transpose(image), np.uint16)


def _numbers(samples: Numbers, preparation: Preparation) -> Tensor:
    """(H, W, C) as many channels as are wanted, in the size that is wanted."""
    from PIL import Image, ImageOps

    if preparation.grey and samples.shape[2] == 3:
        samples = samples @ np.array([[0.299], [0.587], [0.114]], np.float32)  # ITU-R 601, as for bytes
    elif not preparation.grey and samples.shape[2] == 1:
        samples = samples.repeat(3, axis=2)
    if preparation.size is not None:
        channels = [Image.fromarray(channel) for channel in np.moveaxis(samples, 2, 0)]
        ends = (0, 1) if samples.min() >= 0 and samples.max() <= 1 else (None, None)
        sized = [np.asarray(ImageOps.fit(one, preparation.size[::-1])) for one in channels]
        samples = np.stack(sized, axis=2).clip(*ends)
    return torch.from_numpy(np.ascontiguousarray(samples))
