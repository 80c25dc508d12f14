"""RaMbIT against its definition, and the engine's time against the bare model's."""

from __future__ import annotations

import time
from functools import partial

import pytest
import torch
from torch import nn

from bench import twin
from bench.timing import best
from rambit import RaMbIT
from rambit.game.runner import Runner
from rambit.masks import Block
from rambit.models import GRUClassifier

CASES = {
    "mask-gru200-small": ("mask", 200, 8, 6, 40, 3, 5, 3, 6),
    "mask-gru50": ("mask", 50, 8, 6, 40, 20, 5, 3, 4),
    "cell-gru200": ("cell", 200, 8, 10, 100, 20, 5, 3, 2),
}


def case(H, B, D, T, L, S):
    torch.manual_seed(0)
    model = GRUClassifier(D, hidden_size=H).eval()
    return model, torch.randn(B, D, T), Block().sample(L, D, T, seed=0).masks, torch.randn(S, B, D, T)


@pytest.mark.parametrize("name", CASES)
def test_against_the_definition(benchmark, report, threads, name):
    anchor, H, B, D, T, L, W, S, count = CASES[name]
    if threads == 1 and name != "mask-gru50":
        pytest.skip("one thread is shown on the short case")
    model, X, masks, draws = case(H, B, D, T, L, S)
    method = RaMbIT(model, window_size=W, anchor=anchor)

    def ours():
        return method.explain(X, masks=masks, counterfactuals=draws)

    cells = twin.sample_cells(D, T, count)
    expected, seconds = twin.run(model, X, masks, draws, cells, anchor=anchor, window=W)
    result = ours()
    found = torch.stack([result.values[:, d, t] for d, t in cells], dim=1).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    benchmark.pedantic(ours, rounds=3, warmup_rounds=0)
    ratio = seconds / benchmark.stats.stats.min
    benchmark.extra_info.update(ratio=ratio, rows=result.rows, row_steps=result.row_steps, sampled_cells=count)
    report(
        f"{anchor} anchor, GRU-{H}, B={B} D={D} T={T} L={L} W={W} S={S}, {threads} threads",
        f"{ratio:.0f} x the definition ({seconds:.0f} s, scaled from {count} of {D * T} cells); "
        f"ours {benchmark.stats.stats.min:.2f} s, {result.row_steps:,} row-steps",
        ratio=ratio,
    )


def test_anchor_cell_is_linear_in_time(benchmark, report):
    times = {}
    for T in (50, 100, 200, 400):
        model, X, masks, draws = case(50, 4, 4, T, 10, 2)
        method = RaMbIT(model, window_size=5)
        times[T] = best(partial(method.explain, X, masks=masks, counterfactuals=draws), rounds=3)
    benchmark.pedantic(lambda: None, rounds=1)
    exponent = torch.tensor(times[400] / times[50]).log2() / 3
    report(
        "time ~ T^k from T = 50 to 400, anchor cell",
        f"k = {float(exponent):.2f} (seconds " + ", ".join(f"{T}: {s:.2f}" for T, s in times.items()) + ")",
        ratio=2 ** float(exponent),
    )


def test_overhead_on_an_opaque_model(benchmark, report):
    """Prefix mode: the time of a whole run over the time of the bare model on exactly the same batches."""
    model, X, masks, draws = case(200, 8, 6, 40, 1, 2)

    class Opaque(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x)

    method = RaMbIT(Opaque(), window_size=5, anchor="mask")
    inside = 0.0
    original = Runner.whole

    def timed(self, x, inputs):
        nonlocal inside
        begin = time.perf_counter()
        answers = original(self, x, inputs)
        inside += time.perf_counter() - begin
        return answers

    def both():
        nonlocal inside
        inside = 0.0
        begin = time.perf_counter()
        method.explain(X, masks=masks, counterfactuals=draws)
        return (time.perf_counter() - begin) / inside

    Runner.whole = timed
    try:
        ratio = benchmark.pedantic(lambda: min(both() for _ in range(3)), rounds=1)
    finally:
        Runner.whole = original
    report(
        "engine overhead, opaque GRU-200, prefix mode",
        f"{ratio:.3f} x the bare model on the same batches",
        ratio=ratio,
    )
