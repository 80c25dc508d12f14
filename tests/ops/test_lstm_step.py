"""``lstm_step`` against its twin and against ``nn.LSTMCell``."""

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
#: Of values of size one; what the sums of gates round counts most.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}


def make(N, H, dtype, seed, size=3.0):
    """Gates of two products, two biases, and a cell."""
    g = rng(seed)
    gates = [size * torch.randn(N, 4 * H, generator=g, dtype=dtype) for _ in range(2)]
    biases = [torch.randn(4 * H, generator=g, dtype=dtype) for _ in range(2)]
    return (*gates, *biases, 2 * torch.rand(N, H, generator=g, dtype=dtype) - 1)


@given(
    data=st.data(),
    N=st.integers(1, 4),
    H=st.integers(1, 20),
    dtype=st.sampled_from(DTYPES),
    size=st.sampled_from([0.01, 1.0, 3.0]),
    seed=st.integers(0, 1 << 20),
)
def test_equals_the_twin(data, N, H, dtype, size, seed):
    made = make(N, H, dtype, seed, size)
    expected, cells = naive.lstm_step(*made)
    input_gates, hidden_gates, input_bias, hidden_bias, cell = made
    input_gates, hidden_gates, cell = (
        laid_out(t, data.draw(layouts(2)), POISON)[0] for t in (input_gates, hidden_gates, cell)
    )
    out, buffer = poisoned((N, H), data.draw(layouts(2)), dtype, "cpu")
    after, cell_buffer = poisoned((N, H), data.draw(layouts(2)), dtype, "cpu")
    assert ops.lstm_step(out, after, input_gates, hidden_gates, input_bias, hidden_bias, cell) is out
    torch.testing.assert_close(out, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    torch.testing.assert_close(after, cells, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert only_wrote(out, buffer)
    assert only_wrote(after, cell_buffer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H"), [(1, 64), (7, 50), (300, 33)])
def test_equals_the_cell(N, H, dtype):
    torch.manual_seed(0)
    module, D = nn.LSTMCell(5, H).to(dtype), 5
    x, (hidden, cell) = torch.randn(N, D, dtype=dtype), torch.rand(2, N, H, dtype=dtype)
    with torch.no_grad():
        gates = x @ module.weight_ih.t(), hidden @ module.weight_hh.t()
        after = torch.empty_like(cell)
        found = ops.lstm_step(torch.empty_like(cell), after, *gates, module.bias_ih, module.bias_hh, cell)
        expected = module(x, (hidden, cell))
    tolerance = 1e-6 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close((found, after), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_and_missing_gates(dtype):
    inf, nan = torch.inf, torch.nan
    gates = [[inf, -inf, inf, inf], [-inf, inf, 0, inf], [0, 0, 0, -inf], [nan, 0, 0, 0], [0, 0, 0, nan]]
    gates = torch.tensor(gates, dtype=dtype)
    hidden, none, cell = torch.zeros_like(gates), gates.new_zeros(4), gates.new_full((5, 1), 0.25)
    out, after = gates.new_empty(5, 1), gates.new_empty(5, 1)
    ops.lstm_step(out, after, gates, hidden, none, none, cell)
    out, after = out[:, 0], after[:, 0]
    torch.testing.assert_close(after[[0, 1, 2, 4]], torch.tensor([1, 0.25, 0.125, 0.125], dtype=dtype))
    expected = torch.tensor([1.0, 0.25], dtype=dtype).tanh()
    torch.testing.assert_close(out[:3], torch.cat((expected, expected.new_zeros(1))), rtol=0, atol=1e-6)
    assert out[3:].isnan().all()
    assert after[3].isnan()


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_strides_do_not_matter(threads, dtype):
    made = make(700, 30, dtype, 0)
    found = []
    for n in (1, 2):
        threads(n)
        after = torch.empty(700, 30, dtype=dtype)
        found.append((ops.lstm_step(torch.empty(700, 30, dtype=dtype), after, *made), after))
    after = torch.empty(30, 700, dtype=dtype).t()
    found.append((ops.lstm_step(torch.empty(30, 700, dtype=dtype).t(), after, *made), after))
    for other in found[1:]:
        assert torch.equal(found[0][0], other[0])
        assert torch.equal(found[0][1], other[1])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_step(shape):
    made, out = make(*shape, torch.float32, 0), torch.empty(shape)
    assert ops.lstm_step(out, torch.empty(shape), *made).shape == shape


def bad_calls():
    names = ("input_gates", "hidden_gates", "input_bias", "hidden_bias", "cell")
    call = {"out": torch.empty(4, 5), "cell_out": torch.empty(4, 5)}
    call |= dict(zip(names, make(4, 5, torch.float32, 0), strict=True))
    yield "out rank", {**call, "out": torch.empty(20)}
    yield "half", {name: t.half() for name, t in call.items()}
    for name in ("cell_out", *names):
        yield f"{name} dtype", {**call, name: call[name].double()}
        yield f"{name} shape", {**call, name: call[name][..., :-1].contiguous()}
    yield "rows", {**call, "cell": call["cell"][:3]}
    yield "bias strides", {**call, "input_bias": torch.zeros(40)[::2]}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.lstm_step, call.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype):
    out = [torch.empty(4, 5, dtype=dtype) for _ in range(2)]
    torch.library.opcheck(torch.ops.rambit.lstm_step.default, (*out, *make(4, 5, dtype, 0)))
