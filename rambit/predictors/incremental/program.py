"""A traced module with its weights, and the reference values of its graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from rambit.predictors.incremental.operators import LOCAL, PRODUCTS
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.trace import Trace

_SIZE = torch.ops.aten.sym_size.int
_SQUEEZE = torch.ops.aten.squeeze.default
#: Windows and whole values may lie in another order in memory than when the module is called.
_RESHAPES: dict[Any, Any] = dict.fromkeys(
    (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default), torch.reshape
)


class Program:
    """A graph with the weights as they are when this is made. ``varying``: nodes that depend on the values of x."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.constants: dict[Any, Any] = {}
        self.forget()
        self._rows = trace.x.meta["val"].shape[0].node.expr
        self.varying = self._find_varying()
        self.steps = [node for node in trace.nodes if node in self.varying and node is not trace.x]
        self.kept, self.last_use = self._find_kept(), self._find_last_use()

    def forget(self) -> None:
        """Read the weights anew."""
        self.constants = dict(self.trace.tensors)

    def _find_varying(self) -> frozenset[Node]:
        found = {self.trace.x}
        for node in self.trace.nodes:
            if node.target is not _SIZE and any(arg in found for arg in node.all_input_nodes):
                found.add(node)
        return frozenset(found)

    def _find_kept(self) -> frozenset[Node]:
        """Nodes whose reference values rules may read.

        Not what only goes on into an operator that reads none; but products of whole rows, to which changes are added.
        """
        kept = {self.trace.x, self.trace.output}
        for node in self.steps:
            inputs = [arg for arg in node.all_input_nodes if arg in self.varying]
            if len(inputs) > 1 or node.target not in LOCAL:
                kept.update(inputs)
            if node.target in PRODUCTS and len(node.meta["val"].shape) == 2:
                kept.add(node)
        return frozenset(kept)

    def _find_last_use(self) -> dict[Node, list[Node]]:
        last: dict[Node, Node] = {}
        for node in self.steps:
            for arg in (node, *node.all_input_nodes):
                last[arg] = node
        last.pop(self.trace.output, None)
        ends: dict[Node, list[Node]] = {}
        for arg, node in last.items():
            ends.setdefault(node, []).append(arg)
        return ends

    # -- what does not depend on x --------------------------------------------------------------------------------

    def constant(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives of the weights, made once."""
        if key not in self.constants:
            self.constants[key] = make()
        return self.constants[key]

    def fixed(self, arg: Any, rows: int) -> Any:
        """The value of an argument that does not depend on x, for so many rows."""
        if not isinstance(arg, Node):
            return arg
        if arg in self.constants:
            return self.constants[arg]
        if arg.target is _SIZE:
            size = arg.args[0].meta["val"].shape[arg.args[1]]  # type: ignore[union-attr]
            return size if isinstance(size, int) else int(size.node.expr.subs(self._rows, rows))
        value = self.call(arg, lambda part: self.fixed(part, rows))
        if not self.counts_rows(arg):
            self.constants[arg] = value
        return value

    def counts_rows(self, node: Node) -> bool:
        """Whether a value that does not depend on x depends on the number of rows."""
        return self.constant(  # type: ignore[no-any-return]
            ("counts rows", node),
            lambda: node.target is _SIZE or any(self.counts_rows(arg) for arg in node.all_input_nodes),
        )

    @staticmethod
    def call(node: Node, value: Callable[[Node], Any]) -> Any:
        """What the operator gives for arguments with these values."""
        args: Any = map_arg(node.args, value)
        kwargs: Any = map_arg(node.kwargs, value)
        if node.target is _SQUEEZE:  # of a single row, the rows stay
            sizes = node.args[0].meta["val"].shape  # type: ignore[union-attr]
            return args[0].squeeze([dim for dim, size in enumerate(sizes) if isinstance(size, int) and size == 1])
        target: Any = node.target
        return _RESHAPES.get(target, target)(*args, **kwargs)

    def batch_of(self, node: Node) -> int | None:
        """Which dimension of a node's value is the rows; None where none is, or more than rows."""
        sizes = getattr(node.meta.get("val"), "shape", ())
        counted = [d for d, size in enumerate(sizes) if not isinstance(size, int)]
        if len(counted) == 1 and sizes[counted[0]].node.expr == self._rows:
            return counted[0]
        return None

    @property
    def reference_bytes(self) -> int:
        """What the kept values of one row take."""
        found: int = self.constant("bytes", lambda: sum(map(self._row_bytes, self.kept)))
        return found

    @property
    def largest_bytes(self) -> int:
        """What the largest value of one row takes."""
        found: int = self.constant("largest", lambda: max(1, *map(self._row_bytes, self.varying)))
        return found

    def _row_bytes(self, node: Node) -> int:
        values: Any = node.meta.get("val")
        tensors = [
            value for value in (values if isinstance(values, (tuple, list)) else [values]) if hasattr(value, "shape")
        ]
        sizes = [[size for size in value.shape if isinstance(size, int)] for value in tensors]
        return sum(math.prod(size) * value.element_size() for size, value in zip(sizes, tensors, strict=True))

    # -- references -----------------------------------------------------------------------------------------------

    def reference(self, x: Tensor) -> tuple[Reference, Tensor]:
        """The activations of rows x (R, …), as the model reads them, and their raw outputs."""
        rows = len(x)
        values: dict[Node, Any] = {self.trace.x: x}

        def value(arg: Node) -> Any:
            return values[arg] if arg in self.varying else self.fixed(arg, rows)

        for node in self.steps:
            values[node] = self.call(node, value)
            for done in self.last_use.get(node, ()):
                if done not in self.kept:
                    values.pop(done, None)

        def recompute(node: Node, known: dict[Node, Any]) -> Any:
            def again(arg: Node) -> Any:
                if arg not in self.varying:
                    return self.fixed(arg, rows)
                return known[arg] if arg in known else recompute(arg, known)

            return self.call(node, again)

        return Reference(values, rows, recompute), values[self.trace.output]
