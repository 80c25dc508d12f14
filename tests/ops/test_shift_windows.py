"""``shift_windows`` against its twin."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit import ops
from tests.naive import ops as naive
from tests.naive.rambit import shifted
from tests.ops.layouts import all_written, assert_refused, bytes_poisoned, rng


def evaluate(device, masks, room, window):
    masks, room = masks.to(device), torch.as_tensor(room, dtype=torch.int32, device=device)
    out = bytes_poisoned((len(masks), window, *masks.shape[1:]), device)
    torch.ops.rambit.shift_windows(out, masks, room)
    assert all_written(out)
    assert torch.equal(out, ops.shift_windows(masks, room, window))
    return out.cpu()


@given(
    data=st.data(),
    L=st.integers(1, 4),
    D=st.integers(1, 4),
    T=st.integers(1, 8),
    window=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_equals_the_twin(device, data, L, D, T, window, seed):
    masks = torch.rand(L, D, T, generator=rng(seed)) < 0.5
    room = data.draw(st.lists(st.integers(0, T), min_size=L, max_size=L))
    assert torch.equal(evaluate(device, masks, room, window), naive.shift_windows(masks, room, window))


def test_a_block_moves_until_the_end_of_the_series(device):
    masks = torch.ones(3, 2, 6, dtype=torch.bool)
    masks[0, 1, 1:3] = False
    masks[1, :, 4:] = False
    out = evaluate(device, masks, [3, 0, 0], 5)
    for l in range(3):
        for w in range(5):
            assert torch.equal(out[l, w], shifted(masks[l], w))


def test_threads_do_not_matter(threads):
    masks = torch.rand(200, 5, 40, generator=rng(0)) < 0.5
    found = []
    for n in (1, 2):
        threads(n)
        found.append(evaluate("cpu", masks, [l % 20 for l in range(200)], 9))
    assert torch.equal(*found)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (2, 2, 0, 4), (2, 2, 3, 0)])
def test_nothing_to_shift(device, shape):
    L, window, D, T = shape
    assert evaluate(device, torch.ones(L, D, T, dtype=torch.bool), [0] * L, window).shape == shape


def bad_calls():
    out, masks = torch.empty(2, 3, 4, 5, dtype=torch.bool), torch.ones(2, 4, 5, dtype=torch.bool)
    room = torch.zeros(2, dtype=torch.int32)
    yield "out rank", (out[0], masks, room)
    yield "masks rank", (out, masks[0], room)
    yield "L", (out, masks[:1], room)
    yield "T", (out, masks[:, :, :4].contiguous(), room)
    yield "room", (out, masks, room[:1])
    yield "room dtype", (out, masks, room.long())
    yield "masks dtype", (out, masks.view(torch.uint8), room)
    yield "masks strides", (out, torch.ones(2, 5, 4, dtype=torch.bool).mT, room)
    yield "out strides", (torch.empty(2, 3, 5, 4, dtype=torch.bool).mT, masks, room)


@pytest.mark.parametrize("call", [pytest.param(c, id=n) for n, c in bad_calls()])
def test_bad_arguments(call):
    assert_refused(torch.ops.rambit.shift_windows, call)


def test_opcheck(device):
    out = torch.empty(2, 3, 4, 5, dtype=torch.bool, device=device)
    masks = torch.rand(2, 4, 5, device=device) < 0.5
    room = torch.tensor([2, 0], dtype=torch.int32, device=device)
    torch.library.opcheck(torch.ops.rambit.shift_windows.default, (out, masks, room))
