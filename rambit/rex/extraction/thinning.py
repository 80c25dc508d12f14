"""A part without what it can spare."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def thinned(mask: Tensor, ranking: Tensor, chunk: int, passes: Callable[[Tensor], Tensor], *, width: int) -> Tensor:
    """The mask (terms,) without those chunks of it without which it still passes; the last of the ranking go first.

    passes: which masks (N, terms) do, (N,) bool; the mask itself does. width: how many of them are evaluated at a time.
    No single chunk can be spared of what comes back.
    """
    pieces = list(torch.split(ranking[mask[ranking]].flip(0), chunk))
    while pieces:
        pieces = [piece for piece, spared in zip(pieces, _spared(mask, pieces, passes, width), strict=True) if spared]
        before = mask
        for begin in range(0, len(pieces), width):
            mask = _without(mask, pieces[begin : begin + width], passes)
        if mask is before:
            break
        pieces = [piece for piece in pieces if bool(mask[piece].all())]
    return mask


def _spared(mask: Tensor, pieces: list[Tensor], passes: Callable[[Tensor], Tensor], width: int) -> list[bool]:
    """Which pieces the mask can do without, each for itself."""
    spared: list[bool] = []
    for begin in range(0, len(pieces), width):
        own = pieces[begin : begin + width]
        masks = mask.repeat(len(own), 1)
        for row, piece in zip(masks, own, strict=True):
            row[piece] = False
        spared += passes(masks).tolist()
    return spared


def _without(mask: Tensor, pieces: list[Tensor], passes: Callable[[Tensor], Tensor]) -> Tensor:
    """The mask without those of the pieces that it can do without together: all, or of one half, then the other."""
    if not pieces:
        return mask
    less = mask.clone()
    less[torch.cat(pieces)] = False
    if bool(passes(less[None])[0]):
        return less
    if len(pieces) == 1:
        return mask
    half = len(pieces) // 2
    return _without(_without(mask, pieces[:half], passes), pieces[half:], passes)
