"""Rows of a question about the only input of a traced module, evaluated where they differ from the input as it is."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rambit.game import probes
from rambit.game.engine import LEAST_GAIN
from rambit.game.incremental import MOST_WINDOWS, WORTH
from rambit.game.recognition import outweighs_a_trace
from rambit.game.tuple_sample import Question, TupleSample
from rambit.predictors import ModulePredictor
from rambit.predictors.call import CallPredictor
from rambit.predictors.incremental import Incremental
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.trace import trace
from rambit.predictors.work import multiplications

Int64 = npt.NDArray[np.int64]
#: Along which axes of an input of so many dimensions windows may lie: features; time, which comes first or last;
#: height and width.
AXES: dict[int, list[tuple[int, ...]]] = {2: [(1,)], 3: [(1,), (2,)], 4: [(2, 3)]}
#: Fewer rows are not worth a reference and the rows that are evaluated both ways.
FEW = 16


class TupleWindows:
    """Rows of a question as windows of the same ``widths``, whose references are the examples as they are.

    ``start`` (N - 1, dimensions): where all rows but the first begin to replace elements, see ``Question.span``.
    """

    def __init__(
        self,
        incremental: Incremental,
        sample: TupleSample,
        question: Question,
        start: Int64,
        widths: tuple[int, ...],
        max_memory: int,
    ) -> None:
        self.incremental, self.sample, self.question = incremental, sample, question
        self.x, self.axes, self.widths = sample.tensors[0], incremental.axes, widths
        room = [self.x.shape[axis] - width for axis, width in zip(self.axes, widths, strict=True)]
        self.start = np.minimum(start[:, [axis - 1 for axis in self.axes]], room)
        quarter = max_memory // 4
        incremental.together = min(incremental.together, quarter // 4)
        self.examples = quarter // incremental.reference_bytes  # whose activations fit the memory
        window = self.x.numel() // math.prod(self.x.shape[axis] for axis in self.axes) * math.prod(widths)
        output = math.prod(incremental.program.trace.output.meta["val"].shape[1:]) * len(self.x)
        row_bytes = self.x.numel() + (4 * window + output) * self.x.element_size()  # the mask, and what is made of it
        most = MOST_WINDOWS.get(self.x.device.type, MOST_WINDOWS["cpu"])
        self.at_once = max(1, min(most // len(self.x), quarter // 4 // row_bytes))  # rows of the question
        self._kept: tuple[int, Reference] | None = None

    @staticmethod
    def of(predictor: CallPredictor, sample: TupleSample, question: Question, max_memory: int) -> TupleWindows | str:
        """For a question's rows, if they can be evaluated so and it pays; or why not.

        It may pay once all that the module's rows took, in this call and earlier ones, outweighs a trace.
        """
        if len(question) < FEW:
            return "its rows are few"
        module, x = predictor.called_module, sample.tensors[0]
        if module is None:
            return "the function is no module"
        if (reason := _against(module, sample)) is not None:
            return reason
        if (span := question.span()) is None:
            return "its rows do not differ from the input in one place"
        places = {2: 1, 3: max(x.shape[1:])}.get(x.ndim, x[0, 0].numel())
        work = len(question) * len(x) * multiplications(module, places)
        if not outweighs_a_trace(module, work, x.device.type):
            return "its rows took too little so far to be worth a trace"
        found = trace(ModulePredictor(module, output="regression"), x)
        if isinstance(found, str):
            return found
        start, stop = span
        sizes = np.max(stop - start, axis=0)
        best, most = None, LEAST_GAIN.get(x.device.type, LEAST_GAIN["cpu"])
        for axes in AXES[x.ndim]:
            widths = tuple(int(sizes[axis - 1]) for axis in axes)
            incremental = Incremental(found, *axes)
            program = incremental.program
            if found.output not in program.varying or program.batch_of(found.output) != 0:
                return "its outputs are not one for each example"
            narrow = math.prod(widths) <= WORTH * math.prod(x.shape[axis] for axis in axes)
            if not narrow or incremental.reference_bytes > max_memory // 4:
                continue
            gain = incremental.gain(x[:1], *widths)
            if gain >= most:
                best, most = TupleWindows(incremental, sample, question, start, widths, max_memory), gain
        return "it would save little" if best is None else best

    def outputs(self, begin: int, end: int) -> Tensor:
        """Raw outputs ((end - begin) * B, …) of rows begin … end-1; row 0, which replaces nothing, is none of them."""
        start = self.start[begin - 1 : end - 1]
        windows, found = self._windows(begin, end, start), []
        for low in range(0, len(self.x), self.examples):
            part = windows[:, low : low + self.examples]
            n, b = part.shape[:2]
            which = torch.arange(b, device=part.device).repeat(n)
            starts = tuple(np.repeat(start[:, k], b) for k in range(len(self.axes)))
            raw = self.incremental.outputs(self._reference(low), which, part.flatten(0, 1), starts)
            found.append(raw.view(n, b, *raw.shape[1:]))
        return torch.cat(found, dim=1).flatten(0, 1)

    def _windows(self, begin: int, end: int, start: Int64) -> Tensor:
        """(n, B, …): what stands in the windows of rows begin … end-1."""
        kept = self.question.kept(0, begin, end)
        assert kept is not None  # each row replaces something
        value = self.sample.values[0].expand_as(self.x)
        return torch.where(self._cut(kept, start), self._cut(self.x[None], start), self._cut(value[None], start))

    def _cut(self, values: Tensor, start: Int64) -> Tensor:
        """The windows (n, …) that begin at ``start`` (n, axes), of values (n, …), or (1, …) of all rows."""
        n, count = start.shape
        at, first = [axis + 1 for axis in self.axes], list(range(1, 1 + count))
        row = torch.arange(n, device=values.device) if len(values) == n else values.new_zeros(n, dtype=torch.int64)
        index = [row.view(n, *[1] * count)]
        for k, width in enumerate(self.widths):
            place = torch.from_numpy(start[:, k]).to(values.device)[:, None] + torch.arange(width, device=values.device)
            index.append(place.view(n, *[1] * k, width, *[1] * (count - k - 1)))
        return values.movedim(at, first)[tuple(index)].movedim(first, at)

    def _reference(self, low: int) -> Reference:
        """The activations of as many examples as fit, from this one on; kept for the next rows."""
        if self._kept is None or self._kept[0] != low:
            self._kept = None  # the memory of the last ones, first
            self._kept = low, self.incremental.reference(self.x[low : low + self.examples])[0]
        return self._kept[1]


def _against(module: nn.Module, sample: TupleSample) -> str | None:
    """Why a module's rows of this sample are evaluated whole, whatever its graph; None if nothing speaks for that."""
    x, device = sample.tensors[0], sample.tensors[0].device
    if sample.args or len(sample.tensors) > 1 or x.ndim not in AXES:
        return "it takes several inputs, or one of other dimensions"
    if type(x) not in (Tensor, nn.Parameter) or x.dtype not in probes.TOLERANCE or sample.values[0].dtype != x.dtype:
        return "its input, or what replaces it, is of another type"
    if any(part.training for part in module.modules()):
        return "it is in training mode"
    if any(
        tensor.device != device for tensor in (*module.parameters(), *module.buffers())
    ) or torch.is_autocast_enabled(device.type):
        return "it lies on another device, or is called under autocast"
    return None
