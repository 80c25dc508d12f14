"""What is known of a value of the graph for rows that differ from a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Int64 = npt.NDArray[np.int64]


class EvaluateWhole(Exception):
    """Raised where a rule does not apply: the operator has to be called on whole values."""


@dataclass(frozen=True)
class Window:
    """Each row is its reference, but for a window along one axis or two.

    ``data`` (n, *widths, …) holds the places; after them come the value's other dimensions, in their order. ``starts``
    says where it begins along each axis, (n,) each, ``batch`` and ``axes`` which dimensions of the value are the rows
    and the axes. No window reaches beyond an axis.
    """

    data: Tensor
    starts: tuple[Int64, ...]
    batch: int
    axes: tuple[int, ...]

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.data.shape[1 : 1 + len(self.axes)])

    @property
    def value(self) -> Tensor:
        """The windows with the dimensions of the value, the axes cut to the widths."""
        return self.data.movedim(tuple(range(1 + len(self.axes))), (self.batch, *self.axes))

    def at(self, data: Tensor, *starts: Int64) -> Window:
        """Other places (n, *widths, …) of a value with these dimensions."""
        return Window(data, starts or self.starts, self.batch, self.axes)

    @staticmethod
    def of(value: Tensor, starts: Int64 | tuple[Int64, ...], batch: int, axes: int | tuple[int, ...]) -> Window:
        """From windows with the dimensions of the value."""
        axes = (axes,) if isinstance(axes, int) else axes
        starts = starts if isinstance(starts, tuple) else (starts,)
        return Window(value.movedim((batch, *axes), tuple(range(1 + len(axes)))), starts, batch, axes)

    # Of a window along a single axis; rules that read these are for no other.

    @property
    def axis(self) -> int:
        if len(self.axes) > 1:
            raise EvaluateWhole
        return self.axes[0]

    @property
    def start(self) -> Int64:
        return self.starts[self.axes.index(self.axis)]

    @property
    def width(self) -> int:
        return self.widths[self.axes.index(self.axis)]


@dataclass(frozen=True)
class Flattened:
    """A window of a value (N, *sizes) whose dimensions beside the rows were made one, (N, K)."""

    window: Window
    sizes: tuple[int, ...]


#: Of the rows: a window, a flattened one, whole values, several of these; None: they are the same as the reference.
State: TypeAlias = Window | Flattened | Tensor | tuple[Any, ...] | None


def union(windows: list[Window]) -> tuple[tuple[Int64, ...], tuple[int, ...]]:
    """Starts and widths of windows along the same axes that hold all of these."""
    first = windows[0]
    if all(window.widths == first.widths and window.starts is first.starts for window in windows):
        return first.starts, first.widths
    starts, widths = [], []
    for k in range(len(first.axes)):
        start = np.minimum.reduce([window.starts[k] for window in windows])
        stop = np.maximum.reduce([window.starts[k] + window.widths[k] for window in windows])
        starts.append(start)
        widths.append(int((stop - start).max()))
    return tuple(starts), tuple(widths)


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
