"""The names of ``tint.attr``, with a TimeForwardTunnel over temporal occlusions by the engine (extra ``baselines``).

Every name of ``tint.attr`` can be imported from here; all but ``TimeForwardTunnel`` are time_interpret's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from rambit import arrays, ops
from rambit.attribution.external import library
from rambit.attribution.occlusion import inside_windows, window_starts
from rambit.counterfactuals import Replay
from rambit.game import Game, TensorSample, Windows, probes
from rambit.game.modes import Evaluation
from rambit.game.progress import Progress, progress
from rambit.game.recognition import outweighs_a_trace
from rambit.predictors import ModulePredictor, PredictionError
from rambit.predictors.work import multiplications

attr = library("tint.attr", "time_interpret")
log_usage = library("captum.log", "captum").log_usage

__all__ = list(attr.__all__)

#: Series of which rows are made to check that the engine may evaluate a model.
PROBED = 2
#: Settings of which a tunnel keeps what it found out of its module.
MOST_SETTINGS = 8
#: Arguments of the occlusions with which, unless they are None, time_interpret answers.
UNUSED = ("additional_forward_args", "attributions_fn")
USED = ("sliding_window_shapes", "strides", "target", "perturbations_per_eval")


def __getattr__(name: str) -> Any:
    return getattr(attr, name)


class TimeForwardTunnel(attr.TimeForwardTunnel):  # type: ignore[misc, name-defined]  # the library has no types
    """time_interpret's tunnel, over TemporalOcclusion and TemporalAugmentedOcclusion in few calls of the model.

    Same arguments, and the same numbers up to rounding. A module with a state, which it claims or its graph shows,
    goes on from just before the replaced step; of another many windows of a prefix share a call, whatever
    ``perturbations_per_eval``. Draws from ``data`` come from torch's generator as there: equal seeds give equal
    results.

    time_interpret itself answers all other calls: over other methods, of a ``forward_func`` that is no module on
    (N, w, D) with outputs (N,) or (N, C), with ``additional_forward_args``, ``attributions_fn`` or temporal targets,
    for values that are not finite, and for a module whose output for a row is not a function of that row alone: in
    training mode with dropout or batch normalisation, for one.
    """

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        task: str = "none",
        threshold: float = 0.5,
        temporal_target: bool = False,
        temporal_additional_forward_args: Any = None,
        return_temporal_attributions: bool = False,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Scores (B, T, D) float32 of inputs (B, T, D), or (B, T, T, D) with ``return_temporal_attributions``.

        Arguments and errors are time_interpret's; ``kwargs`` are those of the occlusion.
        """
        scores = None
        if not temporal_target and temporal_additional_forward_args is None:
            call = Call.read(self.attribution_method, inputs, task, threshold, kwargs)
            scores = None if call is None else call.scores(_SEEN.setdefault(self, Seen()), show_progress)
        if scores is None:
            # Without its own decorator, as its classes call each other: each use is logged once.
            return super().attribute.__wrapped__(
                self,
                inputs,
                task=task,
                threshold=threshold,
                temporal_target=temporal_target,
                temporal_additional_forward_args=temporal_additional_forward_args,
                return_temporal_attributions=return_temporal_attributions,
                show_progress=show_progress,
                **kwargs,
            )
        found = _by_time(scores) if return_temporal_attributions else scores
        return (found,) if isinstance(inputs, tuple) else found


@dataclass
class Model:
    """A module that the engine may evaluate on the rows of a call: its outputs for a row, () or (C,), and the mode."""

    predictor: ModulePredictor
    outputs: tuple[int, ...]
    mode: Evaluation = "auto"
    tried: bool = False  # whether it was traced, or never will be


@dataclass
class Seen:
    """What a tunnel found out of its module in earlier calls, by their settings, for as long as it is the same one."""

    identity: Any = None
    models: dict[Any, Model | None] = field(default_factory=dict)


_SEEN: WeakKeyDictionary[TimeForwardTunnel, Seen] = WeakKeyDictionary()

