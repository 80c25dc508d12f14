"""Values of players from coalitions and what the game pays for them. Arrays in, arrays out; nothing is evaluated here.

A coalition is a boolean row over n players, True = takes part; a payoff is (N, B): one for each coalition and series.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from rambit import memory, ops

#: Players whose 2^n coalitions are all evaluated.
MAX_EXACT = 16
#: Interactions of two players, by shapiq's names: Shapley-Taylor, Shapley's and Banzhaf's interaction index.
Index = Literal["STII", "SII", "BII"]
#: What a coalition of ``size`` of the n - 2 other players counts.
_PAIR_WEIGHTS: dict[Index, Callable[[int, int], float]] = {
    "STII": lambda n, size: 2.0 / (n * math.comb(n - 1, size)),
    "SII": lambda n, size: 1.0 / ((n - 1) * math.comb(n - 2, size)),
    "BII": lambda n, size: 1.0 / (1 << (n - 2)),
}
INDICES: tuple[Index, ...] = tuple(_PAIR_WEIGHTS)


def all_coalitions(n: int) -> Tensor:
    """(2^n, n) bool: row k holds the players whose bit is set in k."""
    return (torch.arange(1 << n)[:, None] >> torch.arange(n)) & 1 == 1


def exact_shapley(payoffs: Tensor) -> Tensor:
    """Shapley values (n, B) from the payoffs (2^n, B) of ``all_coalitions(n)`` (Shapley, 1953)."""
    return _exact(payoffs, lambda n, size: 1.0 / (n * math.comb(n - 1, size)))


def exact_banzhaf(payoffs: Tensor) -> Tensor:
    """Banzhaf values (n, B) from the payoffs (2^n, B) of ``all_coalitions(n)`` (Banzhaf, 1965)."""
    return _exact(payoffs, lambda n, size: 1.0 / (1 << (n - 1)))


def _exact(payoffs: Tensor, weight_of: Callable[[int, int], float]) -> Tensor:
    n = (len(payoffs) - 1).bit_length()
    coalition = torch.arange(1 << n, device=payoffs.device)
    size = all_coalitions(n).sum(dim=1)
    weight = torch.tensor([weight_of(n, s) for s in range(n)], dtype=torch.float64, device=payoffs.device)
    values = memory.empty((n, payoffs.shape[1]), payoffs, torch.float64)
    for i in range(n):
        without = coalition[(coalition >> i) & 1 == 0]
        gain = payoffs[without | (1 << i)] - payoffs[without]
        values[i] = (weight[size[without.cpu()]][:, None] * gain).sum(dim=0)
    return values


def exact_interactions(payoffs: Tensor, index: Index) -> Tensor:
    """Interactions (n, n, B) of every two players, from the payoffs (2^n, B) of ``all_coalitions(n)``.

    Entry [i, j] is the weighted mean of v(S, i, j) - v(S, i) - v(S, j) + v(S) over coalitions S of the others: positive
    where two are worth more together than each adds alone. On the diagonal stands what ``index`` has for one player:
    v(i) - v(none) for "STII" (Sundararajan et al., ICML 2020), so that the upper triangle sums to v(all) - v(none); the
    Shapley value for "SII", the Banzhaf value for "BII" (Grabisch & Roubens, 1999).
    """
    n = (len(payoffs) - 1).bit_length()
    coalition = torch.arange(1 << n, device=payoffs.device)
    size = all_coalitions(n).sum(dim=1)
    found = memory.empty((n, n, payoffs.shape[1]), payoffs, torch.float64)
    if index == "STII":
        alone = payoffs[1 << torch.arange(n, device=payoffs.device)] - payoffs[0]
    else:
        alone = exact_shapley(payoffs) if index == "SII" else exact_banzhaf(payoffs)
    for i in range(n):
        found[i, i] = alone[i]
        for j in range(i):
            a, b = 1 << i, 1 << j
            others = coalition[coalition & (a | b) == 0]
            weight = torch.tensor([_PAIR_WEIGHTS[index](n, s) for s in range(n - 1)], dtype=torch.float64)
            gain = payoffs[others | a | b] - payoffs[others | a] - payoffs[others | b] + payoffs[others]
            found[i, j] = found[j, i] = (weight[size[others.cpu()]].to(gain.device)[:, None] * gain).sum(dim=0)
    return found


def orders(count: int, n: int, *, seed: int, first: int = 0) -> Tensor:
    """Random orders (count, n) of n players, numbers ``first`` … of the stream: the same on every device."""
    series = torch.zeros(1, dtype=torch.int64)
    keys = memory.empty((count, 1, 1, n), series, torch.float64)
    ops.draw(keys, series, ops.Draw.UNIFORM, seed=ops.stream(seed, "orders"), first_draw=first)
    return keys.view(count, n).argsort(dim=1, stable=True)


def prefixes(order: Tensor) -> Tensor:
    """Coalitions (R, n + 1, n) bool of orders (R, n): row k holds the first k players."""
    rank = order.argsort(dim=1)
    return rank[:, None, :] < torch.arange(order.shape[1] + 1)[:, None]


def gains(order: Tensor, payoffs: Tensor) -> Tensor:
    """What each player adds when it joins, (R, n, B), from the payoffs (R, n + 1, B) of ``prefixes(order)``."""
    steps = payoffs[:, 1:] - payoffs[:, :-1]
    place = order.argsort(dim=1).to(payoffs.device)
    return steps.gather(1, place[..., None].expand(-1, -1, payoffs.shape[2]))


class Banzhaf:
    """Banzhaf values by maximum sample reuse: every payoff counts for every player (Wang & Jia, AISTATS 2023).

    Sums are kept, so that coalitions can come in pieces: the value is the mean payoff with a player minus without.
    """

    def __init__(self, n: int, B: int, device: torch.device) -> None:
        self.count = torch.zeros(2, n, dtype=torch.float64, device=device)
        self.sum = memory.zeros((2, n, B), self.count)
        self.squares = memory.zeros((2, n, B), self.count)

    def add(self, coalitions: Tensor, payoffs: Tensor) -> None:
        """Add coalitions (N, n) with their payoffs (N, B)."""
        inside = coalitions.to(payoffs.device, torch.float64)
        for side, member in enumerate((1 - inside, inside)):
            self.count[side] += member.sum(dim=0)
            self.sum[side] += member.T @ payoffs
            self.squares[side] += member.T @ payoffs**2

    def values(self) -> Tensor:
        """(n, B); 0 for a player that was always in or always out."""
        mean = self.sum / self.count.clamp(min=1)[..., None]
        return torch.where(self.seen(), mean[1] - mean[0], 0.0)

    def seen(self) -> Tensor:
        """(n, 1) bool: players that were in some coalitions and out of others."""
        return (self.count > 0).all(dim=0)[:, None]

    def variance(self) -> Tensor:
        """Variance (n, B) of the values; infinite for a player that one coalition alone holds, or lacks."""
        n = self.count.clamp(min=2)[..., None]
        variance = (self.squares - self.sum**2 / n).clamp(min=0) / (n - 1)
        return (variance / n).masked_fill(self.count[..., None] == 1, torch.inf).sum(dim=0)

    def freedom(self) -> Tensor:
        """Degrees of freedom (n, 1) of the variance."""
        return (self.count.sum(dim=0) - 2).clamp(min=1)[:, None]
