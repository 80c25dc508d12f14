"""What is known of a value of the graph for rows that differ from a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Each row is its reference, but for ``width`` places along one axis, from ``start`` (n,) on.

    ``data`` (n, width, …) holds the places; after them come the value's other dimensions, in their order. ``batch`` and
    ``axis`` say which dimensions of the value are the rows and the axis. No window reaches beyond the axis.
    """

    data: Tensor
    start: Int64
    batch: int
    axis: int

    @property
    def width(self) -> int:
        return self.data.shape[1]

    @property
    def value(self) -> Tensor:
        """The windows with the dimensions of the value, the axis cut to the width."""
        return self.data.movedim((0, 1), (self.batch, self.axis))

    def at(self, data: Tensor, start: Int64 | None = None) -> Window:
        """Other places (n, w, …) of a value with these dimensions."""
        return Window(data, self.start if start is None else start, self.batch, self.axis)

    @staticmethod
    def of(value: Tensor, start: Int64, batch: int, axis: int) -> Window:
        """From windows with the dimensions of the value."""
        return Window(value.movedim((batch, axis), (0, 1)), start, batch, axis)


@dataclass(frozen=True)
class Flattened:
    """A window of a value (N, *sizes) whose dimensions beside the rows were made one, (N, K)."""

    window: Window
    sizes: tuple[int, ...]


#: Of the rows: a window, a flattened one, whole values, several of these; None: they are the same as the reference.
State: TypeAlias = Window | Flattened | Tensor | tuple[Any, ...] | None


def union(windows: list[Window]) -> tuple[Int64, int]:
    """Start (n,) and width of windows along one axis that hold all of these."""
    first = windows[0]
    if all(window.width == first.width and window.start is first.start for window in windows):
        return first.start, first.width
    start = np.minimum.reduce([window.start for window in windows])
    width = int((np.maximum.reduce([window.start + window.width for window in windows]) - start).max())
    return start, width


def inside(start: Int64, width: int, size: int) -> Int64:
    """Starts of windows of this width, moved so that they lie within an axis of this size."""
    return np.clip(start, 0, size - width)


def size_of(value: Any) -> int:
    """Bytes of the tensors in a value."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Window):
        return size_of(value.data)
    if isinstance(value, Flattened):
        return size_of(value.window)
    return sum(map(size_of, value)) if isinstance(value, (tuple, list)) else 0
