"""What every question needs: a predictor, a sample, counterfactuals and a horizon rule, bound and checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import ops
from rambit.allocator import keep_freed_blocks
from rambit.checks import warn
from rambit.counterfactuals import Counterfactual, Replay
from rambit.counterfactuals.resolve import check_categories
from rambit.game import guards, incremental, modes, rectangles
from rambit.game.batch_size import activations_of, auto_batch, recurrent_batch
from rambit.game.horizons import ANCHORS, Anchor, HorizonRule
from rambit.game.modes import Evaluation
from rambit.game.progress import Progress
from rambit.game.questions import Flips
from rambit.game.recognition import recognised
from rambit.game.rows import base_rows
from rambit.game.runner import Inputs, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.game.work import SPEED, Flipped
from rambit.memory import DEFAULT_MEMORY, of_device
from rambit.predictors import Predictor
from rambit.predictors.differing import Differing
from rambit.predictors.work import multiplications

Int32 = npt.NDArray[np.int32]
#: Multiplications, of whole rows, that outweigh a trace and the libraries that it needs: some ten seconds of a core.
WORTH_A_TRACE = 2.5e11
#: How many times fewer multiplications windows must take, by device type: their bookkeeping costs as well, and a GPU
#: waits for it.
LEAST_GAIN = {"cpu": 1.8, "cuda": 4.0}
#: Rows a call at most, whatever batch size is given: more would only cost memory.
MOST_ROWS = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a question evaluates: rows, row-steps (one step of one row), the engine's memory bound in bytes, mode."""

    rows: int
    row_steps: int
    bytes: int
    mode: str

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rows + other.rows, self.row_steps + other.row_steps, max(self.bytes, other.bytes), other.mode)


