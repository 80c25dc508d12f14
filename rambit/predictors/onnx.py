"""ONNX Runtime sessions (extra ``onnx``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.base import Predictor

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}


class OnnxPredictor(Predictor):
    """A session with one floating input (N, D, w); its first output is the answer."""

    def __init__(self, session: Any, **common: Any) -> None:
        super().__init__(**common)
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise TypeError(f"an ONNX model must have one floating input, this one has {found}")
        self.model = session
        self._input, self._output = inputs[0], session.get_outputs()[0].name

    def call_whole(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        array = np.ascontiguousarray(x.cpu().numpy().astype(_TYPES[self._input.type], copy=False))
        fixed = self._input.shape[0]
        if isinstance(fixed, int) and fixed > 0 and len(array) != fixed:  # a model exported for one batch size
            padding = -len(array) % fixed
            padded = np.concatenate([array, np.repeat(array[-1:], padding, axis=0)])
            parts = [self._run(padded[i : i + fixed]) for i in range(0, len(padded), fixed)]
            answer = np.concatenate(parts)[: len(array)]
        else:
            answer = self._run(array)
        return torch.as_tensor(answer, device=self.device)

    def _run(self, array: Any) -> Any:
        return np.asarray(self.model.run([self._output], {self._input.name: array})[0])
