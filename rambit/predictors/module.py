"""Torch modules and plain callables, and modules with the ``predict(x, return_all=False)`` protocol."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from rambit.predictors.base import Predictor, State


def takes(function: Any, argument: str) -> bool:
    """Whether a callable has an argument of that name (``**kwargs`` do not count: they may be passed on to nowhere)."""
    try:
        return function is not None and argument in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


class ModulePredictor(Predictor):
    """A module or callable on (N, D, w). ``return_all`` makes it causal, ``advance(x, state)`` stateful."""

    def __init__(
        self,
        model: Any,
        *,
        output: str = "auto",
        layout: str = "BDT",
        device: torch.device | str | None = None,
        model_id: str | None = None,
    ) -> None:
        module = model if isinstance(model, nn.Module) else None
        if device is None and module is not None:
            device = next((p.device for p in module.parameters()), torch.device("cpu"))
        super().__init__(output=output, layout=layout, device=device, model_id=model_id)
        self.model, self.module = model, module
        if module is not None:
            module.to(self.device)
        self.forward = self._forward()
        claimed = set()
        if takes(self.forward, "return_all"):
            claimed.add("causal")
        if callable(getattr(model, "advance", None)):
            claimed.add("stateful")
        self.modes = frozenset(claimed)
        self.takes_lengths = takes(self.forward, "lengths")
        self.features_last = self.features_last or bool(getattr(model, "features_last", False))

    def _forward(self) -> Any:
        return self.module.forward if self.module is not None else self.model

    def call_whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        answer: Tensor = self.model(x) if lengths is None else self.model(x, lengths=lengths)
        return answer

    def call_steps(self, x: Tensor) -> Tensor:
        answer: Tensor = self.model(x, return_all=True)
        return answer

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        answer: tuple[Tensor, State] = self.model.advance(x, state)
        return answer


class ProtocolPredictor(ModulePredictor):
    """A model asked through ``predict(x, return_all=False)`` -> (N, C) and ``return_all=True`` -> (N, C, w)."""

    def __init__(self, model: Any, *, output: str = "auto", **common: Any) -> None:
        super().__init__(model, output="probs" if output == "auto" else output, **common)

    def _forward(self) -> Any:
        return self.model.predict

    def call_whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        answer: Tensor = self.model.predict(x) if lengths is None else self.model.predict(x, lengths=lengths)
        return answer

    def call_steps(self, x: Tensor) -> Tensor:
        answer: Tensor = self.model.predict(x, return_all=True)
        return answer
