"""RaMbIT against its definition and against the bare model, and how its time grows."""

from __future__ import annotations

from math import log2
from typing import NamedTuple

import pytest
import torch
from torch import nn

from bench import twin
from bench.timing import best, measure, overhead
from rambit import RaMbIT
from rambit.game.batch_size import BATCH_CAP
from rambit.masks import Block
from rambit.models import GRUClassifier, LSTMClassifier


class Case(NamedTuple):
    network: str
    anchor: str
    H: int
    B: int
    D: int
    T: int
    cells: int  # that the twin is timed on
    rounds: int


CASES = {
    "mask-gru50-small": Case("GRU", "mask", 50, 8, 6, 40, 4, 3),
    "mask-gru50": Case("GRU", "mask", 50, 8, 10, 100, 4, 3),
    "mask-gru200": Case("GRU", "mask", 200, 8, 10, 100, 2, 2),
    "cell-gru50-small": Case("GRU", "cell", 50, 8, 6, 40, 4, 3),
    "cell-gru200": Case("GRU", "cell", 200, 8, 10, 100, 2, 3),
    "mask-lstm200": Case("LSTM", "mask", 200, 8, 10, 100, 2, 2),
    "cell-lstm200": Case("LSTM", "cell", 200, 8, 10, 100, 2, 3),
}
L, W, S = 20, 5, 3
NETWORKS = {"GRU": GRUClassifier, "LSTM": LSTMClassifier}


def setting(H, B, D, T, L, S, device="cpu", network="GRU"):
    torch.manual_seed(0)
    model = NETWORKS[network](D, hidden_size=H).eval()
    data = torch.randn(B, D, T), Block().sample(L, D, T, seed=0).masks, torch.randn(S, B, D, T)
    return model.to(device), *(tensor.to(device) for tensor in data)


@pytest.mark.parametrize("name", CASES)
def test_against_the_definition(benchmark, report, place, name):
    network, anchor, H, B, D, T, count, rounds = CASES[name]
    model, X, masks, draws = setting(H, B, D, T, L, S, place.device, network)
    method = RaMbIT(model, window_size=W, anchor=anchor)

    def ours():
        return method.explain(X, masks=masks, counterfactuals=draws)

    cells = twin.sample_cells(D, T, count)
    expected, theirs = twin.run(model, X, masks, draws, cells, anchor=anchor, window=W)
    values = ours().values
    found = torch.stack([values[:, d, t] for d, t in cells], dim=1).cpu().double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    seconds, result = measure(benchmark, ours, rounds=rounds)
    bare, rows = bare_model(model, X, masks, draws)
    what = f"anchor {anchor}, {network}-{H}, B={B} D={D} T={T} L={L} W={W} S={S}, {place}"
    report(
        what,
        f"{theirs / seconds:.0f} x the definition ({theirs:.0f} s, from {count} cells; ours {seconds:.2f} s)",
        ratio=theirs / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
        overhead=overhead(ours),
    )
    report(
        what,
        f"{seconds / bare:.3f} of the bare model on all {rows:,} rows ({bare:.0f} s, from a sample)",
        ratio=seconds / bare,
        part="bare model",
    )


def bare_model(model, X, masks, draws):
    """Seconds of the plain model on every row of the shared masks, whole and in large batches; and how many rows."""
    (B, D, T), L, S = X.shape, len(masks), len(draws)
    rows = L * S * B * (D * T + 1)
    g, most = torch.Generator().manual_seed(0), BATCH_CAP[X.device.type]
    mask, draw, series = (torch.randint(high, (most,), generator=g).to(X.device) for high in (L, S, B))
    sample = torch.where(masks[mask], X[series], draws[draw, series])
    with torch.inference_mode():
        a_row = min(best(lambda n=n: model(sample[:n]), rounds=2) / n for n in (most // 4, most))
    return rows * a_row, rows


@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_linear_in_masks(benchmark, report, anchor):
    """200 masks at once, and the same masks twenty at a time."""
    model, X, masks, draws = setting(64, 8, 4, 100, 200, 2)
    method = RaMbIT(model, window_size=W, anchor=anchor)

    def evaluate(some):
        return method.explain(X, masks=some, counterfactuals=draws)

    few = masks.split(20)
    evaluate(few[0])
    parts = sum(best(lambda part=part: evaluate(part), rounds=2) for part in few)
    whole, _ = measure(benchmark, lambda: evaluate(masks), rounds=2)
    report(
        f"seconds at L = 200 over ten times those at L = 20, anchor {anchor}",
        f"{whole / parts:.2f} ({whole:.1f} s, ten times {parts / 10:.2f} s)",
        ratio=whole / parts,
    )


@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_growth_in_time(benchmark, report, anchor):
    seconds = {}
    for T in (50, 100, 200, 400):
        model, X, masks, draws = setting(50, 4, 4, T, L, 2)
        method = RaMbIT(model, window_size=W, anchor=anchor, evaluation="stateful")

        def ours(method=method, X=X, masks=masks, draws=draws):
            return method.explain(X, masks=masks, counterfactuals=draws)

        seconds[T] = best(ours, rounds=3) if T < 400 else measure(benchmark, ours, rounds=2)[0]
    exponent = log2(seconds[400] / seconds[50]) / 3
    report(
        f"time ~ T^k from T = 50 to 400, anchor {anchor}",
        f"k = {exponent:.2f} (seconds " + ", ".join(f"{T}: {s:.2f}" for T, s in seconds.items()) + ")",
        ratio=exponent,
    )


class Opaque(nn.Module):
    """A model that can only be called on whole inputs."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_overhead_on_an_opaque_model(benchmark, report, place):
    """Prefix mode: the time of a whole run over the time of the bare model on exactly the same batches."""
    model, X, masks, draws = setting(200, 8, 6, 40, 1, 2, place.device)
    method = RaMbIT(Opaque(model), window_size=W, anchor="mask")

    def ours():
        return method.explain(X, masks=masks, counterfactuals=draws)

    _, result = measure(benchmark, ours, rounds=1)
    ratio = min(overhead(ours) for _ in range(3))
    report(
        f"opaque GRU-200, prefix mode, {place}",
        f"{ratio:.3f} x the bare model on the same batches",
        ratio=ratio,
        rows=result.rows,
        row_steps=result.row_steps,
        overhead=ratio,
    )
