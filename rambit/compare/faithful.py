"""Scores judged by the set's own model: how far its output depends on what scores high."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from rambit.compare.runs import Case, Data
from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample
from rambit.metrics import accuracy_at, comprehensiveness, sufficiency
from rambit.predictors import Predictor

MEASURES = ("accuracy", "accuracy_kept", "sufficiency", "comprehensiveness")


@dataclass(frozen=True)
class Size:
    """How much is kept or removed, the same for all methods: timestamps (None: a tenth) and a share of the cells."""

    keep: int | None = None
    cells: float = 0.1

    def check(self, sets: Iterable[Data]) -> None:
        """Raise ValueError for sizes that a set does not have."""
        keep: Any = self.keep
        cells: Any = self.cells
        if not isinstance(cells, (int, float)) or not 0 < cells <= 1:
            raise ValueError(f"cells must be a share above 0 and up to 1, got {cells}")
        for data in sets:
            steps = data.explained.X.shape[2]
            if keep is not None and not (isinstance(keep, (int, np.integer)) and 1 <= keep <= steps):
                raise ValueError(f"keep must be between 1 and the {steps} timestamps of {data.name}, got {keep}")

    def timestamps(self, steps: int) -> int:
        """How many of so many."""
        return max(1, steps // 10) if self.keep is None else self.keep

    def count(self, cells: int) -> int:
        """How many of so many cells."""
        return max(1, round(self.cells * cells))

    def note(self) -> str:
        """What the columns mean."""
        k = "a tenth" if self.keep is None else self.keep
        return (
            "The model is evaluated again, at the last step, with 0 in place of removed cells. acc.: its "
            f"accuracy on these series as they are; acc. kept: when the best timestamps alone stay ({k} of them), by "
            "the sum of their cells. The predicted class's mean loss of probability, when of all cells the best "
            f"{100 * self.cells:g} % alone stay: suffic. (low is good), and when they go: compreh. (high is good). "
            "Among equal scores the earlier cell comes first."
        )


@dataclass(frozen=True)
class Judge:
    """The model of one case, evaluated on its explained series."""

    case: Case
    size: Size

    @cached_property
    def _game(self) -> Game:
        X = torch.from_numpy(self.case.data.explained.X)
        sample = TensorSample(X, torch.arange(len(X)))
        return Game(Predictor.of(self.case.model()), sample, Zero(), evaluation="full")

    def measure(self, scores: Any) -> dict[str, float]:
        """MEASURES of scores (B, D, T); without labels, those that need none."""
        labels = self.case.data.explained.y
        _, features, steps = scores.shape
        cells = self.size.count(features * steps)
        values = (sufficiency(self._game, scores, cells), comprehensiveness(self._game, scores, cells))
        if labels is None:
            return dict(zip(MEASURES[2:], values, strict=True))
        last = labels if labels.ndim == 1 else labels[:, -1]
        accuracies = (accuracy_at(self._game, scores, last, kept) for kept in (steps, self.size.timestamps(steps)))
        return dict(zip(MEASURES, (*accuracies, *values), strict=True))
