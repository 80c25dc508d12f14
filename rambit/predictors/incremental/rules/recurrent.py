"""Recurrent layers: from the reference's state just before the window, to the end of the series.

The backward direction of a bidirectional layer is the same on the mirrored series. What only reads the last step, or
sums or maxima over all steps, is served on the way, so that hidden values of all steps need not be kept for each row.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from rambit import memory
from rambit.predictors.fused import Parts, Steps
from rambit.predictors.incremental.operators import aten
from rambit.predictors.incremental.rows import Rows, argument, order_of, rank, require, rule, size
from rambit.predictors.incremental.values import EvaluateWhole, Int64, State, Window
from rambit.predictors.recurrent_op import RECURRENT, sharing

Reading = Literal["last", "sum", "max"]
#: What hands on its argument as it is.
_PASSING = (aten.dropout.default, aten.contiguous.default, aten.clone.default, aten.alias.default, aten.detach.default)
_SUMS = (aten.mean.dim, aten.sum.dim_IntList, aten.adaptive_avg_pool1d.default)
_MAXIMA = (aten.amax.default, aten.max.dim, aten.adaptive_max_pool1d.default)


@dataclass(frozen=True)
class Reader:
    """A node that reads hidden values of one step, or sums or maxima of all. ``order``: rows, time, features there."""

    node: Node
    reading: Reading
    order: tuple[int, int, int]
    keepdim: bool

    def value(self, found: Tensor, steps: int) -> Any:
        """The node's value from what was read (n, H)."""
        if self.node.target in (aten.mean.dim, aten.adaptive_avg_pool1d.default):
            found = found / steps
        rows, time, features = self.order
        value = found.unsqueeze(1).permute(tuple(np.argsort((rows, time, features)).tolist()))
        value = value if self.keepdim else value.squeeze(time)
        value = value.to(self.node.meta["val"][0].dtype if self.several else self.node.meta["val"].dtype)
        return (value, None) if self.several else value

    @property
    def several(self) -> bool:
        """Whether the node also says where the maximum is, which nobody reads."""
        return self.node.target in _MAXIMA and self.node.target is not aten.amax.default


def readers_of(hidden: Node, order: tuple[int, int, int], T: int) -> list[Reader]:
    """All that reads the hidden values of a node. Raises EvaluateWhole where something needs them at every step."""
    found: list[Reader] = []
    for node in hidden.users:
        if node.target in _PASSING or (node.target is aten.slice.Tensor and size_is_kept(hidden, node)):
            found.extend(readers_of(node, order, T))
        elif node.target in (aten.transpose.int, aten.permute.default):
            found.extend(readers_of(node, _moved(node, order), T))
        else:
            found.append(_reader(node, order, T))
    return found


def size_is_kept(before: Node, after: Node) -> bool:
    """Whether a slice cuts nothing off."""
    dim = int(argument(after, 1, "dim", 0)) % rank(before)
    sizes = [node.meta["val"].shape[dim] for node in (before, after)]
    return bool(sizes[0] == sizes[1]) and argument(after, 4, "step", 1) == 1


def _moved(node: Node, order: tuple[int, int, int]) -> tuple[int, int, int]:
    dims = order_of(node)
    rows, time, features = (dims.index(dim) for dim in order)
    return rows, time, features


def _reader(node: Node, order: tuple[int, int, int], T: int) -> Reader:
    args: Any = node.args
    if node.target is aten.select.int:
        require(args[1] % 3 == order[1] and args[2] % T == T - 1)
        return Reader(node, "last", order, keepdim=False)
    require(node.target in (*_SUMS, *_MAXIMA) and node.kwargs.get("dtype") is None)
    given = argument(node, 1, "dim", ())
    if node.target in (aten.adaptive_avg_pool1d.default, aten.adaptive_max_pool1d.default):
        require(list(given) == [1])
        over, keepdim = [2], True
    else:
        over = [dim % 3 for dim in ([given] if isinstance(given, int) else given)]
        keepdim = bool(argument(node, 2, "keepdim", False))
    require(over == [order[1]])
    reader = Reader(node, "sum" if node.target in _SUMS else "max", order, keepdim)
    if reader.several:
        require(all(user.target is operator.getitem and user.args[1] == 0 for user in node.users))
    return reader


@dataclass(frozen=True)
class Walked:
    """What a walk leaves of the rows: final states, hidden values of the first place, sums and maxima of all."""

    final: Parts  # (n, layers, H) each
    first: Tensor  # (n, H)
    total: Tensor  # (n, H), float64
    largest: Tensor  # (n, H)


