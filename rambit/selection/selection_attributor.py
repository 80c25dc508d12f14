"""A learned selector as an attribution method: to compare it in the tables and plots that the others have."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from rambit.counterfactuals import Zero
from rambit.game import Coalitions, Cost, Game, TensorSample
from rambit.predictors.module import ModulePredictor
from rambit.results import Attribution
from rambit.selection.framework import InfluenceFramework, ModelAgnosticWrapper
from rambit.selection.selection_checks import lengths_of, series
from rambit.selection.selector import TimestampSelector


class SelectionAttributor:
    """``attribute``, ``explain`` and ``cost`` for series (B, D, T), from a selector's scores of their timestamps.

    ``source``: a trained `ModelAgnosticWrapper`, `InfluenceFramework` or `TimestampSelector`, in evaluation mode.
    A cell (d, t) scores sigmoid(score of t), whatever d is.
    """

    def __init__(
        self, source: ModelAgnosticWrapper | InfluenceFramework | TimestampSelector, *, max_memory: int | None = None
    ) -> None:
        part = source.framework if isinstance(source, ModelAgnosticWrapper) else source
        selector = part.selector if isinstance(part, InfluenceFramework) else part
        if not isinstance(selector, TimestampSelector):
            raise TypeError(f"source must be a wrapper, a framework or a selector, got {type(source).__name__}")
        self.selector, self.max_memory = selector, max_memory
        self._predictor = _Scores(selector)

    def attribute(self, X: Tensor, *, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, D, T) in [0, 1] like X; 0 from ``lengths[b]`` on."""
        return self.explain(X, lengths=lengths).values

    def explain(self, X: Tensor, *, lengths: Tensor | None = None) -> Attribution:
        """The scores with what they cost. lengths (B,): series b ends before step lengths[b].

        Raises ValueError or TypeError for an X of another shape or type, and for NaN.
        """
        started = time.perf_counter()
        games = self._games(X, lengths)
        scores = torch.zeros(X.shape[0], X.shape[-1], dtype=torch.float64, device=X.device)
        total = None
        for indices, game in games:
            # In double precision, where high scores do not all round to 1.
            found = game.predict().double().sigmoid().to(X.device)
            scores[indices, : found.shape[1]] = found
            total = game.cost() if total is None else total + game.cost()
        assert total is not None
        return Attribution(
            values=scores[:, None].expand(X.shape).to(X.dtype).contiguous(),
            stderr=None,
            rows=total.rows,
            row_steps=total.row_steps,
            seconds=time.perf_counter() - started,
            settings={"method": "Selection", "layout": "BDT", **self.selector.config()},
            seed=0,
            mode=total.mode,
            lengths=lengths,
        )

    def cost(self, X: Tensor, *, lengths: Tensor | None = None) -> Cost:
        """One row a series; nothing is evaluated."""
        total = None
        for _, game in self._games(X, lengths, dry=True):
            list(game.evaluate(_everything(game)))
            total = game.cost() if total is None else total + game.cost()
        assert total is not None
        return total

    def _games(self, X: Tensor, lengths: Tensor | None, *, dry: bool = False) -> list[tuple[Tensor, Game]]:
        """A game for the series of each length, and their indices: padded steps are cut off, so nobody sees them."""
        if not isinstance(X, Tensor) or X.ndim != 3 or 0 in X.shape:
            got = tuple(X.shape) if isinstance(X, Tensor) else type(X).__name__
            raise (ValueError if isinstance(X, Tensor) else TypeError)(f"X must be a tensor (B, D, T), got {got}")
        B, T = len(X), X.shape[-1]
        known = lengths_of(lengths, B, T)
        lengths = torch.full((B,), T) if known is None else known
        games = []
        for length in sorted(set(lengths.tolist())):
            indices = (lengths == length).nonzero()[:, 0]
            x = X.detach()[indices.to(X.device), :, :length]
            series("X", x.transpose(1, 2), self.selector.input_dim)
            sample = TensorSample(x.to(self._predictor.device), indices.to(self._predictor.device))
            game = Game(self._predictor, sample, Zero(), evaluation="full", max_memory=self.max_memory, dry=dry)
            games.append((indices, game))
        return games


class _Scores(ModulePredictor):
    """A selector's scores as the outputs of a model: (N, T) values."""

    def __init__(self, selector: TimestampSelector) -> None:
        super().__init__(selector, output="regression", layout="BTD")

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        scores: Tensor = self.model.scorer(x)
        return scores


def _everything(game: Game) -> Coalitions:
    return Coalitions(torch.ones(1, game.sample.terms, dtype=torch.bool))
