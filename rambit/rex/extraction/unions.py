"""Necessary parts of inputs that say the same in several places: the union of what suffices at each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit.rex.extraction.bar import Bar, Part, chunks, first_part, width
from rambit.rex.extraction.circles import Landscape, spotlights
from rambit.rex.extraction.extraction_options import ExtractionOptions
from rambit.rex.extraction.ranking import within


def necessary_union(
    bar: Bar, landscape: Landscape, options: ExtractionOptions, sufficient: Part, seed: int
) -> Part | None:
    """A necessary part made of sufficient ones, without what it can spare; None where there is none.

    The sufficient parts are united, the smallest first, until the decision changes without them; where it never does,
    what suffices of the rest is added. A ranking alone takes in whatever stands between two such places.
    """
    union = _united(bar, [sufficient, *spotlights(bar, landscape, options, seed)])
    for _ in range(options.spotlights):
        if not _holds_without(bar, union[None])[0]:
            break
        rest = first_part(bar, within(landscape.ranking, ~union), chunks(int((~union).sum()), options.chunk_size))
        if rest is None:
            break
        union = union | rest.mask
    # More of the ranking, where the model is less sure of the union than is demanded.
    size, terms = int(union.sum()), len(union)
    sizes = torch.cat((torch.tensor([size]), size + chunks(terms - size, options.chunk_size)))
    part = first_part(bar, within(landscape.ranking, union), sizes, bar.necessary)
    return None if part is None else _thinned(bar, part, landscape.ranking, options.chunk_size)


def _united(bar: Bar, parts: list[Part]) -> Tensor:
    """The union of the fewest parts, smallest first, without which the decision changes; else of all."""
    masks = torch.stack([part.mask for part in sorted(parts, key=lambda part: part.size)])
    unions = masks.int().cumsum(0) > 0
    changed = ~_holds_without(bar, unions)
    return unions[int(changed.int().argmax())] if bool(changed.any()) else unions[-1]


def _holds_without(bar: Bar, masks: Tensor) -> Tensor:
    """Whether the model still decides for the target where a mask is replaced and all else kept, (N,) bool."""
    classes, _ = bar.decision.masks(~masks)
    return torch.from_numpy(classes == bar.decision.target)


def _thinned(bar: Bar, part: Part, ranking: Tensor, chunk: int) -> Part:
    """The part without those chunks, the least responsible first, without which it stays necessary."""
    pieces = list(torch.split(ranking[part.mask[ranking]].flip(0), chunk))
    while pieces:
        pieces = [piece for piece, spared in zip(pieces, _spared(bar, part.mask, pieces), strict=True) if spared]
        before = part
        for begin in range(0, len(pieces), width(bar.decision)):
            part = _without(bar, part, pieces[begin : begin + width(bar.decision)])
        if part is before:
            break
        pieces = [piece for piece in pieces if bool(part.mask[piece].all())]
    return part


def _spared(bar: Bar, mask: Tensor, pieces: list[Tensor]) -> list[bool]:
    """Which pieces a necessary part can do without, each for itself."""
    spared: list[bool] = []
    for begin in range(0, len(pieces), width(bar.decision)):
        own = pieces[begin : begin + width(bar.decision)]
        masks = mask.repeat(len(own), 1)
        for row, piece in zip(masks, own, strict=True):
            row[piece] = False
        spared += bar.necessary(masks).tolist()
    return spared


def _without(bar: Bar, part: Part, pieces: list[Tensor]) -> Part:
    """The part without the pieces that it can do without together, one after another; halves, where not all can go."""
    if not pieces:
        return part
    mask = part.mask.clone()
    mask[torch.cat(pieces)] = False
    confidence = bar.confidence(mask) if bool(bar.necessary(mask[None])[0]) else None
    if confidence is not None:
        return Part(mask, confidence, int(mask.sum()))
    if len(pieces) == 1:
        return part
    half = len(pieces) // 2
    return _without(bar, _without(bar, part, pieces[:half]), pieces[half:])
