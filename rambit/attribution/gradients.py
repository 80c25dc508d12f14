"""Gradient methods and feature ablation of captum, and gradients over segments: for comparison tables (``baselines``).

Those of captum are wrapped to the same call; they are not ours.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from rambit.attribution.attributor import METHODS
from rambit.attribution.external import Anchored, library
from rambit.game import Game
from rambit.options import option

GradientMethod = Literal["integrated_gradients", "gradient_shap", "deep_lift"]
#: captum's class, and how many rows it takes for one series.
CAPTUM = {
    "integrated_gradients": ("IntegratedGradients", 50),
    "gradient_shap": ("GradientShap", 5),
    "deep_lift": ("DeepLift", 2),
}
#: A function of rows (N, D, T) and their classes (N, 1, 1 or K): what is explained, (N,).
Explained = Callable[[Tensor, Tensor], Tensor]


class OneOutput(Anchored):
    """Scores of the target's probability: a number for each row, and the method explains how it comes about.

    ``anchor="end"`` explains the last step's output; ``"cell"`` the sum over all steps of each step's predicted class
    (of the target, where one is given), for a module with ``return_all``. ``background`` gives the baseline (its mean),
    zero without one. Only for ``nn.Module``.
    """

    chooses = True
    absolute: bool = option(default=False, help="the size of the scores, without their sign")

    @abstractmethod
    def _explain(self, game: Game, output: Explained, x: Tensor, chosen: Tensor, background: Tensor) -> Tensor:
        """Scores like x; ``background`` (N, D, T)."""

    def _scores(self, game: Game, target: Tensor | None) -> Tensor:
        x = game.sample.x.detach().clone()
        chosen = self._choice(game, x) if target is None else target

        def output(rows: Tensor, classes: Tensor) -> Tensor:
            return self._evaluate(game, rows, classes)[:, 0].sum(dim=1)

        scores = self._explain(game, output, x, chosen, self._background(x))
        return scores.abs() if self.absolute else scores

    def _choice(self, game: Game, x: Tensor) -> Tensor:
        """The model's own choice (b, 1, K) at each step."""
        outputs = self._evaluate(game, x, None)
        game.note_original(slice(0, len(x)), outputs[:, :, -1])
        if self.predictor.output == "regression" and outputs.shape[1] > 1:
            raise ValueError(f"target is needed: the model has {outputs.shape[1]} regression outputs")
        return self.predictor.predicted(outputs)[:, None]


@METHODS.register("gradients")
class Gradients(OneOutput):
    """``integrated_gradients``, ``gradient_shap`` or ``deep_lift`` of the target's probability, by captum.

    ``anchor="end"`` explains the last step's output; ``"cell"`` the sum over all steps of each step's predicted class
    (of the target, where one is given), for a module with ``return_all``. ``background`` gives the baselines (its mean;
    for gradient_shap its series), zero without one. Only for ``nn.Module``; ImportError without captum.
    """

    method: GradientMethod = option(default="integrated_gradients", help="captum's method", kw_only=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.captum = library("captum.attr", "captum")

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return CAPTUM[self.method][1] + (not target_given)

    def _explain(self, game: Game, output: Explained, x: Tensor, chosen: Tensor, background: Tensor) -> Tensor:
        if self.method != "gradient_shap":  # which draws from the series; the others take one baseline
            background = background.mean(dim=0, keepdim=True).expand_as(x).contiguous()
        explained = _Explained(self.predictor.module, output)
        method = getattr(self.captum, CAPTUM[self.method][0])(explained)
        scores: Tensor = method.attribute(x, baselines=background, additional_forward_args=(chosen,))
        return scores


class _Explained(nn.Module):
    """What is explained, (N,): a function of the series and the chosen classes."""

    def __init__(self, model: nn.Module | None, output: Explained) -> None:
        super().__init__()
        self.model = model  # so that captum's hooks find the layers
        self.output = output

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        return self.output(x, chosen)


@METHODS.register("segment-gradients")
class SegmentGradients(OneOutput):
    """Integrated gradients along ``steps`` points of the line from the baseline, with random segments left as they are.

    At each point ``segments`` runs of 1 to ``longest`` steps of one feature, the same for all series, keep their
    values; a cell's gradient is the mean over the points at which it moves, 0 if there is none. So gradients are taken
    nearer to the data, and see how cells depend on each other. After TIMING (Jang et al., ICML 2025), which is not
    called. Errors and the rest: see OneOutput.
    """

    absolute: bool = option(default=True, help=OneOutput.describe("absolute"))
    steps: int = option(default=50, help="points of the line")
    segments: int = option(default=10, low=0, help="runs that stay at each point")
    longest: int = option(default=10, help="steps of a run, at most")

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return self.steps + (not target_given)

    def _explain(self, game: Game, output: Explained, x: Tensor, chosen: Tensor, background: Tensor) -> Tensor:
        baseline = background.mean(dim=0, keepdim=True)
        total, times = torch.zeros_like(x), torch.zeros_like(x[:1])
        for i in range(self.steps):
            moves = ~self._staying(*x.shape[1:]).to(x.device)
            point = torch.where(moves, baseline + (i + 0.5) / self.steps * (x - baseline), x).requires_grad_()
            (gradient,) = torch.autograd.grad(output(point, chosen).sum(), point)
            total, times = total + gradient * moves, times + moves
        return (x - baseline) * total / times.clamp(min=1)

    def _staying(self, D: int, T: int) -> Tensor:
        """(D, T) bool, True in the segments: a feature, a length and a start that fits, all at random."""
        steps, longest = torch.arange(T), min(self.longest, T)
        feature = torch.randint(D, (self.segments,))
        length = torch.randint(1, longest + 1, (self.segments,))
        begin = (torch.rand(self.segments) * (T - length + 1)).long()
        inside = (steps >= begin[:, None]) & (steps < (begin + length)[:, None])
        of_feature = torch.nn.functional.one_hot(feature, D).bool()
        return (of_feature[:, :, None] & inside[:, None]).any(dim=0)


@METHODS.register("feature-ablation")
class FeatureAblation(OneOutput):
    """How much the target's probability falls when the baseline stands in one cell, by captum; see OneOutput.

    ImportError without captum.
    """

    absolute: bool = option(default=True, help=OneOutput.describe("absolute"))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.captum = library("captum.attr", "captum")

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return D * T + 1 + (not target_given)

    def _explain(self, game: Game, output: Explained, x: Tensor, chosen: Tensor, background: Tensor) -> Tensor:
        together = max(1, game.runner.batch // len(x))
        with torch.no_grad():
            scores: Tensor = self.captum.FeatureAblation(output).attribute(
                x,
                baselines=background.mean(dim=0, keepdim=True),
                additional_forward_args=(chosen,),
                perturbations_per_eval=together,
            )
        return scores
