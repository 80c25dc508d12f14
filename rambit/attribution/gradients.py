"""Gradient methods of captum, wrapped to the same call for comparison tables (extra ``baselines``). Not ours."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from rambit.attribution.base import Answer, Attributor, Call, Common, Part, one_of
from rambit.game import Game
from rambit.predictors import Predictor

METHODS = {"integrated_gradients": "IntegratedGradients", "gradient_shap": "GradientShap", "deep_lift": "DeepLift"}


class Gradients(Attributor):
    """``integrated_gradients``, ``gradient_shap`` or ``deep_lift`` of the target's probability, by captum.

    ``anchor="end"`` explains the last step's answer; ``"cell"`` the sum over all steps of each step's predicted class,
    for a module with ``return_all``. ``background`` gives the baselines (its mean; for gradient_shap its series), zero
    without one. Only for ``nn.Module``; ImportError without captum.
    """

    def __init__(
        self, model: nn.Module, method: str = "integrated_gradients", *, anchor: str = "end", **common: Unpack[Common]
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"gradients need an nn.Module, got {type(model).__name__}")
        self.method = one_of("method", method, tuple(METHODS))
        one_of("anchor", anchor, ("cell", "end"))
        super().__init__(model, anchor=anchor, **common)
        try:
            self.captum = importlib.import_module("captum.attr")
        except ImportError as error:
            raise ImportError("gradient methods come from captum: pip install rambit[baselines]") from error
        if anchor == "cell" and "causal" not in self.predictor.modes:
            raise ValueError("anchor='cell' needs a model with return_all")

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {**super().settings(), "method": self.method}

    def _answer(self, call: Call) -> Answer:
        def answer(game: Game, places: Tensor) -> Part:
            x = game.sample.x.detach().clone()
            scores = torch.zeros(x.shape, dtype=torch.float64, device=x.device)
            if not game.runner.dry:
                scores = self._gradients(x, self._target_or_choice(call, places, game))
            return Part(scores, None)

        return answer

    def _target_or_choice(self, call: Call, places: Tensor, game: Game) -> Tensor:
        given = call.batch.target
        return game.predict().argmax(dim=1) if given is None else given[places].to(game.device)

    def _gradients(self, x: Tensor, target: Tensor) -> Tensor:
        predictor, every_step = self.predictor, self.anchor == "cell"
        with predictor.session():
            chosen = predictor.steps(x).argmax(dim=1, keepdim=True) if every_step else target[:, None, None]
        chosen = chosen.clone()  # a tensor that may take part in gradients
        background = torch.zeros_like(x[:1]) if self.background is None else self.background.to(x.device, x.dtype)
        baseline = background[:, :, : x.shape[2]]
        if self.method != "gradient_shap":  # which draws from the series; the others take one baseline
            baseline = baseline.mean(dim=0, keepdim=True).expand_as(x).contiguous()
        method = getattr(self.captum, METHODS[self.method])(_Target(predictor, every_step))
        # captum reads the global generator: forked, so that it stays as it was.
        with torch.random.fork_rng(), predictor.session(gradients=True):
            torch.manual_seed(self.seed)
            found: Tensor = method.attribute(x, baselines=baseline, additional_forward_args=(chosen,))
        return found.detach().double()


class _Target(nn.Module):
    """The chosen class's probability, (N,): at the last step, or summed over the steps."""

    def __init__(self, predictor: Predictor, every_step: bool) -> None:
        super().__init__()
        self.predictor, self.every_step = predictor, every_step
        self.model = predictor.module  # so that captum's hooks find the layers

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        answers = self.predictor.steps(x) if self.every_step else self.predictor.whole(x)
        return answers.gather(1, chosen.expand(-1, -1, answers.shape[2]))[:, 0].sum(dim=1)
