"""Boxes as objects: views of a search tree for whoever wants to look at one, or to grow one by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rambit.checks import member
from rambit.rex import kernels
from rambit.rex.settings import Distribution, check_dist_args
from rambit.rex.splits import Splitter

#: The dimensions of an input by the name that ReX gives its kind.
MODES = {"spectral": 1, "tabular": 1, "L": 2, "RGB": 2, "voxel": 3}


class Box:
    """A node of a box tree: rows (y), columns (x) and, in a volume, depth (z), half-open; children append :0 … :3 to
    the name. ``depth`` is the number of its ancestors."""

    def __init__(
        self,
        row_start: int,
        row_stop: int,
        col_start: int,
        col_stop: int,
        depth_start: int | None = None,
        depth_stop: int | None = None,
        *,
        distribution: Distribution | str = Distribution.Uniform,
        distribution_args: tuple[float, float] | None = None,
        name: str = "R",
        parent: Box | None = None,
        generator: np.random.RandomState | None = None,
    ) -> None:
        self.row_start, self.row_stop = row_start, row_stop
        self.col_start, self.col_stop = col_start, col_stop
        self.depth_start, self.depth_stop = depth_start, depth_stop
        self.distribution = member("distribution", distribution, Distribution)
        self.distribution_args = check_dist_args(self.distribution, distribution_args)
        self.name, self.parent = name, parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.children: tuple[Box, ...] = ()
        self._generator = np.random.RandomState(0) if generator is None else generator

    def __repr__(self) -> str:
        return f"Box({self.name}: {', '.join(map(str, self.corners()))}; area {self.area()})"

    def shape(self) -> tuple[int, ...]:
        """Rows, columns and, in a volume, depth."""
        corners = self.corners()
        return tuple(corners[i + 1] - corners[i] for i in range(0, len(corners), 2))

    def corners(self) -> tuple[int, ...]:
        """Row start and stop, column start and stop and, in a volume, depth start and stop."""
        flat = (self.row_start, self.row_stop, self.col_start, self.col_stop)
        if self.depth_start is None or self.depth_stop is None:
            return flat
        return (*flat, self.depth_start, self.depth_stop)

    def area(self) -> int:
        """How many positions it has; of a flat box whose rows are 0 … 0, its width (as ReX counts spectra)."""
        if self.depth_start is None and self.row_start == self.row_stop == 0:
            return self.col_stop - self.col_start
        return int(np.prod(self.shape()))

    def bounds(self) -> npt.NDArray[np.int32]:
        """[z0, z1, y0, y1, x0, x1) on a grid (Z, H, W), whose depth is 1 for a flat box."""
        depth = (0, 1) if self.depth_start is None or self.depth_stop is None else (self.depth_start, self.depth_stop)
        return np.array([*depth, self.row_start, self.row_stop, self.col_start, self.col_stop], np.int32)

    def walk(self) -> Iterator[Box]:
        """This box and everything below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    def add_children_to_tree(self, min_size: int, mode: str, map: npt.NDArray[np.float32] | None = None) -> None:
        """Split the box, unless it has children, is smaller than ``min_size``, or is too small to be cut.

        ``mode``: spectral or tabular (1-D), RGB or L (2-D), voxel (3-D). ``map``, of the whole grid, is what the
        adaptive distribution follows.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if self.children or self.area() < min_size or not kernels.can_split(self.bounds(), 1, MODES[mode]):
            return
        running = None if map is None else map.reshape((1,) * (3 - map.ndim) + map.shape)
        splitter = Splitter(MODES[mode], self.distribution, self.distribution_args)
        cuts = splitter(self._generator, self.bounds().tolist(), running)
        bounds = np.empty((4, 6), np.int32)
        kernels.children(self.bounds(), np.array(cuts), MODES[mode], bounds)
        self.children = tuple(self._child(i, bounds[i].tolist()) for i in range(4))

    def _child(self, number: int, bounds: list[int]) -> Box:
        z0, z1, *flat = bounds
        return Box(
            *flat,
            *(() if self.depth_start is None else (z0, z1)),
            distribution=self.distribution,
            distribution_args=self.distribution_args,
            name=f"{self.name}:{number}",
            parent=self,
            generator=self._generator,
        )


def initialise_tree(
    r_lim: int,
    c_lim: int,
    distribution: Distribution | str = Distribution.Uniform,
    distribution_args: tuple[float, float] | None = None,
    r_start: int = 0,
    c_start: int = 0,
    d_start: int | None = None,
    d_lim: int | None = None,
    *,
    seed: int = 0,
) -> Box:
    """The root "R" of a box tree over rows r_start … r_lim, columns c_start … c_lim and, in a volume, depth.

    All cuts of the tree are drawn from one RandomState(seed).
    """
    return Box(
        r_start,
        r_lim,
        c_start,
        c_lim,
        0 if d_lim is not None and d_start is None else d_start,
        d_lim,
        distribution=distribution,
        distribution_args=distribution_args,
        generator=np.random.RandomState(seed),
    )


def subbox(tree: Box, name: str, max_depth: int, min_size: int, mode: str, r_map: Any = None) -> tuple[Box, ...] | None:
    """The children of the named box of a tree, split now if it has none and is no deeper than ``max_depth``.

    None if the tree has no box of that name; empty if the box cannot be split.
    """
    box = next((box for box in tree.walk() if box.name == name), None)
    if box is not None and box.depth <= max_depth:
        box.add_children_to_tree(min_size, mode, r_map)
    return None if box is None else box.children
