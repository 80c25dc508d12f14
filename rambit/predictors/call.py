"""Functions of several tensors, called as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from rambit.predictors.predictor import PredictionError, Predictor


class CallPredictor(Predictor):
    """``forward(*tensors, *args)``, of whose output ``select(output, copies)`` makes what is explained, of any shape.

    ``copies`` says how many times the batch stands in the tensors. Outputs are neither made probabilities nor checked
    for NaN, and training flags are left as they are. A number is read as a tensor without axes.
    """

    def __init__(self, forward: Callable[..., Any], select: Callable[[Any, int], Any]) -> None:
        super().__init__(output="regression")
        self.forward, self.select = forward, select
        owner = getattr(forward, "__self__", forward)
        self.module = owner if isinstance(owner, nn.Module) else None

    @property
    def called_module(self) -> nn.Module | None:
        """The module of which a call is one of the function and nothing else, if that is certain."""
        module = self.module
        if module is None or self.forward is module:
            return module
        return module if getattr(self.forward, "__func__", None) is type(module).forward else None

    def session(self, *, gradients: bool = False) -> AbstractContextManager[None]:
        return torch.set_grad_enabled(gradients)

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        raise TypeError("a function of several tensors has no output for one of series")

    def outputs(self, tensors: Sequence[Tensor], args: Sequence[Any], copies: int) -> Tensor:
        """What is explained of the output for these tensors. PredictionError where it is neither tensor nor number."""
        return self.explained_of(self.forward(*tensors, *args), copies)

    def explained_of(self, output: Any, copies: int) -> Tensor:
        """What is explained of an output; PredictionError as ``outputs``."""
        found = self.select(output, copies)
        if isinstance(found, Tensor):
            return found
        if type(found) not in (int, float):
            raise PredictionError(f"the function returned {type(found).__name__}, expected a tensor or a number")
        return torch.tensor(found, dtype=torch.float64 if isinstance(found, float) else torch.int64)