#: Which classes of time_interpret these stand for, by module and name.
CLASSES = {"tint.attr": {"TimeForwardTunnel": TimeForwardTunnel}}


@dataclass(frozen=True)
class Explained:
    """Which outputs are compared, ``columns`` (K, B), and which of those each of ``count`` targets takes.

    ``choose``: from the original outputs (B, C, T), for each target a number 0 … K-1 of each series and time, (B, T).
    Without it all K are explained.
    """

    columns: Tensor
    count: int = 1
    choose: Callable[[Tensor], list[Tensor]] | None = None


@dataclass(frozen=True)
class Call:
    """A call that the engine may serve: series ``x`` (B, T, D), and the features (M, D) bool that each window replaces.

    ``baseline`` (B, T, D) stands in, or without one ``draws`` series of ``data`` (N, T, D), for each step and window.
    ``together``: rows of a series that share a call of time_interpret's.
    """

    module: nn.Module
    x: Tensor
    windows: Tensor
    baseline: Tensor | None
    data: Tensor | None
    draws: int
    together: int
    task: str
    threshold: float
    target: Any

    @staticmethod
    def read(method: Any, inputs: Any, task: Any, threshold: Any, kwargs: Mapping[str, Any]) -> Call | None:
        """None for a call that time_interpret answers, or refuses."""
        augmented = type(method) is attr.TemporalAugmentedOcclusion
        if not augmented and type(method) is not attr.TemporalOcclusion:
            return None
        given = {name: value for name, value in kwargs.items() if name not in UNUSED or value is not None}
        together = given.get("perturbations_per_eval", 1)
        known = given.keys() <= set(USED if augmented else (*USED, "baselines"))
        if not known or type(together) is not int or together < 1:
            return None
        if task not in ("none", "binary", "multiclass", "multilabel"):
            return None
        if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
            return None
        x = inputs[0] if isinstance(inputs, tuple) and len(inputs) == 1 else inputs
        if not _are_series(x) or not _reads(method.forward_func, x):
            return None
        windows = _windows(x.shape[2], given.get("sliding_window_shapes"), given.get("strides"))
        baseline = None if augmented else _baseline(given.get("baselines"), x)
        data = _data(method, x) if augmented else None
        if windows is None or (baseline is None and data is None):
            return None
        draws = method.n_sampling if augmented else 1
        target = given.get("target") if task == "none" else None
        return Call(
            method.forward_func,
            x.detach(),
            windows.to(x.device),
            baseline,
            data,
            draws,
            together * draws,
            task,
            threshold,
            target,
        )

    def scores(self, seen: Seen, show_progress: bool) -> Tensor | None:
        """(B, T, D) float32, or (B * C, T, D) where all outputs are explained; None where time_interpret answers."""
        model = self._model(seen)
        explained = None if model is None else self._explained(model.outputs)
        if model is None or explained is None:
            return None
        state = torch.get_rng_state()
        try:
            return self._evaluate(model, explained, show_progress)
        except PredictionError:  # an output is not finite, which time_interpret passes on
            torch.set_rng_state(state)
            return None

    # -- how the module is evaluated ----------------------------------------------------------------------------------

    def _model(self, seen: Seen) -> Model | None:
        """What was seen of the module for settings like these, or is now; None where the engine may not evaluate it."""
        model = self._seen(seen)
        if model is not None and not model.tried:
            self._try_a_trace(model)
        return model

    def _seen(self, seen: Seen) -> Model | None:
        predictor = ModulePredictor(self.module, output="regression", layout="BTD")
        digest = predictor.digest()
        if digest is None:
            return self._looked_at(predictor)
        identity = (digest, *(part.training for part in self.module.modules()))
        if seen.identity != identity:
            seen.identity, seen.models = identity, {}
        settings = (self.x.shape, self.x.dtype, self.x.device, len(self.windows), self.draws)
        if settings not in seen.models:
            if len(seen.models) == MOST_SETTINGS:
                seen.models.clear()
            seen.models[settings] = self._looked_at(predictor)
        return seen.models[settings]

    def _looked_at(self, predictor: ModulePredictor) -> Model | None:
        few = min(PROBED, len(self.x))
        replaced = self.data if self.baseline is None else self.baseline
        assert replaced is not None
        outputs = _outputs_of_a_row(predictor, torch.cat((self.x[:few], replaced[:few])), few)
        if outputs is None:
            return None
        predictor.looked = True  # at more than the engine's own look would see
        return Model(predictor, outputs)

    def _try_a_trace(self, model: Model) -> None:
        """Let the model have the state that the graph of a recurrent network shows, once calls outweigh a trace."""
        B, T, _ = self.x.shape
        model.tried = bool(model.predictor.modes) or not any(isinstance(p, nn.RNNBase) for p in self.module.modules())
        whole_rows = B * (1 + self.draws * len(self.windows)) * (T + 1) / 2  # that take as long as the prefixes
        work = whole_rows * multiplications(self.module, T)
        if model.tried or not outweighs_a_trace(self.module, work, self.x.device.type):
            return
        from rambit.predictors.recognised import RecognisedPredictor  # with what torch's tracing needs

        model.tried = True
        found = RecognisedPredictor.of(model.predictor, self.x.transpose(1, 2))
        if not isinstance(found, str):
            found.confirmed = False  # nothing that it claims was
            model.predictor, model.mode = found, "auto"

    # -- what is explained --------------------------------------------------------------------------------------------

    def _explained(self, outputs: tuple[int, ...]) -> Explained | None:
        """Of a model with outputs (N,) or (N, C) = (N, *outputs); None where time_interpret has an error for them."""
        B, T, _ = self.x.shape
        C = outputs[0] if outputs else 1
        every = torch.arange(C, device=self.x.device)[:, None].expand(C, B)
        if self.task == "none" and self.target is None:
            return Explained(every) if C == 1 or self.together == 1 else None
        if not outputs:
            return None
        if self.task in ("binary", "multiclass"):
            return Explained(every, 1, lambda original: [original.argmax(dim=1)])
        if self.task == "multilabel":
            return Explained(every, C, self._labels) if C > 1 else None
        several = self.target if isinstance(self.target, tuple) else (self.target,)
        columns = [column for one in several if (column := _column(one, self.x, C)) is not None]
        if not columns or len(columns) < len(several):
            return None
        numbers = [torch.full((B, T), k, device=self.x.device) for k in range(len(columns))]
        return Explained(torch.stack(columns), len(columns), lambda original: numbers)

    def _labels(self, original: Tensor) -> list[Tensor]:
        """For each label the number of the output that explains it: 1 where the label is there, 0 where it is not."""
        return list((original.sigmoid() > self.threshold).long().unbind(1))

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self, model: Model, explained: Explained, show_progress: bool) -> Tensor:
        B, T, D = self.x.shape
        groups = self._groups()
        drawn = self._drawn(explained.count)
        questions = len(groups) * (1 if drawn is None else explained.count)

        def count() -> int:
            game = self._game(model, drawn, dry=True)
            game.distances(Windows(self.windows, 1, first=0), ops.Metric.DIFF, explained.columns)
            return game.runner.row_steps * questions

        best: Tensor | None = None
        with progress(show_progress, count) as bar:
            game = self._game(model, drawn, bar=bar)
            model.mode, model.predictor.confirmed = game.mode, True
            for number in range(explained.count):
                if number == 0 or drawn is not None:
                    scores, original = self._by_output(game, explained.columns, groups, drawn, number)
                if explained.choose is None:
                    return scores.transpose(0, 1).reshape(-1, T, D).float()
                chosen = explained.choose(original)[number]
                found = scores.gather(0, chosen[None, :, :, None].expand(1, B, T, D))[0]
                best = found if best is None else torch.maximum(best, found)
        assert best is not None
        return best.float()

    def _game(self, model: Model, drawn: Tensor | None, *, bar: Progress | None = None, dry: bool = False) -> Game:
        sample = TensorSample(self.x.transpose(1, 2), torch.arange(len(self.x), device=self.x.device))
        values = Replay(self._values(drawn, 0, self._groups()[0]))
        return Game(
            model.predictor,
            sample,
            values,
            anchor="cell",
            draws=self.draws,
            evaluation=model.mode,
            progress=bar,
            dry=dry,
        )

    def _by_output(
        self, game: Game, columns: Tensor, groups: list[slice], drawn: Tensor | None, number: int
    ) -> tuple[Tensor, Tensor]:
        """Scores (K, B, T, D) of these outputs, means over the windows that hold a feature; the outputs (B, C, T)."""
        total: Tensor | None = None
        for group in groups:
            windows, values = self.windows[group], Replay(self._values(drawn, number, group))
            question = Windows(windows, 1, first=0, counterfactual=values)
            distances, original = game.distances(question, ops.Metric.DIFF, columns)
            part = torch.einsum("kmbt,md->kbtd", distances[..., 0], windows.to(distances.dtype))
            total = part if total is None else total + part
        assert total is not None
        return total / self.windows.sum(dim=0), original

    # -- what stands in -----------------------------------------------------------------------------------------------

    def _groups(self) -> list[slice]:
        """Windows that are evaluated together: all, or, where each has values of its own, such that do not overlap."""
        apart = 1 if self.data is None else int(self.windows.sum(dim=0).max())
        return [slice(first, None, apart) for first in range(apart)]

    def _drawn(self, targets: int) -> Tensor | None:
        """Series of ``data`` by (time, target, draw, window, series): the order in which time_interpret draws them."""
        if self.data is None:
            return None
        B, T, _ = self.x.shape
        shape = (T, targets, self.draws, len(self.windows), B)
        return torch.randint(len(self.data), shape).to(self.data.device)

    def _values(self, drawn: Tensor | None, target: int, group: slice) -> Tensor:
        """(S, B, D, T) for these windows; cells of no window stand as they are."""
        if drawn is None:
            assert self.baseline is not None
            return self.baseline.transpose(1, 2)[None]
        assert self.data is not None
        times = torch.arange(self.x.shape[1], device=self.x.device)[:, None, None]
        values = self.x.transpose(1, 2).expand(self.draws, -1, -1, -1).clone()
        for features, series in zip(self.windows[group], drawn[:, target].unbind(2)[group], strict=True):
            values[:, :, features] = self.data[:, :, features][series, times].permute(1, 2, 3, 0)
        return values


