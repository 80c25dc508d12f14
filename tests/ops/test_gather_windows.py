"""``gather_windows`` against its twin: any place in memory, starts within the series and outside of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import POISON, assert_refused, laid_out, layouts, only_wrote, poisoned, raw, rng

pytestmark = pytest.mark.wheel

FLOATING = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
DTYPES = [*FLOATING, torch.int64]


def make(n, R, T, K, w, v, dtype, seed):
    """Places, which of them each row is of, a window for each, and starts before the series, in it and behind."""
    g = rng(seed)
    places, window = (torch.randint(0, 99, shape, generator=g).to(dtype) for shape in ((R, T, K), (n, v, K)))
    start, window_start = (torch.randint(-size - 1, T + 2, (n,), generator=g) for size in (w, v))
    return places, torch.randint(0, R, (n,), generator=g), start, window, window_start


@pytest.mark.parametrize("dtype", DTYPES)
@given(
    data=st.data(),
    n=st.integers(0, 6),
    R=st.integers(1, 3),
    T=st.integers(1, 9),
    K=st.integers(1, 9),
    w=st.integers(1, 12),
    v=st.integers(0, 5),
    windowed=st.booleans(),
    outside=st.sampled_from([0.0, -torch.inf, 1.5]),
    seed=st.integers(0, 10**6),
)
def test_equals_the_twin(device, dtype, data, n, R, T, K, w, v, windowed, outside, seed):
    places, which, start, window, window_start = make(n, R, T, K, w, v, dtype, seed)
    outside = outside if dtype.is_floating_point else 0
    own = (window, window_start) if windowed else (None, None)
    expected = naive.gather_windows(places, which, start, w, *own, outside)
    if windowed:
        own = laid_out(window.to(device), data.draw(layouts(3)), 5)[0], window_start.to(device)
    out, memory = poisoned((n, w, K), data.draw(layouts(3)), dtype, device)
    there = [t.to(device) for t in (places, which, start)]
    assert ops.gather_windows(out, *there, *own, outside) is out
    assert torch.equal(out.cpu(), expected)
    assert only_wrote(out, memory)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32])
@pytest.mark.parametrize("K", [3, 16])
def test_elements_of_any_size(device, dtype, K):
    made = make(5, 2, 6, K, 7, 3, dtype, K)
    out = torch.ones(5, 7, K, dtype=dtype, device=device)
    places, which, start, *own = (t.to(device) for t in made)
    ops.gather_windows(out, places, which, start, *own)
    assert torch.equal(out.cpu(), naive.gather_windows(*made[:3], 7, *made[3:]))


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("outside", [0.1, -0.0, torch.inf, torch.nan, 6e4, 1e-30])
def test_outside_is_rounded_as_torch_rounds(device, dtype, outside):
    out = torch.full((1, 3, 2), POISON, dtype=dtype, device=device)
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    ops.gather_windows(out, out.new_zeros(1, 0, 2), zero, zero, outside=outside)
    expected = torch.full((1, 3, 2), outside, dtype=dtype)
    torch.testing.assert_close(out.cpu(), expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(out.cpu().signbit(), expected.signbit())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_keep_their_bits(device, dtype):
    """A NaN of any kind is moved as it is."""
    ints = torch.int32 if dtype == torch.float32 else torch.int64
    nan = torch.tensor([torch.nan], dtype=dtype).view(ints)
    places, window = ((nan + k).view(dtype).expand(1, 4, 8).contiguous().to(device) for k in (1, 2))
    at = torch.zeros(1, dtype=torch.int64, device=device)
    out = ops.gather_windows(torch.empty_like(places), places, at, at, window[:, :2].contiguous(), at + 1)
    expected = places.clone()
    expected.view(ints)[:, 1:3] = window.view(ints)[:, :2]
    assert torch.equal(raw(out), raw(expected))


def test_threads_and_strides_do_not_matter(threads):
    places, which, start, *own = make(700, 3, 50, 16, 20, 5, torch.float32, 0)
    found = []
    for n in (1, 2):
        threads(n)
        found.append(ops.gather_windows(torch.empty(700, 20, 16), places, which, start, *own, -torch.inf))
    window, window_start = own
    transposed = torch.empty(700, 16, 20).mT
    found.append(
        ops.gather_windows(
            transposed, places, which, start, window.mT.contiguous().mT, window_start, outside=-torch.inf
        )
    )
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def bad_calls():
    places, which, start, window, window_start = make(4, 2, 6, 3, 5, 2, torch.float32, 0)
    call = {"out": torch.empty(4, 5, 3), "places": places, "which": which, "start": start, "window": window}
    call |= {"window_start": window_start, "outside": 0.0}
    yield "out rank", {**call, "out": torch.empty(20, 3)}
    yield "out dtype", {**call, "out": torch.empty(4, 5, 3, dtype=torch.int64)}
    same = ("out", "places", "window")
    yield "complex", {**call, **{name: call[name].to(torch.complex64) for name in same}}
    yield "outside of integers", {**call, **{name: call[name].long() for name in same}, "outside": 1.0}
    yield "K", {**call, "out": torch.empty(4, 5, 4)}
    yield "rows", {**call, "out": torch.empty(5, 5, 3)}
    yield "places strides", {**call, "places": places.mT.contiguous().mT}
    for name in ("places", "window"):
        yield f"{name} dtype", {**call, name: call[name].double()}
        yield f"{name} K", {**call, name: call[name][..., :-1].contiguous()}
    for name in ("which", "start", "window_start"):
        yield f"{name} dtype", {**call, name: call[name].int()}
        yield f"{name} rows", {**call, name: call[name][:3]}
    yield "window rows", {**call, "window": window[:3]}
    yield "outside", {**call, "outside": 1e300}
    yield "window alone", {**call, "window_start": None}
    yield "window_start alone", {**call, "window": None}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.gather_windows, call.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"which": 2}, "row 1 is of none of the places"),
        ({"which": -1}, "row 1 is of none of the places"),
        ({"start": 2**63 - 1}, "row 1 or its window starts too far away"),
        ({"start": -(2**63)}, "row 1 or its window starts too far away"),
        ({"window_start": -(2**63)}, "row 1 or its window starts too far away"),
    ],
)
def test_what_would_read_out_of_bounds_is_refused(change, message):
    places, which, start, window, window_start = make(2, 2, 6, 3, 5, 2, torch.float32, 0)
    call = {"which": which, "start": start, "window": window, "window_start": window_start}
    for name, value in change.items():
        call[name][1] = value
    arguments = (torch.full((2, 5, 3), POISON), places, *call.values(), 0.0)
    assert_refused(torch.ops.rambit.gather_windows, arguments, IndexError, match=message)


@pytest.mark.parametrize(("start", "window_start"), [(2**61, 2**61 - 1), (-(2**61), -(2**61) + 1), (2**61, -(2**61))])
def test_starts_as_far_away_as_they_may_be(start, window_start):
    at = (torch.tensor([0]), torch.tensor([start]))
    own = torch.full((1, 2, 3), 5.0), torch.tensor([window_start])
    out = ops.gather_windows(torch.empty(1, 4, 3), torch.ones(1, 6, 3), *at, *own, 7.0)
    assert torch.equal(out, naive.gather_windows(torch.ones(1, 6, 3), *at, 4, *own, 7.0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("windowed", [False, True])
def test_opcheck(device, dtype, windowed):
    places, which, start, *own = (t.to(device) for t in make(4, 2, 6, 8, 5, 2, dtype, 0))
    out = torch.empty(4, 5, 8, dtype=dtype, device=device)
    arguments = (out, places, which, start, *(own if windowed else (None, None)), 0.0)
    torch.library.opcheck(torch.ops.rambit.gather_windows.default, arguments)
