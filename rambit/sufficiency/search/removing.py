"""Searches that start with a feasible mask and take players away until none can go."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from rambit.sufficiency.search.task import Search, Task, evaluate_switched, where

#: How many removals at least, and at most, are evaluated at once.
LEAST_AHEAD, MOST_AHEAD = 16, 512


def randomly(task: Task, mask: Tensor) -> Search:
    """Removes players in random order, each if the mask stays feasible, until none can go; irreducible in the end.

    The result is that of one row at a time, but many rows are evaluated at once: a pass is foreseen, its rows are
    evaluated together, and what they say holds up to the first that was foreseen wrongly.
    """
    order = task.rank.argsort()
    # What each removal costs; nothing is known yet, so at first each player is tried on its own.
    price = torch.full((task.players,), torch.inf, dtype=torch.float64)
    margin, before = torch.inf, task.players + 1
    while int(mask.sum()) < before:
        before = int(mask.sum())
        ahead = MOST_AHEAD
        queue = order[mask[order]]
        while len(queue):
            tried = queue[: min(ahead, task.width)]
            mask, margin, decided = yield from _try(tried, mask, margin, price)
            queue = queue[decided:]
            ahead = min(MOST_AHEAD, max(LEAST_AHEAD, 2 * decided))
    return mask


def _try(
    tried: Tensor, mask: Tensor, margin: float, price: Tensor
) -> Generator[Tensor, Tensor, tuple[Tensor, float, int]]:
    """Foresees in turn whether each of the players ``tried`` can go, and evaluates.

    Returns the mask and its margin after as many of them as are decided, and their number. Prices are brought up to
    date with all that was evaluated.
    """
    goes, left = [], margin
    for cost in price[tried].tolist():
        goes.append(left - cost >= 0)
        left -= cost if goes[-1] else 0.0
    leaving = torch.tensor(goes)
    count = len(tried)
    turn = torch.arange(count)
    # Row t: without those that were foreseen to go before turn t, and without player t.
    absent = (leaving & (turn < turn[:, None])) | (turn == turn[:, None])
    rows = mask.repeat(count, 1)
    rows[:, tried] = ~absent
    margins = yield rows

    # The row that each row is one removal away from; -1: the mask itself.
    last = torch.where(leaving, turn, -1).cummax(0).values
    base = torch.cat((last.new_tensor([-1]), last[:-1]))
    # At first the mask's own margin is not known: about that of the row that lost least.
    own = margins.max() if margin == torch.inf else torch.tensor(margin, dtype=torch.float64)
    price[tried] = torch.where(base < 0, own, margins[base.clamp(min=0)]) - margins
    wrong = ((margins >= 0) != leaving).nonzero()[:, 0]
    t = int(wrong[0]) if len(wrong) else count - 1
    row = t if bool(margins[t] >= 0) else int(base[t])
    return (rows[row], float(margins[row]), t + 1) if row >= 0 else (mask, margin, t + 1)


def greedily(task: Task, mask: Tensor) -> Search:
    """Removes the player without which the margin is largest, as long as it is feasible; irreducible in the end."""
    mask = mask.clone()
    while bool(mask.any()):
        kept = where(mask)
        margins = yield from evaluate_switched(mask, kept, task.width)
        best = int(margins.argmax())
        if margins[best] < 0:
            break
        mask[kept[best]] = False
    return mask
