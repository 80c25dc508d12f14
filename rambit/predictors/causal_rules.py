"""Which traced graphs are causal networks: an output at every step from one call, steps from a state.

Each value is followed from the input on: where its rows and its time are. What takes the last step begins the head,
which must read nothing else. Whatever else reaches across time, or to other rows, is refused with a reason. What comes
of it is only a claim: the graph is that of series of one length.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.causal_program import (
    CausalProgram,
    Convolution,
    Operator,
    Recurrence,
    Same,
    Stateful,
    Take,
)
from rambit.predictors.incremental.operators import POINTWISE, aten
from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.rows import argument, order_of, rank
from rambit.predictors.recurrent_op import RECURRENT, sharing
from rambit.predictors.trace import Trace


class NotCausal(Exception):
    """Why a graph is none of a causal network."""


@dataclass(frozen=True)
class Steps:
    """A value with steps: which of its dimensions are the rows and the time.

    ``before``: so many zeros stand before the first step, ``beyond``: so many places after the last, of no use.
    """

    rows: int
    time: int
    before: int = 0
    beyond: int = 0


@dataclass(frozen=True)
class Last:
    """A value of the last step alone."""


@dataclass(frozen=True)
class Zeros:
    """Zeros for each row."""


@dataclass(frozen=True)
class LastStates:
    """The last state (layers, N, H) of a recurrent layer's several layers; ``hidden`` are the steps of the last one."""

    hidden: Steps
    layers: int


@dataclass(frozen=True)
class Layers:
    """What a recurrent layer returns: steps, and the parts of its last state."""

    hidden: Steps
    layers: int


Kind = Steps | Last | Zeros | LastStates | Layers
Part = Operator | Stateful | None
Rule = Callable[["Reading", Node], tuple[Kind, Part]]
RULES: dict[Any, Rule] = {}
#: What gives its argument back, in evaluation mode.
_SAME = (aten.dropout.default, aten.feature_dropout.default, aten.contiguous.default, aten.alias.default)
_CASTS = (aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.type_as.default)
_ALL = torch.iinfo(torch.int64).max


def causal_program(trace: Trace, time: int) -> CausalProgram | str:
    """The graph as a causal network, or why it is none. ``time``: which dimension of x is the time."""
    try:
        return Reading(trace, time).program()
    except NotCausal as why:
        return str(why)


def rule(*targets: Any) -> Callable[[Rule], Rule]:
    """A decorator: how the values of these operators are read."""

    def add(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, function))
        return function

    return add


class Reading:
    """A graph on its way to a causal program."""

    def __init__(self, trace: Trace, time: int) -> None:
        self.trace, self.graph = trace, Program(trace)
        self.kinds: dict[Node, Kind] = {trace.x: Steps(0, time)}
        self.length = int(trace.x.meta["val"].shape[time])

    def program(self) -> CausalProgram:
        if self.length < 2:
            raise NotCausal("a series of one step shows nothing")
        body: list[Operator | Stateful] = []
        head: list[Node] = []
        for node in self.graph.steps:
            if not node.users and node is not self.trace.output:
                continue
            kinds = self.of_inputs(node)
            if any(isinstance(kind, Last) for kind in kinds):
                if not all(isinstance(kind, Last) for kind in kinds):
                    raise NotCausal(f"{_name(node)} reads the last step beside others")
                self.kinds[node] = Last()
                head.append(node)
                continue
            self.kinds[node], part = self._read(node)
            if part is not None:
                body.append(part)
        if not isinstance(self.kinds[self.trace.output], Last):
            raise NotCausal("its output is not made of the last step alone")
        if self.graph.batch_of(self.trace.output) != 0 or rank(self.trace.output) > 2:
            raise NotCausal("its output is not (N,) or (N, C)")
        takes = tuple(part for part in body if isinstance(part, Take))
        return CausalProgram(self.graph, tuple(body), tuple(head), takes)

    def _read(self, node: Node) -> tuple[Kind, Part]:
        if node.target not in RULES:
            raise NotCausal(f"{_name(node)} is no operator that is known to be causal")
        return RULES[node.target](self, node)

    # -- what rules ask ---------------------------------------------------------------------------------------------

    def of_inputs(self, node: Node) -> list[Kind]:
        """The kinds of the arguments that depend on x."""
        return [self.kinds[arg] for arg in node.all_input_nodes if arg in self.graph.varying]

    def steps_of(self, arg: Any, reader: Node, *, padded: bool = False) -> Steps:
        """The steps that an operator reads."""
        kind = self.kinds.get(arg)
        if not isinstance(kind, Steps):
            raise NotCausal(f"{_name(reader)} reads a value that is no series of steps")
        if kind.before and not padded:
            raise NotCausal(f"{_name(reader)} reads steps before the first")
        return kind

    def over_features(self, node: Node, dims: Sequence[int], steps: Steps) -> None:
        """Refuse what computes over these dimensions of its first argument, unless they are of features."""
        over = {dim % rank(node.args[0]) for dim in dims}  # type: ignore[arg-type]
        if steps.time in over:
            raise NotCausal(f"{_name(node)} reaches across time")
        if steps.rows in over:
            raise NotCausal(f"{_name(node)} reaches across rows")

    def fixed(self, node: Node, *args: Any) -> None:
        """Refuse weights that depend on x."""
        if any(isinstance(arg, Node) and arg in self.graph.varying for arg in args):
            raise NotCausal(f"{_name(node)} has weights that depend on the series")


