"""Where boxes are cut: drawn with NumPy's RandomState, in ReX's order, so that a seed gives ReX's own tree."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import betabinom

from rambit.rex.settings import Distribution

Float64 = npt.NDArray[np.float64]
#: Axis numbers of ReX's draw (row, column, depth) as the grid has them (z, y, x).
_REX_AXES = (1, 2, 0)


class Splitter:
    """Draws the cuts of boxes of 1, 2 or 3 dimensions (see kernels.children).

    1-D: three cuts among the positions. 2-D: one position, whose row and column are the cuts. 3-D: two distinct axes,
    and a cut along each. ``running`` (Z, Y, X) is the map that the adaptive distribution follows: positions are drawn
    in proportion to it, uniformly where it is zero.
    """

    def __init__(self, dimensions: int, distribution: Distribution, dist_args: tuple[float, float] | None) -> None:
        self.dimensions, self.distribution, self.dist_args = dimensions, distribution, dist_args

    def __call__(
        self, generator: np.random.RandomState, box: list[int], running: npt.NDArray[Any] | None = None
    ) -> tuple[int, int, int, int]:
        """The cuts of a box [z0, z1, y0, y1, x0, x1) that is large enough to be split."""
        weights = None
        if self.distribution is Distribution.Adaptive and running is not None:
            z0, z1, y0, y1, x0, x1 = box
            weights = running[z0:z1, y0:y1, x0:x1].astype(np.float64)
        if self.dimensions == 1:
            return self._three_cuts(generator, box[4], box[5] - box[4], weights)
        if self.dimensions == 2:
            return self._cross(generator, box, weights)
        return self._two_axes(generator, box, weights)

    def _three_cuts(
        self, generator: np.random.RandomState, start: int, width: int, weights: Float64 | None
    ) -> tuple[int, int, int, int]:
        places, p = width, None
        if self.dist_args is not None:
            places, p = width + 1, _pmf(width, *self.dist_args, width + 1)
        elif weights is not None and np.count_nonzero(weights) >= 3:
            p = weights.ravel() / weights.sum()
        a, b, c = np.sort(generator.choice(places, 3, replace=False, p=p)).tolist()
        return start + a, start + b, start + c, 0

    def _cross(
        self, generator: np.random.RandomState, box: list[int], weights: Float64 | None
    ) -> tuple[int, int, int, int]:
        height, width = box[3] - box[2], box[5] - box[4]
        if self.dist_args is not None:
            rows, columns = (_pmf(n, *self.dist_args, n) for n in (height, width))
            position = _weighted(generator, np.outer(rows, columns).ravel())
        elif weights is not None and (flat := _beyond_first(weights)).any():
            position = _weighted(generator, flat)
        else:
            position = generator.randint(1, height * width)
        return 1, box[2] + position // width, 2, box[4] + position % width

    def _two_axes(
        self, generator: np.random.RandomState, box: list[int], weights: Float64 | None
    ) -> tuple[int, int, int, int]:
        cuts = []
        for axis in (_REX_AXES[a] for a in generator.choice(3, 2, replace=False)):
            start, stop = box[2 * axis], box[2 * axis + 1]
            extent = stop - start
            if extent <= 1:
                place = generator.choice([start, stop])
            elif self.dist_args is not None:
                place = start + _weighted(generator, _pmf(extent, *self.dist_args, extent))
            elif weights is not None and (along := _along(weights, axis)).any():
                place = start + _weighted(generator, along)
            else:
                place = start + generator.choice(extent, replace=False)
            cuts += [axis, int(place)]
        return cuts[0], cuts[1], cuts[2], cuts[3]


def _weighted(generator: np.random.RandomState, weights: Float64) -> int:
    return int(generator.choice(len(weights), p=weights / np.sum(weights)))


def _beyond_first(weights: Float64) -> Float64:
    """Flat weights without the first position, at which a cut would leave the box as it is."""
    flat = weights.ravel().copy()
    flat[0] = 0
    return flat


def _along(weights: Float64, axis: int) -> Float64:
    """Weights of the cuts along an axis: sums over the other two."""
    sums: Float64 = weights.sum(axis=tuple(a for a in range(3) if a != axis))
    return sums


def _pmf(n: int, alpha: float, beta: float, count: int) -> Float64:
    """The first ``count`` values of the beta-binomial over 0 … n, remembered; of long ones only the last few."""
    return (_short if n <= _SHORT else _long)(n, alpha, beta, count)


def _values(n: int, alpha: float, beta: float, count: int) -> Float64:
    values: Float64 = betabinom(n, alpha, beta).pmf(np.arange(count))
    values.flags.writeable = False
    return values


_SHORT = 4096
_short, _long = lru_cache(maxsize=_SHORT)(_values), lru_cache(maxsize=2)(_values)
