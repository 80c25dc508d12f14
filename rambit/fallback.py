"""The native ops in plain torch, for devices that this build has no kernels for: the same results, more slowly.

Masks and draws are made on the CPU, by the native ops, and moved, so that their bits are the same everywhere. All else
runs where its tensors are: on no device without float64 (`memory.WITHOUT_FLOAT64`), where the model alone is called.
Arguments are those of `rambit.ops`, in the order of the schemas (csrc/ops.cpp).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from rambit.checks import warn

TINY_PROBABILITY = 1e-12  # as csrc/common/distance.h has it

_told: set[str] = set()


def register(device_type: str, names: Iterable[str]) -> None:
    """Let torch call these ops' functions for tensors of a device type that has no kernels, such as ``cuda``."""
    library = torch.library.Library("rambit", "IMPL")  # type: ignore[no-untyped-call]
    for name in names:
        library.impl(name, _with_a_warning(device_type, OPS[name]), device_type.upper())  # type: ignore[no-untyped-call]
    _libraries.append(library)  # what is registered goes with it


_libraries: list[torch.library.Library] = []


def _with_a_warning(device_type: str, function: Callable[..., None]) -> Callable[..., None]:
    @wraps(function)
    def call(*args: Any) -> None:
        if device_type not in _told:
            _told.add(device_type)
            warn(
                f"rambit has no native ops for {device_type} here and does their work in plain torch: slower, the same "
                "results. A wheel of Linux x86-64, or a build from source with nvcc on PATH, has those for CUDA"
            )
        function(*args)

    return call


# -- masks and draws --------------------------------------------------------------------------------------------------


def on_host(name: str) -> Callable[..., None]:
    """An op that writes into its first argument, done by the native one on the CPU."""

    def call(out: Tensor, *args: Any) -> None:
        host = torch.empty(out.shape, dtype=out.dtype)
        getattr(torch.ops.rambit, name)(host, *(arg.cpu() if isinstance(arg, Tensor) else arg for arg in args))
        out.copy_(host)

    return call


# -- rows -------------------------------------------------------------------------------------------------------------


