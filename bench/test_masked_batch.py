"""masked_batch against a plain copy of as many bytes, in arrays larger than the cache."""

from __future__ import annotations

import pytest
import torch

from rambit import ops
from rambit.game.rows import Column


@pytest.mark.parametrize("features_last", [False, True], ids=["BDT", "BTD"])
@pytest.mark.parametrize("kind", ["masked_batch", "copy_"])
@pytest.mark.benchmark(group="masked_batch")
def test_masked_batch(benchmark, report, kind, features_last):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    N, B, D, T, S, M = 20_000, 8, 10, 100, 3, 20
    g = torch.Generator().manual_seed(0)
    x, draws = torch.randn(B, D, T, generator=g), torch.randn(S, B, D, T, generator=g)
    masks = torch.rand(M, D, T, generator=g) < 0.9
    rows = torch.zeros(N, len(Column), dtype=torch.int32)
    for column, high in ((Column.SERIES, B), (Column.DRAW, S), (Column.MASK, M), (Column.CELL, D * T)):
        rows[:, column] = torch.randint(high, (N,), generator=g, dtype=torch.int32)
    out = torch.empty(N, D, T)
    if features_last:
        x, draws, masks, out = (t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (x, draws, masks, out))
    ops.masked_batch(out, x, draws, masks, rows)
    series, draw, mask, cell = rows[:, : Column.START].long().T
    keep = masks[mask].flatten(1)
    keep[torch.arange(N), cell] = ~keep[torch.arange(N), cell]
    assert torch.equal(out, torch.where(keep.view(N, D, T), x[series], draws[draw, series]))
    source = torch.randn(N, T, D).transpose(1, 2) if features_last else torch.randn(N, D, T)
    work = {"masked_batch": lambda: ops.masked_batch(out, x, draws, masks, rows), "copy_": lambda: out.copy_(source)}
    benchmark.pedantic(work[kind], rounds=15, warmup_rounds=2)
    torch.set_num_threads(before)
    gigabytes = out.numel() * out.element_size() / benchmark.stats.stats.min / 1e9
    benchmark.extra_info["written_GB_per_s"] = gigabytes
    report(f"{kind}, {'BTD' if features_last else 'BDT'}, one thread", f"{gigabytes:.1f} GB/s written")
