"""Which explanations can stand beside each other."""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers of masks, as float64, that are compared at a time.
_PIECE = 1 << 22
#: How many candidates one search looks at before it takes the best that it has: seconds.
_LOOKS = 5_000_000


def largest_family(masks: Tensor, overlap: float) -> list[int]:
    """The most masks (K, terms) of which no two have a Dice coefficient above `overlap`; the smallest first.

    Of families of equal number, the one of least total area, then the first in lexicographic order of its numbers.
    (The problem is hard: beyond a fixed amount of work, which takes many masks, the best of what was tried.)
    """
    areas: list[int] = masks.sum(1).tolist()
    conflicts = [set(row.nonzero()[:, 0].tolist()) for row in (dice(masks) > overlap).cpu().fill_diagonal_(False)]
    # Masks that no chain of conflicts joins don't matter to each other.
    chosen = [i for part in _joined(conflicts) for i in _largest(part, areas, conflicts)]
    return sorted(chosen, key=lambda i: (areas[i], i))


def _joined(conflicts: list[set[int]]) -> list[list[int]]:
    """The numbers, in parts that chains of conflicts join."""
    parts, seen = [], set[int]()
    for i in range(len(conflicts)):
        part, wave = {i}, {i}
        while i not in seen and wave:
            wave = set().union(*(conflicts[j] for j in wave)) - part
            part |= wave
        if i not in seen:
            parts.append(sorted(part))
            seen |= part
    return parts


def _largest(part: list[int], areas: list[int], conflicts: list[set[int]]) -> list[int]:
    """The best family of one part, by trying them in lexicographic order."""
    best: list[int] = []
    least, looks = 0, _LOOKS

    def grow(family: list[int], area: int, candidates: list[int]) -> None:
        nonlocal best, least, looks
        if (-len(family), area) < (-len(best), least):
            best, least = family, area
        while candidates and (looks := looks - len(candidates)) > 0:
            # Of masks that are all in conflict with each other only one can be taken.
            groups = _groups(candidates, conflicts)
            bound = -len(family) - len(groups), area + sum(min(areas[i] for i in group) for group in groups)
            if bound >= (-len(best), least):
                return
            first, *candidates = candidates
            grow([*family, first], area + areas[first], [j for j in candidates if j not in conflicts[first]])

    grow([], 0, part)
    return best


def _groups(numbers: list[int], conflicts: list[set[int]]) -> list[list[int]]:
    """The numbers in groups, in each of which all are in conflict; few groups, not the fewest."""
    groups: list[list[int]] = []
    for i in numbers:
        for group in groups:
            if conflicts[i].issuperset(group):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def dice(masks: Tensor) -> Tensor:
    """Dice coefficients (K, K) float64 of masks (K, terms), none of which is empty: twice what two share over both."""
    shared = torch.zeros(len(masks), len(masks), dtype=torch.float64, device=masks.device)
    for piece in torch.split(masks, max(1, _PIECE // len(masks)), dim=1):
        flat = piece.double()
        shared += flat @ flat.T
    areas = shared.diagonal()
    return 2 * shared / (areas[:, None] + areas)
