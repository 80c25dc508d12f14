"""Convolutions and pools: a window grows by the receptive field."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.rows import Rows, argument, rank, require, require_narrow, rule, size
from rambit.predictors.incremental.values import Int64, State, Window, inside

Pair = tuple[int, int]


@dataclass(frozen=True)
class Field:
    """What a place p of the result reads: ``taps`` places, ``dilation`` apart, from p · stride - before on."""

    taps: int
    stride: int
    dilation: int
    before: int

    def result_of(self, start: Int64, width: int, places: int) -> tuple[Int64, int]:
        """Start (n,) and width of the windows, among so many places, that read windows of the input."""
        reach = self.dilation * (self.taps - 1)
        count = min((width - 1 + reach) // self.stride + 1, places)
        first = -((reach - start - self.before) // self.stride)  # rounded up
        return inside(first, count, places), count

    def read_by(self, start: Int64, width: int) -> tuple[Int64, int]:
        """Start and width of what windows of the result read."""
        return start * self.stride - self.before, (width - 1) * self.stride + self.dilation * (self.taps - 1) + 1


@dataclass(frozen=True)
class Sliding:
    """An operator that slides over one or two dimensions, of which windows lie along one or both."""

    x: Node
    window: Window
    spatial: int  # how many dimensions
    along: tuple[int, ...]  # those of the windows

    @staticmethod
    def of(rows: Rows, node: Node) -> Sliding:
        x, window = rows.only_window(node)
        require(window.batch == 0 and min(window.axes) >= 2)
        return Sliding(x, window, rank(x) - 2, tuple(axis - 2 for axis in window.axes))

    def each(self, value: Any) -> list[int]:
        """A setting for each dimension."""
        given = [value] if isinstance(value, int) else list(value)
        return given * self.spatial if len(given) == 1 else given

    def pads_beside(self, sides: Sequence[Pair]) -> list[int]:
        """What ``F.pad`` is to add in the other dimension."""
        return [pad for k in reversed(range(self.spatial)) for pad in ((0, 0) if k in self.along else sides[k])]

    def slide(
        self, rows: Rows, node: Node, fields: Sequence[Field], outside: float, call: Callable[[Tensor], Tensor]
    ) -> State:
        """The windows of the result. ``call`` gives it for what they read, (n, C, 1, w) of one dimension.

        ``fields``: of each dimension.
        """
        window, own = self.window, [fields[k] for k in self.along]
        places = [size(node, axis) for axis in window.axes]
        starts, widths = zip(*map(Field.result_of, own, window.starts, window.widths, places), strict=True)
        require_narrow(math.prod(widths), math.prod(places))
        read_starts, read_widths = zip(*map(Field.read_by, own, starts, widths), strict=True)
        read = window.at(rows.places(self.x, window, read_starts, read_widths, outside)).value
        found = call(read.unsqueeze(2)).squeeze(2) if self.spatial == 1 else call(read)
        return Window.of(found, starts, 0, window.axes)


@rule(aten.conv1d.default, aten.conv1d.padding, aten.conv2d.default, aten.conv2d.padding)
def convolution(rows: Rows, node: Node) -> State:
    sliding = Sliding.of(rows, node)
    weight, bias = rows.fixed(node.args[1]), rows.fixed(argument(node, 2, "bias"))
    stride, dilation = (sliding.each(argument(node, at, name, 1)) for at, name in ((3, "stride"), (5, "dilation")))
    sides = _sides(sliding, argument(node, 4, "padding", 0), weight.shape[2:], dilation)
    fields = _fields(weight.shape[2:], stride, dilation, sides)
    beside, groups = sliding.pads_beside(sides), argument(node, 6, "groups", 1)
    # Channels come last in memory, as in windows; a single dimension is the second of two, for which there is such an
    # order at all.
    kernel = rows.program.constant(("kernel", node), lambda: _channels_last(weight))
    if sliding.spatial == 1:
        stride, dilation = [1, *stride], [1, *dilation]

    def call(read: Tensor) -> Tensor:
        return F.conv2d(F.pad(read, beside) if any(beside) else read, kernel, bias, stride, 0, dilation, groups)

    return sliding.slide(rows, node, fields, 0.0, call)


def _fields(taps: Sequence[int], stride: list[int], dilation: list[int], sides: list[Pair]) -> list[Field]:
    settings = zip(taps, stride, dilation, sides, strict=True)
    return [Field(count, step, apart, before) for count, step, apart, (before, _) in settings]


def _channels_last(weight: Tensor) -> Tensor:
    flat = weight.unsqueeze(2) if weight.ndim == 3 else weight
    return flat.contiguous(memory_format=torch.channels_last)


def _sides(sliding: Sliding, padding: Any, taps: Sequence[int], dilation: Sequence[int]) -> list[Pair]:
    """How much is padded before and after, of each dimension."""
    if padding == "valid":
        return [(0, 0)] * sliding.spatial
    if padding == "same":
        totals = [step * (count - 1) for step, count in zip(dilation, taps, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(pad, pad) for pad in sliding.each(padding)]


@rule(aten.max_pool1d.default, aten.max_pool2d.default)
def max_pool(rows: Rows, node: Node) -> State:
    sliding = Sliding.of(rows, node)
    # Beside the windows a place that reaches beyond the edge would be rounded up as well.
    require(sliding.spatial == 1 or not argument(node, 5, "ceil_mode", False))
    return _pool(rows, node, sliding, sliding.each(argument(node, 4, "dilation", 1)), float("-inf"))


@rule(aten.avg_pool1d.default, aten.avg_pool2d.default)
def average_pool(rows: Rows, node: Node) -> State:
    sliding = Sliding.of(rows, node)
    # What reaches beyond the edge may be divided by fewer.
    require(not argument(node, 4, "ceil_mode", False) and argument(node, 6, "divisor_override") is None)
    require(not any(sliding.each(argument(node, 3, "padding", 0))) or argument(node, 5, "count_include_pad", True))
    return _pool(rows, node, sliding, [1] * sliding.spatial, 0.0)


def _pool(rows: Rows, node: Node, sliding: Sliding, dilation: list[int], outside: float) -> State:
    taps = sliding.each(node.args[1])
    stride = sliding.each(argument(node, 2, "stride") or node.args[1])
    sides = [(pad, pad) for pad in sliding.each(argument(node, 3, "padding", 0))]
    beside, fields = sliding.pads_beside(sides), _fields(taps, stride, dilation, sides)
    if sliding.spatial == 1:
        taps, stride, dilation = [1, *taps], [1, *stride], [1, *dilation]

    def call(read: Tensor) -> Tensor:
        read = F.pad(read, beside, value=outside) if any(beside) else read
        return F.avg_pool2d(read, taps, stride) if outside == 0.0 else F.max_pool2d(read, taps, stride, 0, dilation)

    return sliding.slide(rows, node, fields, outside, call)
