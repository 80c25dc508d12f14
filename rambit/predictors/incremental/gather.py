"""Windows of rows that are their reference but for windows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rambit import memory, ops

#: A place that no window reaches.
NOWHERE = 1 << 40


def gather(
    places: Tensor,
    which: Tensor,
    starts: Sequence[Tensor],
    widths: Sequence[int],
    window: Tensor | None = None,
    window_starts: Sequence[Tensor] = (),
    outside: float = 0.0,
) -> Tensor:
    """Places (n, *widths, …) from ``starts`` (n,) on, of rows that are their reference but for a window.

    ``places`` (R, *sizes, …) contiguous are those of the references, ``which`` (n,) int64 says which is whose;
    ``window`` (n, *v, …) stands from ``window_starts`` (n,) on, and ``outside`` before the first place and after the
    last. One axis, or two.
    """
    if len(widths) == 2:
        return _gather_lines(places, which, starts, widths, window, window_starts, outside)
    out = memory.empty((len(which), *widths, *places.shape[2:]), places)
    own, own_start = (None, None) if window is None else (window.reshape(_with_values(window)), window_starts[0])
    ops.gather_windows(
        out.view(_with_values(out)), places.view(_with_values(places)), which, starts[0], own, own_start, outside
    )
    return out


def _gather_lines(
    places: Tensor,
    which: Tensor,
    starts: Sequence[Tensor],
    widths: Sequence[int],
    window: Tensor | None,
    window_starts: Sequence[Tensor],
    outside: float,
) -> Tensor:
    """Rectangles as lines: each line of each row is a row of its own, whose reference is a line of the reference's."""
    n, lines, size = len(which), widths[0], places.shape[1]
    at = starts[0][:, None] + torch.arange(lines, device=which.device)
    reference = (which[:, None] * size + at.clamp(0, size - 1)).flatten()
    begin = torch.where((at >= 0) & (at < size), starts[1][:, None], NOWHERE).flatten()
    own: Tensor | None = None
    own_start: list[Tensor] = []
    if window is not None:
        line = at - window_starts[0][:, None]
        inside = (line >= 0) & (line < window.shape[1])
        number = torch.arange(n, device=which.device)[:, None] * window.shape[1] + line.clamp(0, window.shape[1] - 1)
        own = window.flatten(0, 1).index_select(0, number.flatten())
        own_start = [torch.where(inside, window_starts[1][:, None], -NOWHERE).flatten()]
    found = gather(places.flatten(0, 1), reference, [begin], widths[1:], own, own_start, outside)
    return found.view(n, lines, *found.shape[1:])


def put(values: Tensor, window: Tensor, start: Tensor) -> Tensor:
    """Write windows (n, v, …) into values (n, T, …), contiguous, from ``start`` (n,) on."""
    ops.put_windows(values.view(_with_values(values)), window.reshape(_with_values(window)), start)
    return values


def _with_values(places: Tensor) -> tuple[int, int, int]:
    """The shape of places whose other dimensions are made one."""
    rows, width, *rest = places.shape
    return rows, width, math.prod(rest)
