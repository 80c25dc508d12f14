"""Necessary parts of inputs that say the same in several places: the union of what suffices at each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit.rex.extraction.bar import Bar, Part, chunks, first_part, width
from rambit.rex.extraction.circles import Landscape, spotlights
from rambit.rex.extraction.extraction_options import ExtractionOptions
from rambit.rex.extraction.ranking import within
from rambit.rex.extraction.thinning import thinned


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
    if part is None:
        return None
    mask = thinned(part.mask, landscape.ranking, options.chunk_size, bar.necessary, width=width(bar.decision))
    confidence = bar.confidence(mask)
    return part if confidence is None else Part(mask, confidence, int(mask.sum()))


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
