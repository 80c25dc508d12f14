"""Graphs drawn operator by operator, and the slow twin of what the interpreter gives: the whole rows, evaluated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, Node
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.fx.node import map_arg
from torch.utils._pytree import tree_map, tree_map_only

from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.rows import Rows
from rambit.predictors.incremental.values import Window
from rambit.predictors.trace import Trace

#: By type: absolute and relative tolerance.
TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-10, 1e-9)}

Call = Callable[..., Any]
#: A model in terms of operators: ``function(call, x)``, where ``call(operator, *args)`` gives an operator's result.
Function = Callable[[Call, Any], Any]


def plainly(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """The ``call`` of a function that is evaluated."""
    return operator(*args, **kwargs)


@functools.cache
def _any_number() -> tuple[FakeTensorMode, Any]:
    """A number of rows that may be any, as in a trace, and where it means that."""
    mode = FakeTensorMode(shape_env=ShapeEnv())
    symbolic = StatelessSymbolicContext([DimDynamic.DYNAMIC])
    return mode, mode.from_tensor(torch.empty(Drawing.FEW), symbolic_context=symbolic).shape[0]


class Drawing:
    """The ``call`` of a function whose graph is drawn; tensors that it passes are the weights.

    Shapes are found by evaluating each operator for two numbers of rows, which takes far less time than inferring them.
    """

    FEW, MANY = 7, 11  # numbers of rows that are no other size

    def __init__(self, x: Tensor) -> None:
        self.graph, self.tensors = Graph(), dict[Node, Tensor]()
        self.mode, self.rows = _any_number()
        self.values: dict[Node, tuple[Any, Any]] = {}
        self.x = self.graph.placeholder("x")
        self._keep(self.x, tuple(x.new_ones(rows, *x.shape[1:]) for rows in (self.FEW, self.MANY)))

    def _keep(self, node: Node, values: Any) -> None:
        self.values[node] = values
        node.meta["val"] = tree_map(self._symbolic, *values)

    def _symbolic(self, few: Any, many: Any) -> Any:
        """A value without elements, whose sizes say how they depend on the number of rows."""
        if not isinstance(few, Tensor):
            return few
        each = [(b - a) // (self.MANY - self.FEW) for a, b in zip(few.shape, many.shape, strict=True)]
        sizes = [times * self.rows if times else size for times, size in zip(each, few.shape, strict=True)]
        with self.mode:
            return torch.empty(sizes, dtype=few.dtype)

    def _placeholder(self, tensor: Tensor) -> Node:
        node = self.graph.placeholder(f"weight_{len(self.tensors)}")
        self.tensors[node] = tensor
        self._keep(node, (tensor, tensor))
        return node

    def __call__(self, operator: Any, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map_only(Tensor, self._placeholder, (args, kwargs))
        node = self.graph.call_function(operator, args, kwargs)
        given = [map_arg((args, kwargs), lambda arg: self.values[arg][k]) for k in range(2)]  # noqa: B023
        self._keep(node, tuple(operator(*places, **named) for places, named in given))
        return node

    def trace(self, output: Node) -> Trace:
        return Trace(tuple(self.graph.nodes), self.tensors, self.x, output)


def drawn(function: Function, x: Tensor) -> Trace:
    """The graph of a function of rows like x."""
    drawing = Drawing(x)
    return drawing.trace(function(drawing, drawing.x))


class WatchedRows(Rows):
    """Rows that remember which values were made whole."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.made_whole: list[Node] = []

    def whole(self, arg: Any) -> Any:
        if self.varies(arg):
            self.made_whole.append(arg)
        return super().whole(arg)


def whole_rows(x: Tensor, which: Tensor, windows: Tensor, start: Any, axis: int) -> Tensor:
    """The references x (R, …) with the windows written into them, row by row."""
    rows = x[which].clone()
    for row, window, begin in zip(rows, windows, start.tolist(), strict=True):
        row.narrow(axis - 1, begin, window.shape[axis - 1]).copy_(window)
    return rows


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.dtype == expected.dtype
    absolute, relative = TOLERANCE.get(expected.dtype, (0.0, 0.0))
    torch.testing.assert_close(found, expected, atol=absolute, rtol=relative, equal_nan=True)


class Case:
    """References x (R, …), and n rows that are these but for windows of one width along an axis."""

    def __init__(self, x: Tensor, axis: int, which: Tensor, windows: Tensor, start: Any) -> None:
        self.x, self.axis, self.which, self.windows, self.start = x, axis, which, windows, start

    def to(self, device: torch.device) -> Case:
        """The same on a device."""
        return Case(self.x.to(device), self.axis, self.which.to(device), self.windows.to(device), self.start)

    @property
    def rows(self) -> Tensor:
        return whole_rows(self.x, self.which, self.windows, self.start, self.axis)

    def check(self, function: Function, *, by_rule: bool = False) -> Rows:
        """Compare a function's results with its twin's; ``by_rule``: every operator must have been evaluated by one."""
        program = Program(drawn(function, self.x))
        reference, output = program.reference(self.x)
        assert_close(output, function(plainly, self.x))
        rows = WatchedRows(program, reference, self.which)
        rows.evaluate(Window.of(self.windows, self.start, 0, self.axis))
        if by_rule:
            assert rows.made_whole == [], "a rule was not used"
        assert_close(rows.whole(program.trace.output), function(plainly, self.rows))
        return rows


def random_case(
    seed: int,
    sizes: tuple[int | None, ...] = (3, None),
    places: int = 12,
    widest: int = 12,
    positive: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Case:
    """Rows of these ``sizes``, with ``places`` in the dimension that is None, along which windows lie."""
    generator = torch.Generator().manual_seed(seed)
    R, n, width = (int(torch.randint(1, high + 1, (), generator=generator)) for high in (3, 5, min(widest, places)))
    start = torch.randint(places - width + 1, (n,), generator=generator).numpy()
    return _case(generator, sizes, places, R, width, start, dtype, positive)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    sizes: tuple[int | None, ...] = (3, None),
    places: tuple[int, int] = (1, 12),
    widest: int | None = None,
    positive: bool = False,
) -> Case:
    """The same, of any type, with windows at both edges and up to the whole axis."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    T, R, n = draw(st.integers(*places)), draw(st.integers(1, 3)), draw(st.integers(1, 5))
    width = draw(st.integers(1, T if widest is None else min(T, widest)))
    edges = st.sampled_from([0, T - width])
    start = np.array(draw(st.lists(edges | st.integers(0, T - width), min_size=n, max_size=n)), dtype=np.int64)
    return _case(generator, sizes, T, R, width, start, dtype, positive)


def _case(
    generator: torch.Generator,
    sizes: tuple[int | None, ...],
    places: int,
    R: int,
    width: int,
    start: Any,
    dtype: torch.dtype,
    positive: bool,
) -> Case:
    def values(rows: int, length: int) -> Tensor:
        shape = (rows, *(length if size is None else size for size in sizes))
        found = torch.randn(shape, generator=generator, dtype=dtype)
        return found.abs() + 0.1 if positive else found

    which = torch.randint(R, (len(start),), generator=generator)
    return Case(values(R, places), 1 + sizes.index(None), which, values(len(start), width), start)


def weights(like: Tensor, *shape: int, seed: int = 0) -> Tensor:
    """Random values of a type, scaled as layers are, so that they don't amplify rounding."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    fan_in = max(1, int(np.prod(shape[1:])))
    return torch.randn(shape, generator=generator, dtype=like.dtype) / fan_in**0.5
