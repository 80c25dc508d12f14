"""The one loop that evaluates a model: builds rows into a reused buffer, survives out-of-memory, counts and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.counterfactuals import Counterfactual
from rambit.game.progress import Progress
from rambit.game.rows import Column
from rambit.game.tensor_sample import TensorSample
from rambit.memory import is_out_of_memory
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.extra import SERIES

#: A probability at most so large is 0, whatever type holds it.
TINY = 1e-38


@dataclass(frozen=True)
class Inputs:
    """One chunk of series with everything that a row of it is made of."""

    x: Tensor
    draws: Tensor
    observed: Tensor | None
    ids: Tensor
    fill: ops.Fill
    length: int | None = None
    windows: Tensor | None = None
    shape: tuple[int, ...] | None = None
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def of(
        sample: TensorSample,
        strategy: Counterfactual,
        count: int,
        *,
        seed: int,
        features_last: bool,
        firsts: Sequence[int] = (0,),
        window: int | None = None,
    ) -> Inputs:
        """The sample with ``count`` draws from each of the numbers ``firsts`` of the stream, one after another.

        ``window``: values of replaced windows of that many steps, from strategies for which they depend on the start.
        """
        x, observed, ids = sample.x, sample.observed, sample.ids
        draws = torch.cat([strategy.draws(x, observed, ids, count, seed=seed, first=first) for first in firsts])
        windows, fill = None, strategy.fill
        if count > 0 and (fill == ops.Fill.WINDOWS or window is not None):
            steps = window or x.shape[2]
            sets = [strategy.windows(x, observed, ids, count, steps, seed=seed, first=first) for first in firsts]
            given = [values for values in sets if values is not None]
            windows = torch.cat(given) if given else None
            fill = ops.Fill.FIXED if windows is None else ops.Fill.WINDOWS
        if features_last:
            draws = draws.transpose(2, 3).contiguous().transpose(2, 3)
        return Inputs(x, draws, observed, ids, fill, sample.length, windows, sample.shape, sample.extra)

    def beside(self, series: Tensor | slice, predictor: Predictor) -> dict[str, Tensor]:
        """What the model is given beside rows of these series (n,): copies, since it may write into them."""
        if not self.extra and not predictor.takes_series:
            return {}
        known = {**self.extra, SERIES: self.ids} if predictor.takes_series else self.extra
        if isinstance(series, slice):
            return {name: values[series].clone() for name, values in known.items()}
        return {name: values[series.long()] for name, values in known.items()}

    def original(self, series: slice, stop: int | None = None) -> Tensor:
        """A copy of these series up to a step: the model may write into what it is given."""
        return self.x[series, :, :stop].clone()


def _extent(outputs: Tensor) -> Tensor:
    """(3,): the least and the greatest of a row's outputs (C, K), and the sum over C that is farthest from 1."""
    sums = outputs.sum(dim=0)
    return torch.stack((outputs.amin(), outputs.amax(), sums.index_select(0, (sums - 1).abs().argmax().view(1))[0]))


