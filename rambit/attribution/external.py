"""What the wrappers of other libraries' methods share (extra ``baselines``). The methods are not ours."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rambit import ops
from rambit.attribution.attributor import Attributor, Call, CellOrEnd, Part
from rambit.counterfactuals import CounterfactualLike
from rambit.game import Game
from rambit.options import option
from rambit.predictors import PredictionError


def library(module: str, package: str) -> Any:
    """A module of another library. ImportError, in one line that names the extra, where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{package} cannot be imported ({error}): pip install "rambit[baselines]"') from error


class External(Attributor):
    """A method that another library carries out, on an ``nn.Module`` whose outputs have gradients.

    Everything random comes from ``seed``; the global generators stay as they were. Raises TypeError
    for other models, ValueError for a setting that does not apply.
    """

    #: Where no target is given, it evaluates the series as they are, and notes the outputs.
    chooses: ClassVar[bool] = False
    unused = ("distance", "counterfactuals", "evaluation", "num_samples", "window_size")

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            name = type(self).__name__
            raise TypeError(f"{name} needs an nn.Module, for its gradients, got {type(self.model).__name__}")
        super().__post_init__()
        if self.anchor == "cell" and "causal" not in self.predictor.modes:
            raise ValueError("anchor='cell' needs a model with return_all")
        self.evaluation = "causal" if self.anchor == "cell" else "full"

    @abstractmethod
    def _rows(self, D: int, T: int, target_given: bool) -> int:
        """How many rows the method takes for one series (D, T)."""

    def _row_steps(self, D: int, T: int, target_given: bool) -> int:
        """How many steps these rows have together."""
        return self._rows(D, T, target_given) * T

    @abstractmethod
    def _scores(self, game: Game, target: Tensor | None) -> Tensor:
        """Scores (b, D, T) of the game's series; ``target`` (b, 1, 1) where one was given."""

    def _call(self, X: Any, counterfactuals: CounterfactualLike | None, *, quiet: bool = False, **series: Any) -> Call:
        if counterfactuals is not None:
            raise ValueError(f"counterfactuals does not apply to {type(self).__name__}")
        call = super()._call(X, None, quiet=quiet, **series)
        if call.batch.tokens:
            raise TypeError(f"X must be floating: {type(self).__name__} needs gradients, and tokens have none")
        if call.batch.targets.many or call.batch.targets.function is not None:
            raise ValueError(f"{type(self).__name__} explains one output: give its number as target")
        if call.batch.extra:
            raise ValueError(f"extra does not apply to {type(self).__name__}, which evaluates series alone")
        steps = call.batch.x.shape[2]
        if self.background is not None and not bool(self.background.isfinite().all()):
            name = type(self).__name__
            raise ValueError(f"background holds missing values, which {name} cannot leave out: give a complete one")
        if self.background is not None and self.background.shape[2] < steps:
            raise ValueError(f"background has {self.background.shape[2]} steps, but X has {steps}")
        return call

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        x, given = game.sample.x, call.batch.targets.given
        target = self._target(call, indices, game)[0][:, None, None] if given else None
        if game.runner.dry:
            shape = (*x.shape[1:], given)
            game.runner.count(len(x) * self._rows(*shape), len(x) * self._row_steps(*shape))
            if not given and self.chooses:
                game.note_original(slice(0, len(x)), None)
            return Part(torch.zeros(x.shape, dtype=torch.float64), None)
        game.runner.begin()
        devices = range(torch.cuda.device_count())
        with torch.random.fork_rng(devices), self.predictor.session(gradients=True):
            torch.manual_seed(self.seed)
            scores = self._scores(game, target).detach().to(game.device, torch.float64)
        return Part(scores, None)

    def _evaluate(self, game: Game, x: Tensor, chosen: Tensor | None) -> Tensor:
        """Outputs (N, C, K) for x (N, D, T) at the last step (K = 1) or at all; counted, and checked.

        ``chosen`` (N, 1, 1 or K): of this output alone, (N, 1, K).
        """
        runner, steps = game.runner, len(x) * x.shape[2]
        given = x.clone()  # the model may write into it
        outputs = (
            self.predictor.steps(given)
            if self.anchor == "cell"
            else runner.whole(given, game.inputs, torch.zeros(len(x), dtype=torch.int64))
        )
        runner.count(len(x), steps)
        if runner.progress is not None:
            runner.progress.update(steps)
        if bad := int(self.predictor.check(outputs).sum()):
            raise PredictionError(
                "the model returned NaN or infinite values, or no probabilities, "
                f"for {bad} of the {len(x)} rows of a call by {type(self).__name__}"
            )
        runner.note(outputs.detach())
        if chosen is None:
            return outputs
        runner.check_target(chosen, ops.Metric.DIFF, outputs)
        return outputs.gather(1, chosen.expand(-1, -1, outputs.shape[2]))

    def _background(self, x: Tensor) -> Tensor:
        """The background's series (N, D, T); without one, a series of zeros."""
        if self.background is None:
            return torch.zeros_like(x[:1])
        series: Tensor = self.background.to(x.device, x.dtype)
        return series[:, :, : x.shape[2]]


class Anchored(External):
    """A method that explains what the model says of whole series."""

    anchor: CellOrEnd = option(default="end", help="what is explained: the last step's output, or those at all steps")
