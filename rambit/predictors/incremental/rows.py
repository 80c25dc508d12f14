"""The interpreter: rules where there are windows, the operators themselves elsewhere.

A rule only makes a graph faster. Where there is none, or where windows are too wide to be worth it, whole values are
made of them and the operator is called as it stands; so every graph is right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.gather import gather, put
from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.incremental.values import EvaluateWhole, Flattened, Int64, State, Window, size_of

#: Windows wider than this part of the axis are made whole.
WORTH = 0.5

Rule = Callable[["Rows", Node], State]
RULES: dict[Any, Rule] = {}


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """A decorator: how these operators are evaluated where rows differ in windows."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return add


def require(condition: bool) -> None:
    """What a rule needs to apply."""
    if not condition:
        raise EvaluateWhole


class Rows:
    """Rows that differ from their references in windows, on their way through the graph.

    ``which`` (n,) int64: the reference of each.
    """

    def __init__(self, program: Program, reference: Reference, which: Tensor) -> None:
        self.program, self.reference, self.which = program, reference, which
        self.states: dict[Node, State] = {}
        self.ready: dict[Node, State] = {}  # what a rule found on its way for nodes that come later
        self.largest = 0  # bytes of the largest value
        self._starts: dict[int, tuple[Int64, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.which)

    def evaluate(self, x: Window) -> State:
        """What is known of the raw outputs."""
        self.states[self.program.trace.x] = x
        for node in self.program.steps:
            self.states[node] = self._evaluate(node)
            self.largest = max(self.largest, size_of(self.states[node]))
            for done in self.program.last_use.get(node, ()):
                self.states.pop(done, None)
        return self.states[self.program.trace.output]

    def _evaluate(self, node: Node) -> State:
        if node in self.ready:
            return self.ready.pop(node)
        known = [self.states[arg] for arg in node.all_input_nodes if self.varies(arg)]
        if all(state is None for state in known):
            return None
        function = RULES.get(node.target)
        if function is not None and not all(state is None or isinstance(state, Tensor) for state in known):
            try:
                return function(self, node)
            except EvaluateWhole:
                pass
        result: Any = self.program.call(node, self.whole)
        return tuple(result) if isinstance(result, (list, tuple)) else result

    # -- arguments ------------------------------------------------------------------------------------------------

    def varies(self, arg: Any) -> bool:
        """Whether an argument depends on x."""
        return isinstance(arg, Node) and arg in self.program.varying

    def fixed(self, arg: Any) -> Any:
        """The value of an argument that does not depend on x."""
        return self.program.fixed(arg, len(self))

    def only_window(self, node: Node) -> tuple[Node, Window]:
        """The first argument and its window; a rule needs that no other argument depends on x."""
        x: Any = node.args[0]
        require(self.varies(x) and not any(self.varies(arg) for arg in node.all_input_nodes if arg is not x))
        state = self.states[x]
        if not isinstance(state, Window):
            raise EvaluateWhole
        return x, state

    def call_with(self, node: Node, value: Tensor) -> Any:
        """What the operator gives for another first argument."""
        return self.program.call(node, lambda arg: value if arg is node.args[0] else self.fixed(arg))

    def whole(self, arg: Any) -> Any:
        """The value of an argument for all rows."""
        if not self.varies(arg):
            return self.fixed(arg)
        value: Any = self.states[arg]
        if isinstance(value, Flattened):
            value = self._filled(arg, value.window, value.sizes).flatten(1)
        elif isinstance(value, Window):
            value = self._filled(arg, value)
        elif value is None:
            value = self.as_reference(arg)
        self.largest = max(self.largest, size_of(value))
        return value

    def as_reference(self, node: Node) -> Any:
        """The value that all rows share with their references."""
        batch = self.program.batch_of(node)
        if batch is not None:
            return self.reference.value(node).index_select(batch, self.which)
        return self.program.call(node, lambda arg: self.as_reference(arg) if self.varies(arg) else self.fixed(arg))

    def _filled(self, node: Node, window: Window, sizes: tuple[int, ...] = ()) -> Tensor:
        places = self.reference.places(node, window.batch, window.axes, sizes)
        if len(window.axes) == 1:
            values = places.index_select(0, self.which)
            return window.at(put(values, window.data, self.on_device(window.start))).value
        nothing = [torch.zeros_like(self.which)] * len(window.axes)
        return window.at(self._gathered(places, nothing, places.shape[1 : 1 + len(nothing)], window)).value

    def _gathered(
        self, places: Tensor, starts: Sequence[Tensor], widths: Sequence[int], window: Window, outside: float = 0.0
    ) -> Tensor:
        own = [self.on_device(start) for start in window.starts]
        return gather(places, self.which, starts, widths, window.data, own, outside)

    # -- places ---------------------------------------------------------------------------------------------------

    def places(
        self,
        node: Node,
        like: Window,
        starts: Int64 | tuple[Int64, ...],
        widths: int | tuple[int, ...],
        outside: float = 0.0,
    ) -> Tensor:
        """Places (n, *widths, …) of a node's value from ``starts`` (n,) on, along the axes of ``like``.

        ``outside``: what stands before the first place and after the last.
        """
        starts = starts if isinstance(starts, tuple) else (starts,)
        widths = widths if isinstance(widths, tuple) else (widths,)
        window = self.states[node]
        begin = [self.on_device(start) for start in starts]
        if not isinstance(window, Window):
            places = self.reference.places(node, like.batch, like.axes)
            return gather(places, self.which, begin, widths, outside=outside)
        if window.widths == widths and all(map(_same, window.starts, starts)):
            return window.data
        places = self.reference.places(node, window.batch, window.axes)
        return self._gathered(places, begin, widths, window, outside)

    def change(self, node: Node, window: Window, sizes: tuple[int, ...] = ()) -> Tensor:
        """By how much rows differ from their references where the window of a node's value lies, (n, *widths, …)."""
        places = self.reference.places(node, window.batch, window.axes, sizes)
        begin = [self.on_device(start) for start in window.starts]
        return window.data - gather(places, self.which, begin, window.widths)

    def on_device(self, start: Int64) -> Tensor:
        """Starts (n,) as a tensor beside the rows."""
        kept = self._starts.get(id(start))
        if kept is None:
            kept = self._starts[id(start)] = (start, torch.from_numpy(start).to(self.which.device))
        return kept[1]


def size(node: Node, dim: int) -> int:
    """How long a node's value is along a dimension that is not the rows."""
    return int(node.meta["val"].shape[dim])


def rank(node: Node) -> int:
    """The number of dimensions of a node's value."""
    return len(node.meta["val"].shape)


def argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    """An argument given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def order_of(node: Node) -> list[int]:
    """Of a permutation or transposition: which dimension of the argument each one of the result is."""
    args: Any = node.args
    order = list(range(rank(node)))
    if node.target is aten.permute.default:
        return [dim % len(order) for dim in args[1]]
    one, other = (0, 1) if node.target is aten.t.default else (args[1], args[2])
    order[one], order[other] = order[other], order[one]
    return order


def require_narrow(width: int, places: int) -> None:
    """Wide windows are not worth their bookkeeping."""
    require(width <= WORTH * places)


def _same(one: Int64, other: Int64) -> bool:
    return one is other or bool((one == other).all())
