"""masked_batch and boxed_batch against a plain copy of as many bytes, in arrays within the cache and beyond it."""

from __future__ import annotations

import pytest
import torch

from bench.timing import best, measure
from rambit import ops
from rambit.game.rows import Column

#: What a round moves at least, in bytes: small cases are repeated, so that it can be timed.
ROUND = 100 << 20


def on_device(N, place):
    """Ten times as many for a GPU, whose cache is larger; one row, and a call is all that is timed."""
    return 10 * N if place.device.type == "cuda" and N > 100 else N


def against_copy(benchmark, report, what, work, out, source):
    """Bandwidth of ``work``, which writes ``out``, over that of copying as much. A byte written is a byte read."""
    size = 2 * out.numel() * out.element_size()
    calls = -(-ROUND // size)

    def repeated(call):
        for _ in range(calls):
            call()

    seconds = measure(benchmark, lambda: repeated(work), rounds=15, warmup_rounds=2)[0] / calls
    copying = best(lambda: repeated(lambda: out.copy_(source)), rounds=15) / calls
    report(
        what,
        f"{copying / seconds:.2f} of copy_ ({size / 1e9 / copying:.1f} GB/s)",
        ratio=copying / seconds,
        bytes_per_second=size / seconds,
    )


@pytest.mark.parametrize("N", [100, 20_000], ids=["small", "large"])
@pytest.mark.parametrize("features_last", [False, True], ids=["BDT", "BTD"])
def test_masked_batch(benchmark, report, place, features_last, N):
    B, D, T, S, M = 8, 10, 100, 3, 20
    N = on_device(N, place)
    g = torch.Generator().manual_seed(0)
    x, draws = torch.randn(B, D, T, generator=g), torch.randn(S, B, D, T, generator=g)
    masks = torch.rand(M, D, T, generator=g) < 0.9
    rows = torch.zeros(N, len(Column), dtype=torch.int32)
    for column, high in ((Column.SERIES, B), (Column.DRAW, S), (Column.MASK, M), (Column.CELL, D * T)):
        rows[:, column] = torch.randint(high, (N,), generator=g, dtype=torch.int32)
    x, draws, masks, rows = (tensor.to(place.device) for tensor in (x, draws, masks, rows))
    out = torch.empty(N, D, T, device=place.device)
    if features_last:
        x, draws, masks, out = (t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (x, draws, masks, out))
    ops.masked_batch(out, x, draws, masks, rows)
    series, draw, mask, cell = rows[:, : Column.START].long().T
    keep = masks[mask].flatten(1)
    keep[torch.arange(N), cell] ^= True
    assert torch.equal(out, torch.where(keep.view(N, D, T), x[series], draws[draw, series]))
    source = torch.randn_like(out)
    layout = "BTD" if features_last else "BDT"

    def work():
        ops.masked_batch(out, x, draws, masks, rows)

    against_copy(benchmark, report, f"masked_batch, {layout}, {N:,} rows, {place}", work, out, source)


@pytest.mark.parametrize("N", [1, 100], ids=["small", "large"])
@pytest.mark.parametrize("stale", [False, True], ids=["whole", "over-old-boxes"])
def test_boxed_batch(benchmark, report, place, stale, N):
    """Eight boxes a row that cover an eighth of a 224 × 224 image."""
    C, Y, X, per_row = 3, 224, 224, 8
    g = torch.Generator().manual_seed(0)
    N = on_device(N, place)
    corner = torch.randint(0, Y - 28, (N * per_row, 2), generator=g)
    boxes = torch.zeros(N * per_row, 6, dtype=torch.int32)
    boxes[:, 1] = 1
    boxes[:, 2], boxes[:, 3], boxes[:, 4], boxes[:, 5] = (
        corner[:, 0],
        corner[:, 0] + 28,
        corner[:, 1],
        corner[:, 1] + 28,
    )
    offsets = torch.arange(0, len(boxes) + 1, per_row)
    inside, outside = torch.randn(C, 1, Y, X, generator=g), torch.zeros(C, 1, Y, X)
    inside, outside, boxes, offsets = (t.to(place.device) for t in (inside, outside, boxes, offsets))
    out = torch.empty(N, C, 1, Y, X, device=place.device)
    ops.boxed_batch(out, inside, outside, boxes, offsets)
    for i in range(N):
        row = outside.clone()
        for _, _, y0, y1, x0, x1 in boxes[offsets[i] : offsets[i + 1]].tolist():
            row[:, :, y0:y1, x0:x1] = inside[:, :, y0:y1, x0:x1]
        assert torch.equal(out[i], row)

    def work():
        ops.boxed_batch(out, inside, outside, boxes, offsets, (boxes, offsets) if stale else None)

    what = f"boxed_batch{', over old boxes' * stale}, {N} image{'s' * (N > 1)}, {place}"
    against_copy(benchmark, report, what, work, out, torch.randn_like(out))
