"""``rnn_step`` against its twin and against ``nn.RNNCell``."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, only_wrote, poisoned, rng

DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}


def make(N, H, dtype, seed, size=3.0):
    """Two products and two biases."""
    g = rng(seed)
    sums = [size * torch.randn(N, H, generator=g, dtype=dtype) for _ in range(2)]
    return (*sums, *(torch.randn(H, generator=g, dtype=dtype) for _ in range(2)))


@given(
    data=st.data(),
    N=st.integers(1, 4),
    H=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    activation=st.sampled_from(list(ops.Activation)),
    seed=st.integers(0, 1 << 20),
)
def test_equals_the_twin(data, N, H, dtype, activation, seed):
    made = make(N, H, dtype, seed)
    expected = naive.rnn_step(*made, activation.name.lower())
    sums, biases = made[:2], made[2:]
    laid = [laid_out(t, data.draw(layouts(2)), POISON)[0] for t in sums]
    out, buffer = poisoned((N, H), data.draw(layouts(2)), dtype, "cpu")
    assert ops.rnn_step(out, *laid, *biases, activation) is out
    torch.testing.assert_close(out, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert only_wrote(out, buffer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(("N", "H"), [(1, 64), (300, 33)])
def test_equals_the_cell(N, H, activation, dtype):
    torch.manual_seed(0)
    module = nn.RNNCell(5, H, nonlinearity=activation).to(dtype)
    x, state = torch.randn(N, 5, dtype=dtype), torch.rand(N, H, dtype=dtype)
    with torch.no_grad():
        sums = x @ module.weight_ih.t(), state @ module.weight_hh.t()
        which = ops.Activation[activation.upper()]
        found = ops.rnn_step(torch.empty_like(state), *sums, module.bias_ih, module.bias_hh, which)
        torch.testing.assert_close(found, module(x, state), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ops.Activation)
def test_infinite_and_missing_sums(dtype, activation):
    sums = torch.tensor([[torch.inf], [-torch.inf], [torch.nan]], dtype=dtype)
    none = sums.new_zeros(1)
    out = ops.rnn_step(torch.empty_like(sums), sums, torch.zeros_like(sums), none, none, activation)[:, 0]
    expected = [1, -1, torch.nan] if activation == ops.Activation.TANH else [torch.inf, 0, torch.nan]
    torch.testing.assert_close(out, torch.tensor(expected, dtype=dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_strides_do_not_matter(threads, dtype):
    made, found = make(700, 30, dtype, 0), []
    for n in (1, 2):
        threads(n)
        found.append(ops.rnn_step(torch.empty(700, 30, dtype=dtype), *made, ops.Activation.TANH))
    found.append(ops.rnn_step(torch.empty(30, 700, dtype=dtype).t(), *made, ops.Activation.TANH))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_step(shape):
    made, out = make(*shape, torch.float32, 0), torch.empty(shape)
    assert ops.rnn_step(out, *made, ops.Activation.RELU).shape == shape


def bad_calls():
    names = ("input_sums", "hidden_sums", "input_bias", "hidden_bias")
    call = {"out": torch.empty(4, 5), **dict(zip(names, make(4, 5, torch.float32, 0), strict=True)), "activation": 0}
    yield "out rank", {**call, "out": torch.empty(20)}
    yield "half", {name: t.half() if name != "activation" else t for name, t in call.items()}
    for name in names:
        yield f"{name} dtype", {**call, name: call[name].double()}
        yield f"{name} shape", {**call, name: call[name][..., :-1].contiguous()}
    yield "activation", {**call, "activation": 2}
    yield "no activation", {**call, "activation": -1}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.rnn_step, call.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype):
    out = torch.empty(4, 5, dtype=dtype)
    torch.library.opcheck(torch.ops.rambit.rnn_step.default, (out, *make(4, 5, dtype, 0), 0))
