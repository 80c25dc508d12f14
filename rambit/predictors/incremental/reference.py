"""Rows whose activations are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from rambit.predictors.incremental.values import size_of


class Reference:
    """Values of the graph for R rows, kept where rules read them, and what rules make of them.

    ``recompute`` gives the value of a node that was not kept.
    """

    def __init__(self, values: dict[Node, Any], rows: int, recompute: Callable[[Node, dict[Node, Any]], Any]) -> None:
        self._values, self.rows, self._recompute = values, rows, recompute
        self._tables: dict[Any, Any] = {}

    def __len__(self) -> int:
        return self.rows

    def value(self, node: Node) -> Any:
        """The value of a node, the R rows in its own dimensions."""
        if node not in self._values:
            self._values[node] = self._recompute(node, self._values)
        return self._values[node]

    def table(self, key: Any, make: Callable[[], Any]) -> Any:
        """What ``make`` gives of this reference, made once."""
        if key not in self._tables:
            self._tables[key] = make()
        return self._tables[key]

    def places(self, node: Node, batch: int, axes: tuple[int, ...], sizes: tuple[int, ...] = ()) -> Tensor:
        """The value of a node as (R, places along the axes, …), contiguous; ``sizes`` of one that was flattened."""

        def make() -> Tensor:
            value: Tensor = self.value(node)
            value = value.reshape(len(self), *sizes) if sizes else value
            return value.movedim((batch, *axes), tuple(range(1 + len(axes)))).contiguous()

        found: Tensor = self.table((node, batch, axes), make)
        return found

    def is_finite(self, node: Node) -> bool:
        """Whether what changed can be told from differences: infinity less infinity is no number."""
        found: bool = self.table(("is finite", node), lambda: bool(torch.isfinite(self.value(node)).all()))
        return found

    @property
    def bytes(self) -> int:
        """What is kept, without what rules made of it."""
        return size_of(tuple(self._values.values()))
