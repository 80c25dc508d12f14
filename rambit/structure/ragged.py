"""Ragged arrays: segments of different lengths, one after another. Segment i is ``offsets[i]`` … ``offsets[i+1]-1``."""

from __future__ import annotations

import torch
from torch import Tensor


def offsets_of(lengths: Tensor) -> Tensor:
    """(n + 1,) offsets of segments of the given lengths (n,)."""
    return torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))


def owners(offsets: Tensor) -> Tensor:
    """(members,) int64: the segment that each member belongs to."""
    segments = torch.arange(len(offsets) - 1, device=offsets.device)
    return segments.repeat_interleave(offsets.diff())


def spread(offsets: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The members of the segments ``index`` (R,), one segment after another.

    Returns (owner, member), both (Q,): which entry of ``index`` a member comes from, and which member it is.
    """
    first, lengths = offsets[index], offsets.diff()[index]
    owner = torch.arange(len(index), device=index.device).repeat_interleave(lengths)
    start = lengths.cumsum(0) - lengths
    return owner, torch.arange(len(owner), device=index.device) + (first - start)[owner]


def segment_sum(values: Tensor, owner: Tensor, segments: int) -> Tensor:
    """(segments, ...): the sum of the ``values`` (Q, ...) of each owner; 0 where there are none."""
    return values.new_zeros(segments, *values.shape[1:]).index_add(0, owner, values)


def segment_max(values: Tensor, owner: Tensor, segments: int) -> Tensor:
    """(segments, H): the largest of the ``values`` (Q, H) >= 0 of each owner; 0 where there are none."""
    floor = values.new_zeros(segments, values.shape[1])
    return floor.scatter_reduce(0, owner[:, None].expand_as(values), values, "amax")


def segment_any(values: Tensor, owner: Tensor, segments: int) -> Tensor:
    """(segments,): whether one of the ``values`` (Q,) of each owner holds.

    Of floats in [0, 1], the probability that one of independent events happens: 1 - Π (1 - value).
    """
    if values.dtype == torch.bool:
        return torch.zeros(segments, dtype=torch.int64, device=values.device).index_add(0, owner, values.long()) > 0
    return 1 - values.new_ones(segments).scatter_reduce(0, owner, 1 - values, "prod")


def any_of(values: Tensor) -> Tensor:
    """``segment_any`` along the last axis."""
    return values.any(-1) if values.dtype == torch.bool else 1 - (1 - values).prod(-1)
