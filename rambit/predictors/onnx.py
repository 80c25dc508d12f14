"""ONNX Runtime sessions (extra ``onnx``)."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.memory import is_out_of_memory
from rambit.predictors.predictor import Output, PredictionError, Predictor, face

_TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
_OTHER_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
_MAPS = tuple(f"seq(map({key},{value}))" for key in ("int64", "string") for value in _TYPES)  # scikit-learn's ZipMap
#: What an error of ONNX Runtime says of its own sources, functions and conditions.
_NOISE = (
    re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : "),
    re.compile(r"^.*Status Message: "),
    re.compile(r"\S+\.(h|cc|cpp|cu):\d+ "),
    re.compile(r"^(\S+ )*\S+::\S+\([^)]*\) "),
    re.compile(r"^[^.]*(==|!=|<|>)[^.]* was false\. "),
    re.compile(r"Please fix either the inputs/outputs or the model\.?$"),
)
#: The level of ONNX Runtime's messages that says nothing of errors.
FATAL = 4
#: Characters of an error that are shown.
MOST_SAID = 300


@face(0)
class OnnxPredictor(Predictor):
    """A session with a floating input (N, D, w), or (N, C, H, W) and (N, C, Z, H, W) for images and volumes.

    Sizes that the session declares are compared with the series before it runs. Where only the other order fits them
    (time before features, channels last) the model is given that order.

    ``input_name``: which of several inputs holds the series; default: the only floating one, or of several the only
    one of three dimensions. The others must come with each call, by name. ``select``: which output is the model's, by
    name or number; default: the only one that holds floating scores, or the one of several that is called
    probabilities or logits. What is called probabilities is taken as such under ``output="auto"``. Raises TypeError
    for other inputs, ValueError naming what there is where no output can be chosen.
    """

    own_options = ("select", "input_name")

    @classmethod
    def serves(cls, model: Any) -> bool:
        return hasattr(model, "get_inputs") and hasattr(model, "run")

    def __init__(
        self,
        session: Any,
        *,
        select: str | int | None = None,
        input_name: str | None = None,
        output: Output = "auto",
        **common: Any,
    ) -> None:
        self._inputs = {one.name: one for one in session.get_inputs()}
        self._input = _choose_input(list(self._inputs.values()), input_name)
        self._output = _choose(session.get_outputs(), select)
        if output == "auto" and (_is_probabilities(self._output) or self._output.type in _MAPS):
            output = "probs"
        super().__init__(output=output, **common)
        self.model, self.input_name = session, input_name
        self._order = _Order(self._input.shape or [])

    @property
    def declared(self) -> tuple[int | None, ...]:
        """The sizes that the model declares for the input that is explained, (N, …); None where it leaves one open."""
        return tuple(self._order.sizes)

    def options(self) -> dict[str, Any]:
        return {**super().options(), **({} if self.input_name is None else {"input_name": self.input_name})}

    def check_extra(self, names: Iterable[str]) -> None:
        found, others = set(names), self._inputs.keys() - {self._input.name}
        if found != others:
            raise ValueError(
                f"the ONNX model needs as extra {', '.join(sorted(others)) or 'nothing'}, got "
                f"{', '.join(sorted(found)) or 'nothing'}; its inputs are {_listed(list(self._inputs.values()))}"
            )

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        self.check_extra(extra)
        arrays = {self._input.name: _as_declared(self._order.of(x), self._input)}
        arrays |= {name: _as_declared(values, self._inputs[name]) for name, values in extra.items()}
        fixed, count = next(iter(self._input.shape), None), len(x)
        if isinstance(fixed, int) and 0 < fixed != count:  # a model exported for one batch size
            padding = -count % fixed
            arrays = {name: np.concatenate([a, np.repeat(a[-1:], padding, axis=0)]) for name, a in arrays.items()}
            parts = [self._run({name: a[i : i + fixed] for name, a in arrays.items()}) for i in range(0, count, fixed)]
            output = np.concatenate(parts)[:count]
        else:
            output = self._run(arrays)
        return torch.as_tensor(output, device=self.device)

    def _run(self, arrays: dict[str, NDArray[Any]]) -> NDArray[Any]:
        try:
            output = self.model.run([self._output.name], arrays, *_quietly(self.model))[0]
        except Exception as error:  # its own kinds, none of them documented
            if is_out_of_memory(error):
                raise
            shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
            raise PredictionError(f"ONNX Runtime cannot evaluate the model on {shapes}: {sentence(error)}") from None
        if self._output.type in _MAPS:  # a dictionary a row, by class
            output = [[row[name] for name in sorted(row)] for row in output]
        return np.asarray(output)


def _quietly(session: Any) -> tuple[Any, ...]:
    """Options with which a call that fails prints nothing, since its error says the same."""
    runtime = sys.modules.get("onnxruntime")
    if runtime is None or not isinstance(session, runtime.InferenceSession):
        return ()
    options = runtime.RunOptions()
    options.log_severity_level = FATAL
    return (options,)


class _Order:
    """In which order a model reads the axes of a row, by the sizes that it declares.

    A time axis may be cut, so that some rows fit both orders: the first that fit only one of them decide.
    """

    def __init__(self, declared: list[Any]) -> None:
        self.sizes = [size if isinstance(size, int) and size > 0 else None for size in declared]
        self.moves: bool | None = None  # whether axis 1 goes to the end; None: not known yet
        self.unclear: tuple[int, ...] | None = None  # rows that were evaluated as they are, and fitted both orders

    def of(self, x: Tensor) -> Tensor:
        """The rows x (N, …) in the model's order, or flat where it reads tables. ValueError where they fit in none."""
        if len(self.sizes) == 2:
            x = x.flatten(1)
        moved = x.movedim(1, -1)
        fits = [moves for moves, rows in ((False, x), (True, moved)) if self._fits(rows)]
        if not fits:
            expected = ", ".join("any" if size is None else str(size) for size in self.sizes[1:])
            raise ValueError(f"the ONNX model reads (N, {expected}), got (N, {', '.join(map(str, x.shape[1:]))})")
        alike = x.shape[1] == 1 or x[0, 0].numel() == 1
        turns = self.moves is not None and self.moves not in fits
        if not alike and (turns or (fits == [True] and self.unclear is not None)):
            raise ValueError(
                f"the ONNX model reads some rows features first and others last, by the sizes that it declares: got "
                f"{tuple(x.shape[1:])} after {self.unclear or 'others'}: give it series of one length"
            )
        if len(fits) == 1 and not alike:
            self.moves = fits[0]
        elif self.moves is None and not alike:
            self.unclear = tuple(x.shape[1:])
        return moved if fits == [True] or (self.moves and True in fits) else x

    def _fits(self, x: Tensor) -> bool:
        if not self.sizes:  # nothing is declared
            return True
        right = len(self.sizes) == x.ndim
        return right and all(size in (None, given) for size, given in zip(self.sizes[1:], x.shape[1:], strict=True))


