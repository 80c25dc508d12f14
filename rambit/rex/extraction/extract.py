"""The strategies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rambit.rex.decision import Decision
from rambit.rex.extraction.bar import Bar, NoExplanationError, Part, chunks, first_part
from rambit.rex.extraction.circles import Landscape, spatial, spotlights
from rambit.rex.extraction.extraction_options import ExtractionOptions, Found, Strategy
from rambit.rex.extraction.families import largest_family
from rambit.rex.extraction.ranking import rank, within
from rambit.rex.extraction.unions import necessary_union


def extract(
    decision: Decision,
    responsibility: Tensor,
    strategy: Strategy = Strategy.Global,
    options: ExtractionOptions | None = None,
    *,
    logs: Tensor | None = None,
    seed: int = 0,
) -> Found:
    """A small part of the input that suffices for the target, taken from the target's responsibility map.

    responsibility: the map, of the grid's shape without or with leading ones. logs: see `rank`. Positions are revealed
    in descending (responsibility, flat index), `options.chunk_size` at a time. Nothing is tried first: where what
    replaces the input has the class by itself, the mask is empty, whatever the map says.
      Global          the first prefix that suffices.
      Spatial         the same inside a circle about the map's maximum, which grows until it suffices.
      MultiSpotlight  Global, and the same inside circles at random places; of what they find, the most that overlap no
                      more than permitted. `mask` is the smallest.
      Contrastive     Global, and a part that is necessary too: with `options.necessary_confidence` of the whole input's
                      confidence, and without it the output is another class. It is the smaller of two: the first
                      prefix of the ranking, and a union of what suffices in several places (`options.necessary_from`).
      Complete        Contrastive, and the necessary part with the least responsible positions added until the
                      confidence is the whole input's to 2 decimals.
      MapOnly         nothing is looked for: the mask is the whole input.

    Errors: ValueError for a map that does not fit the grid; NoExplanationError where there is no such part.
    Source: Chockler, Kelly, Kroening, Sun, "Causal explanations for image classifiers" (2024), and ReX 0.4.1.
    """
    terms = math.prod(decision.grid)
    if responsibility.numel() != terms or (logs is not None and logs.numel() != terms):
        raise ValueError(f"responsibility must cover the grid {decision.grid}, given {tuple(responsibility.shape)}")
    options = ExtractionOptions() if options is None else options
    found = _search(
        decision, responsibility, strategy, options, rank(responsibility, logs).to(decision.game.device), seed
    )
    return _on_grid(found, responsibility)


def _search(
    decision: Decision,
    responsibility: Tensor,
    strategy: Strategy,
    options: ExtractionOptions,
    ranking: Tensor,
    seed: int,
) -> Found:
    """What the strategy finds, as masks (terms,)."""
    if strategy is Strategy.MapOnly:
        return Found(torch.ones(decision.terms, dtype=torch.bool), decision.confidence)
    bar = Bar(decision, options.minimum_confidence_threshold, options.necessary_confidence)
    nothing = bar.nothing()
    if strategy is Strategy.Spatial:
        part = _sure(decision, bar, nothing or spatial(bar, Landscape(responsibility, ranking, decision.grid), options))
        return Found(part.mask, part.confidence)
    part = _sure(decision, bar, nothing or first_part(bar, ranking, chunks(len(ranking), options.chunk_size)))
    if strategy is Strategy.MultiSpotlight:
        landscape = Landscape(responsibility, ranking, decision.grid)
        parts = [part, *([] if nothing else spotlights(bar, landscape, options, seed))]
        family = [parts[i] for i in largest_family(torch.stack([p.mask for p in parts]), options.permitted_overlap)]
        return Found(family[0].mask, family[0].confidence, spotlights=torch.stack([p.mask for p in family]))
    if strategy is Strategy.Global:
        return Found(part.mask, part.confidence)
    necessary = _necessary(bar, Landscape(responsibility, ranking, decision.grid), options, part, seed)
    complete = None
    if strategy is Strategy.Complete:
        complete = _complete(decision, bar, ranking, options, necessary)
    return Found(part.mask, part.confidence, necessary=necessary.mask, complete=complete)


def _sure(decision: Decision, bar: Bar, part: Part | None) -> Part:
    if part is None:
        raise NoExplanationError(
            f"no part of the input, and not even all of it, gives class {decision.target} with a confidence of "
            f"{bar.threshold:.4f}; lower minimum_confidence_threshold"
        )
    return part


def _necessary(bar: Bar, landscape: Landscape, options: ExtractionOptions, sufficient: Part, seed: int) -> Part:
    """The smaller of the first necessary prefix, which comes first of equals, and the necessary union."""
    parts = []
    if options.necessary_from != "spotlights":
        # What is necessary suffices, so none comes before the sufficient one.
        sizes = chunks(len(landscape.ranking), options.chunk_size)
        parts.append(first_part(bar, landscape.ranking, sizes[sizes >= sufficient.size], bar.necessary))
    if options.necessary_from != "ranking":
        parts.append(necessary_union(bar, landscape, options, sufficient, seed))
    found = [part for part in parts if part is not None]
    if not found:
        raise NoExplanationError(
            f"no part of the input is both sufficient and necessary for class {bar.decision.target} with a confidence "
            f"of {bar.necessary_threshold:.4f}: the model decides so even where nothing of the input is kept, or is "
            "less sure of every part; lower necessary_confidence"
        )
    return min(found, key=lambda part: part.size)


def _complete(decision: Decision, bar: Bar, ranking: Tensor, options: ExtractionOptions, necessary: Part) -> Tensor:
    """The necessary part with the fewest chunks of least responsible positions that bring the confidence about."""
    ranking = within(ranking, necessary.mask)
    rest = ranking[necessary.size :]
    upwards = torch.cat((ranking[: necessary.size], rest.flip(0)))
    added = torch.cat((torch.zeros(1, dtype=torch.int64), chunks(len(rest), options.chunk_size)))
    part = first_part(bar, upwards, necessary.size + added, bar.complete)
    if part is None:
        raise NoExplanationError(
            f"no part of the input gives class {decision.target} with the whole input's confidence"
        )
    return part.mask


def _on_grid(found: Found, responsibility: Tensor) -> Found:
    """The masks in the shape and on the device of the map."""

    def shaped(mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask.to(responsibility.device).view(*mask.shape[:-1], *responsibility.shape)

    return Found(
        found.mask.to(responsibility.device).view(responsibility.shape),
        found.confidence,
        shaped(found.necessary),
        shaped(found.complete),
        shaped(found.spotlights),
    )