# -- what the engine serves -------------------------------------------------------------------------------------------


def _are_series(x: Any) -> bool:
    """Whether these are finite series (B, T, D) of a type in which the engine makes rows."""
    return (
        type(x) is Tensor
        and x.ndim == 3
        and x.layout == torch.strided
        and x.dtype in (torch.float32, torch.float64)
        and x.numel() > 0
        and bool(x.isfinite().all())
    )


def _reads(forward_func: Any, x: Tensor) -> bool:
    """Whether this is a module that reads series like x as they are: of their type, on their device."""
    if not isinstance(forward_func, nn.Module) or torch.is_autocast_enabled(x.device.type):
        return False
    weights = chain(forward_func.parameters(), forward_func.buffers())
    return all(
        w.device == x.device and (w.dtype == x.dtype or not w.is_floating_point()) and not is_lazy(w) for w in weights
    )


def _windows(features: int, shapes: Any, strides: Any) -> Tensor | None:
    """(M, features) bool: what each window covers; the last one may be cut off. None for what are no windows."""
    width, stride = _only(shapes), 1 if strides is None else _only(strides)
    if not width or not stride or width > features or (stride > width and width < features):
        return None
    return inside_windows(window_starts(features, width, stride), width, features)


def _only(value: Any) -> int:
    """The positive integer of a tuple of one, else 0."""
    fits = isinstance(value, tuple) and len(value) == 1 and type(value[0]) is int
    return max(0, value[0]) if fits else 0


