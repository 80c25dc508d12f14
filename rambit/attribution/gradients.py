"""Gradient methods of captum, wrapped to the same call for comparison tables (extra ``baselines``). Not ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from rambit.attribution.attributor import METHODS
from rambit.attribution.external import External, library
from rambit.game import Game
from rambit.options import option

GradientMethod = Literal["integrated_gradients", "gradient_shap", "deep_lift"]
#: captum's class, and how many rows it takes for one series.
CAPTUM = {
    "integrated_gradients": ("IntegratedGradients", 50),
    "gradient_shap": ("GradientShap", 5),
    "deep_lift": ("DeepLift", 2),
}


@METHODS.register("gradients")
class Gradients(External):
    """``integrated_gradients``, ``gradient_shap`` or ``deep_lift`` of the target's probability, by captum.

    ``anchor="end"`` explains the last step's output; ``"cell"`` the sum over all steps of each step's predicted class
    (of the target, where one is given), for a module with ``return_all``. ``background`` gives the baselines (its mean;
    for gradient_shap its series), zero without one. Only for ``nn.Module``; ImportError without captum.
    """

    chooses = True
    method: GradientMethod = option(default="integrated_gradients", help="captum's method", kw_only=False)
    absolute: bool = option(default=False, help="the size of the scores, without their sign")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.captum = library("captum.attr", "captum")

    def _rows(self, target_given: bool) -> int:
        return CAPTUM[self.method][1] + (not target_given)

    def _scores(self, game: Game, target: Tensor | None) -> Tensor:
        x = game.sample.x.detach().clone()
        chosen = self._choice(game, x) if target is None else target
        baseline = self._background(x)
        if self.method != "gradient_shap":  # which draws from the series; the others take one baseline
            baseline = baseline.mean(dim=0, keepdim=True).expand_as(x).contiguous()
        module = self.predictor.module
        explained = _Explained(module, lambda x, chosen: self._evaluate(game, x, chosen)[:, 0].sum(dim=1))
        method = getattr(self.captum, CAPTUM[self.method][0])(explained)
        scores: Tensor = method.attribute(x, baselines=baseline, additional_forward_args=(chosen,))
        return scores.abs() if self.absolute else scores

    def _choice(self, game: Game, x: Tensor) -> Tensor:
        """The model's own choice (b, 1, K) at each step."""
        outputs = self._evaluate(game, x, None)
        game.note_original(slice(0, len(x)), outputs[:, :, -1])
        if self.predictor.output == "regression" and outputs.shape[1] > 1:
            raise ValueError(f"target is needed: the model has {outputs.shape[1]} regression outputs")
        return self.predictor.predicted(outputs)[:, None]


class _Explained(nn.Module):
    """What is explained, (N,): a function of the series and the chosen classes."""

    def __init__(self, model: nn.Module | None, output: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model  # so that captum's hooks find the layers
        self.output = output

    def forward(self, x: Tensor, chosen: Tensor) -> Tensor:
        return self.output(x, chosen)
