"""What a game of several inputs explains, and the questions about it: which elements of which inputs each row keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TupleSample:
    """Inputs ``tensors`` (B, …) of any rank and type, and what replaces their elements.

    ``values``: one for each, that broadcasts to it. ``args``: what the model is given after them; those for which
    ``by_row`` is True hold rows (B, …), which go with those of the inputs, the others are passed as they are.
    """

    tensors: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    args: tuple[Any, ...] = ()
    by_row: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.tensors[0])

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of one row of all inputs."""
        return sum(tensor.nbytes for tensor in self.tensors) // len(self)

    def rows(self, index: int, question: Question, begin: int, end: int) -> Tensor:
        """An input in the question's rows begin … end-1, each of B: (rows * B, …)."""
        x, count = self.tensors[index], end - begin
        kept = question.kept(index, begin, end)
        if kept is not None:
            values = question.values(index, begin, end)
            values = self.values[index] if values is None else values
            return torch.where(kept, x, values).view(count * len(x), *x.shape[1:])
        return x if count == 1 else x.expand(count, *x.shape).reshape(count * len(x), *x.shape[1:])

    def args_of(self, count: int) -> tuple[Any, ...]:
        """``args`` for as many copies of the batch."""
        if count == 1:
            return self.args
        return tuple(
            torch.cat([arg] * count) if by_row else arg for arg, by_row in zip(self.args, self.by_row, strict=True)
        )


class Question(ABC):
    """Rows of a sample; row 0 is the one that all others are compared with."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        """Which elements of an input rows begin … end-1 keep, (end - begin, 1 or B, …) bool; None: all of them."""

    def values(self, index: int, begin: int, end: int) -> Tensor | None:
        """What replaces elements of an input in these rows, (end - begin, B, …); None: the sample's values."""
        return None

    def span(self) -> tuple[Int64, Int64] | None:
        """Of all rows but the first, where in the only input they replace elements: the first place along each of its
        axes and the one after the last, (N - 1, axes) each. None: in no such place, or there are several inputs."""
        return None


class Whole(Question):
    """The inputs as they are, alone."""

    def __len__(self) -> int:
        return 1

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        return None