class Direction:
    """One direction of a layer, or of several; backward the series is mirrored."""

    def __init__(self, rows: Rows, node: Node, x: Node, window: Window, backward: bool) -> None:
        self.rows, self.node, self.backward = rows, node, backward
        places = rows.reference.places(x, window.batch, (window.axis,))  # (R, T, D)
        self.T = places.shape[1]
        self.places, self.data = (values.flip(1) if backward else values for values in (places, window.data))
        self.start = self.T - window.start - window.width if backward else window.start
        module = rows.program.constant(("module", node, backward), lambda: _module(rows, node, backward))
        steps = Steps.of(module, self.places)
        if steps is None:
            raise EvaluateWhole
        self.steps = steps
        self.before: Parts = rows.reference.table(("states", node, backward), self._reference_states)

    def _reference_states(self) -> Parts:
        """The parts of the references' states before each step and after the last, (T + 1, R, layers, H) each."""
        args: Any = self.node.args
        layers = slice(int(self.backward), None, 2 if args[6] else 1)
        given = [self.rows.program.fixed(part, len(self.places)) for part in args[1]]
        state: Parts = tuple(part[layers].transpose(0, 1).contiguous() for part in given)
        tables = tuple(memory.empty((self.T + 1, *part.shape), part) for part in state)
        for t in range(self.T + 1):
            for table, part in zip(tables, state, strict=True):
                table[t] = part
            state = self.steps.step(self.places[:, t], state) if t < self.T else state
        return tables

    def _before(self) -> tuple[Tensor, Tensor]:
        """Sums and maxima of the references' hidden values before each step, (R, T, H) each."""
        hidden = self.before[0][1:, :, -1].transpose(0, 1)
        none = torch.full_like(hidden[:, :1], float("-inf"))
        largest = torch.cat((none, hidden.cummax(dim=1).values[:, :-1]), dim=1)
        total = hidden.double().cumsum(dim=1)
        return torch.cat((torch.zeros_like(total[:, :1]), total[:, :-1]), dim=1), largest

    def walk(self) -> Walked:
        """All rows from their windows to the end, those that begin first first: the ones under way are a prefix."""
        order = np.argsort(self.start, kind="stable")
        sorted_rows, start = torch.from_numpy(order).to(self.data.device), self.start[order]
        data, which = self.data.index_select(0, sorted_rows), self.rows.which.index_select(0, sorted_rows)
        begin = torch.from_numpy(start).to(which.device)
        total, largest = (
            table[which, begin] for table in self.rows.reference.table(("sums", self.node, self.backward), self._before)
        )
        first = self.before[0][1, :, -1].index_select(0, which)
        state: Parts = tuple(part[0, :0] for part in self.before)
        for t in range(int(start[0]), self.T):
            x, state = self._enter(t, start, data, which, state)
            state = self.steps.step(x, state)
            now = state[0][:, -1]
            n = len(now)
            total[:n] += now
            torch.maximum(largest[:n], now, out=largest[:n])
            if t == 0:
                first[:n] = now
        back = torch.empty_like(sorted_rows)
        back[sorted_rows] = torch.arange(len(back), device=back.device)
        first, total, largest, *final = (value.index_select(0, back) for value in (first, total, largest, *state))
        return Walked(tuple(final), first, total, largest)

    def _enter(self, t: int, start: Int64, data: Tensor, which: Tensor, state: Parts) -> tuple[Tensor, Parts]:
        """What rows under way read at step t, and their states, with those of the rows that begin there."""
        before, n = len(state[0]), int(np.searchsorted(start, t, side="right"))
        if n > before:
            new = [part[t].index_select(0, which[before:n]) for part in self.before]
            state = tuple(torch.cat(both) for both in zip(state, new, strict=True))
        x = self.places[:, t].index_select(0, which[:n])
        changed = int(np.searchsorted(start, t - data.shape[1], side="right"))
        if changed < n:
            at = torch.from_numpy(t - start[changed:n]).to(data.device)
            x[changed:] = data[torch.arange(changed, n, device=data.device), at]
        return x, state


def _module(rows: Rows, node: Node, backward: bool) -> nn.RNNBase:
    """A recurrent module of one direction with the weights of the operator."""
    args: Any = node.args
    weights, kind, bias, layers, bidirectional = args[2:7]
    each = 4 if bias else 2
    used = [weight for k, weight in enumerate(weights) if not bidirectional or (k // each) % 2 == backward]
    return sharing(kind, [rows.fixed(weight) for weight in used], layers=layers, bias=bias)


@rule(RECURRENT)
def recurrent(rows: Rows, node: Node) -> State:
    x, window = rows.only_window(node)
    args: Any = node.args
    layers, bidirectional, batch_first = args[5:8]
    require((window.batch, window.axis) == ((0, 1) if batch_first else (1, 0)) and not (bidirectional and layers > 1))
    order = (0, 1, 2) if batch_first else (1, 0, 2)
    # Where all hidden values are needed, they cost as much to keep as to compute anew.
    hidden = [item for item in node.users if item.args[1] == 0]
    readers = [reader for item in hidden for reader in readers_of(item, order, size(x, window.axis))]
    directions = [Direction(rows, node, x, window, way) for way in ([False, True] if bidirectional else [False])]
    walked = [direction.walk() for direction in directions]
    for reader in readers:
        found = [_read(one, reader.reading, way.backward) for one, way in zip(walked, directions, strict=True)]
        rows.ready[reader.node] = reader.value(torch.cat(found, dim=1), directions[0].T)
    final = (torch.cat(parts, dim=1).transpose(0, 1) for parts in zip(*(one.final for one in walked), strict=True))
    return (None, *final)  # hidden values are read by what is ready


def _read(walked: Walked, reading: Reading, backward: bool) -> Tensor:
    if reading == "last":  # of the series, where the backward direction begins
        return walked.first if backward else walked.final[0][:, -1]
    return walked.total if reading == "sum" else walked.largest
