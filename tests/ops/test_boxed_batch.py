"""``boxed_batch`` against its twin: any place in memory, any element size, over what a row held before."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.ops.layouts import all_written, assert_refused, bytes_poisoned, laid_out, layouts, only_wrote, poisoned, rng

pytestmark = pytest.mark.wheel

sizes = st.integers(1, 5)


def random_boxes(n, grid, seed, most=4):
    """Boxes (K, 6), some of them empty, and offsets (n + 1,)."""
    g = rng(seed)
    counts = torch.randint(0, most + 1, (n,), generator=g)
    ends = [torch.randint(0, size + 1, (int(counts.sum()), 2), generator=g) for size in grid]
    boxes = torch.stack([e.sort(dim=1).values for e in ends], dim=1).flatten(1).int()
    return boxes, torch.cat((torch.zeros(1, dtype=torch.int64), counts.cumsum(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(data=st.data(), n=st.integers(0, 6), C=sizes, Z=sizes, Y=sizes, X=sizes, seed=st.integers(0, 10**6))
def test_equals_the_twin(dtype, data, n, C, Z, Y, X, seed):
    g = rng(seed)
    inside, outside = (torch.randn(C, Z, Y, X, generator=g).to(dtype) for _ in range(2))
    inside = laid_out(inside, data.draw(layouts(4)), 5)[0]
    outside = laid_out(outside, data.draw(layouts(4)), 6)[0]
    boxes, offsets = random_boxes(n, (Z, Y, X), seed)
    out, memory = poisoned((n, C, Z, Y, X), data.draw(layouts(5)), dtype, "cpu")
    ops.boxed_batch(out, inside, outside, boxes, offsets)
    assert torch.equal(out, naive.boxed_batch(inside, outside, boxes, offsets))
    assert only_wrote(out, memory)


@given(n=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_paints_masks(n, seed):
    grid = (2, 4, 5)
    boxes, offsets = random_boxes(n, grid, seed)
    yes = torch.ones(1, *grid, dtype=torch.bool)
    out = ops.boxed_batch(bytes_poisoned((n, 1, *grid), "cpu"), yes, ~yes, boxes, offsets)
    assert all_written(out)
    assert torch.equal(out, naive.boxed_batch(yes, ~yes, boxes, offsets))


@given(n=st.integers(1, 6), before=st.integers(1, 8), seed=st.integers(0, 10**6), same=st.booleans())
def test_over_what_the_rows_held_before(n, before, seed, same):
    """More rows before than now, or fewer: those that held nothing known are written whole."""
    g = rng(seed)
    grid = (2, 5, 6)
    inside, outside = torch.randn(3, *grid, generator=g), torch.randn(3, *grid, generator=g)
    old = random_boxes(before, grid, seed + 1, most=3)
    new = old if same and n == before else random_boxes(n, grid, seed + 2)
    buffer = torch.full((max(n, before), 3, *grid), torch.nan)
    ops.boxed_batch(buffer[:before], inside, outside, *old)
    other = torch.randn(3, *grid, generator=g)  # the values inside may be others now
    ops.boxed_batch(buffer[:n], other, outside, *new, stale=old)
    assert torch.equal(buffer[:n], naive.boxed_batch(other, outside, *new))


def test_on_every_device(device):
    grid = (3, 4, 5)
    g = rng(3)
    inside, outside = torch.randn(2, *grid, generator=g), torch.randn(2, *grid, generator=g)
    boxes, offsets = random_boxes(7, grid, 4)
    out = torch.empty(7, 2, *grid, device=device)
    there = [t.to(device) for t in (inside, outside, boxes, offsets)]
    ops.boxed_batch(out, *there)
    ops.boxed_batch(out, *there, stale=(there[2], there[3]))
    assert torch.equal(out.cpu(), naive.boxed_batch(inside, outside, boxes, offsets))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, o: (b + 3, o), "leaves the grid"),
        (lambda b, o: (b - 1, o), "leaves the grid"),
        (lambda b, o: (b, o + 1), "point outside the boxes"),
        (lambda b, o: (b, o.flip(0)), "point outside the boxes"),
        (lambda b, o: (b, o[:-1]), "offsets"),
        (lambda b, o: (b[:, :4], o), "boxes"),
        (lambda b, o: (b.long(), o), "boxes"),
    ],
)
def test_what_would_read_out_of_bounds_is_refused(change, message):
    boxes = torch.tensor([[0, 1, 0, 2, 0, 3], [0, 1, 1, 2, 1, 3]], dtype=torch.int32)
    offsets = torch.tensor([0, 1, 2])
    inside, outside = torch.ones(1, 1, 2, 3), torch.zeros(1, 1, 2, 3)
    arguments = (torch.empty(2, 1, 1, 2, 3), inside, outside, *change(boxes, offsets))
    assert_refused(torch.ops.rambit.boxed_batch, arguments, (RuntimeError, IndexError), match=message)


def test_opcheck():
    boxes, offsets = random_boxes(3, (2, 2, 3), 1)
    out = torch.empty(3, 1, 2, 2, 3)
    arguments = (out, torch.ones(1, 2, 2, 3), torch.zeros(1, 2, 2, 3), boxes, offsets, None, None)
    torch.library.opcheck(torch.ops.rambit.boxed_batch.default, arguments)
