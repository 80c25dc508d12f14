"""A game as a plain function of coalitions, so that other libraries' approximators can drive it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.checks import one_of
from rambit.game.game import Game
from rambit.game.questions import Coalitions
from rambit.game.shapley_values import INDICES, MAX_EXACT, Index, all_coalitions, exact_interactions


class CoalitionFunction:
    """What a coalition is worth for one series: the target's output when only its players are kept, mean over draws.

    Callable on boolean arrays (N, n_players) -> (N,), as shapiq's approximators expect, and on (n_players,) -> float.
    ``game`` holds one series, anchor ``end``. ``players`` (cells,) int64 groups cells d * T + t; default: each cell
    is a player. ``target``: a class or output; default: the model's own choice.
    """

    def __init__(self, game: Game, *, players: Tensor | None = None, target: int | None = None) -> None:
        if len(game.sample) != 1:
            raise ValueError(f"a coalition function is about one series, got {len(game.sample)}")
        if players is not None and players.shape != (game.sample.terms,):
            raise ValueError(f"players must be ({game.sample.terms},), one label a cell, got {tuple(players.shape)}")
        output = game.predict()[0]
        if target is not None and not 0 <= target < len(output):
            raise ValueError(f"target must be in 0 … {len(output) - 1}, got {target}")
        self.game, self.players = game, players
        self.target = int(game.predictor.predicted(output, 0)) if target is None else target
        self.n_players = game.sample.terms if players is None else int(players.max()) + 1

    def __call__(self, coalitions: Any) -> npt.NDArray[np.float64] | float:
        """The worth of each coalition (N, n_players) as an array (N,), or of one, (n_players,), as a number."""
        rows = np.atleast_2d(np.asarray(coalitions, dtype=bool))
        if rows.ndim != 2 or rows.shape[1] != self.n_players:
            raise ValueError(f"coalitions must be (N, {self.n_players}) bool, got {np.shape(coalitions)}")
        outputs = self.game.evaluate(Coalitions(torch.from_numpy(rows), self.players))
        worth = [self.game.to_host(a[:, :, 0, self.target].double().mean(dim=1)) for a in outputs]
        found = np.concatenate([w.numpy() for w in worth]) if worth else np.zeros(0)
        return float(found[0]) if np.ndim(coalitions) == 1 else found

    @property
    def empty(self) -> float:
        """The worth of nobody: what shapiq calls the normalisation value."""
        return float(self(np.zeros(self.n_players, dtype=bool)))

    def interactions(self, index: Index = "STII") -> npt.NDArray[np.float64]:
        """Interactions (n_players, n_players) of every two players, exact, from all 2^n coalitions of up to 16 players.

        ``index``, by shapiq's names: "STII" (Shapley-Taylor), "SII" (Shapley interaction) or "BII" (Banzhaf). What
        shapiq's ``ExactComputer(game, n)(index, order=2)`` has for (i, j) stands at [i, j] and [j, i], for (i,) at
        [i, i]. Errors: ValueError.
        """
        one_of("index", index, INDICES)
        if self.n_players > MAX_EXACT:
            raise ValueError(f"players: {self.n_players} are too many for exact values (at most {MAX_EXACT})")
        worth = torch.from_numpy(np.asarray(self(all_coalitions(self.n_players).numpy())))
        return exact_interactions(worth[:, None], index)[:, :, 0].numpy()
