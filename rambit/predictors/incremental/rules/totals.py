"""Sums, means and maxima over the axis: the reference's, corrected by what changed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit import memory
from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.rows import Rows, argument, rank, require, rule, size
from rambit.predictors.incremental.values import EvaluateWhole, State, Window

_ADAPTIVE = (
    *(aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default),
    *(aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default),
)


def _reduced(node: Node, x: Node) -> tuple[list[int], bool]:
    """Over which dimensions an operator reduces, and whether they stay."""
    given: Any = argument(node, 1, "dim", ())
    if node.target in _ADAPTIVE:
        require(all(places == 1 for places in given))
        return list(range(rank(x) - len(given), rank(x))), True
    dims = [given] if isinstance(given, int) else given or ()
    over = [dim % rank(x) for dim in dims] or list(range(rank(x)))
    return over, bool(argument(node, 2, "keepdim", False))


@rule(aten.sum.dim_IntList, aten.mean.dim, aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default)
def total(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    over, keepdim = _reduced(node, x)
    require(window.batch not in over and node.kwargs.get("dtype") is None and window.data.is_floating_point())
    count = 1 if node.target is aten.sum.dim_IntList else math.prod(size(x, dim) for dim in over)
    if not set(window.axes) & set(over):
        return _beside(window, over, keepdim, lambda value: value.sum(over, keepdim) / count)
    require(set(window.axes) <= set(over))
    require(rows.reference.is_finite(x))
    # In float64, so that what a few places change is not lost in what many of them add up to.
    before = rows.reference.table(
        ("sum", node), lambda: rows.reference.value(x).sum(over, keepdim, dtype=torch.float64)
    )
    change = window.at(rows.change(x, window)).value.sum(over, keepdim, dtype=torch.float64)
    batch = window.batch - (0 if keepdim else sum(dim < window.batch for dim in over))
    after: Tensor = (before.index_select(batch, rows.which) + change) / count
    return after.to(window.data.dtype)


def _beside(window: Window, over: list[int], keepdim: bool, reduce: Callable[[Tensor], Tensor]) -> Window:
    """Reduced over other dimensions than the axis."""
    batch, *axes = (at - (0 if keepdim else sum(dim < at for dim in over)) for at in (window.batch, *window.axes))
    return Window.of(reduce(window.value), window.starts, batch, tuple(axes))


#: Of each operator: whether it looks for the largest, and whether it says where that is as well.
_EXTREMES = {
    aten.amax.default: (True, False),
    aten.amin.default: (False, False),
    aten.max.dim: (True, True),
    aten.min.dim: (False, True),
    aten.adaptive_max_pool1d.default: (True, True),
    aten.adaptive_max_pool2d.default: (True, True),
}


@rule(*_EXTREMES)
def extreme(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    over, keepdim = _reduced(node, x)
    largest, with_places = _EXTREMES[node.target]
    require(window.batch not in over and window.data.is_floating_point())
    if with_places:
        require(all(user.target is operator.getitem and user.args[1] == 0 for user in node.users))
    reduce = torch.amax if largest else torch.amin
    if window.axis in over:
        found: State = reduce(window.at(_over_axis(rows, x, window, largest)).value, over, keepdim)
    else:
        found = _beside(window, over, keepdim, lambda value: reduce(value, over, keepdim))
    return (found, None) if with_places else found


def _over_axis(rows: Rows, x: Node, window: Window, largest: bool) -> Tensor:
    """Of the window, and of the reference before and after it, (n, 1, …)."""
    places = rows.reference.places(x, window.batch, (window.axis,))
    running = torch.cummax if largest else torch.cummin
    further, reduce = (torch.maximum, torch.amax) if largest else (torch.minimum, torch.amin)

    R, T, *beside = places.shape

    def make() -> tuple[Tensor, Tensor]:
        """The extremes of the first places and of the last ones, by how many these are, (R, T + 1, …)."""
        none = float("-inf") if largest else float("inf")
        first, last = (memory.full((R, T + 1, *beside), places, none) for _ in range(2))
        index = memory.empty((R, T, *beside), places, torch.int64)  # which torch makes as well
        running(places, dim=1, out=(first[:, 1:], index))
        running(places.flip(1), dim=1, out=(last[:, 1:], index))
        return first, last

    first, last = rows.reference.table(("extremes", x, window.batch, window.axis, largest), make)
    start = rows.on_device(window.start)
    outside = further(first[rows.which, start], last[rows.which, T - start - window.width])
    return further(reduce(window.data, 1), outside).unsqueeze(1)


#: Operators whose second argument is the order of a norm, and where others than these have ``keepdim``.
_AFTER_ORDER = (aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim)
_KEEPDIM = {aten.var.dim: 3, aten.std.dim: 3}


@rule(
    *(aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim, aten.logsumexp.default, aten.prod.dim_int),
    *(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.argmax.default, aten.argmin.default),
)
def over_other_dimensions(rows: Rows, node: Node) -> State:
    """Any reduction that leaves the axis as it is: place by place."""
    x, window = rows.only_window(node)
    at, keep = (2, 3) if node.target in _AFTER_ORDER else (1, _KEEPDIM.get(node.target, 2))
    given: Any = argument(node, at, "dim")
    dims = [given] if isinstance(given, int) else given or range(rank(x))
    over, keepdim = [dim % rank(x) for dim in dims], bool(argument(node, keep, "keepdim", False))
    require(window.batch not in over and window.axis not in over)
    return _beside(window, over, keepdim, lambda value: rows.call_with(node, value))


@rule(operator.getitem)
def item(rows: Rows, node: Node) -> State:
    values, index = node.args
    states = rows.states[values]  # type: ignore[index]
    if not isinstance(states, tuple):
        raise EvaluateWhole
    return states[index]  # type: ignore[no-any-return, index]