class Engine:
    """A game without its questions: the sample in the model's own shape, its counterfactual values, the runner.

    ``question`` says which flips the game will be asked first: by them ``evaluation="auto"`` chooses. None: those of
    single cells beside no mask.
    """

    def __init__(
        self,
        predictor: Predictor,
        sample: TensorSample,
        counterfactuals: Counterfactual,
        *,
        anchor: Anchor = "end",
        window_size: int = 1,
        draws: int = 1,
        evaluation: Evaluation = "auto",
        batch_size: int | Literal["auto"] = "auto",
        max_memory: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        dry: bool = False,
        question: Callable[[Engine], Flips] | None = None,
    ) -> None:
        if anchor not in ANCHORS:
            raise ValueError(f"anchor must be one of {', '.join(ANCHORS)}, got {anchor!r}")
        self.predictor, self.counterfactuals = predictor, counterfactuals
        self.seed, self.draws, self.batch_size = seed, draws, batch_size
        self.max_memory = DEFAULT_MEMORY if max_memory is None else max_memory
        cut = sample.cut()
        counterfactuals.check(*cut.x.shape[1:])
        predictor.tokens = sample.tokens
        categories = [0] if sample.tokens else predictor.categorical
        if categories:
            check_categories(
                counterfactuals,
                categories,
                "tokens (integers of two axes)" if sample.tokens else "categorical features",
            )
            self.counterfactuals = counterfactuals = counterfactuals.for_categories(categories)
        self.device = sample.x.device
        if self.device.type == "cpu" and not dry:
            keep_freed_blocks()
        self._noted: dict[tuple[int, int], Tensor | None] = {}
        self.runner = Runner(predictor, self.device, self._batch(batch_size, cut.x), progress=progress, dry=dry)
        self.sample, self.rule = cut, HorizonRule(anchor, window_size, cut.x.shape[2], cut.x.shape[2])

        @cache
        def flips() -> Flipped:
            return self.flips(None if question is None else question(self))

        self.predictor = self.runner.predictor = recognised(predictor, sample, anchor, evaluation, flips)
        self.mode = modes.choose(self.runner, sample, anchor, evaluation, flips, counterfactuals, draws, seed)
        self._may_trace = evaluation == "auto"
        self._not_incremental: str | None = None  # why, where it was tried
        #: What evaluates rows by what differs, in mode ``incremental``.
        self.windows: incremental.WindowRunner | None = None
        self.rectangles: rectangles.RectangleRunner | None = None
        if self.mode == "incremental":
            found = self._traced(cut, evaluation)
            if sample.shape is None:
                self.windows = self._window_runner(found)
            else:
                self.rectangles = rectangles.RectangleRunner(self.runner, found, self.max_memory, self._whole_rows)
        if sample.shape is not None and (anchor != "end" or predictor.features_last):
            raise ValueError("images need anchor='end' and layout='BDT'")
        # A fixed-length model that takes lengths gets the padding; every other one gets the series without it.
        if self.mode == "full" and predictor.takes_lengths:
            cut = sample.padded()
            self.runner.batch = self._batch(batch_size, cut.x)
        self.sample = cut.in_memory_order(predictor.features_last)
        if batch_size == "auto" and not dry:  # what is refused first is refused without a call of the model
            self.runner.fewer = self._fewer_rows
        T = cut.x.shape[2]
        self.rule = HorizonRule(anchor, window_size, T, T if cut.length is None else cut.length)
        if not (predictor.looked or predictor.proven):
            self.runner.before_first = partial(guards.look, sample=self.sample, strategy=counterfactuals, seed=seed)

    def _batch(self, batch_size: int | Literal["auto"], x: Tensor) -> int:
        D, T = x.shape[1:]
        if batch_size == "auto":
            return auto_batch(D, T, x.element_size(), self.max_memory, x.device)
        return min(int(batch_size), MOST_ROWS)

    def flips(self, question: Flips | None) -> Flipped:
        """What the modes are compared by: the flips of a question; without one, those of cells beside no mask."""
        B, D, _ = self.sample.x.shape
        return Flipped.of(
            question,
            self.rule,
            features=D,
            draws=self.draws,
            series=B,
            batch=self.runner.batch,
            fixed=self.counterfactuals.fixed,
            to_host=self.to_host,
        )

    def _fewer_rows(self) -> int:
        """Rows a call by what the model makes of them."""
        return self._rows_a_call(self.mode)

    def _whole_rows(self) -> int:
        """The same of whole rows, beside others that are evaluated in parts."""
        return self._rows_a_call("full")

    def _rows_a_call(self, mode: str) -> int:
        x, activations = self.sample.x, activations_of(self.runner, self.sample, mode)
        D, T = x.shape[1:]
        rows = auto_batch(D, T, x.element_size(), self.max_memory, x.device, activations)
        whole = mode in ("full", "prefix")  # else steps of ours, which take their rows in blocks
        return min(rows, recurrent_batch(self.predictor.module, x.device)) if whole else rows

    def expect(self, rows: int) -> None:
        """Evaluate incrementally from here on, if nobody named a mode and so many rows that differ little are worth it.

        A rule of shapes alone: what the rows take as whole ones must outweigh a trace, and windows take much less.
        """
        if not self.outweighs_a_trace(rows):
            return
        self._may_trace = False
        found = self._traceable(self.sample)
        if isinstance(found, str):
            self._not_incremental = found
            return
        if not self.runner.dry:
            problem = self._against(found, self.sample)
            if problem is not None:
                self._not_incremental = problem
                warn(f"the model was traced, but {problem}; falling back")
                return
        x = self.sample.x
        if found.gain(x) < of_device(LEAST_GAIN, x.device):
            self._not_incremental = "it would save little"
            return
        self.mode, self.windows = "incremental", self._window_runner(found)

    def outweighs_a_trace(self, rows: int) -> bool:
        """Whether so many whole rows take so long that a trace may be tried."""
        module = self.predictor.module
        if not self._may_trace or self.mode != "full" or module is None or self.sample.shape is not None:
            return False
        worth = WORTH_A_TRACE * SPEED.get(self.sample.x.device.type, 1)
        return rows * multiplications(module, self.sample.x.shape[2]) >= worth

    def _window_runner(self, differing: Differing) -> incremental.WindowRunner:
        return incremental.WindowRunner(self.runner, differing, self.max_memory)

    def _traced(self, sample: TensorSample, evaluation: Evaluation) -> Differing:
        """What evaluates rows by what differs. Raises ValueError where the model cannot be evaluated so."""
        found = self._traceable(sample)
        problem = found if isinstance(found, str) else None
        if not (isinstance(found, str) or self.runner.dry):
            problem = self._against(found, sample)
        if problem is not None or isinstance(found, str):
            raise ValueError(f"evaluation={evaluation!r} does not serve this model: {problem}")
        return found

    def _against(self, differing: Differing, sample: TensorSample) -> str | None:
        """What speaks against evaluating a model by what differs, from a call on a few rows; None if nothing does."""
        confirm = incremental.confirm if sample.shape is None else rectangles.confirm
        return confirm(self.runner, sample, differing, self.counterfactuals, self.seed, self.max_memory)

    def _traceable(self, sample: TensorSample) -> Differing | str:
        if sample.extra or self.predictor.takes_series:
            return "extra inputs are evaluated whole"
        if sample.shape is None:
            return Differing.of(self.predictor, sample.x)
        if len(sample.shape) != 3 or self.predictor.layout != "BDT":
            return "volumes are evaluated whole"
        return Differing.of(self.predictor, sample.x.view(len(sample), *sample.shape))

    def to_host(self, tensor: Tensor) -> Tensor:
        """A device tensor on the host: the one place that synchronises; counted in ``runner.syncs``."""
        return self.runner.to_host(tensor)

    @property
    def mode_in_words(self) -> str:
        """The mode, and why it is no other where another one would have paid."""
        return self.mode if self._not_incremental is None else f"{self.mode} (not incremental: {self._not_incremental})"

    def cost(self) -> Cost:
        """What has been evaluated so far; a game made with ``dry=True`` counts, and does not call the model."""
        return Cost(self.runner.rows, self.runner.row_steps, self.max_memory, self.mode_in_words)

    def note_original(self, series: slice, outputs: Tensor | None) -> None:
        """Keep outputs (b, C) at the last step of original series that a question evaluated; None from a dry game."""
        if series.start == 0:  # chunks come in order: a question begins
            self._noted.clear()
        self._noted[series.start, series.stop] = None if outputs is None else outputs.detach().clone()

    def last_outputs(self) -> Tensor | None:
        """The same as ``original``, evaluated for this only where no question did so on its way."""
        noted = [outputs for outputs in self._noted.values() if outputs is not None]
        if "original" in vars(self) or sum(stop - start for start, stop in self._noted) < len(self.sample):
            return self.original
        return torch.cat(noted) if noted else None

    def predict(self) -> Tensor:
        """Outputs (B, C) for the original series at their last step; evaluated once."""
        assert self.original is not None, "a dry game has no outputs"
        return self.original

    @cached_property
    def original(self) -> Tensor | None:
        """The outputs (B, C) for the original series at their last step, None from a dry game, which counts them."""
        B = len(self.sample)
        inputs = self.inputs_of(slice(0, B), count=0)
        outputs: list[Tensor] = []
        rows = self.runner.to_device(base_rows(np.zeros(1, dtype=np.int32), 1, B))
        with self.predictor.session():
            for piece in self.runner.pieces(B, self.steps):
                with piece:
                    found = self.runner.whole(inputs.original(piece.rows), inputs, piece.rows)
                    outputs.append(self.runner.check(found, rows[piece.rows], inputs)[:, :, 0].clone())
            self.runner.settle(inputs)
        return torch.cat(outputs) if outputs else None

    @cached_property
    def inputs(self) -> Inputs:
        """All series with their counterfactual values."""
        return self.inputs_of(slice(0, len(self.sample)))

    def series_at_once(self) -> int:
        """Of how many series the values are held at a time: of all, but of whole runs only of as many as fit."""
        B, D, T = self.sample.x.shape
        if self.counterfactuals.fill != ops.Fill.WINDOWS:
            return B
        per_series = self.draws * D * T * (T + 1) * self.sample.x.element_size()
        return min(B, max(1, self.max_memory // 4 // per_series))

    @property
    def steps(self) -> int:
        """Row-steps of a whole row: its time steps, or one for an image."""
        return self.sample.x.shape[2] if self.sample.shape is None else 1

    def inputs_of(
        self,
        series: slice,
        *,
        count: int | None = None,
        numbers: Int32 | None = None,
        window: int | None = None,
        strategy: Counterfactual | None = None,
    ) -> Inputs:
        """The chunk's series with counterfactual values: shared ones, or those of the masks with these numbers."""
        strategy = strategy or self.counterfactuals
        if isinstance(strategy, Replay):
            strategy = strategy.take(series, self.rule.T)
        return Inputs.of(
            self.sample.take(series),
            strategy,
            self.draws if count is None else count,
            seed=self.seed,
            features_last=self.predictor.features_last,
            firsts=[0] if numbers is None else [int(n) * self.draws for n in numbers],
            window=window,
        )
