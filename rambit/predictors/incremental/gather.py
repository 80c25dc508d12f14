"""Windows of rows that are their reference but for windows."""

from __future__ import annotations

import math

from torch import Tensor

from rambit import memory, ops


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
    out = memory.empty((len(which), width, *places.shape[2:]), places)
    own = None if window is None else window.reshape(_with_values(window))
    ops.gather_windows(
        out.view(_with_values(out)), places.view(_with_values(places)), which, start, own, window_start, outside
    )
    return out


def put(values: Tensor, window: Tensor, start: Tensor) -> Tensor:
    """Write windows (n, v, …) into values (n, T, …), contiguous, from ``start`` (n,) on."""
    ops.put_windows(values.view(_with_values(values)), window.reshape(_with_values(window)), start)
    return values


def _with_values(places: Tensor) -> tuple[int, int, int]:
    """The shape of places whose other dimensions are made one."""
    rows, width, *rest = places.shape
    return rows, width, math.prod(rest)