def _name(node: Node) -> str:
    return str(node.target).removeprefix("aten.")


def _whole(value: Any) -> int:
    """The one number of a list such as ``[2]``, or the number."""
    return int(value[0]) if isinstance(value, (list, tuple)) else int(value)


# -- operators that work on each step by itself -----------------------------------------------------------------------


@rule(*POINTWISE, *_CASTS)
def pointwise(reading: Reading, node: Node) -> tuple[Kind, Part]:
    unchanged = node.target in (*_SAME, aten.clone.default)
    kinds = [reading.steps_of(arg, node, padded=unchanged) for arg in node.all_input_nodes if arg in reading.kinds]
    steps = kinds[0]
    for arg in node.all_input_nodes:
        new = rank(node) - rank(arg)
        if arg in reading.kinds:
            if new > 0 or reading.kinds[arg] != steps:
                raise NotCausal(f"{_name(node)} joins values whose steps do not stand side by side")
        elif isinstance(arg.meta.get("val"), Tensor):
            sizes = arg.meta["val"].shape
            if any(dim >= new and sizes[dim - new] != 1 for dim in (steps.time, steps.rows)):
                raise NotCausal(f"{_name(node)} reads a constant that differs from step to step")
    return steps, Same(node) if node.target in _SAME else Operator(node)


