"""The order in which positions are revealed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def rank(responsibility: Tensor, logs: Tensor | None = None) -> Tensor:
    """Flat positions (terms,) int64 by descending (responsibility, flat index): of equals, the last comes first.

    logs: sums of logarithms of the same map, of the same shape. Where the float32 product underflowed to zero they say
    which position is more responsible; they decide between zeros only, so that all other ties stay ReX's.
    """
    values = _flat(responsibility)
    order: npt.NDArray[np.int64] = np.argsort(values, kind="stable")[::-1]
    if logs is not None:
        lost = np.flatnonzero(values == 0)
        finer = lost[np.argsort(_flat(logs)[lost], kind="stable")[::-1]]
        # Where other classes' maps are subtracted there are negative values, which come after the zeros.
        order = np.concatenate([order[values[order] > 0], finer, order[values[order] < 0]])
    return torch.from_numpy(order.copy())


def within(ranking: Tensor, part: Tensor) -> Tensor:
    """The same ranking with the positions of `part` (terms,) bool first."""
    inside = part[ranking]
    return torch.cat((ranking[inside], ranking[~inside]))


def _flat(tensor: Tensor) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = tensor.detach().cpu().numpy().ravel()
    return array
