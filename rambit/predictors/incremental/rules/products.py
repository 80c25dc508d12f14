"""Products with weights: over features, place by place; or over the axis, of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.operators import PRODUCTS, aten
from rambit.predictors.incremental.rows import Rows, rank, require, require_narrow, rule, size
from rambit.predictors.incremental.values import EvaluateWhole, Flattened, State, Window

#: Bytes of weights that are gathered for rows at a time.
GATHERED = 1 << 22


@rule(*PRODUCTS)
def product(rows: Rows, node: Node) -> State:
    args: Any = node.args
    added = node.target is aten.addmm.default
    x, weight = args[added : added + 2]
    require(rows.varies(x) and not any(rows.varies(arg) for arg in node.all_input_nodes if arg is not x))
    require(not (added and node.kwargs) and rows.fixed(weight).ndim == 2)
    state = rows.states[x]
    if isinstance(state, Window) and rank(x) - 1 not in (state.batch, state.axis):
        value = rows.program.call(node, lambda arg: state.value if arg is x else rows.fixed(arg))
        return Window.of(value, state.start, state.batch, state.axis)
    outputs_first = node.target is aten.linear.default

    def matrix() -> Tensor:
        """(in, out)"""
        found: Tensor = rows.fixed(weight)
        return found.t() if outputs_first else found

    if isinstance(state, Flattened):
        window, sizes = state.window, state.sizes
        require_narrow(window.width, sizes[window.axis - 1])
        require(rows.reference.is_finite(x))
        weights = rows.program.constant(("places", node), lambda: by_place(matrix(), sizes, window.axis - 1))
        change = rows.change(x, window, sizes)  # (n, w, …)
        moved = times_places(change.reshape(len(rows), 1, -1), weights, rows.on_device(window.start))
        flat: Tensor = rows.reference.value(node).index_select(0, rows.which) + moved[:, 0]
        return flat
    if not isinstance(state, Window) or state.axis != rank(x) - 1:
        raise EvaluateWhole
    require_narrow(state.width, size(x, state.axis))
    require(rows.reference.is_finite(x))
    weights = rows.program.constant(("places", node), lambda: matrix().unsqueeze(1).contiguous())
    change = rows.change(x, state).reshape(len(rows), state.width, -1).transpose(1, 2)  # (n, M, w)
    moved = times_places(change, weights, rows.on_device(state.start))  # (n, M, out)
    before: Tensor = rows.reference.value(node).index_select(state.batch, rows.which)
    beside = [places for dim, places in enumerate(before.shape) if dim != state.batch]
    return before + moved.view(len(rows), *beside).movedim(0, state.batch)


def by_place(matrix: Tensor, sizes: Sequence[int], axis: int) -> Tensor:
    """Weights (in, out) of flattened values of these sizes as (places along the axis, the rest, out)."""
    return matrix.view(*sizes, -1).movedim(axis, 0).flatten(1, -2).contiguous()


def times_places(change: Tensor, weights: Tensor, start: Tensor) -> Tensor:
    """Changes (n, M, w · K) times the weights (T, K, out) of the places from ``start`` (n,) on: (n, M, out)."""
    K, out = weights.shape[1:]
    width = change.shape[2] // K
    step = max(1, GATHERED // (width * K * out * weights.element_size()))
    found = []
    for begin in range(0, len(change), step):
        at = start[begin : begin + step, None] + torch.arange(width, device=start.device)
        found.append(torch.bmm(change[begin : begin + step], weights[at].flatten(1, 2)))
    return torch.cat(found)