class Piece:
    """Rows begin … end-1 of a question. As a context it catches one error: memory that ran out in several rows."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin, self.end, self.done = begin, end, False
        self.rows = slice(begin, end)

    def __len__(self) -> int:
        return self.end - self.begin

    def __enter__(self) -> Piece:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        self.done = error is None
        return isinstance(error, Exception) and is_out_of_memory(error) and len(self) > 1


class Runner:
    """Evaluates a predictor in pieces of at most ``batch`` rows. ``dry`` counts and evaluates nothing."""

    def __init__(
        self,
        predictor: Predictor,
        device: torch.device,
        batch: int,
        *,
        progress: Progress | None = None,
        dry: bool = False,
    ) -> None:
        self.predictor, self.device, self._batch, self.dry = predictor, device, batch, dry
        self.progress = progress
        self.rows = self.row_steps = self.calls = self.syncs = 0
        self._buffer: Tensor | None = None
        self._bad: Tensor | None = None
        self._bad_values: Tensor | None = None
        self._outputs: int | None = None
        self._told: Tensor | None = None
        self._moved = self._graded = False
        self.before_first: Callable[[Runner], None] | None = None  # called once, before the model is called
        self.fewer: Callable[[], int] | None = None  # called once, when ``batch`` is needed, which it may lower

    @property
    def batch(self) -> int:
        """Rows a call at most; less once memory ran out."""
        choose, self.fewer = self.fewer, None
        if choose is not None:
            self._batch = min(self._batch, choose())
        return self._batch

    @batch.setter
    def batch(self, rows: int) -> None:
        self._batch = rows

    def count(self, rows: int, row_steps: int) -> None:
        """Rows that the model evaluates, and what they cost."""
        self.rows += rows
        self.row_steps += row_steps

    def begin(self) -> None:
        """Do what has to be done before the model is called for the first time."""
        first, self.before_first = self.before_first, None
        if first is not None:
            first(self)

    # -- pieces ---------------------------------------------------------------------------------------------------

    def pieces(
        self, n: int, width: int, *, new_rows: int | None = None, row_steps: int | None = None
    ) -> Iterator[Piece]:
        """Parts of 0 … n-1, one after another: ``for piece in runner.pieces(n, width): with piece: …``.

        When memory runs out within the ``with``, that part comes again, halved. What is done there must be such that it
        can be done again, and gives no name to what ``build`` returned, whose memory would be kept by it.
        ``new_rows``: how many of the n are rows not counted before (a walk advances the same rows many times).
        ``row_steps``: what they cost together, where they are not all ``width`` steps long.
        """
        row_steps = n * width if row_steps is None else row_steps
        self.count(n if new_rows is None else new_rows, row_steps)
        if self.dry:
            return
        self.begin()
        begin = 0
        while begin < n:
            piece = Piece(begin, min(n, begin + self.batch))
            yield piece
            if piece.done:
                self.calls += 1
                begin = piece.end
            else:
                self.release()
                self.batch = len(piece) // 2
        if self.progress is not None:
            self.progress.update(row_steps)

    def uncounted(self, n: int, evaluate: Callable[[slice], Tensor]) -> list[Tensor]:
        """What ``evaluate`` gives for n rows, as many at a time as fit: for checks, which are not counted."""
        parts: list[Tensor] = []
        for piece in self.pieces(n, 0, new_rows=0):
            with piece:
                parts.append(evaluate(piece.rows).clone())
        return parts

    def release(self) -> None:
        """Give back the memory that rows are built in."""
        self._buffer = None

    def planned(self, plan: Any, most: int | None = None) -> Iterator[tuple[npt.NDArray[np.int32], Tensor, int]]:
        """The plan's chunks, of a batch or ``most`` rows: on the host, the same on the device, and their width."""
        if self.dry:
            self.count(plan.rows, plan.row_steps)
            return
        while (chunk := plan.next(self.batch if most is None else most)) is not None:
            rows, width = chunk
            yield rows, self.to_device(rows), width

    # -- between host and device ----------------------------------------------------------------------------------

    def to_device(self, array: npt.NDArray[Any]) -> Tensor:
        """A host array on the device, without waiting for it."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor if self.device.type == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def to_host(self, tensor: Tensor) -> Tensor:
        """A device tensor on the host: the one place that synchronises; counted."""
        self.syncs += 1
        return tensor.cpu()

    # -- rows -----------------------------------------------------------------------------------------------------

    def build(self, inputs: Inputs, masks: Tensor, rows: Tensor, width: int) -> Tensor:
        """The masked inputs (n, D, width) of these rows, in the model's memory order. Valid until the next build."""
        n, D = len(rows), inputs.x.shape[1]
        size = n * D * width
        if self._buffer is None or self._buffer.numel() < size or self._buffer.dtype != inputs.x.dtype:
            self._buffer = memory.empty((size,), inputs.x)
        flat = self._buffer[:size]
        out = flat.view(n, width, D).transpose(1, 2) if self.predictor.features_last else flat.view(n, D, width)
        return ops.masked_batch(out, inputs.x, inputs.draws, masks, rows, inputs.observed, inputs.fill, inputs.windows)

    def whole(self, x: Tensor, inputs: Inputs, series: Tensor | slice) -> Tensor:
        """Outputs (n, C, 1) at the last step of x, rows of these series, with lengths for models that take them."""
        lengths = None
        if self.predictor.takes_lengths:
            length = x.shape[2] if inputs.length is None else min(inputs.length, x.shape[2])
            lengths = memory.full((x.shape[0],), x, length, torch.int64)
        x = x if inputs.shape is None else x.view(len(x), *inputs.shape)
        return self.predictor.whole(x, lengths, inputs.beside(series, self.predictor))

    def steps(self, x: Tensor, inputs: Inputs, series: Tensor | slice) -> Tensor:
        """Outputs (n, C, w) at every step of x, rows of these series."""
        return self.predictor.steps(x, inputs.beside(series, self.predictor))

    def check(self, outputs: Tensor, rows: Tensor, inputs: Inputs) -> Tensor:
        """Note unusable outputs; on the CPU they raise at once, elsewhere at the next ``settle``."""
        self._outputs = outputs.shape[1] if self._outputs is None else self._outputs
        if outputs.shape[1] != self._outputs:
            raise PredictionError(f"the model returned {outputs.shape[1]} outputs, and {self._outputs} before")
        self.note(outputs)
        bad = self.predictor.check(outputs)
        if self.device.type == "cpu":
            if bool(bad.any()):
                wrong = int(bad.int().argmax())
                self._raise(rows[wrong], _extent(outputs[wrong]), inputs)
            return outputs
        first = bad.int().argmax().view(1)
        worst, values = rows.index_select(0, first)[0], _extent(outputs.index_select(0, first)[0])
        if self._bad is None or self._bad_values is None:
            self._bad = torch.full((len(Column),), -2, dtype=torch.int32, device=self.device)
            self._bad_values = values
        new = (self._bad[0] == -2) & bad.any()
        self._bad_values = torch.where(new, values, self._bad_values)
        self._bad = torch.where(new, worst, self._bad)
        return outputs

    def note(self, outputs: Tensor) -> None:
        """Whether some outputs differ, and whether some lie between 0 and 1, as far as neither is known yet."""
        if self._moved and self._graded:
            return
        self._moved = self._moved or len(outputs) == 1
        self._graded = self._graded or self.predictor.output == "regression"
        if self.device.type == "cpu":
            self._moved = self._moved or bool((outputs != outputs[:1]).any())
            self._graded = self._graded or bool(((outputs > TINY) & (outputs < 1)).any())
            return
        told = torch.stack(((outputs != outputs[:1]).any(), ((outputs > TINY) & (outputs < 1)).any()))
        self._told = told if self._told is None else told | self._told  # read at the end

    def seen(self) -> tuple[bool, bool]:
        """Whether two outputs differed, and whether any lay between 0 and 1; True for what nobody can know.

        Nothing is known of outputs that were not checked, and no difference of rows that came one by one.
        """
        if self._outputs is None:
            return True, True
        if self._told is not None:
            moved, graded = self.to_host(self._told).tolist()
            self._moved, self._graded, self._told = self._moved or moved, self._graded or graded, None
        return self._moved, self._graded

    def check_target(self, target: Tensor, metric: ops.Metric, outputs: Tensor) -> None:
        """ValueError where a target is none of the outputs (n, C, K) that the metric would compare."""
        reads_target = metric in (ops.Metric.DIFF, ops.Metric.CHANGE)
        if reads_target and (last := int(self.to_host(target.max()))) >= outputs.shape[1]:
            raise ValueError(f"target must be below {outputs.shape[1]}, the number of outputs, got {last}")

    def settle(self, inputs: Inputs) -> None:
        """Raise what ``check`` noted since the last time."""
        if self._bad is not None:
            row = self.to_host(self._bad)
            self._bad = None
            if int(row[0]) != -2:
                assert self._bad_values is not None
                self._raise(row, self._bad_values, inputs)

    def _raise(self, row: Tensor, extent: Tensor, inputs: Inputs) -> None:
        series, draw, mask, cell = (int(v) for v in row[: Column.CELL + 1])
        T = inputs.x.shape[2]
        flip = "no flip" if cell < 0 else f"feature {cell // T}, time {cell % T} flipped"
        what, hint = self.predictor.complaint(*extent.tolist())
        if inputs.observed is not None:
            hint += "; it must be able to read X's missing values, or they must be filled"
        raise PredictionError(
            f"{self.predictor.source} returned {what} for the row of series id {int(inputs.ids[series])}, "
            f"draw {draw}, mask {mask}, {flip}{hint}"
        )
