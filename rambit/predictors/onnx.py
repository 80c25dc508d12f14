"""ONNX Runtime sessions (extra ``onnx``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.predictor import Output, Predictor, face

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_MAPS = tuple(f"seq(map({key},{value}))" for key in ("int64", "string") for value in _TYPES)  # scikit-learn's ZipMap


@face(0)
class OnnxPredictor(Predictor):
    """A session with one floating input (N, D, w).

    ``select``: which output is the model's, by name or number; default: the only one that holds floating scores, or
    the one of several that is called probabilities or logits. What is called probabilities is taken as such under
    ``output="auto"``. Raises TypeError for other inputs, ValueError naming what there is where no output can be chosen.
    """

    own_options = ("select",)

    @classmethod
    def serves(cls, model: Any) -> bool:
        return hasattr(model, "get_inputs") and hasattr(model, "run")

    def __init__(
        self, session: Any, *, select: str | int | None = None, output: Output = "auto", **common: Any
    ) -> None:
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES:
            found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise TypeError(f"an ONNX model must have one floating input, this one has {found}")
        self._input, self._output = inputs[0], _choose(session.get_outputs(), select)
        if output == "auto" and (_is_probabilities(self._output) or self._output.type in _MAPS):
            output = "probs"
        super().__init__(output=output, **common)
        self.model = session

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        array = np.ascontiguousarray(x.cpu().numpy().astype(_TYPES[self._input.type], copy=False))
        fixed = self._input.shape[0]
        if isinstance(fixed, int) and fixed > 0 and len(array) != fixed:  # a model exported for one batch size
            padding = -len(array) % fixed
            padded = np.concatenate([array, np.repeat(array[-1:], padding, axis=0)])
            parts = [self._run(padded[i : i + fixed]) for i in range(0, len(padded), fixed)]
            output = np.concatenate(parts)[: len(array)]
        else:
            output = self._run(array)
        return torch.as_tensor(output, device=self.device)

    def _run(self, array: Any) -> Any:
        output = self.model.run([self._output.name], {self._input.name: array})[0]
        if self._output.type in _MAPS:  # a dictionary a row, by class
            output = [[row[name] for name in sorted(row)] for row in output]
        return np.asarray(output)


def _choose(outputs: list[Any], select: str | int | None) -> Any:
    """The output that is the model's. ValueError where none, or more than one, could be."""
    listed = ", ".join(f"{number} {o.name}: {o.type} {o.shape}" for number, o in enumerate(outputs))
    scores = [o for o in outputs if o.type in _TYPES or o.type in _MAPS]
    if select is not None:
        given = [o for number, o in enumerate(outputs) if select in (o.name, number) and not isinstance(select, bool)]
        if len(given) != 1 or given[0] not in scores:
            raise ValueError(f"select must name an output of floating scores, got {select!r}; there are {listed}")
        return given[0]
    likely = [o for o in scores if _is_probabilities(o) or "logit" in o.name.lower()] if len(scores) > 1 else scores
    if len(likely) != 1:
        raise ValueError(f"which of the ONNX model's outputs is meant is not clear: pass select=; there are {listed}")
    return likely[0]


def _is_probabilities(output: Any) -> bool:
    return "prob" in output.name.lower()