def _baseline(given: Any, x: Tensor) -> Tensor | None:
    """(B, T, D) finite values like x; None where ``given`` says others, or none."""
    if isinstance(given, tuple):
        if len(given) != 1:
            return None
        given = given[0]
    if given is None:
        return torch.zeros_like(x)
    if isinstance(given, (int, float)):
        return torch.full_like(x, given) if abs(given) <= torch.finfo(x.dtype).max else None
    like = type(given) is Tensor and given.ndim == 3 and given.dtype == x.dtype and given.device == x.device
    if not like or not all(size in (1, whole) for size, whole in zip(given.shape, x.shape, strict=True)):
        return None
    return given.detach().expand_as(x) if bool(given.isfinite().all()) else None


def _data(method: Any, x: Tensor) -> Tensor | None:
    """(N, T, D): what TemporalAugmentedOcclusion draws from, of the steps of x; None where it refuses x.

    Without ``is_temporal`` it demands series as long as each prefix.
    """
    data, (_, T, D) = method.data[0], x.shape
    if len(method.data) != 1 or torch.get_default_device().type != "cpu":
        return None
    if data.ndim != 3 or len(data) == 0 or data.dtype != x.dtype or data.device != x.device or data.shape[2] != D:
        return None
    long_enough = data.shape[1] >= T if method.is_temporal else data.shape[1] == T == 1
    data = data[:, :T].detach()
    return data if long_enough and bool(data.isfinite().all()) else None


