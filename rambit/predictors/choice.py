"""Which of several things that a model returns is its output."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.predictor import PredictionError

Select = str | int | Callable[[Any], Tensor] | None
#: What outputs are called where models return several things, the likeliest first (those of transformers).
NAMES = ("logits", "prediction_logits", "prediction_outputs", "regression_outputs")
#: Parts that an error lists.
MOST_SHOWN = 8


class Choice:
    """The output among what a model returned: a tensor as it is, else what ``select`` says.

    ``select`` is a key, an attribute, an index, or a function of what was returned. Without it, it is the one floating
    tensor of one to three dimensions with a value for each row, or of several the one that is called like an output
    (NAMES); once found, it is the same for later calls. (With a single row more than one thing may look like it.)
    """

    def __init__(self, select: Select) -> None:
        if not (select is None or callable(select) or isinstance(select, (str, int))) or isinstance(select, bool):
            raise TypeError(f"select must be a name, a number or a function of what the model returns, got {select!r}")
        self.select, self.found = select, select

    def of(self, returned: Any, rows: int) -> Any:
        """The output for so many rows. Raises PredictionError, listing what there is, where it is not clear."""
        if callable(self.select):
            return self.select(returned)
        if isinstance(returned, Tensor) and self.select is None:
            return returned
        if isinstance(returned, np.ndarray) and self.select is None:
            return torch.from_numpy(returned)
        parts = _parts(returned)
        if self.found is None:
            if not parts:
                return returned
            self.found = _likely(returned, parts, rows)
        if self.found in parts:
            return parts[self.found]
        if not isinstance(self.found, int) or not -len(parts) <= self.found < len(parts):
            raise PredictionError(f"select={self.found!r}, but the model returned {_listed(returned, parts)}")
        return list(parts.values())[self.found]

    def describe(self) -> str | int | None:
        """What was chosen, as a JSON-able value."""
        if callable(self.select):
            return f"{getattr(self.select, '__module__', '')}.{getattr(self.select, '__qualname__', '')}"
        return self.select


def _likely(returned: Any, parts: Mapping[str | int, Any], rows: int) -> str | int:
    """The key of the only part that can be the output, or that is called like one."""
    likely = [name for name, part in parts.items() if _could_be(part, rows)]
    named = [name for name in NAMES if name in likely]
    if not likely:
        raise PredictionError(
            f"the model returned {_listed(returned, parts)}, none of which is a floating tensor ({rows}, …): pass "
            "select=, a function of what it returns, to Predictor.of"
        )
    if len(likely) > 1 and not named:
        raise PredictionError(
            f"the model returned {_listed(returned, parts)}: say which is its output, as in "
            f"Predictor.of(model, select={likely[0]!r})"
        )
    return (named or likely)[0]


def _parts(returned: Any) -> dict[str | int, Any]:
    """What can be chosen from, by name or by place."""
    if isinstance(returned, Mapping):
        return dict(returned)
    if dataclasses.is_dataclass(returned):
        return {field.name: getattr(returned, field.name) for field in dataclasses.fields(returned)}
    if isinstance(returned, (tuple, list)):
        return dict(zip(getattr(returned, "_fields", range(len(returned))), returned, strict=True))
    return {}


def _could_be(part: Any, rows: int) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point() and 1 <= part.ndim <= 3 and part.shape[0] == rows


def _listed(returned: Any, parts: Mapping[str | int, Any]) -> str:
    shown = [f"{name} {tuple(p.shape) if isinstance(p, Tensor) else type(p).__name__}" for name, p in parts.items()]
    words = ", ".join(shown[:MOST_SHOWN] + ["…"] * (len(shown) > MOST_SHOWN))
    return f"{type(returned).__name__} of {words}" if parts else type(returned).__name__
