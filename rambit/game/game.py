"""The game: binds a predictor, a sample, counterfactuals and a horizon rule, and evaluates questions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import memory, ops
from rambit.game import box_rows, coalitions, states
from rambit.game.distinct_masks import DistinctMasks, Group
from rambit.game.engine import Engine, Int32
from rambit.game.flips import CausalEvaluation, FlipEvaluation, PrefixEvaluation
from rambit.game.group_flips import GroupFlips
from rambit.game.incremental import IncrementalEvaluation
from rambit.game.pair_flips import MEASURES, PairFlips
from rambit.game.questions import Boxes, Coalitions, Flips, Soft, Windows
from rambit.game.runner import Inputs
from rambit.game.scores import FlipScores
from rambit.game.stateful import StatefulEvaluation, SweepEvaluation
from rambit.game.windows import window_distances


class Game(Engine):
    """Masks in, model outputs out, for series of one length.

    ``anchor`` and ``window_size`` are the horizon rule: ``cell`` compares the outputs at the flipped cell's own time
    and the window_size - 1 steps after it, ``mask`` those after the block, ``end`` the last one, for window_size
    shifts of the block. ``draws`` sets of counterfactual values are evaluated for each row. ``evaluation`` and
    ``batch_size`` say how rows are evaluated and never change a number beyond rounding. ``max_memory`` (bytes, default
    1 GiB) bounds what the engine allocates. Raises ValueError where the model cannot serve the request.
    """

    def counting(self) -> Game:
        """The same game, that counts and does not call the model."""
        return Game(
            self.predictor,
            self.sample,
            self.counterfactuals,
            anchor=self.rule.anchor,
            window_size=self.rule.window,
            draws=self.draws,
            evaluation=self.mode,
            batch_size=self.runner.batch,
            max_memory=self.max_memory,
            seed=self.seed,
            dry=True,
        )

    # -- coalitions, boxes, soft masks ----------------------------------------------------------------------------

    def evaluate(self, question: Coalitions | Boxes | Soft) -> Iterator[Tensor]:
        """Outputs (n, S, B, C) at the last step, in order, chunk by chunk; (n, S, 1, C) where each is of one series.

        Soft outputs carry gradients with respect to the masks.
        """
        if isinstance(question, Boxes):
            return box_rows.evaluate(self, self.box_buffers, question)
        if isinstance(question, Soft):
            return coalitions.evaluate_soft(self, question)
        return coalitions.evaluate(self, question)

    def ask(self, question: Coalitions | Boxes | Soft) -> Iterator[Tensor]:
        """The older name of ``evaluate``."""
        warnings.warn("ask is called evaluate now", DeprecationWarning, stacklevel=2)
        return self.evaluate(question)

    @cached_property
    def box_buffers(self) -> list[box_rows.BoxBuffer]:
        """One for each draw of fixed values; what their rows hold is remembered from question to question."""
        if not self.counterfactuals.fixed:
            return []
        return [box_rows.BoxBuffer(self, outside) for outside in self.inputs.draws]

    def coalition_distances(self, question: Coalitions, metric: ops.Metric, target: Tensor) -> Tensor:
        """Distances (K, N, S, B) float64 of the coalitions' outputs from the original ones, for each draw.

        ``target`` (K, B): the outputs that are compared where the metric reads one.
        """
        B = len(self.sample)
        original = None if self.original is None else self.original[:, :, None]
        if original is not None:
            self.runner.check_target(target, metric, original)
        parts = []
        for outputs in self.evaluate(question):  # (n, S, B, C)
            assert original is not None
            n, S, _, C = outputs.shape
            series = torch.arange(B, dtype=torch.int32, device=self.device).repeat(n * S)
            out = memory.empty((len(target), n * S * B, 1), outputs, torch.float64)
            flat = outputs.reshape(-1, C, 1)
            for found, one in zip(out, target, strict=True):
                ops.distance(found, flat, original, series, one, metric)
            parts.append(out.view(-1, n, S, B))
        if parts:
            return torch.cat(parts, dim=1)
        return memory.zeros((len(target), len(question.masks), self.draws, B), self.sample.x, torch.float64)

    # -- flips ----------------------------------------------------------------------------------------------------

    def reduce(
        self,
        question: Flips,
        reduction: FlipScores,
        *,
        added: Callable[[slice], int] = lambda series: 0,
        done: Callable[[slice, int, bool], None] = lambda series, distinct, complete: None,
    ) -> FlipScores:
        """Evaluate every flip of the question and add up the contributions, in bounded memory.

        ``done(series, n, complete)`` is called whenever the first n distinct masks of a chunk of series are added up;
        ``added(series)`` says how many were added before (a resumed run).
        """
        masks = question.masks
        T = self.rule.T
        if masks.masks.shape[2] < T:  # padding is never replaced
            padded = memory.full((*masks.masks.shape[:2], T), masks.masks, True)
            padded[:, :, : masks.masks.shape[2]] = masks.masks
            target_cells = masks.target_cells
            if target_cells is not None:
                narrow = masks.masks.shape[2]
                target_cells = target_cells // narrow * T + target_cells % narrow
            masks = type(masks)(padded, masks.weights, target_cells, masks.exact)
        distinct = DistinctMasks.of(masks, question.number, apart=question.fresh_draws, to_host=self.to_host)
        reduction.expect(distinct, self.rule, masks.exact)
        if question.of_cells and distinct.target_cells is None:
            shifts = self.rule.window if self.rule.anchor == "end" else 1
            self.expect(len(distinct) * shifts * self.draws * self.sample.x.numel())
        window = self._longest_run(question)
        with self.predictor.session():
            for series in self._series_chunks(distinct, len(reduction.target), self._slots(question), window):
                self._reduce_chunk(series, distinct, question, reduction, added(series), done, window)
        return reduction

    def _reduce_chunk(
        self,
        series: slice,
        distinct: DistinctMasks,
        question: Flips,
        reduction: FlipScores,
        added: int,
        done: Callable[[slice, int, bool], None],
        window: int | None,
    ) -> None:
        if added >= len(distinct):
            return
        inputs = self.inputs_of(series, count=0 if question.fresh_draws else None, window=window)
        evaluation = self._evaluation(
            self._evaluation_kind(question),
            inputs,
            reduction.metric,
            reduction.reduce,
            reduction.target[:, series],
            self._known(inputs, question),
        )
        flips = self._flips(evaluation, question)
        flips.prepare(distinct)
        if evaluation.compared[-1]:
            self.note_original(series, None if evaluation.reference is None else evaluation.reference[:, :, -1])
        size = self._group_size(evaluation, question, window)
        unmasked, unmasked_high = self._unmasked_flips(flips, distinct, question, inputs)
        times = None if isinstance(flips, FlipEvaluation) else flips.times
        for begin in range(added, len(distinct), size):
            end = min(begin + size, len(distinct))
            group = Group.of(distinct, begin, end, self.rule)
            draw_base = np.zeros(len(group), dtype=np.int32)
            if question.fresh_draws:
                evaluation.inputs = self.inputs_of(series, numbers=distinct.number[begin:end], window=window)
                draw_base = ((group.index - begin) * self.draws).astype(np.int32)
            # Only flips that reach the block depend on the mask; the earlier ones are those of the original.
            low = self._unmasked_reach(group.first) if unmasked is not None else np.zeros(len(group), dtype=np.int32)
            # Cells that a mask does not see are left out of its sum as well as of the count of masks.
            high = group.h1 if reduction.normalize == "visible" else np.full(len(group), self.rule.T, dtype=np.int32)
            contributions = flips.group(group, draw_base, group.target_cells, low, high)
            if unmasked is not None and not self.runner.dry:
                low = np.minimum(low, unmasked_high)
                _copy_unmasked(contributions, unmasked, low, group.target_cells, self.rule.T, times)
            if not self.runner.dry:
                reduction.add(series, contributions, distinct, group, self.runner.to_device)
                done(series, end, end == len(distinct))

    def _evaluation(
        self,
        kind: Callable[..., FlipEvaluation],
        inputs: Inputs,
        metric: ops.Metric,
        reduce: ops.Reduce,
        target: Tensor,
        known: npt.NDArray[np.uint8] | None = None,
    ) -> FlipEvaluation:
        return kind(self.runner, inputs, self.rule, metric, reduce, target.contiguous(), self.draws, known)

    def _evaluation_kind(self, question: Flips | Windows) -> Callable[..., FlipEvaluation]:
        if self.windows is not None and isinstance(question, Flips):
            return partial(IncrementalEvaluation, windows=self.windows)
        if self.mode in ("prefix", "full", "incremental"):
            return PrefixEvaluation
        if self.mode == "causal":
            return CausalEvaluation
        if isinstance(question, Windows) or not question.of_cells:
            return StatefulEvaluation
        shared = self.counterfactuals.fixed and not question.fresh_draws
        return SweepEvaluation if shared and self.rule.anchor != "cell" else StatefulEvaluation

    def _flips(self, evaluation: FlipEvaluation, question: Flips) -> FlipEvaluation | GroupFlips | PairFlips:
        if question.pairs is not None:
            return PairFlips(evaluation, question.pairs, self.max_memory)
        return evaluation if question.groups is None else GroupFlips(evaluation, question.groups, self.max_memory)

    def _unmasked_reach(self, first: Int32) -> Int32:
        """Anchor cell: a flip before this time is over before the mask begins: it equals the flip of the original."""
        T, margin = self.rule.T, self.rule.window - (0 if self.counterfactuals.looks_ahead else 1)
        return np.where(first >= T, T, np.maximum(first - margin, 0)).astype(np.int32)

    def _unmasked_flips(
        self, flips: FlipEvaluation | GroupFlips | PairFlips, distinct: DistinctMasks, question: Flips, inputs: Inputs
    ) -> tuple[Tensor | None, int]:
        """Flips of the original series, which all masks share (anchor cell)."""
        # Up to the block a masked row is the original: where the last horizon of a flip lies before it, the flip of the
        # masked row is that of the original, whatever the mask.
        # With missing values a conditional gap can reach past them into the mask's block.
        gaps_reach_far = self.counterfactuals.looks_ahead and inputs.observed is not None
        if self.rule.anchor != "cell" or question.fresh_draws or gaps_reach_far:
            return None, 0
        high = int(self._unmasked_reach(distinct.first).max(initial=0))
        if high == 0:
            return None, 0
        nothing = memory.full((1, *inputs.x.shape[1:]), inputs.x, True, torch.bool)
        zero, T = np.zeros(1, dtype=np.int32), np.full(1, self.rule.T, dtype=np.int32)
        h0, h1 = self.rule.of_masks(T)
        group = Group(nothing, zero, T, T, h0, h1, np.ones(1), None)
        return flips.group(group, zero, None, zero, np.full(1, high, dtype=np.int32)), high

    # -- windows --------------------------------------------------------------------------------------------------

    def distances(self, question: Windows, metric: ops.Metric, target: Tensor) -> tuple[Tensor, Tensor]:
        """Distances (K, M, B, T, W) float64 of windows from the original outputs (B, C, T), mean over draws; and those.

        ``target`` (K, B). Entry [k, m, b, p, j] compares at step p + j when window m starts at p.
        """
        parts: list[tuple[Tensor, Tensor]] = []
        B, D, T = self.sample.x.shape
        with self.predictor.session():
            per_target = len(question.features) * 8 * question.window
            per_series = self.draws * T * (len(target) * per_target + D * (question.window + 1) * 8)
            step = max(1, self.max_memory // 4 // per_series)
            for begin in range(0, B, step):
                series = slice(begin, min(B, begin + step))
                inputs = self.inputs_of(series, window=question.window, strategy=question.counterfactual)
                evaluation = self._evaluation(
                    self._evaluation_kind(question), inputs, metric, ops.Reduce.MEAN, target[:, series]
                )
                rows = len(question.features) * self.draws * evaluation.B
                block = max(1, -(-4 * self.runner.batch // rows))
                distances = window_distances(evaluation, question, block)
                reference = torch.empty(0) if evaluation.reference is None else evaluation.reference
                self.note_original(series, None if evaluation.reference is None else reference[:, :, -1])
                parts.append((distances, reference))
        return torch.cat([d for d, _ in parts], dim=2), torch.cat([r for _, r in parts])

    # -- sizes ----------------------------------------------------------------------------------------------------

    def _known(self, inputs: Inputs, question: Flips) -> npt.NDArray[np.uint8] | None:
        """(S, B, cells): flips that change nothing, because the value is missing or replaced by itself."""
        same = None
        if self.counterfactuals.fixed and not question.fresh_draws:
            same = inputs.draws == inputs.x
        if inputs.observed is not None:
            missing = (~inputs.observed).expand(self.draws, *inputs.x.shape)
            same = missing if same is None else same | missing
        # The plan skips these rows: a value in place of itself, or of one that is missing, cannot move the output.
        known = None if same is None else self.to_host(same.flatten(2)).numpy()
        return None if known is None or not known.any() else known.astype(np.uint8)

    def _slots(self, question: Flips) -> int:
        """How many scores a mask gives."""
        cells = self.sample.x[0].numel()
        return cells if question.pairs is None else max(cells, 2 * len(MEASURES) * len(question.pairs))

    def _longest_run(self, question: Flips) -> int | None:
        """The most steps that a row may replace on end, where values of whole runs are needed; else None."""
        T = self.rule.T
        if self.counterfactuals.fill != ops.Fill.WINDOWS:
            return None
        if not question.of_cells:
            return T
        every = question.masks.masks
        time = torch.arange(every.shape[2], dtype=torch.int32, device=every.device)
        longest = memory.zeros((1,), every, torch.int32)
        for masks in torch.split(every, 1024):
            last_kept = torch.where(masks, time, -1).cummax(dim=2).values
            longest = torch.maximum(longest, (time - last_kept).amax())
        return min(T, 2 * int(self.to_host(longest)) + 1)  # a flip may join two runs

    def _series_chunks(self, distinct: DistinctMasks, targets: int, slots: int, window: int | None) -> Iterator[slice]:
        B, D, T = self.sample.x.shape
        size = self.sample.x.element_size()
        per_series = self.draws * D * T * (size * (1 + (window or 0)) + 2)
        if self.mode == "stateful" and not self.runner.dry:
            state = self.predictor.advance(self.sample.x[:1, :, :1].clone(), None)[1]
            carried = (
                int(distinct.first[distinct.first < T].max(initial=0)) * D * self.draws
                if self.rule.anchor != "cell"
                else 0
            )
            per_series += states.row_bytes(state) * (T + carried)
        # At least one mask with all its shifts is evaluated at a time.
        per_mask = targets * self.draws * 8 * (slots + T) * (self.rule.window if self.rule.anchor == "end" else 1)
        step = max(1, self.max_memory // 4 // max(per_series, per_mask))
        for begin in range(0, B, step):
            yield slice(begin, min(B, begin + step))

    def _group_size(self, evaluation: FlipEvaluation, question: Flips, window: int | None) -> int:
        """Masks a group: enough to fill a few batches, more would only cost memory; never above the memory bound."""
        variants = self.rule.window if self.rule.anchor == "end" else 1
        slots = self._slots(question)
        per_mask = evaluation.mask_bytes(slots) * variants
        if question.fresh_draws:
            size = self.sample.x.element_size() * (window or 1)
            per_mask += self.draws * evaluation.B * evaluation.cells * size
        # Rows of equal length are those of all features at one time, of one cell, or of one group of cells.
        together = evaluation.D if question.masks.target_cells is None and question.of_cells else 1
        rows_per_mask = self.draws * evaluation.B * together
        index_limit = (2**31 - 1) // (self.draws * evaluation.B * max(slots, self.rule.T * 2) * variants)
        return max(1, min(self.max_memory // 4 // per_mask, -(-2 * self.runner.batch // rows_per_mask), index_limit))


def _copy_unmasked(
    contributions: Tensor,
    unmasked: Tensor,
    low: Int32,
    target_cells: Int32 | None,
    T: int,
    times: npt.NDArray[np.int64] | None,
) -> None:
    """Fill in the flips before ``low`` from those of the original series. ``times`` of slots that are groups."""
    K, M, S, B, slots = contributions.shape
    for m in range(M):
        if low[m] == 0:
            continue
        if times is not None:
            earlier = torch.from_numpy(times < low[m]).to(contributions.device)
            contributions[:, m] = torch.where(earlier, unmasked[:, 0], contributions[:, m])
        elif target_cells is None:
            there, known = (table.view(K, S, B, slots // T, T) for table in (contributions[:, m], unmasked[:, 0]))
            there[..., : low[m]] = known[..., : low[m]]
        elif target_cells[m] % T < low[m]:
            contributions[:, m, :, :, 0] = unmasked[:, 0, :, :, target_cells[m]]
