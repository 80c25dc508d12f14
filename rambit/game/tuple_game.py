"""The game of several inputs at once: rows of a tuple of tensors in, outputs of any shape out."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from rambit import memory
from rambit.allocator import keep_freed_blocks
from rambit.game import probes
from rambit.game.batch_size import WORKED_ON, auto_batch
from rambit.game.modes import said
from rambit.game.progress import Progress
from rambit.game.runner import Runner
from rambit.game.tuple_sample import Question, TupleSample
from rambit.game.tuple_windows import TupleWindows
from rambit.memory import DEFAULT_MEMORY
from rambit.predictors import PredictionError
from rambit.predictors.activations import Activations, read_activations
from rambit.predictors.call import CallPredictor

logger = logging.getLogger(__name__)

#: Rows beside the first that are evaluated one by one: to find out whether they may share calls takes as many.
FEW = 3
#: What a model makes of its inputs is looked at where these take more bytes; of fewer it would have to make 64 times
#: as much before it mattered.
LOOKED_AT = WORKED_ON // 64
#: By how many roundings of the greatest output equal rows of two calls may differ, and by what part of it at most.
ROUNDINGS, PART = 64, 0.05
#: And in float32 on a GPU, which may round the factors of products to 10 bits (TF32).
ROUNDED_PRODUCTS = 4 * 2.0**-10


class DrawsError(RuntimeError):
    """The function draws random numbers: what it returns depends on how it is called."""


class TupleGame:
    """Binds a function of several tensors and a batch of B samples of these.

    ``together``: how many rows of a question, of B rows of the model each, share a call at most; None: as many as pay,
    where their outputs are seen not to depend on each other. ``known``: what was seen of the function in earlier games,
    which is added to. ``max_memory`` (bytes, default 1 GiB) bounds what is evaluated at once.
    """

    def __init__(
        self,
        predictor: CallPredictor,
        sample: TupleSample,
        *,
        together: int | None = None,
        known: dict[object, Activations | None] | None = None,
        max_memory: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.predictor, self.sample, self.together = predictor, sample, together
        self.known: dict[object, Activations | None] = {} if known is None else known
        self.max_memory = DEFAULT_MEMORY if max_memory is None else max_memory
        self.device = sample.tensors[0].device
        if self.device.type == "cpu":
            keep_freed_blocks()
        self.runner, self.progress = Runner(predictor, self.device, 1), progress
        self.shape: torch.Size | None = None  # of the first row's output
        self._windows: TupleWindows | None = None

    def evaluate(self, question: Question) -> Tensor:
        """Outputs (N, K) of the question's rows, each flattened; ``shape`` says how the first one came.

        Raises DrawsError, with torch's generators as they were, where the function draws from them, and PredictionError
        where outputs differ in shape or type from the first one.
        """
        with self.predictor.session():
            self._windows = None
            outputs = self._first(question)
            done = self._told(1)
            self._windows = self._incremental(question, outputs)
            if len(question) > 1 and self._windows is None:
                done += self._told(self._second(question, outputs))
            while done < len(question):
                done += self._told(self._next(question, outputs, done))
        return outputs

    def shares(self, question: Question, rows: int) -> int:
        """How many of ``rows`` rows such as the question's first two, which are evaluated, may share a call."""
        with self.predictor.session():
            outputs = self._first(question)
            self._next(question, outputs, 1)
            if rows <= FEW or not self._one_each or self._together(question, outputs, 2) != 2:
                return 1
            return min(self._fitting(rows), rows)

    def _told(self, rows: int) -> int:
        if self.progress is not None:
            self.progress.update(rows)
        return rows

    def _first(self, question: Question) -> Tensor:
        """Room for all outputs, of which the first is there: row 0 is evaluated alone."""
        before = probes.generators(self.device)
        found = self._outputs(question, 0, 1)
        if not all(map(torch.equal, before, probes.generators(self.device))):
            _set_generators(self.device, before)
            raise DrawsError("the function draws random numbers")
        if found.ndim == 0 and self.together is not None and self.together > 1:
            raise PredictionError("the function returned one number for the batch: its rows cannot share a call")
        self.shape = found.shape
        self.runner.count(1, 1)
        outputs = memory.empty((len(question), found.numel()), found)
        outputs[0] = found.reshape(-1)
        return outputs

    def _incremental(self, question: Question, outputs: Tensor) -> TupleWindows | None:
        """What evaluates rows by what differs, where that pays, and is confirmed on two of them."""
        if not self._one_each or outputs.dtype not in probes.TOLERANCE:
            return None
        found = TupleWindows.of(self.predictor, self.sample, question, self.max_memory)
        if not isinstance(found, str):
            problem = self._differs(found, question)
            if problem is None:
                self.runner.batch = found.at_once
                return found
            found = f"the model was traced, but {problem}"
        logger.debug("rows are evaluated whole: %s", found)
        return None

    def _differs(self, windows: TupleWindows, question: Question) -> str | None:
        """How outputs of a middle row and the last one, in calls of several, differ from those of the rows alone."""
        N, middle = len(question), len(question) // 2
        with probes.exact_products(self.device):
            for row, begin, end in ((middle, middle, min(middle + FEW, N)), (N - 1, max(1, N - FEW), N)):
                value = self._outputs(question, row, row + 1)
                try:
                    outputs = self.predictor.explained_of(windows.outputs(begin, end), end - begin)
                    found = outputs.view(end - begin, *value.shape)[row - begin]
                    off = (found - value).abs()
                except (TypeError, IndexError, RuntimeError, ValueError) as error:
                    return f"evaluating it that way failed ({said(error)})"
                if found.dtype != value.dtype or not bool((off <= probes.allowed(value)).all()):
                    return f"its outputs then differ by {float(off.max()):.2g} from those of whole rows"
        return None

    def _second(self, question: Question, outputs: Tensor) -> int:
        """Evaluate row 1, or more rows, and find out how many share a call (``runner.batch``); how many there were."""
        if self.together is not None:
            self.runner.batch = min(self.together, self._fitting(len(question)))
            return self._next(question, outputs, 1)
        done = self._next(question, outputs, 1)
        if len(question) <= FEW + 1 or not self._one_each:
            return done
        most = min(self._fitting(len(question)), len(question))
        found = self._together(question, outputs, most) if most > 2 else 0
        self.runner.batch = max(1, found)
        return max(done, found - 1)

    @property
    def _one_each(self) -> bool:
        """Whether the function returns one output, of any shape, for each example."""
        return self.shape is not None and self.shape[:1] == (len(self.sample),)

    def _together(self, question: Question, outputs: Tensor, count: int) -> int:
        """Evaluate the first rows in one call; how many, 0 where the two that are known come out otherwise in it."""
        while count > 1:
            try:
                found = self._outputs(question, 0, count).reshape(count, -1)
            except Exception as error:  # whatever it is: the function served each row alone
                if not memory.is_out_of_memory(error):
                    return 0
                count //= 2
                continue
            if not _same(outputs[:2], found[:2]):
                return 0
            self.runner.count(count - 2, count - 2)
            outputs[:count] = found
            return count
        return 0

    def _next(self, question: Question, outputs: Tensor, begin: int) -> int:
        """Evaluate the next rows, as many as share a call; how many."""
        count = min(self.runner.batch, len(question) - begin)
        for piece in self.runner.pieces(count, 1):
            with piece:
                low, high = begin + piece.begin, begin + piece.end
                found = self._outputs(question, low, high)
                if found.dtype != outputs.dtype:
                    raise PredictionError(f"the function returned {found.dtype}, and {outputs.dtype} before")
                outputs[low:high] = found.reshape(len(piece), -1)
        return count

    def _outputs(self, question: Question, begin: int, end: int) -> Tensor:
        """The outputs of rows begin … end-1, from one call, as they come."""
        count, sample = end - begin, self.sample
        if self._windows is not None:
            found = self.predictor.explained_of(self._windows.outputs(begin, end), count)
        else:
            tensors = [sample.rows(k, question, begin, end) for k in range(len(sample.tensors))]
            found = self.predictor.outputs(tensors, sample.args_of(count), count)
        if self.shape is not None:
            wanted = self.shape if count == 1 else (count * self.shape[0], *self.shape[1:])
            if found.shape != wanted:
                raise PredictionError(
                    f"the function returned {tuple(found.shape)} for {count} times the batch, and {tuple(self.shape)} "
                    "for it as it is"
                )
        return found

    def _fitting(self, rows: int) -> int:
        """Rows that fit a call, by what the function makes of them."""
        sample = self.sample
        made = self._activations() if rows * len(sample) * sample.row_bytes > LOOKED_AT else None
        return max(1, auto_batch(sample.row_bytes, 1, 1, self.max_memory, self.device, made) // len(sample))

    def _activations(self) -> Activations | None:
        """What the function makes of the inputs as they are, from one more call; None for recurrent layers."""
        module, tensors = self.predictor.module, self.sample.tensors
        if module is not None and any(isinstance(part, nn.RNNBase) for part in module.modules()):
            return None
        key = tuple((tensor.shape, tensor.dtype, tensor.device) for tensor in tensors)
        if key not in self.known:
            args = self.sample.args_of(1)
            self.known[key] = read_activations(lambda: self.predictor.outputs(tensors, args, 1), *tensors)
        return self.known[key]


def _same(alone: Tensor, together: Tensor) -> bool:
    """Whether outputs are equal but for rounding."""
    if alone.dtype != together.dtype:
        return False
    if not alone.is_floating_point():
        return torch.equal(alone, together)
    part = _rounding(alone.dtype, alone.device.type)
    return bool(((alone - together).abs() <= part * alone.abs().max()).all())


def _rounding(dtype: torch.dtype, device_type: str) -> float:
    """By what part of the greatest output equal rows of two calls may differ."""
    part = min(ROUNDINGS * torch.finfo(dtype).eps, PART)
    return max(part, ROUNDED_PRODUCTS) if dtype == torch.float32 and device_type == "cuda" else part


def _set_generators(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
