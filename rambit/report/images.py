"""Responsibility of images and volumes: the map over the picture, the parts that suffice, and a slider."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from rambit.report.packing import Packed
from rambit.report.page import About, page


def image_page(
    score: NDArray[np.float64],
    about: About,
    *,
    picture: NDArray[np.float64] | None = None,
    masks: Mapping[str, NDArray[np.bool_]] | None = None,
) -> str:
    """A page of a map (H, W) or (Z, H, W), of ``masks`` like it by name, and of the ``picture`` (C, …, H, W) below it.

    Of a picture the first three channels are colours, or the first is grey; they are scaled to its range.
    """
    grid = score if score.ndim == 3 else score[None]
    packed = Packed("i2")
    packed.add("score", grid.reshape(1, -1), signed=True)
    names = list(masks or {})
    for index, mask in enumerate((masks or {}).values()):
        packed.add(f"mask-{index}", mask.reshape(1, -1).astype(np.float64), signed=True, kind="i1")
    channels = 0
    if picture is not None:
        channels = 3 if len(picture) >= 3 else 1
        packed.add("picture", picture[:channels].reshape(1, -1), kind="i1")
    data = {"grid": list(grid.shape), "masks": names, "channels": channels}
    return page("image", about, data, packed)
