"""Which explanations can stand beside each other."""

from __future__ import annotations

from torch import Tensor


def largest_family(masks: Tensor, overlap: float) -> list[int]:
    """The most masks (K, terms) of which no two have a Dice coefficient above `overlap`; the smallest first.

    Of families of equal number, the one of least total area, then the first in lexicographic order of its numbers.
    """
    areas: list[int] = masks.sum(1).tolist()
    conflicts = (dice(masks) > overlap).tolist()
    best: list[int] = []

    def better(family: list[int]) -> bool:
        return (-len(family), sum(areas[i] for i in family)) < (-len(best), sum(areas[i] for i in best))

    def grow(family: list[int], candidates: list[int]) -> None:
        nonlocal best
        if better(family):
            best = family
        for n, i in enumerate(candidates):
            if len(family) + len(candidates) - n < len(best):
                return
            grow([*family, i], [j for j in candidates[n + 1 :] if not conflicts[i][j]])

    grow([], list(range(len(areas))))
    return sorted(best, key=lambda i: (areas[i], i))


def dice(masks: Tensor) -> Tensor:
    """Dice coefficients (K, K) float64 of masks (K, terms), none of which is empty: twice what two share over both."""
    flat = masks.double()
    areas = flat.sum(1)
    return 2 * (flat @ flat.T) / (areas[:, None] + areas)
