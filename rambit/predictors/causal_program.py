"""A causal network as operators that take any number of steps at a time, from a state.

It is what ``causal_rules`` makes of a traced graph: a *body* whose values have steps, *takes* of its last step, and a
*head* that reads only those, and so gives an output at every step if every step is taken.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from rambit import memory
from rambit.predictors.fused import Steps
from rambit.predictors.incremental.program import Program
from rambit.predictors.predictor import State
from rambit.predictors.recurrent import along, rows_first

#: So many steps, and fewer, of a convolution are computed one by one.
FEW_STEPS = 8


class Run:
    """Values of a graph for so many rows, with the weights as they are in ``program``."""

    def __init__(self, program: Program, rows: int) -> None:
        self.program, self.rows = program, rows
        self.values: dict[Node, Any] = {}

    def value(self, arg: Any) -> Any:
        return self.values[arg] if arg in self.values else self.program.fixed(arg, self.rows)

    def call(self, node: Node) -> Any:
        """What the operator gives."""
        return self.program.call(node, self.value)

    def drop_after(self, node: Node) -> None:
        """Forget what no later operator reads."""
        for done in self.program.last_use.get(node, ()):
            self.values.pop(done, None)


@dataclass(frozen=True)
class Operator:
    """An operator of the body that works on each step by itself."""

    node: Node

    def run(self, run: Run) -> Any:
        return run.call(self.node)


@dataclass(frozen=True)
class Same(Operator):
    """What gives back the steps of its first argument: dropout in evaluation, padding and cuts that a convolution
    accounts for."""

    def run(self, run: Run) -> Any:
        return run.value(self.node.args[0])


@dataclass(frozen=True)
class Take(Operator):
    """The last step (N, …) of a value whose ``rows`` and ``time`` are these dimensions; here every step of it.

    ``new``: where the result has a dimension of length 1 in addition. ``shape``: its other dimensions.
    """

    rows: int
    time: int
    new: int | None
    shape: tuple[int, ...]

    def run(self, run: Run) -> Tensor:
        """(N, w, …): the other dimensions in their order."""
        x: Tensor = run.value(self.node.args[0])
        return x.movedim((self.rows, self.time), (0, 1))

    def place(self, steps: Tensor) -> Tensor:
        """Steps (N · w, …) with their dimensions as in the graph."""
        value = steps.movedim(0, self.rows - (self.time < self.rows))
        return value if self.new is None else value.unsqueeze(self.new)


class Stateful(ABC):
    """An operator of the body whose steps read what earlier ones left: its state, with the rows first."""

    node: Node

    @abstractmethod
    def advance(self, run: Run, state: State | None, steps: Steps | None) -> tuple[Tensor, State]:
        """The value of the node, and the state after it."""

    def steps(self, like: Tensor) -> Steps | None:
        """Native steps, where there are some."""
        return None


@dataclass(frozen=True)
class Convolution(Stateful):
    """A convolution of values (N, C, w) that sees ``before`` steps of the past, and none of the future.

    Its state are those steps, (N, before, C): the channels of a step lie together, since few steps are a product.
    """

    node: Node
    weight: Any
    bias: Any
    dilation: int
    groups: int
    before: int

    def advance(self, run: Run, state: State | None, steps: Steps | None) -> tuple[Tensor, State]:
        x: Tensor = run.value(self.node.args[0]).transpose(1, 2)
        past = memory.zeros((len(x), self.before, x.shape[2]), x) if state is None else state
        seen = torch.cat((past, x), dim=1)
        few = x.shape[1] <= FEW_STEPS and self.groups == 1
        found = self._few_steps(run, seen) if few else self._series(run, seen)
        return found.transpose(1, 2), seen[:, x.shape[1] :]

    def _series(self, run: Run, seen: Tensor) -> Tensor:
        """(N, w, C) from the past and w steps, (N, before + w, C)."""
        weight: Tensor = run.value(self.weight)
        ahead = self.before - (weight.shape[2] - 1) * self.dilation  # so many steps of the past are read last
        series = seen[:, : seen.shape[1] - ahead].transpose(1, 2)
        found = torch.conv1d(series, weight, run.value(self.bias), 1, 0, self.dilation, self.groups)
        return found.transpose(1, 2)

    def _few_steps(self, run: Run, seen: Tensor) -> Tensor:
        """The same step by step, as products of what lies there: a convolution would copy it, and set itself up."""
        taps: Tensor = run.program.constant(("taps", self.node), lambda: run.value(self.weight).permute(2, 1, 0))
        bias = run.value(self.bias)
        found = memory.empty((len(seen), seen.shape[1] - self.before, taps.shape[2]), seen)
        for j, out in enumerate(found.unbind(1)):
            out.zero_() if bias is None else out.copy_(bias)
            for k, tap in enumerate(taps):
                out.addmm_(seen[:, j + k * self.dilation], tap)
        return found


@dataclass(frozen=True)
class Recurrence(Stateful):
    """A recurrent layer, or several: ``rnn`` shares the model's weights and reads (N, w, D).

    ``initial``: its first state as the module reads it; None for zeros.
    """

    node: Node
    rnn: nn.RNNBase
    time_first: bool
    initial: Sequence[Any] | None

    def advance(self, run: Run, state: State | None, steps: Steps | None) -> tuple[Tensor, State]:
        x: Tensor = run.value(self.node.args[0])
        series = x.transpose(0, 1) if self.time_first else x
        if state is None and self.initial is not None:
            parts = [run.value(part) for part in self.initial]
            state = rows_first(tuple(parts) if len(parts) > 1 else parts[0])
        hidden, after = along(self.rnn, series, state) if steps is None else steps.along(series, state)
        return hidden.transpose(0, 1) if self.time_first else hidden, after

    def steps(self, like: Tensor) -> Steps | None:
        return Steps.of(self.rnn, like.new_empty(1, 1, self.rnn.input_size))


@dataclass(frozen=True)
class CausalProgram:
    """Operators in their order, each once. The state is a tuple: what each stateful one leaves, in that order."""

    graph: Program
    body: tuple[Operator | Stateful, ...]
    head: tuple[Node, ...]
    takes: tuple[Take, ...]

    def with_weights(self, like: Tensor | None = None) -> CausalRun:
        """The program with the weights as they are now; with native steps for x like this one, if given."""
        stateful = [part for part in self.body if isinstance(part, Stateful)]
        steps = {} if like is None else {part.node: part.steps(like) for part in stateful}
        graph = copy.copy(self.graph)
        graph.forget()
        return CausalRun(self, graph, steps)


@dataclass(frozen=True)
class CausalRun:
    """A program with its weights; not for several threads at once where it has native steps."""

    causal: CausalProgram
    program: Program
    steps: dict[Node, Steps | None]

    def hidden(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """What the head reads, (N, w, F), along w steps of x as the model reads it, and the state after them."""
        run = Run(self.program, len(x))
        run.values[self.causal.graph.trace.x] = x
        before, after = iter(state or ()), []
        taken: list[Tensor] = []
        for part in self.causal.body:
            if isinstance(part, Take):
                taken.append(part.run(run))
            elif isinstance(part, Stateful):
                own = None if state is None else next(before)
                run.values[part.node], left = part.advance(run, own, self.steps.get(part.node))
                after.append(left)
            else:
                run.values[part.node] = part.run(run)
            run.drop_after(part.node)
        return taken[0] if len(taken) == 1 else torch.cat(
            [part.reshape(*part.shape[:2], -1) for part in taken], dim=2
        ), tuple(after)

    def outputs(self, hidden: Tensor) -> Tensor:
        """Raw outputs (N, C, w) from what the head reads."""
        N, w = hidden.shape[:2]
        run = Run(self.program, N * w)
        for take, steps in zip(self.causal.takes, self._apart(hidden.flatten(0, 1)), strict=True):
            run.values[take.node] = take.place(steps)
        for node in self.causal.head:
            run.values[node] = run.call(node)
            run.drop_after(node)
        found: Tensor = run.values[self.causal.graph.trace.output]
        return found.reshape(N, w, *found.shape[1:]).movedim(1, -1)

    def _apart(self, steps: Tensor) -> list[Tensor]:
        """What each take gave, (n, …)."""
        takes = self.causal.takes
        if len(takes) == 1:
            return [steps]
        parts = torch.split(steps, [math.prod(take.shape) for take in takes], dim=1)
        return [part.reshape(len(part), *take.shape) for part, take in zip(parts, takes, strict=True)]
