"""What every attributor shares: the three methods, settings, the metric by name."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from rambit import ops
from rambit.counterfactuals import Counterfactual, read_background, resolve
from rambit.game import EVALUATIONS, Cost
from rambit.predictors import Predictor
from rambit.predictors.base import LAYOUTS
from rambit.results import Attribution

METRICS = {
    "pd": ops.Metric.PD,
    "kl": ops.Metric.KL,
    "js": ops.Metric.JS,
    "diff": ops.Metric.DIFF,
    "l2": ops.Metric.L2,
    "abs": ops.Metric.PD,
}
CLASS_METRICS = ("pd", "kl", "js", "diff", "l2")
REGRESSION_METRICS = ("abs", "diff", "l2")


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> Any:
    """The value, if it is one of the allowed names; ValueError otherwise."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def count(name: str, value: Any, low: int = 1) -> int:
    """An integer of at least ``low``; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return value


class Attributor(ABC):
    """A method with ``attribute`` (a tensor like X), ``explain`` (a result object) and ``cost`` (asks nothing)."""

    def __init__(
        self,
        model: Any,
        *,
        metric: str = "auto",
        counterfactuals: str | Tensor | Counterfactual | None = None,
        background: Any = None,
        evaluation: str = "auto",
        output: str = "auto",
        layout: str = "BDT",
        batch_size: int | str = "auto",
        max_memory: int | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        model_id: str | None = None,
    ) -> None:
        self.layout = one_of("layout", layout, LAYOUTS)
        self.predictor = Predictor.of(model, output=output, layout=layout, device=device, model_id=model_id)
        regression = self.predictor.output == "regression"
        if metric == "auto":
            metric = "abs" if regression else "pd"
        self.metric = one_of("metric", metric, REGRESSION_METRICS if regression else CLASS_METRICS)
        self.background = read_background(background, layout=layout)
        self.counterfactuals = self._strategy(counterfactuals)
        self.evaluation = one_of("evaluation", evaluation, EVALUATIONS)
        self.batch_size = batch_size if batch_size == "auto" else count("batch_size", batch_size)
        self.max_memory = None if max_memory is None else count("max_memory", max_memory, 1 << 20)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer in [0, 2**63), got {seed!r}")
        self.seed = seed

    def _strategy(self, counterfactuals: str | Tensor | Counterfactual | None) -> Counterfactual:
        if isinstance(counterfactuals, Tensor) and self.layout == "BTD":
            counterfactuals = counterfactuals.transpose(-1, -2)
        return resolve(counterfactuals, self.background)

    def attribute(self, X: Tensor, **options: Any) -> Tensor:
        """Importance of every cell, a tensor like X; the options are those of ``explain``."""
        return self.explain(X, **options).values

    @abstractmethod
    def explain(self, X: Tensor, *args: Any, **options: Any) -> Attribution:
        """Importance with its standard error, what it cost and the settings that made it."""

    @abstractmethod
    def cost(self, X: Tensor, *args: Any, **options: Any) -> Cost:
        """Rows, row-steps, bytes and mode of a call, without asking the model."""

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {
            "method": type(self).__name__,
            "metric": self.metric,
            "counterfactuals": self.counterfactuals.describe(),
            "output": self.predictor.output,
            "layout": self.layout,
        }


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin
