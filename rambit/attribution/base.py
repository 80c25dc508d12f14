"""What every attributor shares: settings, checked input, one game for each length of series, the result object."""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from rambit import arrays, ops
from rambit.attribution.batch import Batch
from rambit.checks import count, one_of, warn
from rambit.counterfactuals import (
    Counterfactual,
    CounterfactualLike,
    Replay,
    read_background,
    reads_background,
    resolve,
)
from rambit.game import ANCHORS, EVALUATIONS, Anchor, Cost, Evaluation, Game, TensorSample, guards, progress
from rambit.game.progress import Progress
from rambit.predictors import Predictor
from rambit.predictors.base import LAYOUTS, Layout, Output
from rambit.registry import Registry
from rambit.results import Attribution

#: Anchors of methods that have no blocks.
CellOrEnd = Literal["cell", "end"]
#: Distances between answers: ``auto`` is pd for classes, abs for regression.
Distance = Literal["auto", "pd", "kl", "js", "diff", "l2", "abs"]
DISTANCES = {
    "pd": ops.Metric.PD,
    "kl": ops.Metric.KL,
    "js": ops.Metric.JS,
    "diff": ops.Metric.DIFF,
    "l2": ops.Metric.L2,
    "abs": ops.Metric.PD,  # of regression values
}
#: Steps that can be counted.
LONGEST = 2**31 - 1
#: Masks of a call, and values drawn for a series, that are made at most, in cells.
MOST_CELLS = 1 << 31
CLASS_METRICS: tuple[Distance, ...] = ("pd", "kl", "js", "diff", "l2")
REGRESSION_METRICS: tuple[Distance, ...] = ("abs", "diff", "l2")


@dataclass(frozen=True)
class Call:
    """One call's data and choices."""

    batch: Batch
    strategy: Counterfactual
    draws: int

    @property
    def shared_draws(self) -> int:
        """How many random draws all masks share; 0 where the values are given, or none are random."""
        return 0 if self.strategy.single or isinstance(self.strategy, Replay) else self.draws


@dataclass(frozen=True)
class Part:
    """Scores (b, D, T) float64 of the series of one length, with their standard error where there is one.

    ``evaluated``: which cells have a score, bool; None: all that are observed.
    """

    values: Tensor
    stderr: Tensor | None
    windows: Tensor | None = None
    evaluated: Tensor | None = None


Answer = Callable[[Game, Tensor], Part]


class Common(TypedDict, total=False):
    """The keyword arguments that every attributor takes (see RaMbIT)."""

    metric: Distance
    counterfactuals: CounterfactualLike | None
    background: Any
    evaluation: Evaluation
    output: Output
    layout: Layout
    batch_size: int | Literal["auto"]
    max_memory: int | None
    seed: int
    device: torch.device | str | None
    model_id: str | None


def only_common(method: type, options: Mapping[str, Any]) -> None:
    """TypeError for arguments beside the method's own that are misspelled, or that the method fixes itself."""
    unknown = sorted(options.keys() - Common.__annotations__.keys())
    if unknown:
        allowed = ", ".join(sorted(Common.__annotations__))
        raise TypeError(f"{method.__name__} takes no {', '.join(unknown)}; beside its own arguments it takes {allowed}")


class Attributor(ABC):
    """A method with ``attribute`` (a tensor like X), ``explain`` (a result object) and ``cost`` (asks nothing)."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Let help and editors see what stands behind ``**common``, too."""
        super().__init_subclass__(**options)
        cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __init__(
        self,
        model: Any,
        *,
        num_samples: int = 1,
        window_size: int = 1,
        anchor: Anchor = "end",
        metric: Distance = "auto",
        counterfactuals: CounterfactualLike | None = None,
        background: Any = None,
        evaluation: Evaluation = "auto",
        output: Output = "auto",
        layout: Layout = "BDT",
        batch_size: int | Literal["auto"] = "auto",
        max_memory: int | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        model_id: str | None = None,
    ) -> None:
        self.layout = one_of("layout", layout, LAYOUTS)
        self.predictor = Predictor.of(model, output=output, layout=layout, device=device, model_id=model_id)
        regression = self.predictor.output == "regression"
        if metric == "auto":
            metric = "abs" if regression else "pd"
        self.metric = one_of("metric", metric, REGRESSION_METRICS if regression else CLASS_METRICS)
        self.num_samples = count("num_samples", num_samples)
        self.window_size = count("window_size", window_size, high=LONGEST)
        self.anchor = one_of("anchor", anchor, ANCHORS)
        if background is not None and not reads_background(counterfactuals):
            name = counterfactuals if isinstance(counterfactuals, str) else type(counterfactuals).__name__
            raise ValueError(f"background does not apply to counterfactuals={name!r}, which reads none")
        self.background = read_background(background, layout=layout)
        self.counterfactuals = self._strategy(counterfactuals)
        self.evaluation = one_of("evaluation", evaluation, EVALUATIONS)
        self.batch_size = batch_size if batch_size == "auto" else count("batch_size", batch_size)
        self.max_memory = None if max_memory is None else count("max_memory", max_memory, 1 << 20)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be an integer in [0, 2**63), got {seed!r}")
        self.seed = seed

    def attribute(self, X: Tensor, **options: Any) -> Tensor:
        """Importance of every cell, a tensor like X; the options are those of ``explain``."""
        return self.explain(X, **options).values

    def explain(
        self,
        X: Tensor,
        *,
        target: Any = None,
        lengths: Any = None,
        observed: Tensor | None = None,
        ids: Any = None,
        counterfactuals: Tensor | None = None,
        show_progress: bool = False,
    ) -> Attribution:
        """Scores (B, D, T) in X's layout, what they cost and the settings that made them.

        * ``target``: class (int or (B,)) for metric ``diff``; default: the predicted class at the last step.
        * ``lengths`` (B,): series b ends before step lengths[b]; ``observed`` (bool, like X): False where a value is
          missing (X may be NaN there). Such cells are not replaced and not evaluated: they score 0, and
          the result's ``evaluated`` says so.
        * ``ids`` (B,): what draws are keyed by, 0 … 2**32 - 1; default 0 … B-1.
        * ``counterfactuals`` (S, B, D, T): exactly these values instead of drawn ones.

        Raises ValueError or TypeError for what does not fit, PredictionError when the model's answer is unusable.
        """
        call = self._call(X, counterfactuals, target=target, lengths=lengths, observed=observed, ids=ids)
        return self._collect(call, self._answer(call), settings=self.settings(), show_progress=show_progress)

    def cost(
        self, X: Tensor, *, target: Any = None, lengths: Any = None, observed: Tensor | None = None, ids: Any = None
    ) -> Cost:
        """Rows, row-steps, the engine's memory bound in bytes and the mode of a call; the model is not asked."""
        call = self._call(X, None, quiet=True, target=target, lengths=lengths, observed=observed, ids=ids)
        return self._count(call, self._answer(call))

    @abstractmethod
    def _answer(self, call: Call) -> Answer:
        """How one game, for series of one length at the given places of the batch, becomes scores."""

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {
            "method": type(self).__name__,
            "metric": self.metric,
            "counterfactuals": self.counterfactuals.describe(),
            "num_samples": self.num_samples,
            "window_size": self.window_size,
            "anchor": self.anchor,
            "output": self.predictor.given_output,
            "layout": self.layout,
            **self.predictor.options(),
        }

    # -- how a call is carried out --------------------------------------------------------------------------------

    def _strategy(self, counterfactuals: CounterfactualLike | None) -> Counterfactual:
        if arrays.is_array(counterfactuals):
            counterfactuals = arrays.whole("counterfactuals", counterfactuals)
        if isinstance(counterfactuals, Tensor) and self.layout == "BTD" and counterfactuals.ndim >= 4:
            counterfactuals = counterfactuals.transpose(2, 3)
        return resolve(counterfactuals, self.background)

    def _call(self, X: Any, counterfactuals: Tensor | None, *, quiet: bool = False, **series: Any) -> Call:
        """Check a call's arguments. ``quiet``: without the warning about draws that would only repeat."""
        batch = Batch.read(X, self.predictor, self.layout, **series)
        strategy = self.counterfactuals if counterfactuals is None else self._strategy(counterfactuals)
        strategy.check(*batch.x.shape[1:])
        draws = self.num_samples
        if isinstance(strategy, Replay):
            strategy = strategy.within(batch.needed())
            draws = len(strategy.values)
        elif strategy.single and draws > 1:
            draws = 1
            if not quiet:
                warn(
                    f"num_samples={self.num_samples}, but {type(strategy).__name__} counterfactuals have one value: "
                    "one draw is asked"
                )
        if not isinstance(strategy, Replay) and (cells := draws * batch.x[0].numel()) > MOST_CELLS:
            raise ValueError(f"num_samples={draws} would draw {cells} values a series, at most {MOST_CELLS} are made")
        return Call(batch, strategy, draws)

    def _game(
        self, call: Call, places: Tensor, sample: TensorSample, *, bar: Progress | None = None, dry: bool = False
    ) -> Game:
        strategy = call.strategy
        if isinstance(strategy, Replay):
            strategy = strategy.take(places, strategy.values.shape[3])
        return Game(
            self.predictor,
            sample,
            strategy,
            anchor=self.anchor,
            window_size=self.window_size,
            draws=call.draws,
            evaluation=self.evaluation,
            batch_size=self.batch_size,
            max_memory=self.max_memory,
            seed=self.seed,
            progress=bar,
            dry=dry,
        )

    def _target(self, call: Call, places: Tensor, game: Game) -> Tensor:
        """The class (b,) whose change ``diff`` measures; the model's own choice where none was given."""
        if call.batch.target is not None and self.metric != "diff":
            raise ValueError(f"target applies to metric='diff' only, got metric={self.metric!r}")
        if call.batch.target is not None:
            return call.batch.target[places].to(game.device)
        target = torch.zeros(len(places), dtype=torch.int64, device=game.device)
        if self.metric != "diff":
            return target
        answers = game.original
        if answers is None:  # it only counts
            return target
        if self.predictor.output != "regression":
            target = answers.argmax(dim=1)
        elif (outputs := answers.shape[1]) > 1:
            raise ValueError(f"target is needed: metric='diff' and the model has {outputs} regression outputs")
        return target

    def _collect(self, call: Call, answer: Answer, *, settings: dict[str, Any], show_progress: bool) -> Attribution:
        """Ask one game for each length of series, and put the parts together."""
        begin = time.perf_counter()
        batch = call.batch
        values = torch.zeros(batch.x.shape, dtype=torch.float64, device=batch.x.device)
        errors: Tensor | None = torch.zeros_like(values)
        windows: Tensor | None = None
        evaluated = torch.ones(batch.x.shape, dtype=torch.bool, device=batch.x.device)
        rows = row_steps = 0
        mode, moved = "", False
        with progress(show_progress, lambda: self._count(call, answer).row_steps) as bar:
            for places, sample in batch.by_length():
                game = self._game(call, places, sample, bar=bar)
                part = answer(game, places)
                here, steps = places.to(values.device), part.values.shape[2]
                values[here, :, :steps] = part.values
                if part.stderr is None or errors is None:
                    errors = None
                else:
                    errors[here, :, :steps] = part.stderr
                if part.windows is not None:
                    if windows is None:
                        windows = values.new_zeros(*values.shape, part.windows.shape[3])
                    windows[here, :, :steps] = part.windows
                if part.evaluated is not None:
                    evaluated[here, :, :steps] = part.evaluated
                moved = moved or game.runner.moved
                rows, row_steps, mode = rows + game.runner.rows, row_steps + game.runner.row_steps, game.mode
        _clear(~(evaluated & batch.needed()), values, errors)
        if not moved and rows > 1:
            guards.never_moved(rows, self.predictor)
        return Attribution(
            values=batch.restore(values),
            stderr=None if errors is None else batch.restore(errors),
            rows=rows,
            row_steps=row_steps,
            seconds=time.perf_counter() - begin,
            settings={**settings, "output": self.predictor.output},
            seed=self.seed,
            mode=mode,
            lengths=batch.lengths,
            ids=batch.ids,
            windows=None if windows is None else batch.restore(windows),
            evaluated=batch.evaluated(evaluated),
        )

    def _count(self, call: Call, answer: Answer) -> Cost:
        """What ``_collect`` would ask, from games that only count."""
        total: Cost | None = None
        for places, sample in call.batch.by_length():
            game = self._game(call, places, sample, dry=True)
            answer(game, places)
            part = game.cost()
            total = part if total is None else total + part
        assert total is not None
        unconfirmed = self.evaluation == "auto" and not self.predictor.proven and total.mode in ("causal", "stateful")
        return replace(total, mode=total.mode + " (unconfirmed)") if unconfirmed else total


def _signature(method: type[Attributor]) -> inspect.Signature:
    """The arguments of a method: its own, those of the classes that it hands the rest to, and the common ones."""
    found: dict[str, inspect.Parameter] = {}
    for owner in method.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = list(inspect.signature(vars(owner)["__init__"], eval_str=False).parameters.values())[1:]
        for one in parameters:
            passed_on = owner is not Attributor or one.name in Common.__annotations__ or one.name == "model"
            if one.kind is not one.VAR_KEYWORD and passed_on:
                found.setdefault(one.name, one)
        if owner is Attributor or not any(one.kind is one.VAR_KEYWORD for one in parameters):
            break
    return inspect.Signature(sorted(found.values(), key=lambda one: one.kind))


#: Methods by name: on the command line, in tables, in the reference and under the contract of ``rambit.testing``.
METHODS: Registry[type[Attributor]] = Registry("method")


def _clear(where: Tensor, *tables: Tensor | None) -> None:
    """Score 0 where nothing was evaluated: the one place for what is missing, padding, or seen by no mask."""
    for table in tables:
        if table is not None:
            table[where] = 0.0
