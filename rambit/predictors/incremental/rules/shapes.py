"""Operators that move, cut and join values: bookkeeping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.rows import (
    WORTH,
    Rows,
    argument,
    order_of,
    rank,
    require,
    require_narrow,
    rule,
    size,
)
from rambit.predictors.incremental.rules.pointwise import constant_places
from rambit.predictors.incremental.values import Flattened, Int64, State, Window, inside, union


@rule(aten.permute.default, aten.transpose.int, aten.t.default)
def reorder(rows: Rows, node: Node) -> State:
    _, window = rows.only_window(node)
    order = order_of(node)
    return Window.of(window.value.permute(order), window.start, order.index(window.batch), order.index(window.axis))


@rule(aten.unsqueeze.default)
def unsqueeze(rows: Rows, node: Node) -> State:
    _, window = rows.only_window(node)
    at = int(argument(node, 1, "dim")) % rank(node)
    batch, axis = (dim + (dim >= at) for dim in (window.batch, window.axis))
    return Window.of(window.value.unsqueeze(at), window.start, batch, axis)


@rule(aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default)
def squeeze(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    given = argument(node, 1, "dim", range(rank(x)))
    dims = [dim % rank(x) for dim in ([given] if isinstance(given, int) else given)]
    gone = [dim for dim in dims if dim != window.batch and size(x, dim) == 1]
    require(window.axis not in gone)
    batch, axis = (dim - sum(other < dim for other in gone) for dim in (window.batch, window.axis))
    return Window.of(window.value.squeeze(gone), window.start, batch, axis)


@rule(aten.flatten.using_ints, aten.view.default, aten.reshape.default, aten.unflatten.int, aten._unsafe_view.default)
def reshape(rows: Rows, node: Node) -> State:
    """Of dimensions beside the rows and the axis; or all but the rows are made one."""
    x, window = rows.only_window(node)
    require(window.batch == 0 and rows.program.batch_of(node) == 0)
    before, after = ([size(value, dim) for dim in range(1, rank(value))] for value in (x, node))
    axis = _same_axis(before, after, window.axis - 1)
    if axis is None:
        require(after == [math.prod(before)])
        return Flattened(window, tuple(before))
    after[axis] = window.width
    return Window.of(window.value.reshape(len(rows), *after), window.start, 0, axis + 1)


def _same_axis(before: list[int], after: list[int], axis: int) -> int | None:
    """Where an axis of the sizes ``before`` is among the sizes ``after``, if it stays one of its own."""
    for dim, places in enumerate(after):
        if places == before[axis] and math.prod(after[:dim]) == math.prod(before[:axis]):
            return dim
    return None


@rule(aten.slice.Tensor)
def cut(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    dim = int(argument(node, 1, "dim", 0)) % rank(x)
    begin, end, step = argument(node, 2, "start") or 0, argument(node, 3, "end"), argument(node, 4, "step", 1)
    if dim == window.batch:
        require(begin == 0 and step == 1 and end in (None, torch.iinfo(torch.int64).max))
        return window
    if dim != window.axis:
        return Window.of(rows.call_with(node, window.value), window.start, window.batch, window.axis)
    places, kept = size(x, dim), size(node, dim)
    if kept == places:
        return window
    require(kept > 0)
    begin = min(max(0, begin + places if begin < 0 else begin), places)
    width = min((window.width - 1) // step + 1, kept)
    if width > WORTH * kept:
        every = rows.places(x, window, np.full_like(window.start, begin), (kept - 1) * step + 1)
        return window.at(every[:, ::step]).value
    start = inside(-((begin - window.start) // step), width, kept)  # rounded up
    read = rows.places(x, window, begin + start * step, (width - 1) * step + 1)
    return window.at(read[:, ::step], start)


@rule(aten.select.int)
def select(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    args: Any = node.args
    dim, index = args[1] % rank(x), args[2]
    require(dim != window.batch)
    if dim != window.axis:
        batch, axis = (at - (at > dim) for at in (window.batch, window.axis))
        return Window.of(window.value.select(dim, index), window.start, batch, axis)
    here = np.full_like(window.start, index % size(x, dim))
    return window.at(rows.places(x, window, here, 1)).value.squeeze(window.axis)


@rule(aten.cat.default)
def join(rows: Rows, node: Node) -> State:
    parts: Any = node.args[0]
    dim = int(argument(node, 1, "dim", 0)) % rank(node)
    windows = _windows(rows, parts)
    like = windows[0]
    if dim in like.axes:  # one window stays one, only elsewhere
        require(len(windows) == 1)
        before = 0
        for arg in parts:
            if rows.varies(arg) and rows.states[arg] is like:
                break
            before += size(arg, dim)
        return like.at(like.data, like.start + before)
    require(dim != like.batch)
    starts, widths = union(windows)
    require_narrow(math.prod(widths), math.prod(size(node, axis) for axis in like.axes))
    values = [_part(rows, arg, like, starts, widths) for arg in parts]
    return Window.of(torch.cat(values, dim), starts, like.batch, like.axes)


@rule(aten.stack.default)
def stack(rows: Rows, node: Node) -> State:
    parts: Any = node.args[0]
    dim = int(argument(node, 1, "dim", 0)) % rank(node)
    windows = _windows(rows, parts)
    like = windows[0]
    starts, widths = union(windows)
    require_narrow(math.prod(widths), math.prod(size(parts[0], axis) for axis in like.axes))
    values = [_part(rows, arg, like, starts, widths) for arg in parts]
    batch, *axes = (at + (at >= dim) for at in (like.batch, *like.axes))
    return Window.of(torch.stack(values, dim), starts, batch, tuple(axes))


def _windows(rows: Rows, parts: Sequence[Node]) -> list[Window]:
    """Those of some values, along one axis; the other values are the same as the reference, or do not depend on x."""
    states = [rows.states[arg] for arg in parts if rows.varies(arg)]
    require(all(state is None or isinstance(state, Window) for state in states))
    windows = [state for state in states if isinstance(state, Window)]
    require(len({(window.batch, window.axes) for window in windows}) == 1)
    return windows


def _part(rows: Rows, arg: Node, like: Window, starts: tuple[Int64, ...], widths: tuple[int, ...]) -> Tensor:
    """A value where the window lies, in its own dimensions."""
    if rows.varies(arg):
        return like.at(rows.places(arg, like, starts, widths)).value
    places = constant_places(rows, rows.fixed(arg), rank(arg), like, starts, widths)
    sizes = list(places.shape)
    for dim, count in zip((like.batch, *like.axes), (len(rows), *widths), strict=True):
        sizes[dim] = count
    return places.expand(sizes)


@rule(aten.expand.default)
def expand(rows: Rows, node: Node) -> State:
    """Over dimensions beside the rows and the axis."""
    x, window = rows.only_window(node)
    new = rank(node) - rank(x)
    batch, axis = window.batch + new, window.axis + new
    require(size(node, axis) == size(x, window.axis))
    sizes = [
        len(rows) if dim == batch else window.width if dim == axis else size(node, dim) for dim in range(rank(node))
    ]
    return Window.of(window.value.expand(sizes), window.start, batch, axis)


@rule(aten.constant_pad_nd.default, aten.pad.default)
def pad(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    pads: Any = node.args[1]
    general = node.target is aten.pad.default
    require(not general or argument(node, 2, "mode", "constant") == "constant")
    require(all(isinstance(each, int) and each >= 0 for each in pads))
    value = argument(node, 3 if general else 2, "value", None) or 0.0
    sides = [(0, 0)] * rank(x)
    for k in range(len(pads) // 2):  # from the last dimension on
        sides[rank(x) - 1 - k] = (pads[2 * k], pads[2 * k + 1])
    before = sides[window.axis][0]
    require(sides[window.batch] == (0, 0))
    sides[window.axis] = (0, 0)
    found = F.pad(window.value, [each for side in reversed(sides) for each in side], value=float(value))
    return Window.of(found, window.start + before, window.batch, window.axis)


@rule(aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int)
def split(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    unbound = node.target is aten.unbind.int
    dim = int(argument(node, 1 if unbound else 2, "dim", 0)) % rank(x)
    require(dim not in (window.batch, window.axis))
    batch, axis = (at - (unbound and at > dim) for at in (window.batch, window.axis))
    return tuple(Window.of(part, window.start, batch, axis) for part in rows.call_with(node, window.value))
