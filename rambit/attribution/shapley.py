"""Shapley and Banzhaf values of cells, segments, features or timestamps, compared at the last step."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rambit.attribution.attributor import DRAWS, METHODS, Call, Distance, Part
from rambit.attribution.cell_groups import GroupedAttributor
from rambit.game import Coalitions, Game, draws, shapley_values
from rambit.game.players import group_cells
from rambit.masks import Bernoulli
from rambit.options import option

Payoffs = Callable[[Tensor], Tensor]  # coalitions (N, n) bool -> (N, S, B), for each draw; B: series and targets


class Estimate(NamedTuple):
    """Values (n, B) of players, NaN where no coalition tells; over the coalitions, what is known of their error.

    ``variance`` (n, B) given the draws, None: unknown, with its ``freedom``. ``by_draw`` (n, G, B): the values by group
    of draws, where that was asked; ``one`` (n, B): their variance given the draws, the mean over the groups by sizes.
    """

    values: Tensor
    variance: Tensor | None
    freedom: Tensor | float = 1.0
    by_draw: Tensor | None = None
    one: Tensor | None = None

    def error(self, shared: int) -> draws.Error | None:
        """With this many random draws that all coalitions share; None: unknown."""
        if self.variance is None or shared == 1:
            return None
        if self.by_draw is None or self.one is None:
            return draws.error_over_masks(self.variance, self.freedom)
        return draws.error_over_both(self.variance, self.freedom, self.one, self.by_draw.transpose(0, 1), shared)


class _Values(GroupedAttributor):
    """A coalition keeps the cells of its players and replaces the others; its payoff is minus the distance from the
    original output. With distance ``diff``, the default here, that is the target's output up to a constant."""

    distance: Distance = option(default="diff", help=GroupedAttributor.describe("distance"))
    players: str | Tensor = option(
        default="cells", help="cells, features, timestamps or segments go together; or labels (D, T), as groups"
    )
    segment: int = option(default=10, help="steps in a segment")
    num_samples: int = option(default=1, help=DRAWS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.players, Tensor) and self.layout == "BTD":
            self.players = self.players.T
        if isinstance(self.players, str):
            group_cells(self.players, 1, 1, self.segment)
        if self.groups is not None and (isinstance(self.players, Tensor) or self.players != type(self).players):
            given = self.players if isinstance(self.players, str) else "a tensor"
            raise ValueError(f"players does not apply beside groups, which are the players, got {given!r}")

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        players = self.players.tolist() if isinstance(self.players, Tensor) else self.players
        players = players if self.groups is None else "groups"
        return {**super().settings(), "players": players}

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        D, T = game.sample.x.shape[1:]
        groups = self._groups(game)
        if groups is None:
            players = self.players[:, :T] if isinstance(self.players, Tensor) else self.players
            player = group_cells(players, D, T, self.segment)
        else:
            player = torch.from_numpy(groups.ravel())
        target = self._target(call, indices, game)

        def payoffs(coalitions: Tensor) -> Tensor:
            distances = game.coalition_distances(Coalitions(coalitions, player), call.metric, target)  # (K, N, S, B)
            return -distances.movedim(0, 2).flatten(2)

        shared = call.shared_draws
        estimate = self._values(payoffs, int(player.max()) + 1, shared > 1)
        known, scores = ~estimate.values.isnan(), estimate.values.nan_to_num(nan=0.0)
        error = estimate.error(shared)

        def spread(of_players: Tensor) -> Tensor:
            return of_players[player.to(of_players.device)].T.reshape(len(target), *game.sample.x.shape)

        evaluated = spread(known)[0]
        if error is None:
            return Part(spread(scores), None, evaluated=evaluated)
        return Part(spread(scores), spread(error.stderr()), evaluated=evaluated, freedom=spread(error.freedom))

    @abstractmethod
    def _values(self, payoffs: Payoffs, n: int, by_draw: bool) -> Estimate:
        """The values of n players."""


@METHODS.register("exact-shapley")
class ExactShapley(_Values):
    """Shapley values from all 2^n coalitions, for up to 16 players.

    Every cell scores its player's value; the values sum to f(all) - f(none). The standard error is that over draws,
    unknown with one random draw.
    """

    players: str | Tensor = option(default="features", help=_Values.describe("players"))

    def _values(self, payoffs: Payoffs, n: int, by_draw: bool) -> Estimate:
        if n > shapley_values.MAX_EXACT:
            most = shapley_values.MAX_EXACT
            raise ValueError(f"players: {n} are too many for exact values (at most {most}); use ShapleySampling")
        paid = payoffs(shapley_values.all_coalitions(n))
        found = shapley_values.exact_shapley(paid.mean(dim=1))
        each = _each(shapley_values.exact_shapley, draws.grouped(paid, 1)) if by_draw else None
        certain = torch.zeros_like(found)
        return Estimate(found, certain, by_draw=each, one=certain)


