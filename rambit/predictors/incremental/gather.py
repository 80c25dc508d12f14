"""Windows of rows that are their reference but for windows."""

from __future__ import annotations

import torch
from torch import Tensor


def gather(
    places: Tensor,
    which: Tensor,
    start: Tensor,
    width: int,
    window: Tensor | None = None,
    window_start: Tensor | None = None,
    outside: float = 0.0,
) -> Tensor:
    """Places (n, width, …) from ``start`` (n,) on, of rows that are their reference but for a window.

    ``places`` (R, T, …) contiguous are those of the references, ``which`` (n,) int64 says which is whose; ``window``
    (n, v, …) stands from ``window_start`` (n,) on, and ``outside`` before the first place and after the last.
    """
    R, T = places.shape[:2]
    at = start[:, None] + torch.arange(width, device=places.device)
    flat = (which[:, None] * T + at.clamp(0, T - 1)).flatten()
    out = places.view(R * T, -1).index_select(0, flat).view(len(which), width, *places.shape[2:])
    beyond = (at < 0) | (at >= T)
    if bool(beyond.any()):
        out[beyond] = outside
    if window is not None:
        assert window_start is not None
        to = (window_start - start)[:, None] + torch.arange(window.shape[1], device=places.device)
        row, column = torch.nonzero((to >= 0) & (to < width), as_tuple=True)
        out[row, to[row, column]] = window[row, column]
    return out


def put(values: Tensor, window: Tensor, start: Tensor) -> Tensor:
    """Write windows (n, v, …) into values (n, T, …) from ``start`` (n,) on."""
    at = start[:, None] + torch.arange(window.shape[1], device=values.device)
    values[torch.arange(len(values), device=values.device)[:, None], at] = window
    return values
