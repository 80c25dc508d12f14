"""Operators of single places: a window of the inputs gives the same window of the result."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.operators import POINTWISE, SHAPED, aten
from rambit.predictors.incremental.rows import Rows, argument, rank, require, rule, size
from rambit.predictors.incremental.values import EvaluateWhole, Flattened, Int64, State, Window, union

#: What gives back its argument, in evaluation mode.
_SAME = (
    *(aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default),
    *(aten.feature_alpha_dropout.default, aten.contiguous.default),
)


@rule(*POINTWISE)
def pointwise(rows: Rows, node: Node) -> State:
    inputs = [arg for arg in node.all_input_nodes if rows.varies(arg)]
    state = rows.states[inputs[0]]
    if isinstance(state, Flattened):
        require(len(node.all_input_nodes) == 1)
        return Flattened(state.window.at(_call(rows, node, lambda arg: state.window.data)), state.sizes)
    like, starts, widths = _joint_window(rows, node, inputs)

    def value(arg: Node) -> Any:
        if rows.varies(arg):
            return _varying(rows, arg, rank(node), like, starts, widths)
        found = rows.fixed(arg)
        return constant_places(rows, found, rank(node), like, starts, widths) if isinstance(found, Tensor) else found

    return Window.of(_call(rows, node, value), starts, like.batch, like.axes)


def _call(rows: Rows, node: Node, value: Callable[[Node], Any]) -> Any:
    return value(node.args[0]) if node.target in _SAME else rows.program.call(node, value)  # type: ignore[arg-type]


def _joint_window(rows: Rows, node: Node, inputs: list[Node]) -> tuple[Window, tuple[Int64, ...], tuple[int, ...]]:
    """A window with the dimensions of the result, and starts and widths of one that holds those of all inputs."""
    states = [(arg, rows.states[arg]) for arg in inputs]
    require(all(state is None or isinstance(state, Window) for _, state in states))
    windows = [_aligned(state, rank(node) - rank(arg)) for arg, state in states if isinstance(state, Window)]
    require(len({(window.batch, window.axes) for window in windows}) == 1)
    # A single place that is broadcast along an axis changes all of them.
    sizes = [size(node, axis) for axis in windows[0].axes]
    places = [[size(arg, axis) for axis in state.axes] for arg, state in states if isinstance(state, Window)]
    require(all(counts == sizes for counts in places))
    starts, widths = union(windows)
    require(math.prod(widths) < math.prod(sizes))
    return windows[0], starts, widths


def _aligned(window: Window, new: int) -> Window:
    """The same window, its dimensions counted as those of a result that has so many more: the last ones are shared."""
    return Window(window.data, window.starts, window.batch + new, tuple(axis + new for axis in window.axes))


def _varying(
    rows: Rows, arg: Node, dimensions: int, like: Window, starts: tuple[Int64, ...], widths: tuple[int, ...]
) -> Tensor:
    """An input where the window lies, in its own dimensions."""
    new = dimensions - rank(arg)
    if rows.states[arg] is None and all(axis < new or size(arg, axis - new) == 1 for axis in like.axes):
        return rows.as_reference(arg)  # type: ignore[no-any-return]  # it is broadcast along the axes
    require(like.batch >= new)
    own = _aligned(like, -new)
    return own.at(rows.places(arg, own, starts, widths), *starts).value


def constant_places(
    rows: Rows, value: Tensor, dimensions: int, like: Window, starts: tuple[Int64, ...], widths: tuple[int, ...]
) -> Tensor:
    """A constant where the window lies: of one that differs along the axis, each row has other places."""
    if value.ndim == 0:  # which does not decide the type of the result
        return value
    value = value[(None,) * (dimensions - value.ndim)]
    if all(value.shape[axis] == 1 for axis in like.axes):
        return value
    places = value.movedim((like.batch, like.axis), (0, 1))  # (1 or n, T, …)
    at = rows.on_device(starts[0])[:, None] + torch.arange(widths[0], device=places.device)
    if len(places) == 1:
        return like.at(places[0][at]).value
    return like.at(places[torch.arange(len(places), device=at.device)[:, None], at]).value


@rule(aten.batch_norm.default)
def batch_norm(rows: Rows, node: Node) -> State:
    """By statistics that are known: a scale and a shift of each channel."""
    x, window = rows.only_window(node)
    args: Any = node.args
    require(not args[5] and args[3] is not None)

    def make() -> tuple[Tensor, Tensor]:
        weight, bias, mean, variance = (None if arg is None else rows.fixed(arg).double() for arg in args[1:5])
        assert mean is not None
        assert variance is not None
        scale = (variance + args[7]).rsqrt() * (1.0 if weight is None else weight)
        shift = (0.0 if bias is None else bias) - mean * scale
        channels = (1, -1, *(1,) * (rank(x) - 2))
        return scale.to(window.data.dtype).view(channels), shift.to(window.data.dtype).view(channels)

    scale, shift = (
        constant_places(rows, part, rank(x), window, window.starts, window.widths)
        for part in rows.program.constant(("scale and shift", node), make)
    )
    return Window.of(torch.addcmul(shift, window.value, scale), window.starts, window.batch, window.axes)


@rule(aten.prelu.default)
def prelu(rows: Rows, node: Node) -> State:
    """With a slope for each channel."""
    x, window = rows.only_window(node)
    slope = rows.fixed(node.args[1])
    if slope.numel() > 1:
        slope = slope.view(1, -1, *(1,) * (rank(x) - 2))
        slope = constant_places(rows, slope, rank(x), window, window.starts, window.widths)
    value = window.value
    return Window.of(torch.where(value > 0, value, value * slope), window.starts, window.batch, window.axes)


@rule(*SHAPED)
def shaped(rows: Rows, node: Node) -> State:
    """What is made like an argument, of whose values it reads none."""
    require(rows.varies(node.args[0]) and not any(map(rows.varies, node.all_input_nodes[1:])))
    return None


@rule(
    *(aten.layer_norm.default, aten._softmax.default, aten._log_softmax.default),
    *(aten.softmax.int, aten.log_softmax.int, aten.glu.default),
)
def over_features(rows: Rows, node: Node) -> State:
    """What is computed over other dimensions than the axis, place by place."""
    x, window = rows.only_window(node)
    if node.target is aten.layer_norm.default:
        shape: Any = node.args[1]
        over = range(rank(x) - len(shape), rank(x))
    else:
        dim = int(argument(node, 1, "dim", -1)) % rank(x)
        over = range(dim, dim + 1)
    if window.axis in over or window.batch in over:
        raise EvaluateWhole
    return Window.of(rows.call_with(node, window.value), window.start, window.batch, window.axis)
