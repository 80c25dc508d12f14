"""Tensors of the same values in any place of memory: other orders, gaps between elements, offsets."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import strategies as st

POISON = -12344.0  # in every floating type; no test draws it


def layouts(rank):
    """An order of the dimensions in memory, and whether elements or lines stand apart."""
    return st.tuples(
        st.sampled_from(list(itertools.permutations(range(rank)))), st.sampled_from(["dense", "padded", "strided"])
    )


def laid_out(values, layout, around):
    """A view equal to ``values``, and the buffer that it lies in, which holds ``around`` elsewhere."""
    order, gaps = layout
    sizes = [values.shape[i] for i in order]
    step = 2 if gaps == "strided" else 1
    room = [step * n + (0 if gaps == "dense" else 3) for n in sizes]
    buffer = torch.full(room, around, dtype=values.dtype, device=values.device)
    begin = 0 if gaps == "dense" else 2
    inner = buffer[tuple(slice(begin, begin + step * n, step) for n in sizes)]
    view = inner.permute([order.index(i) for i in range(len(order))])
    view.copy_(values)
    return view, buffer


def poisoned(shape, layout, dtype, device):
    """An output that holds poison, and its buffer."""
    return laid_out(torch.full(shape, POISON, dtype=dtype, device=device), layout, POISON)


def only_wrote(view, buffer):
    """Whether everything around the view is still poison; the view itself is spent."""
    view.fill_(POISON)
    return bool((buffer == POISON).all())


def bytes_poisoned(shape, device):
    """A bool output that holds no bool: every byte must be written."""
    return torch.full(shape, 0xAA, dtype=torch.uint8, device=device).view(torch.bool)


def all_written(out):
    return bool((out.view(torch.uint8) <= 1).all())


def rng(seed):
    return torch.Generator().manual_seed(seed)


def written(op, arguments):
    """The arguments that an op writes."""
    schema = op.default._schema.arguments
    return [t for t, a in zip(arguments, schema, strict=False) if a.alias_info is not None and a.alias_info.is_write]


def raw(t):
    """The bytes of a tensor: NaN is equal to itself."""
    return t.contiguous().view(torch.uint8)


def assert_refused(op, arguments, error=RuntimeError, match="rambit"):
    """The call raises, and nothing of what it was to write has changed."""
    arguments = list(arguments)
    before = [raw(t).clone() for t in written(op, arguments)]
    with pytest.raises(error, match=match):
        op(*arguments)
    assert all(torch.equal(raw(t), b) for t, b in zip(written(op, arguments), before, strict=True))
