"""SPATIAL and MULTI_SPOTLIGHT: circles that grow until they suffice, and what suffices inside them."""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor

from rambit.game.lockstep import run_together
from rambit.game.prefixes import first_passing, prefix_masks
from rambit.rex.extraction.bar import Bar, Part, chunks, first_part, width
from rambit.rex.extraction.extraction_options import ExtractionOptions, Objective
from rambit.rex.extraction.ranking import within

Place = tuple[int, ...]
#: How many spotlights search in lock-step: each holds a ranking of all positions.
_TOGETHER = 16


class Landscape:
    """A responsibility map over the grid (Z, H, W), its ranking, and circles on it: balls, discs or intervals."""

    def __init__(self, responsibility: Tensor, ranking: Tensor, grid: tuple[int, int, int]) -> None:
        self.grid, self.ranking = grid, ranking
        self.map = responsibility.to(ranking.device).reshape(-1)
        self._axes = [torch.arange(extent, device=ranking.device) for extent in grid]

    def peak(self) -> Place:
        """The first place of greatest responsibility."""
        return self.place(int(np.argmax(self.map.cpu().numpy())))

    def place(self, position: int) -> Place:
        """The coordinates of a flat position."""
        return tuple(int(i) for i in np.unravel_index(position, self.grid))

    def squared_distances(self, centre: Place) -> Tensor:
        """From each position to the centre, (terms,) int64."""
        z, y, x = ((axis - at) ** 2 for axis, at in zip(self._axes, centre, strict=True))
        return (z[:, None, None] + y[:, None] + x).reshape(-1)

    def worth(self, centre: Place, options: ExtractionOptions) -> float:
        """The responsibility of the smallest circle about a place, by the objective."""
        inside = self.map[self.squared_distances(centre) <= options.initial_radius**2]
        return float(inside.max() if options.objective is Objective.Max else inside.double().mean())


class Circles:
    """The circles about a place, smallest first: as a ranking by distance, and how many positions each holds."""

    def __init__(self, landscape: Landscape, centre: Place, options: ExtractionOptions, most: int | None) -> None:
        distances = landscape.squared_distances(centre)
        nearest = distances.sort(stable=True)
        self.ranking = nearest.indices
        radii = torch.tensor(_radii(options, int(nearest.values[-1]), most), device=distances.device)
        self.sizes = torch.searchsorted(nearest.values, radii**2, right=True)

    def mask(self, k: int) -> Tensor:
        """Circle k, (terms,) bool."""
        return prefix_masks(self.ranking, self.sizes[k : k + 1])[0]


def _radii(options: ExtractionOptions, farthest: int, most: int | None) -> list[int]:
    """r <- max(r + 1, int(growth · r)), until a circle reaches the squared distance `farthest` or there are `most`."""
    radii = [options.initial_radius]
    whole = math.isqrt(farthest) + 1  # beyond which a circle holds nothing more
    while radii[-1] ** 2 < farthest and (most is None or len(radii) < most):
        radii.append(max(radii[-1] + 1, int(min(options.radius_growth * radii[-1], whole))))
    return radii


def spatial(bar: Bar, landscape: Landscape, options: ExtractionOptions) -> Part | None:
    """GLOBAL inside the first circle about the map's maximum that suffices; the last circle is the whole input."""
    circles = Circles(landscape, landscape.peak(), options, None)
    circle = first_part(bar, circles.ranking, circles.sizes)
    if circle is None:
        return None
    return first_part(bar, within(landscape.ranking, circle.mask), chunks(circle.size, options.chunk_size))


def spotlights(bar: Bar, landscape: Landscape, options: ExtractionOptions, seed: int) -> list[Part]:
    """GLOBAL inside each spotlight's circle, for those that found one, in the order of the spotlights."""
    most = width(bar.decision)
    parts = []
    for first in range(1, options.spotlights, _TOGETHER):
        numbers = range(first, min(first + _TOGETHER, options.spotlights))
        searches = [_Spotlight(landscape, options, seed, number).search(most) for number in numbers]
        for mask in run_together(searches, lambda masks, _: bar.sufficient(masks)):
            confidence = None if mask is None else bar.confidence(mask)
            if mask is not None and confidence is not None:
                parts.append(Part(mask, confidence, int(mask.sum())))
    return parts


class _Spotlight:
    """One circle that looks for a place where it suffices; its moves are keyed by (seed, number)."""

    def __init__(self, landscape: Landscape, options: ExtractionOptions, seed: int, number: int) -> None:
        self.landscape, self.options = landscape, options
        self.random = np.random.Generator(np.random.Philox(key=[seed, number]))
        self.tried: set[Place] = set()

    def search(self, most: int) -> Generator[Tensor, Tensor, Tensor | None]:
        """The mask of the first sufficient prefix inside the first sufficient circle, or None.

        It evaluates `most` masks at a time.
        """
        chunk = self.options.chunk_size
        centre: Place | None = self._jump()
        for _ in range(1 + self.options.budget):
            if centre is None:
                break
            circles = Circles(self.landscape, centre, self.options, self.options.expansions)
            k = yield from first_passing(circles.ranking, circles.sizes, width=most)
            if k is not None:
                ranking = within(self.landscape.ranking, circles.mask(k))
                sizes = chunks(int(circles.sizes[k]), chunk)
                prefix = yield from first_passing(ranking, sizes, width=most)
                return None if prefix is None else prefix_masks(ranking, sizes[prefix : prefix + 1])[0]
            centre = self._jump() if self.options.objective is Objective.Nothing else self._walk(centre)
        return None

    def _jump(self) -> Place | None:
        """A place not tried before; None when all were."""
        terms = math.prod(self.landscape.grid)
        while len(self.tried) < terms:
            place = self.landscape.place(int(self.random.integers(terms)))
            if place not in self.tried:
                self.tried.add(place)
                return place
        return None

    def _walk(self, centre: Place) -> Place | None:
        """A step along every axis to where the circle is worth no less; a jump where there is no such place."""
        worth = self.landscape.worth(centre, self.options)
        for place in self._neighbours(centre):
            if place not in self.tried and self.landscape.worth(place, self.options) >= worth:
                self.tried.add(place)
                return place
        return self._jump()

    def _neighbours(self, centre: Place) -> list[Place]:
        """The places one step off along each axis, inside the grid, in random order."""
        step = self.options.step
        ends = [
            sorted({max(0, at - step), min(extent - 1, at + step)})
            for at, extent in zip(centre, self.landscape.grid, strict=True)
        ]
        corners = [tuple(int(i) for i in corner) for corner in np.stack(np.meshgrid(*ends), -1).reshape(-1, 3)]
        return [corners[i] for i in self.random.permutation(len(corners))]