@rule(aten.linear.default, aten.matmul.default)
def linear(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    weight: Any = node.args[1]
    reading.over_features(node, [-1], steps)
    reading.fixed(node, *node.args[1:])
    if rank(weight) != 2:
        raise NotCausal(f"{_name(node)} is no product with a matrix")
    return steps, Operator(node)


@rule(aten.layer_norm.default)
def layer_norm(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    shape: Any = node.args[1]
    reading.over_features(node, range(-len(shape), 0), steps)
    return steps, Operator(node)


@rule(aten.batch_norm.default)
def batch_norm(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    if node.args[5] or node.args[3] is None:
        raise NotCausal("batch_norm reaches across rows, since it has no statistics of its own")
    reading.over_features(node, [1], steps)  # each channel has weights of its own
    return steps, Operator(node)


@rule(aten.softmax.int, aten.log_softmax.int, aten._softmax.default, aten.glu.default)
def over_one(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    reading.over_features(node, [argument(node, 1, "dim", -1)], steps)
    return steps, Operator(node)


@rule(aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default)
def reduced(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    dims = argument(node, 1, "dim") or range(rank(node.args[0]))  # type: ignore[arg-type]
    reading.over_features(node, dims, steps)
    return _moved(steps, node, [] if argument(node, 2, "keepdim", False) else dims), Operator(node)


# -- operators that move, cut and join values -------------------------------------------------------------------------


def _moved(steps: Steps, node: Node, gone: Sequence[int]) -> Steps:
    """The same steps where these dimensions of the argument are none of the result's."""
    dims = {dim % rank(node.args[0]) for dim in gone}  # type: ignore[arg-type]
    rows, time = (at - sum(dim < at for dim in dims) for at in (steps.rows, steps.time))
    return replace(steps, rows=rows, time=time)


@rule(aten.transpose.int, aten.permute.default, aten.t.default)
def reorder(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps, order = reading.steps_of(node.args[0], node, padded=True), order_of(node)
    return replace(steps, rows=order.index(steps.rows), time=order.index(steps.time)), Operator(node)


@rule(aten.unsqueeze.default)
def unsqueeze(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps, at = reading.steps_of(node.args[0], node), int(argument(node, 1, "dim")) % rank(node)
    return replace(steps, rows=steps.rows + (steps.rows >= at), time=steps.time + (steps.time >= at)), Operator(node)


@rule(aten.squeeze.dim)
def squeeze(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps, dim = reading.steps_of(node.args[0], node), argument(node, 1, "dim")
    reading.over_features(node, [dim], steps)
    return _moved(steps, node, [dim] if rank(node) < rank(node.args[0]) else []), Operator(node)  # type: ignore[arg-type]


@rule(aten.cat.default, aten.stack.default)
def join(reading: Reading, node: Node) -> tuple[Kind, Part]:
    parts: Any = node.args[0]
    kinds = {reading.steps_of(part, node) for part in parts}
    dim, steps = int(argument(node, 1, "dim", 0)) % rank(node), kinds.pop()
    if kinds:
        raise NotCausal(f"{_name(node)} joins values whose steps do not stand side by side")
    if node.target is aten.stack.default:
        return replace(steps, rows=steps.rows + (steps.rows >= dim), time=steps.time + (steps.time >= dim)), Operator(
            node
        )
    if dim in (steps.rows, steps.time):
        raise NotCausal(f"{_name(node)} joins values along {'time' if dim == steps.time else 'the rows'}")
    return steps, Operator(node)


@rule(aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default)
def split(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps = reading.steps_of(node.args[0], node)
    reading.over_features(node, [argument(node, 2, "dim", 0)], steps)
    return steps, Operator(node)


@rule(operator.getitem)
def item(reading: Reading, node: Node) -> tuple[Kind, Part]:
    """One of several results."""
    source, index = node.args
    kind = reading.kinds[source]  # type: ignore[index]
    if not isinstance(kind, Layers):
        return reading.steps_of(source, node), Operator(node)
    if index == 0:
        return kind.hidden, Same(node)
    if index == 2:
        raise NotCausal("it reads the last cell state of an LSTM, which is no output of its steps")
    if kind.layers == 1:
        return Last(), _take(node, kind.hidden, 0, node.meta["val"].shape[2:])
    return LastStates(kind.hidden, kind.layers), Same(node)


def _take(node: Node, steps: Steps, new: int | None, shape: Sequence[int]) -> Take:
    return Take(node, steps.rows, steps.time, new, tuple(map(int, shape)))


@rule(aten.slice.Tensor)
def cut(reading: Reading, node: Node) -> tuple[Kind, Part]:
    source: Any = node.args[0]
    kind, dim = reading.kinds[source], int(argument(node, 1, "dim", 0)) % rank(node)
    first, end = argument(node, 2, "start") or 0, argument(node, 3, "end", _ALL)
    if first == 0 and end in (None, _ALL) and argument(node, 4, "step", 1) == 1:
        return kind, Same(node)
    if isinstance(kind, LastStates):
        return _of_layers(node, kind, dim, first, keeps=True)
    steps = reading.steps_of(source, node, padded=True)
    if dim != steps.time:
        reading.over_features(node, [dim], steps)
        return steps, Operator(node)
    if argument(node, 4, "step", 1) != 1:
        raise NotCausal("it leaves steps out")
    places, kept = int(source.meta["val"].shape[dim]), int(node.meta["val"].shape[dim])
    first = first + places if first < 0 else first
    if first == 0 and kept >= reading.length + steps.before:
        return replace(steps, beyond=kept - reading.length - steps.before), Same(node)
    return _last(reading, node, steps, first, kept)


@rule(aten.select.int)
def select(reading: Reading, node: Node) -> tuple[Kind, Part]:
    source, dim, index = node.args
    kind, dim = reading.kinds[source], dim % rank(source)  # type: ignore[arg-type,index,operator]
    if isinstance(kind, LastStates):
        return _of_layers(node, kind, dim, index, keeps=False)
    steps = reading.steps_of(source, node)
    if dim == steps.time:
        return _last(reading, node, steps, index % source.meta["val"].shape[dim], 1, keeps=False)  # type: ignore[union-attr]
    reading.over_features(node, [dim], steps)
    return _moved(steps, node, [dim]), Operator(node)


def _last(reading: Reading, node: Node, steps: Steps, first: int, kept: int, keeps: bool = True) -> tuple[Kind, Part]:
    """The last step taken, alone; else a reason."""
    if kept != 1 or steps.before or first != reading.length - 1:
        end = f" to {first + kept - 1}" if kept > 1 else ""
        raise NotCausal(f"it takes step {first}{end} of {reading.length}, and not the last alone")
    source: Any = node.args[0]
    shape = [size for dim, size in enumerate(source.meta["val"].shape) if dim not in (steps.rows, steps.time)]
    return Last(), _take(node, steps, steps.time if keeps else None, shape)


def _of_layers(node: Node, kind: LastStates, dim: int, index: Any, *, keeps: bool) -> tuple[Kind, Part]:
    if dim != 0 or index % kind.layers != kind.layers - 1:
        raise NotCausal("it reads the last states of layers below the last one")
    return Last(), _take(node, kind.hidden, 0 if keeps else None, node.meta["val"].shape[-1:])


# -- operators that read the past -------------------------------------------------------------------------------------


@rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps, pads = reading.steps_of(node.args[0], node, padded=True), list(argument(node, 1, "pad"))
    general = node.target is aten.pad.default
    if general and argument(node, 2, "mode", "constant") != "constant":
        raise NotCausal(f"it pads by values of other steps ({argument(node, 2, 'mode')})")
    if argument(node, 3 if general else 2, "value") or 0.0:
        raise NotCausal("it pads by a value that is not 0")
    at = 2 * (rank(node) - 1 - steps.time)  # from the last dimension on
    before, after = pads[at : at + 2] if at + 2 <= len(pads) else (0, 0)
    if any(pads[:at]) or any(pads[at + 2 :]) or before < 0 or steps.beyond + after < 0:
        raise NotCausal("it pads other dimensions than the time, or cuts steps off")
    return replace(steps, before=steps.before + before, beyond=steps.beyond + after), Same(node)


@rule(aten.conv1d.default, aten.conv1d.padding)
def convolution(reading: Reading, node: Node) -> tuple[Kind, Part]:
    steps, weight = reading.steps_of(node.args[0], node, padded=True), node.args[1]
    reading.fixed(node, *node.args[1:3])
    if (steps.rows, steps.time) != (0, 2):
        raise NotCausal("a convolution runs over another dimension than the time")
    if _whole(argument(node, 3, "stride", 1)) != 1:
        raise NotCausal("a convolution leaves steps out (stride)")
    dilation = _whole(argument(node, 5, "dilation", 1))
    reach = (int(weight.meta["val"].shape[2]) - 1) * dilation  # type: ignore[union-attr]
    padding: Any = argument(node, 4, "padding", 0)
    left = right = 0 if padding == "valid" else _whole(padding) if padding != "same" else reach // 2
    right = reach - left if padding == "same" else right
    before = steps.before + left
    if before < reach:
        raise NotCausal(f"a convolution reads ahead ({reach - before} of {reach + 1} steps)")
    beyond = steps.beyond + right + before - reach
    groups = int(argument(node, 6, "groups", 1))
    part = Convolution(node, weight, argument(node, 2, "bias"), dilation, groups, before)
    return replace(steps, before=0, beyond=beyond), part


@rule(aten.new_zeros.default)
def new_zeros(reading: Reading, node: Node) -> tuple[Kind, Part]:
    return Zeros(), None


@rule(RECURRENT)
def recurrent(reading: Reading, node: Node) -> tuple[Kind, Part]:
    args: Any = node.args
    source, state, weights, kind, bias, layers, bidirectional, batch_first = args
    steps = reading.steps_of(source, node)
    if bidirectional:
        raise NotCausal("a recurrent layer is bidirectional")
    if steps.beyond or (steps.rows, steps.time) != ((0, 1) if batch_first else (1, 0)):
        raise NotCausal("a recurrent layer runs over another dimension than the time")
    if not all(weight in reading.trace.tensors for weight in weights):
        raise NotCausal("a recurrent layer has weights that are computed")
    initial = None
    if not all(reading.kinds.get(part) == Zeros() or _is_zeros(part) for part in state):
        reading.fixed(node, *state)
        initial = state
    tensors = [reading.trace.tensors[weight] for weight in weights]
    rnn = sharing(kind, tensors, layers=layers, bias=bias)
    return Layers(steps, layers), Recurrence(node, rnn, not batch_first, initial)


def _is_zeros(node: Node) -> bool:
    return node.target in (aten.zeros.default, aten.zeros_like.default)
