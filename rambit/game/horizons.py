"""At which times the model's output is compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]

Anchor = Literal["cell", "mask", "end"]
ANCHORS: tuple[Anchor, ...] = get_args(Anchor)


@dataclass(frozen=True)
class HorizonRule:
    """``cell``: t … t + window - 1; ``mask``: those after the block; ``end``: the last step, of shifted blocks."""

    anchor: Anchor
    window: int
    T: int
    length: int  # T without the padding, beyond which no block is shifted

    def of_masks(self, end: Int32) -> tuple[Int32, Int32]:
        """Horizons [h0, h1) that belong to masks with the given t_end (for anchor ``cell``: all times)."""
        if self.anchor == "end":
            return np.full_like(end, self.T - 1), np.full_like(end, self.T)
        if self.anchor == "cell":
            return np.zeros_like(end), np.full_like(end, self.T)
        h0 = np.minimum(end, self.T).astype(np.int32)
        return h0, np.minimum(h0 + self.window, self.T).astype(np.int32)