@METHODS.register("shapley")
class ShapleySampling(_Values):
    """Shapley values from random orders of the players (Castro et al., 2009), with their standard error.

    An order of n players takes n - 1 coalitions, and the empty and the full one once for all. The values sum to
    f(all) - f(none) whatever the number of orders.
    """

    num_permutations: int = option(default=25, help="random orders of the players")

    def _values(self, payoffs: Payoffs, n: int, by_draw: bool) -> Estimate:
        ends = payoffs(torch.stack((torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool))))
        _, S, B = ends.shape
        R, G = self.num_permutations, draws.groups(S)
        total = torch.zeros(n, B, dtype=torch.float64, device=ends.device)
        squares, one, each = torch.zeros_like(total), torch.zeros_like(total), total.new_zeros(n, G, B)
        share = draws.sizes(S).to(ends.device)[:, None] / S
        at_once = max(1, (1 << 24) // n**2)  # coalitions of n orders are n² bools
        for first in range(0, R, at_once):
            order = shapley_values.orders(min(at_once, R - first), n, seed=self.seed, first=first)
            between = shapley_values.prefixes(order)[:, 1:-1]
            paid = payoffs(between.reshape(-1, n)).view(len(order), n - 1, S, B)
            whole = torch.cat((ends[0].expand(len(order), 1, S, B), paid, ends[1].expand(len(order), 1, S, B)), dim=1)
            for gain in shapley_values.gains(
                order, whole.mean(dim=2) if S > 1 else whole[:, :, 0]
            ):  # one at a time: sums do not depend on the pieces
                total += gain
                squares += gain**2
            if by_draw:
                for gain in shapley_values.gains(order, draws.grouped(whole, 2).flatten(2)):
                    gain = gain.view(n, G, B)
                    each += gain
                    one += (share * gain**2).sum(dim=1)

        def variance(squares: Tensor, squared_sum: Tensor) -> Tensor:
            return (squares - squared_sum / R).clamp(min=0) / (R - 1) / R

        if R < 2:
            return Estimate(total / R, None)
        given = variance(squares, total**2)
        if not by_draw:
            return Estimate(total / R, given, R - 1)
        return Estimate(total / R, given, R - 1, each / R, variance(one, (share * each**2).sum(dim=1)))


@METHODS.register("banzhaf")
class Banzhaf(_Values):
    """Banzhaf values from random coalitions, each of which counts for every player (maximum sample reuse)."""

    num_masks: int = option(default=500, help="random coalitions, each player in half of them")

    def _values(self, payoffs: Payoffs, n: int, by_draw: bool) -> Estimate:
        estimate: shapley_values.Banzhaf | None = None
        each: shapley_values.Banzhaf | None = None
        piece = max(1, (1 << 24) // n)
        for first in range(0, self.num_masks, piece):
            number = min(piece, self.num_masks - first)
            coalitions = Bernoulli(0.5).sample(number, 1, n, seed=self.seed, first=first).masks[:, 0]
            paid = payoffs(coalitions)
            S = paid.shape[1]
            if estimate is None:
                estimate = shapley_values.Banzhaf(n, paid.shape[2], paid.device)
            estimate.add(coalitions, paid.mean(dim=1))
            if by_draw:
                groups = draws.grouped(paid, 1).flatten(1)
                each = shapley_values.Banzhaf(n, groups.shape[1], paid.device) if each is None else each
                each.add(coalitions, groups)
        assert estimate is not None
        found = estimate.values().masked_fill(~estimate.seen(), torch.nan)
        if each is None:
            return Estimate(found, estimate.variance(), estimate.freedom())
        by_group, variances = (part.view(n, -1, found.shape[1]) for part in (each.values(), each.variance()))
        share = draws.sizes(S).to(found.device)[:, None] / S
        one = (share * variances).sum(dim=1)
        return Estimate(found, estimate.variance(), estimate.freedom(), by_group, one)


def _each(method: Callable[[Tensor], Tensor], payoffs: Tensor) -> Tensor:
    """Values (n, G, B) of payoffs (N, G, B), for each group of draws."""
    return method(payoffs.flatten(1)).view(-1, *payoffs.shape[1:])
