"""WinIT against the way it is usually written: one model call for each prediction, window and feature."""

from __future__ import annotations

import time

import pytest
import torch

from bench.timing import measure, overhead
from rambit.attribution import WinIT
from rambit.models import GRUClassifier


def twin(module, X, draws, window):
    """Windows (B, D, T, W), and the seconds inside the model; each call has batch S * B, as the original's."""
    S, B, D, T = draws.shape
    out = torch.zeros(B, D, T, window, dtype=torch.float64)
    inside = 0.0

    def evaluate(x):
        nonlocal inside
        begin = time.perf_counter()
        output = module(x).softmax(1)
        inside += time.perf_counter() - begin
        return output

    with torch.inference_mode():
        for t in range(1, T):
            p = evaluate(X[:, :, : t + 1])
            for d in range(D):
                before = torch.zeros(B, dtype=torch.float64)
                for n in range(1, min(t, window) + 1):
                    x = X[None, :, :, : t + 1].repeat(S, 1, 1, 1)
                    x[:, :, d, t - n + 1 :] = draws[:, :, d, t - n + 1 : t + 1]
                    q = evaluate(x.flatten(0, 1)).view(S, B, -1)
                    now = (q - p).abs().sum(2).double().mean(0).clamp(-1e6, 1e6)
                    out[:, d, t, window - n] = now - before
                    before = now
    return out, inside


CASES = {"small": (50, 8, 3, 40, 5, 3), "large": (200, 4, 3, 80, 10, 3)}


@pytest.mark.parametrize("case", CASES)
def test_against_one_call_a_window(benchmark, report, threads, case):
    H, B, D, T, W, S = CASES[case]
    torch.manual_seed(0)
    model = GRUClassifier(D, hidden_size=H).eval()
    X, draws = torch.randn(B, D, T), torch.randn(S, B, D, T)
    method = WinIT(model, window_size=W)

    def ours():
        return method.explain(X, counterfactuals=draws)

    expected, theirs = twin(model, X, draws, W)
    torch.testing.assert_close(ours().windows.double(), expected, rtol=1e-3, atol=2e-6)
    seconds, result = measure(benchmark, ours, rounds=5)
    report(
        f"WinIT, GRU-{H}, B={B} D={D} T={T} W={W} S={S}, {threads}",
        f"1/{theirs / seconds:.0f} of the twin's model time ({theirs:.1f} s; ours {seconds:.2f} s)",
        ratio=theirs / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
        overhead=overhead(ours),
    )
