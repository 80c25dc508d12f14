"""Programs of ``torch.export``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from rambit.predictors.extra import Extra
from rambit.predictors.module import ModulePredictor
from rambit.predictors.predictor import PredictionError, face


@face(0)
class ExportedPredictor(ModulePredictor):
    """An exported program with one input, (N, D, w).

    A program that was exported for one size of batch is called with batches of that size, filled up where there are
    fewer rows. Other sizes that were not exported as dynamic are demanded: PredictionError names them.
    """

    @classmethod
    def serves(cls, model: Any) -> bool:
        return type(model).__module__ == "torch.export.exported_program" and hasattr(model, "module")

    def __init__(self, model: Any, **common: Any) -> None:
        self.sizes = _sizes(model)
        super().__init__(model.module(), **common)
        self.modes, self._one_output, self.takes_lengths = frozenset(), {}, False  # an argument of the source is fixed

    def check_extra(self, names: Iterable[str]) -> None:
        if found := ", ".join(names):
            raise ValueError(f"extra: the exported program has one input, got {found}")

    def _evaluate(self, x: Tensor, extra: Extra, **more: Any) -> Tensor:
        self._check(x)
        batch, call = self.sizes[0], super()._evaluate
        if batch is None or len(x) == batch:
            return call(x, extra)
        filled = torch.cat([x, x[-1:].expand(-len(x) % batch, *x.shape[1:])])
        return torch.cat([call(part, extra) for part in torch.split(filled, batch)])[: len(x)]

    def _check(self, x: Tensor) -> None:
        """Raise PredictionError for a size that the program was not exported for."""
        given = tuple(x.shape)
        fits = len(given) == len(self.sizes)
        if fits and all(size in (None, given[axis]) for axis, size in enumerate(self.sizes) if axis):
            return
        wanted = ", ".join("any" if size is None else str(size) for size in self.sizes)
        raise PredictionError(
            f"the exported program takes ({wanted}), and was called with {given}: export it with dynamic_shapes= where "
            "sizes differ (shorter series are asked for unless anchor='end')"
        )


def _sizes(program: Any) -> tuple[int | None, ...]:
    """The sizes of a program's only input, None for one that may differ. Raises TypeError for other inputs."""
    wanted = program.graph_signature.user_inputs
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [values[name] for name in wanted if isinstance(name, str) and isinstance(values.get(name), Tensor)]
    if len(inputs) != 1 or not inputs[0].is_floating_point():
        raise TypeError(f"an exported program must have one floating input, this one has {', '.join(map(str, wanted))}")
    return tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
