"""Torch modules and plain callables, and modules with the ``predict(x, return_all=False)`` protocol."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from rambit.models import GRUClassifier
from rambit.models.base import at_lengths
from rambit.predictors.base import Predictor, State, Walk
from rambit.predictors.fused import GruSteps, GruWalk, is_wrapped, pays


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
        if self._is_ours() and not is_wrapped(self.model):
            series = self.model.rnn_input(x)
            steps = GruSteps.of(self.model.rnn, series) if pays(series) else None
            if steps is not None:
                hidden, _ = steps.along(series, None)
                last: Tensor = self.model.logits(hidden[:, -1] if lengths is None else at_lengths(hidden, lengths))
                return last
        answer: Tensor = self.model(x) if lengths is None else self.model(x, lengths=lengths)
        return answer

    def call_steps(self, x: Tensor) -> Tensor:
        answer: Tensor = self.model(x, return_all=True)
        return answer

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        if self._is_ours():
            series = self.model.rnn_input(x)
            steps = GruSteps.of(self.model.rnn, series) if pays(series) else None
            if steps is not None:
                hidden, after = steps.along(series, state)
                return self.model.logits(hidden).transpose(1, 2), after
        answer: tuple[Tensor, State] = self.model.advance(x, state)
        return answer

    def walk(self, like: Tensor) -> Walk:
        steps = GruSteps.of(self.model.rnn, self._series(like)) if self._is_ours() else None
        return super().walk(like) if steps is None else GruWalk(self, steps, self._series, self.model.logits)

    def _is_ours(self) -> bool:
        """Whether the model is our own GRU as it is: what overrides a part of it has to be called itself."""
        return type(self.model) is GRUClassifier and not {"advance", "rnn_input", "logits"} & vars(self.model).keys()

    def _series(self, x: Tensor) -> Tensor:
        series: Tensor = self.model.rnn_input(self._as_model_reads(x))
        return series


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
