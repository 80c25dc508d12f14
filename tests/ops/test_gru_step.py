"""``gru_step`` against its twin and against ``nn.GRUCell``."""

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
    """Gates of two products, two biases, and a state as a GRU leaves it: within (-1, 1)."""
    g = rng(seed)
    gates = [size * torch.randn(N, 3 * H, generator=g, dtype=dtype) for _ in range(2)]
    biases = [torch.randn(3 * H, generator=g, dtype=dtype) for _ in range(2)]
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
    given = make(N, H, dtype, seed, size)
    expected = naive.gru_step(*given)
    input_gates, hidden_gates, input_bias, hidden_bias, state = given
    input_gates, hidden_gates, state = (
        laid_out(t, data.draw(layouts(2)), POISON)[0] for t in (input_gates, hidden_gates, state)
    )
    out, buffer = poisoned((N, H), data.draw(layouts(2)), dtype, "cpu")
    assert ops.gru_step(out, input_gates, hidden_gates, input_bias, hidden_bias, state) is out
    torch.testing.assert_close(out, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert only_wrote(out, buffer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("N", "H"), [(1, 64), (7, 50), (300, 33)])
def test_equals_the_cell(N, H, dtype):
    torch.manual_seed(0)
    cell, D = nn.GRUCell(5, H).to(dtype), 5
    x, state = torch.randn(N, D, dtype=dtype), torch.rand(N, H, dtype=dtype)
    with torch.no_grad():
        gates = x @ cell.weight_ih.t(), state @ cell.weight_hh.t()
        found = ops.gru_step(torch.empty_like(state), *gates, cell.bias_ih, cell.bias_hh, state)
        torch.testing.assert_close(found, cell(x, state), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


def test_gates_are_correct_to_a_few_units_in_the_last_place():
    """The update gate alone, then the new value alone, over all sizes that move them."""
    x = torch.cat((torch.linspace(-79, 79, 20001), torch.logspace(-30, 1, 2001), -torch.logspace(-30, 1, 2001)))
    zero, far = torch.zeros_like(x), torch.full_like(x, -1e9)
    none = torch.zeros(3)

    def step(reset, update, new, state):
        gates = torch.stack((reset, update, new), dim=1)
        out = torch.empty(len(x), 1)
        return ops.gru_step(out, gates, torch.zeros_like(gates), none, none, state[:, None])[:, 0]

    def units(found, expected):
        spacing = (
            torch.nextafter(expected.float().abs(), torch.tensor(torch.inf)).double() - expected.float().abs().double()
        )
        return float(((found.double() - expected) / spacing).abs().max())

    assert units(step(zero, x, zero, torch.ones_like(x)), x.double().sigmoid()) < 3
    moved = x[x.abs() > 1e-25]  # the update gate does not close beyond 1e-35
    keep = x.abs() > 1e-25
    assert units(step(zero, far, x, zero)[keep], moved.double().tanh()) < 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_and_missing_gates(dtype):
    inf, nan = torch.inf, torch.nan
    gates = torch.tensor([[0, inf, 0], [0, -inf, inf], [0, -inf, -inf], [nan, 0, 1], [0, nan, 0], [0, 0, nan]])
    gates = gates.to(dtype)
    hidden, none = torch.zeros_like(gates), gates.new_zeros(3)
    out = ops.gru_step(gates.new_empty(6, 1), gates, hidden, none, none, gates.new_full((6, 1), 0.25))[:, 0]
    torch.testing.assert_close(out[:3], torch.tensor([0.25, 1, -1], dtype=dtype))
    assert out[3:].isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_and_strides_do_not_matter(threads, dtype):
    given = make(700, 30, dtype, 0)
    found = []
    for n in (1, 2):
        threads(n)
        found.append(ops.gru_step(torch.empty(700, 30, dtype=dtype), *given))
    found.append(ops.gru_step(torch.empty(30, 700, dtype=dtype).t(), *given))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_step(shape):
    given = make(*shape, torch.float32, 0)
    assert ops.gru_step(torch.empty(shape), *given).shape == shape


def bad_calls():
    names = ("input_gates", "hidden_gates", "input_bias", "hidden_bias", "state")
    call = {"out": torch.empty(4, 5), **dict(zip(names, make(4, 5, torch.float32, 0), strict=True))}
    yield "out rank", {**call, "out": torch.empty(20)}
    yield "half", {name: t.half() for name, t in call.items()}
    for name in names:
        yield f"{name} dtype", {**call, name: call[name].double()}
        yield f"{name} shape", {**call, name: call[name][..., :-1].contiguous()}
    yield "rows", {**call, "state": call["state"][:3]}
    yield "bias strides", {**call, "input_bias": torch.zeros(30)[::2]}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.gru_step, call.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype):
    torch.library.opcheck(torch.ops.rambit.gru_step.default, (torch.empty(4, 5, dtype=dtype), *make(4, 5, dtype, 0)))
