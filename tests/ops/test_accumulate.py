"""``accumulate`` against its twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import assert_refused, rng

sizes = st.integers(1, 4)


def make(M, S, B, cells, own, seed):
    """Sums that already hold something, contributions, units and weights, equal within a unit where they must be."""
    g = rng(seed)
    unit = torch.randint(0, 3, (M,), generator=g).cumsum(0)
    of_unit = torch.rand(2, int(unit.max()) + 1 if M else 1, generator=g, dtype=torch.float64) + 0.5
    target_cell = torch.randint(0, cells, (int(unit.max()) + 1 if M else 1,), generator=g, dtype=torch.int32)[unit]
    return (
        torch.randn(B, cells, generator=g, dtype=torch.float64),
        torch.rand(B, cells, generator=g, dtype=torch.float64),
        torch.randn(M, S, B, 1 if own else cells, generator=g, dtype=torch.float64),
        unit.int(),
        torch.rand(M, generator=g, dtype=torch.float64),
        of_unit[0][unit],
        of_unit[1][unit],
        target_cell if own else None,
    )


def on(device, given):
    return [None if t is None else t.to(device) for t in given]


@given(M=sizes, S=sizes, B=sizes, cells=st.integers(1, 6), own=st.booleans(), seed=st.integers(0, 1 << 20))
def test_equals_the_twin(device, M, S, B, cells, own, seed):
    given = make(M, S, B, cells, own, seed)
    expected = naive.accumulate(*given)
    total, squares, *rest = on(device, given)
    ops.accumulate(total, squares, *rest)
    torch.testing.assert_close((total.cpu(), squares.cpu()), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("own", [False, True])
def test_units_at_a_time_give_the_same_bits(device, own):
    total, squares, contributions, unit, *weights, cell = on(device, make(9, 3, 2, 5, own, 1))
    cut = int((unit < unit[4]).sum())
    apart = total.clone(), squares.clone()
    ops.accumulate(total, squares, contributions, unit, *weights, cell)
    for part in (slice(0, cut), slice(cut, None)):
        own_part = None if cell is None else cell[part]
        ops.accumulate(*apart, contributions[part], unit[part], *(w[part] for w in weights), own_part)
    assert torch.equal(total, apart[0])
    assert torch.equal(squares, apart[1])


def test_threads_do_not_matter(threads):
    given = make(20, 3, 8, 500, False, 0)
    found = []
    for n in (1, 2):
        threads(n)
        found.append((given[0].clone(), given[1].clone()))
        ops.accumulate(*found[-1], *given[2:])
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("shape", [(0, 2, 2, 3), (2, 0, 2, 3), (2, 2, 0, 3), (2, 2, 2, 0)])
def test_nothing_to_add(device, shape):
    M, S, B, cells = shape
    given = make(max(M, 1), S, B, max(cells, 1), False, 0)
    given = on(device, (*(t[:, :cells] for t in given[:2]), given[2][:M, ..., :cells], *(t[:M] for t in given[3:7])))
    total, squares = given[0].clone(), given[1].clone()
    ops.accumulate(*given)
    assert torch.equal(given[0], total)
    assert torch.equal(given[1], squares)


NAMES = ("sum", "squares", "contributions", "unit", "weight", "unit_weight", "count", "target_cell")


def bad_calls():
    call = dict(zip(NAMES, make(4, 2, 3, 5, False, 0), strict=True))
    own = dict(zip(NAMES, make(4, 2, 3, 5, True, 0), strict=True))
    yield "sum rank", {**call, "sum": call["sum"][0]}
    yield "sum B", {**call, "sum": call["sum"][:2]}
    yield "sum dtype", {**call, "sum": call["sum"].float()}
    yield "sum strides", {**call, "sum": call["sum"].mT.contiguous().mT}
    yield "squares", {**call, "squares": call["squares"][:2]}
    yield "squares dtype", {**call, "squares": call["squares"].float()}
    yield "contributions rank", {**call, "contributions": call["contributions"][0]}
    yield "contributions dtype", {**call, "contributions": call["contributions"].float()}
    yield "slots", {**call, "contributions": call["contributions"][..., :4].contiguous()}
    for name in NAMES[3:7]:
        yield f"{name} size", {**call, name: call[name][:3]}
        yield f"{name} dtype", {**call, name: call[name].half()}
    yield "own cell of all cells", {**call, "target_cell": own["target_cell"]}
    yield "own cell missing", {**own, "target_cell": None}
    yield "own cell size", {**own, "target_cell": own["target_cell"][:3]}
    yield "own cell dtype", {**own, "target_cell": own["target_cell"].long()}


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.accumulate, call.values())


@pytest.mark.parametrize("own", [False, True])
def test_opcheck(device, own):
    given = on(device, make(4, 2, 3, 5, own, 0))
    torch.library.opcheck(torch.ops.rambit.accumulate.default, tuple(given))
