"""What is explained: image files, a folder of them, arrays, or series of a data set."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.checks import warn
from rambit.cli import common
from rambit.datasets import Dataset, load, load_file
from rambit.datasets.dataset_files import TABLES
from rambit.datasets.readers import READERS, check_holds, naming
from rambit.labels import Labels
from rambit.rex.explainer import MAX_POSITIONS
from rambit.store import open_file, read_file

Numbers = NDArray[np.float32]
ARRAYS = (".npy", ".npz", ".safetensors")
IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # whatever the name: pillow hands others to other programs


@dataclass(frozen=True)
class Input:
    """One input as the model reads it, (1, C, H, W), (1, C, Z, H, W) or (1, D, T), and as pictures show it."""

    x: Tensor
    picture: Tensor


@dataclass(frozen=True)
class Source:
    """An input that is there, under a name; images are decoded when they are needed."""

    name: str
    read: Callable[[], Input]
    labels: Labels = field(default_factory=Labels)


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


def find_sources(args: argparse.Namespace, image_options: Mapping[str, Any]) -> tuple[list[Source], bool]:
    """The inputs that INPUT and --series name, and whether they are many; image files are checked, not yet decoded.

    Raises ValueError, OSError or ImportError.
    """
    path = Path(args.input)
    if not common.is_table(args.input):
        _refuse(args, *common.COLUMNS)
    if path.is_dir():
        _refuse(args, "series", "x")
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES and file.is_file())
        if not files:
            raise ValueError(f"{path} holds no image files ({' '.join(IMAGES)})")
        return [_image(file, image_options) for file in files], True
    if path.suffix.lower() in IMAGES:
        _refuse(args, "series", "x")
        return [_image(path, image_options)], False
    if image_options:
        raise ValueError(f"--{next(iter(image_options))} is for image files, but {args.input} is none")
    data = None
    if path.suffix in ARRAYS:
        inputs = list(_read_array(path, args.x))
    elif common.is_table(args.input):
        _refuse(args, "x")
        data = load_file(path, y=None, columns=common.columns(args))
        inputs = _unpadded(data, path)
    elif common.is_file(args.input):
        known = " ".join((*ARRAYS, *TABLES, *IMAGES))
        raise ValueError(f"{path}: the name must end in one of {known}, or be that of a folder of images")
    else:
        _refuse(args, "x")
        data = load(args.input, "test")
        inputs = _unpadded(data)
    chosen = common.chosen(args.series, None, len(inputs))
    sources = [Source(str(i), partial(Input, inputs[i][None], inputs[i][None]), _names(data, i)) for i in chosen]
    return sources, len(sources) > 1


def _refuse(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} does not apply to {args.input}")


# -- arrays ---------------------------------------------------------------------------------------------------------


def _read_array(path: Path, name: str | None) -> Tensor:
    """Inputs (N, …) of a file, without pickle. Raises ValueError naming the file."""
    if path.suffix == ".npy" and name is not None:
        raise ValueError(f"{path}: a .npy file holds one array, so --x does not apply")
    name, data = name or "X", read_file(path)
    with naming(path):
        fields = READERS[path.suffix](data)
        check_holds(fields, name)
        array = torch.as_tensor(fields[name])
    if array.ndim not in (3, 4, 5) or not array.numel():
        raise ValueError(
            f"{path} must hold series (N, D, T), images (N, C, H, W) or volumes (N, C, Z, H, W), got the shape "
            f"{tuple(array.shape)}"
        )
    if array.is_complex() or array.dtype == torch.bool:
        raise ValueError(f"{path} must hold real numbers, got {array.dtype}")
    array = array if array.dtype in (torch.float32, torch.float64) else array.float()
    if not bool(torch.isfinite(array).all()):
        raise ValueError(f"{path} holds NaN or infinite values")
    return array


def _names(data: Dataset | None, place: int) -> Labels:
    """What a series of a data set, its features and its times are called. Classes are the model's, not the data's."""
    if data is None:
        return Labels()
    length = data.X.shape[2] if data.lengths is None else int(data.lengths[place])
    return replace(data.labels, outputs=None).take(series=[place], times=range(length))


def _unpadded(data: Dataset, path: Path | None = None) -> list[Tensor]:
    """The series (D, T) of a data set, each without its padding. Raises ValueError naming a file with gaps."""
    lengths = [data.X.shape[2]] * len(data) if data.lengths is None else data.lengths.tolist()
    series = [torch.from_numpy(x[:, :length]) for x, length in zip(data.X, lengths, strict=True)]
    if path is not None and any(bool(one.isnan().any()) for one in series):
        raise ValueError(f"{path} holds missing values, and ReX takes none")
    return series


# -- images ---------------------------------------------------------------------------------------------------------


def _image(path: Path, options: Mapping[str, Any]) -> Source:
    """An image file whose header was read. Raises ValueError or OSError naming it."""
    preparation = Preparation(**options)
    with _open(path) as image:
        width, height = image.size
    if width * height > MAX_POSITIONS:  # of the file, also where it is scaled down: it is decoded whole
        raise ValueError(f"{path} has {width} x {height} pixels, more than the limit of {MAX_POSITIONS:,}")
    return Source(path.name, partial(_read_image, path, preparation))


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
    return Input((picture - mean) / std, picture)


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
