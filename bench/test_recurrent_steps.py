"""What a step of a recurrent layer does beside its matrix products, in one native pass, against torch's operations."""

from __future__ import annotations

import pytest
import torch

from bench.timing import best, measure
from rambit import ops

N, H = 512, 200  # as many rows as step together


def torch_gru(x, h, before):
    reset, update = torch.sigmoid(x[:, : 2 * H] + h[:, : 2 * H]).chunk(2, dim=1)
    proposed = torch.tanh(x[:, 2 * H :] + reset * h[:, 2 * H :])
    return (torch.lerp(proposed, before, update),)


def torch_lstm(x, h, before):
    sums = x + h
    admitted, kept, proposed, shown = sums.chunk(4, dim=1)
    cell = torch.sigmoid(kept) * before + torch.sigmoid(admitted) * torch.tanh(proposed)
    return torch.sigmoid(shown) * torch.tanh(cell), cell


def torch_rnn(x, h, before):
    return (torch.tanh(x + h),)


#: The products for each hidden unit, torch's operations, and ours, which write into ``out``.
KINDS = {
    "gru": (3, torch_gru, lambda out, x, h, bias, before: ops.gru_step(out[0], x, h, bias, bias, before)),
    "lstm": (4, torch_lstm, lambda out, x, h, bias, before: ops.lstm_step(*out, x, h, bias, bias, before)),
    "rnn": (1, torch_rnn, lambda out, x, h, bias, before: ops.rnn_step(out[0], x, h, bias, bias, ops.Activation.TANH)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_step(benchmark, report, threads, kind):
    gates, by_torch, ours = KINDS[kind]
    g = torch.Generator().manual_seed(0)
    x, h = torch.randn(2, N, gates * H, generator=g)
    before, bias = torch.randn(N, H, generator=g), torch.zeros(gates * H)
    out = tuple(torch.empty(N, H) for _ in by_torch(x, h, before))
    ours(out, x, h, bias, before)
    for found, expected in zip(out, by_torch(x, h, before), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    seconds, _ = measure(benchmark, lambda: ours(out, x, h, bias, before), rounds=50)
    theirs = best(lambda: by_torch(x, h, before), rounds=50)
    report(
        f"gates of a step, {kind}, {N} rows of {H} units, {threads}",
        f"{theirs / seconds:.1f} x torch's operations ({1e6 * theirs:.0f} us; ours {1e6 * seconds:.0f} us)",
        ratio=theirs / seconds,
    )