def masked_batch(
    out: Tensor,
    x: Tensor,
    draws: Tensor,
    masks: Tensor,
    rows: Tensor,
    observed: Tensor | None,
    fill: int,
    windows: Tensor | None = None,
) -> None:
    """Rows by index: all steps of a feature are looked at where values depend on what is kept."""
    (D, T), width = x.shape[1:], out.shape[2]
    if not out.numel():
        return
    series, draw, mask, cell, start = (column.long() for column in rows[:, :5].unbind(1))
    kept = masks[mask]
    flips = (cell >= 0).nonzero()[:, 0]
    flipped = (flips, cell[flips] // T, cell[flips] % T)
    kept[flipped] = ~kept[flipped]
    seen = torch.ones_like(kept) if observed is None else observed[series]
    kept |= ~seen
    values = x[series]
    if fill == 0:
        found = torch.where(kept, values, draws[draw, series])
    else:
        found = torch.where(kept, values, _conditional(values, kept, seen, draws, draw, series, fill, windows))
    at = start[:, None, None] + torch.arange(width, device=x.device)
    out.copy_(found.gather(2, at.expand(-1, D, -1)))


def _conditional(
    values: Tensor,
    kept: Tensor,
    seen: Tensor,
    draws: Tensor,
    draw: Tensor,
    series: Tensor,
    fill: int,
    windows: Tensor | None,
) -> Tensor:
    """(N, D, T): what stands in by the nearest kept steps of the same feature, or by where a replaced window begins."""
    T = values.shape[2]
    time = torch.arange(T, device=values.device)
    if fill == 3:
        assert windows is not None
        begin = torch.where(kept, time, -1).cummax(2).values + 1
        since = (time - begin).clamp(0, windows.shape[4] - 1)
        d = torch.arange(values.shape[1], device=values.device)[:, None]
        return windows[draw[:, None, None], series[:, None, None], d, begin.clamp(max=T - 1), since]
    usable = kept & seen
    before = torch.where(usable, time, -1).cummax(2).values
    after = torch.where(usable, time, T).flip(2).cummin(2).values.flip(2)
    left = values.gather(2, before.clamp(min=0))
    right = values.gather(2, after.clamp(max=T - 1))
    found = torch.where(before >= 0, left, torch.where(after < T, right, 0))
    if fill == 2:
        share = (time - before).to(values) / (after - before).clamp(min=1).to(values)
        found = torch.where((before >= 0) & (after < T), left + (right - left) * share, found)
    return found + draws[draw, series] if len(draws) else found


def boxed_batch(
    out: Tensor,
    inside: Tensor,
    outside: Tensor,
    boxes: Tensor,
    offsets: Tensor,
    stale_boxes: Tensor | None = None,
    stale_offsets: Tensor | None = None,
) -> None:
    """Where a row has a box at all, by how many of its boxes begin and end before a position along each axis."""
    n, _, *space = out.shape
    corners = torch.zeros(n, *(size + 1 for size in space), dtype=torch.int32, device=out.device)
    row = torch.repeat_interleave(torch.arange(n, device=out.device), offsets.diff())
    own = boxes[int(offsets[0]) : int(offsets[-1])].long()
    low, high = own[:, 0::2], own[:, 1::2]
    there = (low < high).all(dim=1)
    for corner in range(8):
        ends = [bool(corner >> axis & 1) for axis in range(3)]
        z, y, x = (torch.where(there, (high if end else low)[:, axis], 0) for axis, end in enumerate(ends))
        corners.index_put_((row, z, y, x), there.int() * (-1) ** sum(ends), accumulate=True)
    covered = corners.cumsum(1).cumsum(2).cumsum(3)[:, :-1, :-1, :-1] > 0
    out.copy_(torch.where(covered[:, None], inside, outside))


def gather_windows(
    out: Tensor,
    places: Tensor,
    which: Tensor,
    start: Tensor,
    window: Tensor | None,
    window_start: Tensor | None,
    outside: float,
) -> None:
    """All steps by index, then what lies beyond the series, then each row's own window."""
    (n, width, _), T = out.shape, places.shape[1]
    at = start[:, None] + torch.arange(width, device=out.device)
    inside = (at >= 0) & (at < T)
    out.copy_(places[which[:, None], at.clamp(0, max(0, T - 1))] if T else torch.zeros_like(out))
    beyond = outside if out.is_floating_point() else 0
    out.masked_fill_(~inside[:, :, None], beyond)
    if window is not None and window_start is not None and window.shape[1]:
        since = at - window_start[:, None]
        own = (since >= 0) & (since < window.shape[1])
        row = torch.arange(n, device=out.device)[:, None]
        out.copy_(torch.where(own[:, :, None], window[row, since.clamp(0, window.shape[1] - 1)], out))


def put_windows(out: Tensor, window: Tensor, start: Tensor) -> None:
    """Each window's steps by index."""
    at = start[:, None] + torch.arange(window.shape[1], device=out.device)
    out[torch.arange(len(out), device=out.device)[:, None], at] = window


# -- scores -----------------------------------------------------------------------------------------------------------


def distances(p: Tensor, q: Tensor, target: Tensor, metric: int) -> Tensor:
    """(N, K) float64: of outputs q from p, (N, C, K) both; target (N,)."""
    p, q = p.double(), q.double()
    if metric in (3, 5):
        index = target[:, None, None].expand(-1, 1, p.shape[2])
        change = (p.gather(1, index) - q.gather(1, index))[:, 0]
        return change if metric == 3 else change.abs()
    if metric == 0:
        return (p - q).abs().sum(1)
    if metric == 4:
        return (p - q).square().sum(1).sqrt()
    p, q = (torch.where(value < TINY_PROBABILITY, TINY_PROBABILITY, value) for value in (p, q))
    if metric == 1:
        return (p * (p / q).log()).sum(1)
    mean = 0.5 * (p + q)
    return (0.5 * (p * (p / mean).log() + q * (q / mean).log())).sum(1)


def distance(out: Tensor, outputs: Tensor, reference: Tensor, series: Tensor, target: Tensor, metric: int) -> None:
    """Of rows from their series."""
    of = series.long()
    out.copy_(distances(reference[of], outputs, target[of], metric))


def score(
    contributions: Tensor,
    outputs: Tensor,
    reference: Tensor,
    base: Tensor,
    masks: Tensor,
    rows: Tensor,
    target: Tensor,
    width: int,
    metric: int,
    reduce: int,
) -> None:
    """Each row has a slot of its own within a call."""
    series, _, mask, cell, start, horizon, norm, slot = (column.long() for column in rows[:, :8].unbind(1))
    K, C = outputs.shape[2], outputs.shape[1]
    at = start[:, None] + width - K + torch.arange(K, device=outputs.device)  # (N, K), the steps of outputs
    p = reference[series].gather(2, at[:, None, :].expand(-1, C, -1))
    flipped = distances(p, outputs, target[series], metric)
    unflipped = base[slot // contributions.shape[3]].gather(1, at)
    kept = masks.flatten(1)[mask, cell][:, None]
    difference = torch.where(kept, flipped - unflipped, unflipped - flipped)
    counts = at >= horizon[:, None]
    total = contributions.view(-1)
    if reduce == 0:
        total.index_add_(0, slot, (torch.where(counts, difference, 0) / norm[:, None]).sum(1))
        return
    size = torch.where(difference.isnan(), torch.inf, difference.abs())  # a NaN stays
    values = torch.cat((total[slot][:, None], torch.where(counts, difference, 0)), dim=1)
    sizes = torch.cat((total[slot].abs()[:, None], torch.where(counts, size, -1)), dim=1)
    sizes = torch.where(values.isnan(), torch.inf, sizes)
    total[slot] = values.gather(1, sizes.argmax(dim=1, keepdim=True))[:, 0]


def accumulate(
    total: Tensor,
    squares: Tensor,
    contributions: Tensor,
    unit: Tensor,
    weight: Tensor,
    unit_weight: Tensor,
    count: Tensor,
    target_cell: Tensor | None,
) -> None:
    """Draws first, then the masks of a unit, then units, in order: the same bits however many come in a call."""
    if not contributions.numel():
        return
    units = unit.tolist()
    cells = None if target_cell is None else target_cell.tolist()
    value = torch.zeros_like(contributions[0, 0])  # (B, slots)
    for m, own in enumerate(contributions.mean(1)):
        value = value + weight[m] * own
        if units[m + 1 : m + 2] == units[m : m + 1]:
            continue
        at = slice(None) if cells is None else slice(cells[m], cells[m] + 1)
        total[:, at] += unit_weight[m] * value
        squares[:, at] += count[m] * value.square()
        value = torch.zeros_like(value)


#: By the names of the native ops; the recurrent steps are called for CPU tensors alone.
OPS: dict[str, Callable[..., None]] = {
    **{name: on_host(name) for name in ("sample_masks", "shift_windows", "draw")},
    "masked_batch": masked_batch,
    "boxed_batch": boxed_batch,
    "gather_windows": gather_windows,
    "put_windows": put_windows,
    "distance": distance,
    "score": score,
    "accumulate": accumulate,
}
