"""Why not another class: the least that must be replaced for the model to decide for it."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from rambit.game.lockstep import run_together
from rambit.game.prefixes import first_passing, prefix_masks
from rambit.rex.decision import Decision
from rambit.rex.extraction.bar import Bar, NoExplanationError, chunks, width
from rambit.rex.extraction.extraction_options import ExtractionOptions, Found
from rambit.rex.extraction.ranking import rank
from rambit.rex.extraction.thinning import thinned


def smallest_change(decision: Decision, maps: Mapping[int, Tensor], options: ExtractionOptions) -> Found:
    """What is kept when the fewest positions found are replaced that make the model decide for `decision.target`.

    maps: that of the target, and those of the other classes that were seen. Positions are replaced, a chunk at a time,
    in three orders: the least responsible for the target first, the most responsible for another class first, and by
    the difference of both. Of the shortest prefix that is enough, whatever need not be replaced is kept.

    Raises NoExplanationError where no change makes the model decide so.
    """
    bar = Bar(decision, options.minimum_confidence_threshold)
    sizes = chunks(decision.terms, options.chunk_size)
    responsibility = maps[decision.target]
    others = [_relative(map_) for label, map_ in maps.items() if label != decision.target]
    orders = [order.to(decision.game.device) for order in _orders(_relative(responsibility), others)]
    searches = [_first_change(order, sizes, width(decision)) for order in orders]
    changes = run_together(searches, lambda masks, _: bar.sufficient(~masks))
    found = [(int(change.sum()), i) for i, change in enumerate(changes) if change is not None]
    for _, i in sorted(found):
        change = changes[i]
        assert change is not None
        least = thinned(change, orders[i], options.chunk_size, lambda m: bar.sufficient(~m), width=width(decision))
        for mask in (~least, ~change):  # alone, as whoever reads the result will evaluate it
            confidence = bar.confidence(mask)
            if confidence is not None:
                return Found(mask.view(responsibility.shape).to(responsibility.device), confidence)
    raise NoExplanationError(
        f"nothing that was replaced makes the model decide for class {decision.target}, which it gives parts of the "
        "input: try another mask_value, a smaller chunk_size or minimum_confidence_threshold"
    )


def _orders(own: Tensor, others: list[Tensor]) -> list[Tensor]:
    """The orders in which positions are replaced, (terms,) int64."""
    orders = [rank(own).flip(0)]
    if others:
        against = torch.stack(others).amax(0)
        orders += [rank(against), rank(against - own)]
    return orders


def _relative(responsibility: Tensor) -> Tensor:
    greatest = responsibility.abs().max()
    return responsibility if greatest == 0 else responsibility / greatest


def _first_change(order: Tensor, sizes: Tensor, most: int) -> Generator[Tensor, Tensor, Tensor | None]:
    """The first prefix of the order that passes, as a mask (terms,)."""
    k = yield from first_passing(order, sizes, width=most)
    return None if k is None else prefix_masks(order, sizes[k : k + 1])[0]