def _as_declared(values: Any, declared: Any) -> NDArray[Any]:
    """An array in the type of an input. Raises TypeError for fractions where whole numbers are read."""
    kinds = {**_TYPES, **_OTHER_TYPES}
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if declared.type not in kinds:
        raise TypeError(f"the ONNX model's input {declared.name} is {declared.type}, of which none can be made")
    kind = kinds[declared.type]
    if array.dtype.kind == "f" and declared.type in _OTHER_TYPES:
        raise TypeError(f"the ONNX model's input {declared.name} reads {np.dtype(kind)}, got {array.dtype}")
    return np.ascontiguousarray(array.astype(kind, copy=False))


def sentence(error: Exception) -> str:
    """What an error of ONNX Runtime says, in one line, without the places in its sources."""
    said = " ".join(str(error).split())
    for noise in _NOISE:
        said = noise.sub("", said)
    return said[:MOST_SAID].rstrip(" .")


def _listed(inputs: list[Any]) -> str:
    return ", ".join(f"{one.name}: {one.type} {one.shape}" for one in inputs)


def _choose_input(inputs: list[Any], name: str | None) -> Any:
    """The input that holds the series. ValueError for a name that is none, TypeError where it is not clear."""
    if name is not None:
        given = [one for one in inputs if one.name == name]
        if not given:
            raise ValueError(f"input_name={name!r}, but the ONNX model's inputs are {_listed(inputs)}")
        return given[0]
    likely = [one for one in inputs if one.type in _TYPES]
    if not likely:  # of tokens
        likely = [one for one in inputs if one.type in ("tensor(int64)", "tensor(int32)")]
    if len(likely) > 1:
        likely = [one for one in likely if len(one.shape) == 3]
    if len(likely) != 1:
        raise TypeError(
            "an ONNX model must have one floating input, or input_name= must say which of them holds the series: this "
            f"one has {_listed(inputs) or 'none'}"
        )
    return likely[0]


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
