"""Methods of time_interpret that look at the output after each step, wrapped to the same call (extra ``baselines``)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from rambit.attribution.attributor import METHODS
from rambit.attribution.external import External, library
from rambit.attribution.perturbation import frozen, make_trainer, quiet
from rambit.game import Game
from rambit.options import option

#: A function of series (N, w, D) up to some step: outputs (N, C).
Outputs = Callable[[Tensor], Tensor]


class OnPrefixes(External):
    """A cell's score says what it does to the output at its own time, of the series up to there.

    Only for an ``nn.Module`` of any number of steps; ImportError without time_interpret.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.methods = library("tint.attr", "time_interpret")

    @abstractmethod
    def _explain(self, game: Game, outputs: Outputs, x: Tensor, target: Tensor | None) -> Tensor:
        """Scores like x (b, T, D); ``target`` (b,) where one was given."""

    def _scores(self, game: Game, target: Tensor | None) -> Tensor:
        def outputs(x: Tensor) -> Tensor:
            found = self._evaluate(game, x.transpose(1, 2).to(game.sample.x.dtype), None)[:, :, 0]
            single = found.shape[1] == 1 and self.predictor.output != "regression"
            return torch.cat((1 - found, found), dim=1) if single else found

        x = game.sample.x.transpose(1, 2).contiguous()
        chosen = None if target is None else target[:, 0, 0]
        return self._explain(game, outputs, x, chosen).transpose(1, 2)


@METHODS.register("temporal-occlusion")
class TemporalOcclusion(OnPrefixes):
    """How much the predicted class's probability (the target's, the regression's value) falls without the last value.

    The baseline stands there: the mean of ``background``, zero without one. By time_interpret's TemporalOcclusion in
    its TimeForwardTunnel (Enguehard, 2023). Errors: see OnPrefixes.
    """

    absolute: bool = option(default=True, help="the size of the scores, without their sign")

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return T * self._each(D, target_given)

    def _row_steps(self, D: int, T: int, target_given: bool) -> int:
        return T * (T + 1) // 2 * self._each(D, target_given)

    def _each(self, D: int, target_given: bool) -> int:
        """Rows of one prefix: each feature, the series itself and, where it has to be chosen, the class."""
        return D + 1 + (not target_given and self.predictor.output != "regression")

    def _explain(self, game: Game, outputs: Outputs, x: Tensor, target: Tensor | None) -> Tensor:
        regression = self.predictor.output == "regression"

        def explained(x: Tensor) -> Tensor:
            found = outputs(x)
            if regression and target is None and found.shape[1] > 1:
                raise ValueError(f"target is needed: the model has {found.shape[1]} regression outputs")
            return found

        tunnel = self.methods.TimeForwardTunnel(self.methods.TemporalOcclusion(explained))
        baseline = self._background(x.transpose(1, 2)).mean(dim=0, keepdim=True).transpose(1, 2)
        with torch.no_grad():
            scores: Tensor = tunnel.attribute(
                x,
                sliding_window_shapes=(1,),
                baselines=baseline.expand_as(x),
                target=target,
                task="none" if regression or target is not None else "multiclass",
                perturbations_per_eval=max(1, min(x.shape[2], game.runner.batch // len(x))),
            )
        return scores.abs() if self.absolute else scores


@METHODS.register("tint-fit")
class TintFIT(OnPrefixes):
    """FIT as time_interpret has it, with a generator that it trains on ``background``; ours is `FIT`.

    What the generator makes depends on the series that are explained together. For classifiers, of series of 6 steps or
    more; seconds include the training. Errors: see OnPrefixes; ValueError without a background.
    """

    epochs: int = option(default=300, help="of the generator's training")
    draws: int = option(default=10, help="values that stand in for the other features")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.networks = library("tint.attr.models", "time_interpret")
        self.lightning = library("pytorch_lightning", "pytorch-lightning")
        if self.predictor.output == "regression":
            raise ValueError("model must be a classifier: FIT compares probabilities")
        if self.background is None or len(self.background) < 2:
            raise ValueError("background is needed, of 2 series or more: the generator is trained on it")

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return (T - 1) * (2 + D * self.draws)

    def _row_steps(self, D: int, T: int, target_given: bool) -> int:
        longer, shorter = T * (T + 1) // 2 - 1, T * (T - 1) // 2
        return longer * (1 + D * self.draws) + shorter

    def _explain(self, game: Game, outputs: Outputs, x: Tensor, target: Tensor | None) -> Tensor:
        if target is not None:
            raise ValueError("target does not apply to TintFIT, which compares all probabilities")
        if x.shape[1] < 6:
            raise ValueError(f"X must have 6 steps or more for the generator of TintFIT, got {x.shape[1]}")
        background = self._background(x.transpose(1, 2)).transpose(1, 2).float()
        # A last batch of one series would have no deviation to divide by.
        size = next(size for size in range(32, 1, -1) if len(background) % size != 1)
        with quiet(), frozen(self.predictor.module):
            method = self.methods.Fit(
                lambda x: outputs(x).clamp(min=1e-12).log(),  # of which it takes the softmax
                generator=self.networks.JointFeatureGeneratorNet(),
                features=background,
                trainer=make_trainer(self.lightning, self.epochs, game.device),
                batch_size=size,
            )
        with torch.no_grad():
            scores: Tensor = method.attribute(x.float(), n_samples=self.draws)
        return scores
