"""A learned selector as a method to compare: trained so that the model's decision survives on what it keeps."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.models.sequence_classifier import seeded
from rambit.predictors import Predictor
from rambit.results import Attribution
from rambit.selection import InfluenceFramework, ModelAgnosticWrapper, SelectionAttributor


class Selection:
    """Scores from a selector trained on ``background`` (N, D, T) with the model as it is, which stays unchanged.

    The targets are the model's own classes at the last step, so the selector learns which ``k`` timestamps keep them.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        background: Tensor,
        k: int = 10,
        hidden_dim: int = 64,
        epochs: int = 20,
        positions: bool = True,
        diversity: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"selection needs an nn.Module, for its gradients, got {type(model).__name__}")
        self.model, self.background, self.epochs, self.seed = model, background, epochs, seed
        with seeded(seed):
            self.framework = InfluenceFramework(
                background.shape[1],
                hidden_dim,
                k=k,
                task_loss_fn=nn.CrossEntropyLoss(),
                alpha_diversity=diversity,
                diversity_epsilon=1.0,
                use_counterfactual=False,
                positions=positions,
            )

    def explain(self, X: Tensor) -> Attribution:
        """Trains the selector, then scores like X. Raises ValueError for missing values."""
        sample = TensorSample(self.background, torch.arange(len(self.background)))
        game = Game(Predictor.of(self.model), sample, Zero(), evaluation="full")
        wrapper = ModelAgnosticWrapper(_Frozen(self.model), self.framework)
        predicted = game.predictor.predicted(game.predict())
        wrapper.fit(self.background.transpose(1, 2), predicted, epochs=self.epochs, seed=self.seed)
        return SelectionAttributor(wrapper).explain(X)


class _Frozen(nn.Module):
    """A copy of a model of (B, D, T) for series (B, T, D): in evaluation mode, and never trained."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> _Frozen:
        """Stays in evaluation mode."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The model's logits."""
        return cast(Tensor, self.model(x.transpose(1, 2)))
