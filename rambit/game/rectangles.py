"""Images of a traced model, evaluated only in the rectangle where they differ from a reference.

References are the images as they are, and with all positions replaced; a row is compared with the nearer one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.counterfactuals import Counterfactual
from rambit.game import probes
from rambit.game.incremental import differs, span_of
from rambit.game.runner import Inputs, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.predictors.differing import Differing
from rambit.predictors.incremental.reference import Reference

Int64 = npt.NDArray[np.int64]
#: Sizes of rectangles are rounded up to multiples of this, so that many rows share one.
STEP = 8
#: Rectangles larger than this part of the image are whole rows.
WORTH = 0.5


@dataclass(frozen=True)
class Rectangles:
    """Where rows differ from references: from ``start`` (n, 2) to ``stop`` (n, 2), lines and columns.

    ``reference`` (n,): 0 … B-1 are the images as they are; then come the replaced ones of each draw.
    """

    start: Int64
    stop: Int64
    reference: Int64

    def take(self, part: Any) -> Rectangles:
        """Those of some of the rows."""
        return Rectangles(self.start[part], self.stop[part], self.reference[part])

    @staticmethod
    def of_masks(kept: npt.NDArray[np.bool_], series: Int64, draw: Int64, B: int, *, fixed: bool) -> Rectangles:
        """Of masks (n, H, W), of series (n,) with values of the draws (n,). ``fixed``: values depend on no mask."""
        from_original, from_replaced = _extent(~kept), _extent(kept)
        area = [np.prod(stop - start, axis=1) for start, stop in (from_original, from_replaced)]
        nearer = (area[1] < area[0]) & fixed
        start, stop = (np.where(nearer[:, None], *both) for both in zip(from_replaced, from_original, strict=True))
        return Rectangles(start, stop, series + np.where(nearer, (1 + draw) * B, 0))

    @staticmethod
    def of_boxes(boxes: npt.NDArray[np.int32], offsets: Int64, draw: int) -> Rectangles:
        """Of unions of boxes (K, 6) kept in a replaced image; row n has boxes offsets[n] … offsets[n + 1] - 1."""
        n = len(offsets) - 1
        start, stop = np.zeros((n, 2), dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
        for k in range(n):
            own = boxes[offsets[k] : offsets[k + 1]]
            if len(own) > 0:
                start[k], stop[k] = own[:, [2, 4]].min(axis=0), own[:, [3, 5]].max(axis=0)
        return Rectangles(start, stop, np.full(n, 1 + draw))


def _extent(places: Any) -> tuple[Int64, Int64]:
    """Of (n, H, W): the first line and column with a place that is True, and those after the last, (n, 2) each."""
    lines, columns = span_of(places.any(axis=2)), span_of(places.any(axis=1))
    both = np.stack((lines, columns), axis=2).astype(np.int64)
    return both[0], both[1]


class RectangleRunner:
    """Evaluates rows of images; ``batch``: how many whole ones a call. References are kept as long as they fit."""

    inputs: Inputs

    def __init__(self, runner: Runner, differing: Differing, max_memory: int, batch: Callable[[], int]) -> None:
        self.runner, self.differing, self.batch = runner, differing, batch
        self.most = max(1, max_memory // 4 // differing.reference_bytes)
        self._kept: OrderedDict[int, Reference] = OrderedDict()

    def begin(self, inputs: Inputs) -> None:
        """Begin a question: nothing is kept of the last one, whose weights may have been others."""
        self.inputs = inputs
        self._kept.clear()
        self.differing.forget()

    def outputs(self, x: Tensor, series: Tensor, rectangles: Rectangles) -> Tensor:
        """Outputs (n, C, 1) of rows x (n, C, positions) of these series (n,). It may run out of memory."""
        assert self.inputs.shape is not None
        images = x.view(len(x), *self.inputs.shape)
        order: list[Int64] = []
        found: list[Tensor] = []
        try:
            for size, chosen in self._groups(rectangles):
                order.append(chosen)
                index = torch.from_numpy(chosen).to(x.device)
                if size is None:
                    found.extend(self._whole(x, series, index))
                else:
                    found.append(self._windows(images, rectangles.take(chosen), chosen, size))
        except BaseException:
            self._kept.clear()  # their memory may be what is missing
            raise
        back = torch.from_numpy(np.argsort(np.concatenate(order))).to(x.device)
        return torch.cat(found).index_select(0, back)

    def _groups(self, rectangles: Rectangles) -> Iterator[tuple[tuple[int, int] | None, Int64]]:
        """Sizes, and which rows (n,) are evaluated as rectangles of them, of one reference; None: as whole rows."""
        grid = np.array(self.inputs.shape[-2:])  # type: ignore[index]
        sizes = np.minimum(-(-np.maximum(rectangles.stop - rectangles.start, 1) // STEP) * STEP, grid)
        whole = np.prod(sizes, axis=1) > WORTH * np.prod(grid)
        if whole.any():
            yield None, np.flatnonzero(whole)
        keys = np.column_stack((sizes, rectangles.reference))
        for height, width, reference in np.unique(keys[~whole], axis=0).tolist():
            yield (height, width), np.flatnonzero((keys == (height, width, reference)).all(axis=1) & ~whole)

    def _whole(self, x: Tensor, series: Tensor, index: Tensor) -> Iterator[Tensor]:
        for begin in range(0, len(index), self.batch()):
            part = index[begin : begin + self.batch()]
            yield self.runner.whole(x.index_select(0, part), self.inputs, series.index_select(0, part))

    def _windows(self, images: Tensor, own: Rectangles, rows: Int64, size: tuple[int, int]) -> Tensor:
        room = np.array(images.shape[2:]) - size
        start = np.minimum(own.start, room)
        corners = zip(rows.tolist(), *start.T.tolist(), strict=True)
        windows = torch.stack([images[row, :, y : y + size[0], z : z + size[1]] for row, y, z in corners])
        which = torch.zeros(len(rows), dtype=torch.int64, device=images.device)
        starts = (np.ascontiguousarray(start[:, 0]), np.ascontiguousarray(start[:, 1]))
        return self.differing.outputs(self._reference(int(own.reference[0])), which, windows, starts)

    def _reference(self, number: int) -> Reference:
        """Of the image with this number, see ``Rectangles``."""
        if number not in self._kept:
            while len(self._kept) >= self.most:
                self._kept.popitem(last=False)
            self._kept[number] = self.differing.reference(self._image(number))
        self._kept.move_to_end(number)
        return self._kept[number]

    def _image(self, number: int) -> Tensor:
        """(1, C, H, W)"""
        inputs, B = self.inputs, len(self.inputs.x)
        assert inputs.shape is not None
        draw, b = number // B - 1, number % B
        x = inputs.x[b : b + 1]
        if draw >= 0:
            x = inputs.draws[draw, b : b + 1]
            if inputs.observed is not None:  # what is missing is never replaced
                x = torch.where(inputs.observed[b : b + 1], x, inputs.x[b : b + 1])
        return x.reshape(1, *inputs.shape).clone()


def confirm(
    runner: Runner, sample: TensorSample, differing: Differing, strategy: Counterfactual, seed: int, max_memory: int
) -> str | None:
    """What speaks against rectangles: their outputs in images as the engine makes them; None if nothing does."""
    assert sample.shape is not None
    x = probes.rows(sample, strategy, seed, False)[0].reshape(-1, *sample.shape)
    H, W = x.shape[2:]
    return differs(runner, differing, x, sorted({(1, 1), (max(1, H // 4), max(1, W // 4))}), max_memory)