def _column(target: Any, x: Tensor, C: int) -> Tensor | None:
    """(B,) int64: which of C outputs this target is for each series; None for what time_interpret reads otherwise."""
    B, on = len(x), x.device
    if isinstance(target, Tensor) and target.numel() == 1 and arrays.holds_integers(target):
        target = int(target)
    if type(target) is int:
        return torch.full((B,), target % C, device=on) if -C <= target < C else None
    if isinstance(target, list) and len(target) == B and all(type(one) is int for one in target):
        target = torch.tensor(target, device=on)
    if not isinstance(target, Tensor) or target.shape != (B,) or target.dtype != torch.int64 or target.device != on:
        return None
    return target if bool(((target >= 0) & (target < C)).all()) else None


def _outputs_of_a_row(predictor: ModulePredictor, rows: Tensor, few: int) -> tuple[int, ...] | None:
    """The shape of a row's outputs, () or (C,); None for a module that the engine may not evaluate.

    The module must give the same as it stands and in evaluation mode, for rows together and for the first ``few``
    alone, and neither draw random numbers nor change a buffer. It is left as it was, and so are the generators.
    """
    module = predictor.module
    assert module is not None
    devices = [rows.device] if rows.device.type == "cuda" else []
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.random.fork_rng(devices), torch.no_grad():
        before = probes.generators(rows.device)
        try:
            given = functional_call(module, buffers, (rows,))
            with predictor.session():
                together = predictor.whole(rows.transpose(1, 2))[..., 0]
                alone = predictor.whole(rows[:few].transpose(1, 2))[..., 0]
        except Exception:  # whatever is wrong with it, time_interpret says so
            return None
        drew = any(not torch.equal(*pair) for pair in zip(before, probes.generators(rows.device), strict=True))
    if not isinstance(given, Tensor) or given.ndim not in (1, 2) or not given.is_floating_point():
        return None
    changed = any(not torch.equal(buffers[name], buffer) for name, buffer in module.named_buffers())
    flat = given.view(len(given), -1).to(together.dtype)
    same = _close(flat, together) and _close(together[:few], alone)
    return tuple(given.shape[1:]) if same and not drew and not changed else None


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether outputs (N, C) are the same, but for rounding."""
    return one.shape == other.shape and bool(((one - other).abs() <= probes.allowed(one)).all())


def _by_time(scores: Tensor) -> Tensor:
    """(N, T, T, D) of scores (N, T, D), seen from each time: NaN before it, where nothing is replaced, then 0."""
    N, T, D = scores.shape
    found = scores.new_zeros(N, T, T, D)
    earlier = torch.ones(T, T, dtype=torch.bool, device=scores.device).tril(-1)
    found[:, earlier] = torch.nan
    at = torch.arange(T, device=scores.device)
    found[:, at, at] = scores
    return found
