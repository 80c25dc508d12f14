"""What INPUT names: image files, a folder of them, arrays, volumes, or series of a data set."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from rambit.checks import warn
from rambit.cli import common
from rambit.cli.rex.array_files import ARRAYS, VOLUMES, ending, read_arrays
from rambit.cli.rex.image_files import IMAGES, ImageFiles
from rambit.cli.rex.sources import Input, Source
from rambit.datasets import Dataset, load, load_file
from rambit.datasets.dataset_files import TABLES
from rambit.labels import Labels


def find_sources(args: argparse.Namespace, images: ImageFiles) -> tuple[list[Source], bool]:
    """The inputs that INPUT and --series name, and whether they are many; image files are checked, not yet decoded.

    Raises ValueError, OSError or ImportError.
    """
    path = Path(args.input)
    if not common.is_table(args.input):
        _refuse(args, *common.COLUMNS)
    if path.is_dir():
        _refuse(args, "series", "x")
        return _of_folder(path, images, recursive=args.recursive), True
    if args.recursive:
        raise ValueError(f"--recursive is for folders, but {args.input} is none")
    if ending(path) in IMAGES:
        _refuse(args, "series", "x")
        return [images.source(path, path.name)], False
    if images.options:
        raise ValueError(f"--{next(iter(images.options))} is for image files, but {args.input} is none")
    data = None
    if ending(path) in (*ARRAYS, *VOLUMES):
        inputs = list(read_arrays(path, args.x))
    elif common.is_table(args.input):
        _refuse(args, "x")
        data = load_file(path, y=None, columns=common.columns(args))
        inputs = _unpadded(data, path)
    elif common.is_file(args.input):
        known = " ".join((*ARRAYS, *VOLUMES, *TABLES, *IMAGES))
        raise ValueError(f"{path}: the name must end in one of {known}, or be that of a folder of images")
    else:
        _refuse(args, "x")
        data = load(args.input, "test")
        inputs = _unpadded(data)
    chosen = common.chosen(args.series, None, len(inputs))
    sources = [Source(str(i), partial(Input, inputs[i][None], inputs[i][None]), _names(data, i)) for i in chosen]
    return sources, len(sources) > 1


def _of_folder(folder: Path, images: ImageFiles, *, recursive: bool) -> list[Source]:
    """The image files of a folder, by name; those of its sub-folders too, or a line that says how many there are."""
    found = folder.rglob("*") if recursive else folder.iterdir()
    files = sorted(file for file in found if ending(file) in IMAGES and file.is_file())
    skipped = 0 if recursive else sum(one.is_dir() for one in folder.iterdir())
    said = f"{skipped} sub-folders are left out: --recursive reads them" if skipped else ""
    if not files:
        raise ValueError(f"{folder} holds no image files ({' '.join(IMAGES)})" + (f"; {said}" if said else ""))
    if said:
        warn(f"{folder}: {said}")
    return [images.source(file, file.relative_to(folder).as_posix()) for file in files]


def _refuse(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name} does not apply to {args.input}")


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
