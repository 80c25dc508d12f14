"""What replaces, where the command line names a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.cli.rex.array_files import ARRAYS, VOLUMES, ending, read_arrays
from rambit.cli.rex.image_files import IMAGES, ImageFiles


def replacing(settings: dict[str, Any], noise: float | None, images: ImageFiles) -> dict[str, Any]:
    """ReX's settings with the file that ``mask_value`` names read as the input is, and normal noise added to it.

    Raises ValueError or OSError naming the file, and ValueError for noise without one.
    """
    name = settings.get("mask_value")
    is_file = isinstance(name, str) and ending(Path(name)) in (*IMAGES, *ARRAYS, *VOLUMES)
    if not is_file:
        if noise is not None:
            raise ValueError("--noise is added to the file that --mask-value names, and it names none")
        return settings
    context = _read(Path(str(name)), images)
    if noise:
        stream = np.random.Generator(np.random.Philox(key=[settings.get("seed", 0), 0]))
        context = context + torch.from_numpy(stream.normal(0, noise, context.shape)).to(context)
    return {**settings, "mask_value": context}


def _read(path: Path, images: ImageFiles) -> Tensor:
    if ending(path) in IMAGES:
        return images.read(path).x
    arrays = read_arrays(path, None)
    if len(arrays) != 1:
        raise ValueError(f"--mask-value must be a file of one input, and {path} holds {len(arrays)}")
    return arrays
