"""Sums, means and maxima over the axis: the reference's, corrected by what changed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.rows import EvaluateWhole, Rows, argument, rank, require, rule, size
from rambit.predictors.incremental.values import State, Window

_ADAPTIVE = (aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_max_pool1d.default)


def _reduced(node: Node, x: Node) -> tuple[list[int], bool]:
    """Over which dimensions an operator reduces, and whether they stay."""
    given: Any = argument(node, 1, "dim", ())
    if node.target in _ADAPTIVE:
        require(all(places == 1 for places in given))
        return list(range(rank(x) - len(given), rank(x))), True
    dims = [given] if isinstance(given, int) else given
    over = [dim % rank(x) for dim in dims] or list(range(rank(x)))
    return over, bool(argument(node, 2, "keepdim", False))


@rule(aten.sum.dim_IntList, aten.mean.dim, aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default)
def total(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    over, keepdim = _reduced(node, x)
    require(window.batch not in over and node.kwargs.get("dtype") is None)
    count = 1 if node.target is aten.sum.dim_IntList else math.prod(size(x, dim) for dim in over)
    if window.axis not in over:
        return _beside(window, over, keepdim, lambda value: value.sum(over, keepdim) / count)
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
    batch, axis = (at - (0 if keepdim else sum(dim < at for dim in over)) for at in (window.batch, window.axis))
    return Window.of(reduce(window.value), window.start, batch, axis)


@rule(aten.amax.default, aten.max.dim, aten.adaptive_max_pool1d.default)
def maximum(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    over, keepdim = _reduced(node, x)
    require(window.batch not in over)
    if node.target is not aten.amax.default:  # they also say where the maximum is
        require(all(user.target is operator.getitem and user.args[1] == 0 for user in node.users))
    if window.axis in over:
        found: State = _maximum_over_axis(rows, x, window, over, keepdim)
    else:
        found = _beside(window, over, keepdim, lambda value: value.amax(over, keepdim))
    return found if node.target is aten.amax.default else (found, None)


def _maximum_over_axis(rows: Rows, x: Node, window: Window, over: list[int], keepdim: bool) -> Tensor:
    """The larger of the window's, and of the reference's before and after it."""
    places = rows.reference.places(x, window.batch, window.axis)

    def make() -> tuple[Tensor, Tensor]:
        """The largest before each place and from each place on, (R, T + 1, …)."""
        none = torch.full_like(places[:, :1], float("-inf"))
        before = torch.cat((none, places.cummax(dim=1).values), dim=1)
        after = torch.cat((places.flip(1).cummax(dim=1).values.flip(1), none), dim=1)
        return before, after

    before, after = rows.reference.table(("extremes", x, window.batch, window.axis), make)
    start = rows.on_device(window.start)
    outside = torch.maximum(before[rows.which, start], after[rows.which, start + window.width])
    found = torch.maximum(window.data.amax(1), outside).unsqueeze(1)
    return window.at(found).value.amax(over, keepdim)


@rule(operator.getitem)
def item(rows: Rows, node: Node) -> State:
    values, index = node.args
    states = rows.states[values]  # type: ignore[index]
    if not isinstance(states, tuple):
        raise EvaluateWhole
    return states[index]  # type: ignore[no-any-return, index]
