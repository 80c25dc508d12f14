"""``put_windows`` against its twin: any place in memory, and nothing written beside the windows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, only_wrote, rng

pytestmark = pytest.mark.wheel

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64]


def make(n, T, K, v, dtype, seed):
    """Values, windows, and starts at which the windows lie within the rows."""
    g = rng(seed)
    values, window = (torch.randint(0, 99, (n, steps, K), generator=g).to(dtype) for steps in (T, v))
    return values, window, torch.randint(0, T - v + 1, (n,), generator=g)


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    data=st.data(),
    n=st.integers(0, 6),
    T=st.integers(1, 9),
    K=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_equals_the_twin(device, dtype, data, n, T, K, seed):
    values, window, start = make(n, T, K, data.draw(st.integers(0, T)), dtype, seed)
    out, memory = laid_out(values.to(device), data.draw(layouts(3)), POISON)
    placed, _ = laid_out(window.to(device), data.draw(layouts(3)), 5)
    assert ops.put_windows(out, placed, start.to(device)) is out
    assert torch.equal(out.cpu(), naive.put_windows(values, window, start))
    assert only_wrote(out, memory)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32])
@pytest.mark.parametrize("K", [3, 16])
def test_elements_of_any_size(device, dtype, K):
    values, window, start = make(5, 6, K, 3, dtype, K)
    out = ops.put_windows(values.clone().to(device), window.to(device), start.to(device))
    assert torch.equal(out.cpu(), naive.put_windows(values, window, start))


def test_threads_and_strides_do_not_matter(threads):
    values, window, start = make(700, 40, 16, 30, torch.float32, 0)
    found = []
    for n in (1, 2):
        threads(n)
        found.append(ops.put_windows(values.clone(), window, start))
    found.append(ops.put_windows(values.mT.contiguous().mT, window.mT.contiguous().mT, start))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def bad_calls():
    values, window, start = make(4, 6, 3, 2, torch.float32, 0)
    yield "out rank", (values[0], window, start)
    yield "window rank", (values, window[0], start)
    yield "complex", (values.to(torch.complex64), window.to(torch.complex64), start)
    yield "dtypes", (values, window.double(), start)
    yield "rows", (values, window[:3], start)
    yield "K", (values, window[..., :2], start)
    yield "wider than the rows", (values[:, :1], window, start * 0)
    yield "start rows", (values, window, start[:3])
    yield "start dtype", (values, window, start.int())
    yield "start strides", (values, window, torch.zeros(8, dtype=torch.int64)[::2])


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.put_windows, call)


@pytest.mark.parametrize("start", [-1, 5, 2**63 - 1, -(2**63)])
def test_what_would_write_out_of_bounds_is_refused(start):
    values, window, starts = make(2, 6, 3, 2, torch.float32, 0)
    starts[1] = start
    assert_refused(torch.ops.rambit.put_windows, (values, window, starts), IndexError, match="window 1 leaves its row")


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(device, dtype):
    torch.library.opcheck(torch.ops.rambit.put_windows.default, tuple(t.to(device) for t in make(4, 6, 8, 2, dtype, 0)))