class Singles(Question):
    """The inputs as they are, then each element of each input replaced alone, in their order."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.shapes = [tensor.shape[1:] for tensor in tensors]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.first = np.cumsum([1, *self.sizes]).tolist()  # the rows in which each input's first element is replaced
        self.like = tensors[0]

    def __len__(self) -> int:
        return int(self.first[-1])

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        if end <= self.first[index] or begin >= self.first[index + 1]:
            return None
        found = memory.full((end - begin, self.sizes[index]), self.like, True, torch.bool)
        found.diagonal(begin - self.first[index]).fill_(False)
        return found.view(end - begin, 1, *self.shapes[index])

    def span(self) -> tuple[Int64, Int64] | None:
        if len(self.shapes) > 1:
            return None
        place = np.stack(np.unravel_index(np.arange(self.sizes[0]), self.shapes[0]), axis=1)
        return place, place + 1


class Groups(Question):
    """The inputs as they are, then all elements of each group replaced together.

    ``ids``: which group each element is of, (1 or B, …) int64 for each input; ``order`` (groups,): the row of each.
    """

    def __init__(self, ids: Sequence[Tensor], order: Tensor) -> None:
        self.ids = ids
        nobody = order.min().view(1) - 1
        self.order = torch.cat((nobody, order))
        self.has = [torch.isin(self.order, one).tolist() for one in ids]

    def __len__(self) -> int:
        return len(self.order)

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        if not any(self.has[index][begin:end]):
            return None
        ids = self.ids[index]
        return ids != self.order[begin:end].view(-1, *[1] * ids.ndim)

    def span(self) -> tuple[Int64, Int64] | None:
        if len(self.ids) > 1:
            return None
        (ids,), (known, rank) = self.ids, self.order[1:].sort()
        row = rank[torch.searchsorted(known, ids.contiguous())].flatten()
        start = torch.stack([torch.full_like(known, size) for size in ids.shape[1:]], dim=1)
        stop = torch.zeros_like(start)
        for axis, size in enumerate(ids.shape[1:]):
            place = torch.arange(size, device=ids.device).view(-1, *[1] * (ids.ndim - axis - 2)).expand(ids.shape)
            start[:, axis].scatter_reduce_(0, row, place.flatten(), "amin")
            stop[:, axis].scatter_reduce_(0, row, place.flatten() + 1, "amax")
        return start.cpu().numpy(), stop.cpu().numpy()


class Shuffled(Groups):
    """The inputs as they are, then each group's elements taken from other examples.

    ``permutation(n)`` gives the examples (n,) int64 they are taken from; it is called for each group in ``order`` and
    each input that has it, of n examples.
    """

    def __init__(
        self, tensors: Sequence[Tensor], ids: Sequence[Tensor], order: Tensor, permutation: Callable[[int], Tensor]
    ) -> None:
        super().__init__(ids, order)
        self.tensors = tensors
        same = [torch.arange(len(tensor)) for tensor in tensors]
        drawn = [
            [permutation(len(one)) if has[row] else one for has, one in zip(self.has, same, strict=True)]
            for row in range(len(self))
        ]
        self.taken = [torch.stack(of_one).to(order.device) for of_one in zip(*drawn, strict=True)]

    def values(self, index: int, begin: int, end: int) -> Tensor | None:
        return self.tensors[index][self.taken[index][begin:end]]

    def span(self) -> tuple[Int64, Int64] | None:
        return None  # what replaces elements is not the sample's


class WindowPlaces(Question):
    """The inputs as they are, then windows of each, replaced one after another; along the first axis first.

    For each input a window's shape and how far apart they are (strides); the last may reach beyond the end.
    """

    def __init__(self, tensors: Sequence[Tensor], windows: Sequence[Any], strides: Sequence[Any]) -> None:
        self.covers: list[list[Tensor]] = []  # for each input and axis (places, size) bool: what each place covers
        for tensor, window, stride in zip(tensors, windows, strides, strict=True):
            axes = zip(tensor.shape[1:], window, stride, strict=True)
            self.covers.append([_cover(*axis, tensor.device) for axis in axes])
        counts = [int(np.prod([len(cover) for cover in covers], dtype=np.int64)) for covers in self.covers]
        self.first = np.cumsum([1, *counts]).tolist()

    def __len__(self) -> int:
        return int(self.first[-1])

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        low, high = max(begin, self.first[index]), min(end, self.first[index + 1])
        if low >= high:
            return None
        covers = self.covers[index]
        place = torch.arange(low - self.first[index], high - self.first[index], device=covers[0].device)
        inside: Tensor | None = None
        for axis, cover in enumerate(covers):
            shape = [len(place), *[1] * len(covers)]
            shape[axis + 1] = cover.shape[1]
            along = cover[place % len(cover)].view(shape)
            inside = along if inside is None else inside & along
            place = place // len(cover)
        assert inside is not None
        if high - low < end - begin:  # other rows replace something else
            others = memory.zeros((end - begin, *inside.shape[1:]), inside)
            others[low - begin : high - begin] = inside
            inside = others
        return inside.logical_not_()[:, None]

    def span(self) -> tuple[Int64, Int64] | None:
        if len(self.covers) > 1:
            return None
        place, axes = np.arange(len(self) - 1), []
        for cover in self.covers[0]:
            start = cover.int().argmax(dim=1)
            axes.append(torch.stack((start, start + cover.sum(dim=1))).cpu().numpy()[:, place % len(cover)])
            place = place // len(cover)
        start_stop = np.stack(axes, axis=2)
        return start_stop[0], start_stop[1]

    def sums(self, index: int, values: Tensor) -> tuple[Tensor, Tensor]:
        """Of each element of an input, the sum (outputs, …) of ``values`` (places, outputs) over the windows that
        cover it, and how many these are, (…)."""
        covers = self.covers[index]
        counts = [len(cover) for cover in covers]
        total = values.t().reshape(-1, *reversed(counts)).permute(0, *range(len(counts), 0, -1))
        number = values.new_ones((), dtype=torch.float32)
        for axis, cover in enumerate(covers):
            total = total.movedim(1, -1) @ cover.to(total.dtype)  # the axis comes back as the last
            shape = [1] * len(covers)
            shape[axis] = cover.shape[1]
            number = number * cover.sum(dim=0).view(shape)
        return total, number


def _cover(size: int, window: int, stride: int, device: torch.device) -> Tensor:
    """(places, size) bool: the elements of an axis that each window covers."""
    places = -(-(size - window) // stride) + 1
    start = torch.arange(places, device=device)[:, None] * stride
    element = torch.arange(size, device=device)
    return (element >= start) & (element < start + window)


class Players:
    """Which player each element of the inputs is: ``ids``, (1 or B, …) int64 for each; None: each is one of its own, in
    their order."""

    def __init__(self, tensors: Sequence[Tensor], ids: Sequence[Tensor] | None) -> None:
        self.ids, self.shapes = ids, [tensor.shape[1:] for tensor in tensors]
        self.first = np.cumsum([0, *(shape.numel() for shape in self.shapes)]).tolist()

    def elements(self, masks: Tensor, index: int) -> Tensor:
        """Masks (n, players) over players as masks over an input's elements (n, 1 or B, …)."""
        if self.ids is None:
            return masks[:, self.first[index] : self.first[index + 1]].view(len(masks), 1, *self.shapes[index])
        ids = self.ids[index]
        return masks.index_select(1, ids.flatten()).view(len(masks), *ids.shape)


class Coded(Question):
    """Coalitions of at most 62 players, each a number (N,) int64: bit k is set where player k takes part."""

    def __init__(self, codes: Tensor, count: int, players: Players) -> None:
        self.codes, self.players = codes, players
        self.bits = torch.arange(count, device=codes.device)

    def __len__(self) -> int:
        return len(self.codes)

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        masks = (self.codes[begin:end, None] >> self.bits) & 1
        return self.players.elements(masks.bool(), index)


class Joining(Question):
    """Players that join one after another, in each of several orders (R, n): nobody, then for each order its first
    1 … n - 1 players, then all."""

    def __init__(self, order: Tensor, players: Players) -> None:
        self.place, self.players = order.argsort(dim=1).int(), players

    def __len__(self) -> int:
        R, n = self.place.shape
        return R * (n - 1) + 2

    def kept(self, index: int, begin: int, end: int) -> Tensor | None:
        R, n = self.place.shape
        row = torch.arange(begin - 1, end - 1, device=self.place.device)
        joined = row % (n - 1) + 1
        if begin == 0:
            joined[0] = 0
        if end == len(self):
            joined[-1] = n
        place = self.place[(row // (n - 1)).clamp(0, R - 1)]
        return self.players.elements(place < joined[:, None], index)
