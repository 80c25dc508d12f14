"""What every attributor shares: settings, checked input, one game for each length of series, the result object."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rambit import arrays, frames, ops
from rambit.attribution.batch import Batch
from rambit.attribution.explained import explained
from rambit.attribution.parts import Gathered
from rambit.attribution.parts import Part as Part
from rambit.attribution.targets import MOST, Targets
from rambit.checks import flag, one_of, warn
from rambit.counterfactuals import (
    Counterfactual,
    CounterfactualLike,
    Replay,
    read_background,
    reads_background,
    resolve,
)
from rambit.game import Anchor, Cost, Evaluation, Flips, Game, TensorSample, guards, progress
from rambit.game.engine import Engine
from rambit.game.progress import Progress
from rambit.labels import Labels
from rambit.options import Options, option
from rambit.predictors import Predictor
from rambit.predictors.predictor import Layout, Output
from rambit.registry import Registry
from rambit.results import Attribution

#: Anchors of methods that have no blocks.
CellOrEnd = Literal["cell", "end"]
#: Distances between outputs: ``auto`` is pd for classes, abs for regression.
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
CLASS_DISTANCES: tuple[Distance, ...] = ("pd", "kl", "js", "diff", "l2")
REGRESSION_DISTANCES: tuple[Distance, ...] = ("abs", "diff", "l2")
#: Distances of one output alone, where a target is given.
TARGET_DISTANCES = {"diff": ops.Metric.DIFF, "abs": ops.Metric.CHANGE, "l2": ops.Metric.CHANGE}


#: Whether a result's scores alone are wanted, so that nobody reads which model it is of.
_ONLY_VALUES = ContextVar("_ONLY_VALUES", default=False)

#: The help of ``num_samples``, whose default differs between methods.
DRAWS = "draws of counterfactual values (S)"


@dataclass
class Call:
    """One call's data and choices."""

    batch: Batch
    strategy: Counterfactual
    draws: int
    distance: Distance
    metric: ops.Metric
    predictor: Predictor
    window_size: int

    def describe(self) -> dict[str, Any]:
        """What the call itself says of its scores, for settings."""
        return {"distance": self.distance, **self.batch.targets.describe()}

    @property
    def shared_draws(self) -> int:
        """How many random draws all masks share; 0 where the values are given, or none are random."""
        return 0 if self.strategy.single or isinstance(self.strategy, Replay) else self.draws


@dataclass
class Run:
    """What the games of a call gave, and what that took."""

    gathered: Gathered
    rows: int = 0
    row_steps: int = 0
    mode: str = ""
    axes: tuple[int, ...] = ()
    moved: bool = False
    graded: bool = False

    def add(self, game: Game, part: Part, indices: Tensor) -> None:
        """The scores of one game's series, at these indices of the call's."""
        self.gathered.add(part, indices)
        found = game.last_outputs()
        assert found is not None, "a game that evaluates has outputs"
        self.gathered.note(found, indices)
        self.axes = game.predictor.axes_of(found.shape[1])
        moved, graded = game.runner.seen()
        self.moved, self.graded = self.moved or moved, self.graded or graded
        self.rows, self.row_steps = self.rows + game.runner.rows, self.row_steps + game.runner.row_steps
        self.mode = game.mode_in_words


class Method(Options, ABC):
    """A method of whatever unit: its settings, a call that is checked, and a game for the series of each length.

    Its options are the annotated fields: each is declared once (``rambit.options``).
    """

    renamed: ClassVar[Mapping[str, str]] = {"metric": "distance"}

    model: Any = option(help="a module, function, estimator, ONNX session or Predictor", recorded=False, kw_only=False)
    background: Any = option(
        default=None, help="reference data (N, D, T), or frames, from which counterfactuals are drawn", recorded=False
    )
    output: Output = option(
        default="auto", help="what the model returns; auto: logits, unless they are probabilities", recorded=False
    )
    layout: Layout = option(default="BDT", help="of X, masks and values, and of what the model reads")
    batch_size: int | Literal["auto"] = option(default="auto", help="rows in one call of the model", recorded=False)
    max_memory: int | None = option(
        default=None, low=1 << 20, help="bound on what the engine allocates, in bytes (1 GiB)", recorded=False
    )
    seed: int = option(default=0, low=0, help="of masks and draws: the same bits on every device", recorded=False)
    device: torch.device | str | None = option(
        default=None, help="where the model runs: cpu, cuda or cuda:N (where it is)", recorded=False
    )
    model_id: str | None = option(
        default=None, help="a name for checkpoints, of a model that has no weights", recorded=False
    )

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be an integer in [0, 2**63), got {self.seed!r}")
        # What a method does not offer as an option it has all the same.
        self.distance: Distance = getattr(self, "distance", "auto")
        self.counterfactuals: CounterfactualLike | None = getattr(self, "counterfactuals", None)
        self.evaluation: Evaluation = getattr(self, "evaluation", "auto")
        self.anchor: Anchor = getattr(self, "anchor", "end")
        self.num_samples: int = getattr(self, "num_samples", 1)
        self.window_size: int | Literal["auto"] = getattr(self, "window_size", 1)
        self.categorical: Sequence[int] | None = getattr(self, "categorical", None)
        self.categorical_name: str | None = getattr(self, "categorical_name", None)
        super().__post_init__()
        self.model = self.predictor = Predictor.of(
            self.model,
            output=self.output,
            layout=self.layout,
            device=self.device,
            model_id=self.model_id,
            categorical=self.categorical,
            categorical_name=self.categorical_name,
        )
        regression = self.predictor.output == "regression"
        self._chooses_distance = self.distance == "auto"
        if self._chooses_distance:
            self.distance = "abs" if regression else "pd"
        one_of("distance", self.distance, REGRESSION_DISTANCES if regression else CLASS_DISTANCES)
        given = self.counterfactuals
        if self.background is not None and not reads_background(given):
            name = given if isinstance(given, str) else type(given).__name__
            raise ValueError(f"background does not apply to counterfactuals={name!r}, which reads none")
        self._background_features = frames.features_of(self.background)
        self.background = read_background(self.background, layout=self.layout)
        self._choose_defaults()
        self.counterfactuals = self.strategy = self._strategy(self.counterfactuals)

    @abstractmethod
    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        """The scores of one game's series, all of one length, at these indices of the call's."""

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        return {
            "method": type(self).__name__,
            "distance": self.distance,
            **self.recorded(),
            "counterfactuals": self.strategy.describe(),
            "output": self.predictor.given_output,
            **self.predictor.options(),
        }

    # -- how a call is carried out --------------------------------------------------------------------------------

    def _choose_defaults(self) -> None:
        """Set the options that nobody named and whose default depends on others, or on the background."""

    def _strategy(self, counterfactuals: CounterfactualLike | None) -> Counterfactual:
        if arrays.is_array(counterfactuals):
            counterfactuals = arrays.whole("counterfactuals", counterfactuals)
        if isinstance(counterfactuals, Tensor) and self.layout == "BTD" and counterfactuals.ndim >= 2:
            time = min(counterfactuals.ndim - 2, 2)  # of (T, D), (B, T, D), (S, B, T, D) and (S, B, T, D, W)
            counterfactuals = counterfactuals.transpose(time, time + 1)
        return resolve(counterfactuals, self.background)

    def _call(self, X: Any, counterfactuals: CounterfactualLike | None, *, quiet: bool = False, **series: Any) -> Call:
        """Check a call's arguments. ``quiet``: without the warning about draws that would only repeat."""
        batch = Batch.read(X, self.predictor, self.layout, **series)
        names, known = batch.labels.features, self._background_features
        if names is not None and known is not None and names != known:
            raise ValueError(f"background has the features {', '.join(known)}, but X has {', '.join(names)}")
        strategy = self.strategy if counterfactuals is None else self._strategy(counterfactuals)
        strategy.check(*batch.x.shape[1:])
        strategy = strategy.within(batch.needed())
        draws = self.num_samples
        if isinstance(strategy, Replay):
            draws = len(strategy.values)
        elif strategy.single and draws > 1:
            draws = 1
            if self._draws_are_named and not quiet:
                warn(
                    f"num_samples={self.num_samples}, but {type(strategy).__name__} counterfactuals have one value: "
                    "one draw is evaluated"
                )
        if not isinstance(strategy, Replay) and (cells := draws * batch.x[0].numel()) > MOST_CELLS:
            raise ValueError(f"num_samples={draws} would draw {cells} values a series, at most {MOST_CELLS} are made")
        distance = self._distance(batch.targets)
        metric = TARGET_DISTANCES[distance] if batch.targets.given else DISTANCES[distance]
        window = 1 if self.window_size == "auto" else self.window_size
        return Call(batch, strategy, draws, distance, metric, self.predictor.explaining(batch.targets.function), window)

    @property
    def _draws_are_named(self) -> bool:
        """Whether somebody asked for this number of draws, and not for the default."""
        return self.num_samples != getattr(type(self), "num_samples", 1)

    def _distance(self, targets: Targets) -> Distance:
        """The distance of a call: a target's signed change, unless the constructor names another that applies."""
        if not targets.given:
            return self.distance
        if self._chooses_distance:
            return "diff"
        regression = targets.function is not None or self.predictor.output == "regression"
        allowed = tuple(TARGET_DISTANCES) if regression else ("diff",)
        if self.distance not in allowed:
            words = " or ".join(map(repr, allowed))
            raise ValueError(f"target applies to distance={words} only, got distance={self.distance!r}")
        return self.distance

    def _game(
        self, call: Call, indices: Tensor, sample: TensorSample, *, bar: Progress | None = None, dry: bool = False
    ) -> Game:
        strategy = call.strategy
        if isinstance(strategy, Replay):
            strategy = strategy.take(indices, strategy.values.shape[3])
        return Game(
            call.predictor,
            sample,
            strategy,
            anchor=self.anchor,
            window_size=call.window_size,
            draws=call.draws,
            evaluation=self.evaluation,
            batch_size=self.batch_size,
            max_memory=self.max_memory,
            seed=self.seed,
            progress=bar,
            dry=dry,
            question=self._first_question(call),
        )

    def _first_question(self, call: Call) -> Callable[[Engine], Flips] | None:
        """The flips that a game will be asked first; None: those of single cells beside no mask."""
        return None

    def _target(self, call: Call, indices: Tensor, game: Game) -> Tensor:
        """The outputs (K, b) whose change is measured; the model's own choice where none was given."""
        targets, regression = call.batch.targets, game.predictor.output == "regression"
        # A class that is given by its number needs no call of the model: that it exists is checked on the way.
        needed = targets.needs_outputs or regression if targets.given else call.distance == "diff"
        outputs = game.original if needed else None
        if targets.given:
            axes = (MOST,) if not needed else None if outputs is None else game.predictor.axes_of(outputs.shape[1])
            return targets.indices(indices, len(call.batch.x), axes).to(game.device).contiguous()
        target = torch.zeros(1, len(indices), dtype=torch.int64, device=game.device)
        if call.distance != "diff" or outputs is None:
            return target
        if not regression:
            return game.predictor.predicted(outputs)[None]
        if (count := outputs.shape[1]) > 1:
            raise ValueError(f"target is needed: distance='diff' and the model has {count} regression outputs")
        return target

    def _gather(self, call: Call, shape: torch.Size, show_progress: bool) -> Run:
        """Score the series of each length by a game of their own; scores (B, …) of this shape."""
        batch = call.batch
        run = Run(Gathered(shape, batch.x.device))
        with progress(show_progress, lambda: self._count(call).row_steps) as bar:
            for indices, sample in batch.by_length():
                game = self._game(call, indices, sample, bar=bar)
                run.add(game, self._score(call, game, indices), indices)
        guards.look_back(run.rows, call.predictor, moved=run.moved, graded=run.graded)
        return run

    def _count(self, call: Call) -> Cost:
        """What ``_collect`` would evaluate, from games that only count."""
        total: Cost | None = None
        for indices, sample in call.batch.by_length():
            game = self._game(call, indices, sample, dry=True)
            self._score(call, game, indices)
            game.last_outputs()
            part = game.cost()
            total = part if total is None else total + part
        assert total is not None
        unconfirmed = (
            self.evaluation == "auto"
            and not self.predictor.proven
            and total.mode in ("causal", "stateful", "incremental")
        )
        return replace(total, mode=total.mode + " (unconfirmed)") if unconfirmed else total


class Attributor(Method):
    """A method with ``attribute`` (a tensor like X), ``explain`` (a result object) and ``cost`` (evaluates nothing)."""

    def attribute(self, X: Any, **options: Any) -> Tensor:
        """Importance of every cell, a tensor like X; the options are those of ``explain``."""
        token = _ONLY_VALUES.set(True)
        try:
            return self.explain(X, **{"keep_input": False, **options}).values
        finally:
            _ONLY_VALUES.reset(token)

    def explain(
        self,
        X: Any,
        *,
        target: Any = None,
        targets: Any = None,
        lengths: Any = None,
        observed: Any = None,
        ids: Any = None,
        extra: Any = None,
        counterfactuals: CounterfactualLike | None = None,
        show_progress: bool = False,
        labels: Labels | Mapping[str, Any] | None = None,
        keep_input: bool = True,
    ) -> Attribution:
        """Scores (B, D, T) in X's layout, what they explain, what they cost and the settings that made them.

        * ``X``: a tensor, array or list of arrays; a frame of pandas or xarray (``rambit.frames``), which says itself
          what its axes are and where series end; or integer tokens (B, T), for a model of (N, T) int64.
        * ``target``: the output whose change is the score (distance ``diff``, or ``abs`` of a regression): a number,
          its name where ``labels`` or the model names the outputs, a pair (h, q) of forecasts (N, H, Q), any of them
          for each series, or a function of the raw outputs (N, …) that returns (N,). Default: all outputs, by
          ``distance``; for ``diff`` the class predicted at the last step.
        * ``targets``: "all", a list of outputs, or a function that returns (N, K): scores (B, K, D, T), for the cost of
          one output.
        * ``lengths`` (B,): series b ends before step lengths[b]; ``observed`` (bool, like X): False where a value is
          missing (X may be NaN there). Such cells are not replaced and not evaluated: they score 0, and
          the result's ``lengths`` and ``evaluated`` say so.
        * ``ids`` (B,): what draws are keyed by, 0 … 2**32 - 1; default 0 … B-1.
        * ``extra``: further inputs of the model, a dictionary by argument or a tuple by position, (B, …) of any type;
          they go with their series and are never replaced. A model's state is not used then.
        * ``counterfactuals`` (S, B, D, T), (B, D, T), (D, T), (D,) or a number: exactly these instead of drawn values.
        * ``labels``: what features, times, series and outputs are called, ``rambit.labels.Labels`` or a dictionary of
          its fields; ``keep_input=False``: the result holds no copy of X.

        Raises ValueError or TypeError for what does not fit, PredictionError when the model's output is unusable.
        """
        flag("keep_input", keep_input)
        series = {"target": target, "targets": targets, "lengths": lengths, "observed": observed, "ids": ids}
        call = self._call(X, counterfactuals, **series, extra=extra, labels=labels)
        return self._collect(call, settings=self.settings(), show_progress=show_progress, keep_input=keep_input)

    def cost(
        self,
        X: Any,
        *,
        target: Any = None,
        targets: Any = None,
        lengths: Any = None,
        observed: Any = None,
        ids: Any = None,
        extra: Any = None,
        labels: Labels | Mapping[str, Any] | None = None,
    ) -> Cost:
        """Rows, row-steps, the engine's memory bound in bytes and the mode of a call; the model is not called."""
        series = {"target": target, "targets": targets, "lengths": lengths, "observed": observed, "ids": ids}
        return self._count(self._call(X, None, quiet=True, **series, extra=extra, labels=labels))

    def _collect(
        self, call: Call, *, settings: dict[str, Any], show_progress: bool, keep_input: bool = True
    ) -> Attribution:
        """Score the series, and put the parts together."""
        begin = time.perf_counter()
        # Before it is evaluated: what it keeps of its last call is part of it.
        model = None if _ONLY_VALUES.get() else self.predictor.digest()
        batch = call.batch
        run = self._gather(call, batch.x.shape, show_progress)
        gathered = run.gathered
        gathered.clear(~(gathered.evaluated & batch.needed()))
        names = ("values", "stderr", "freedom", "windows")
        values, stderr, freedom, windows = (batch.restore(gathered.get(name)) for name in names)
        assert values is not None
        return Attribution(
            values=values,
            stderr=stderr,
            rows=run.rows,
            row_steps=run.row_steps,
            seconds=time.perf_counter() - begin,
            settings={**settings, **call.describe(), "output": self.predictor.output},
            seed=self.seed,
            mode=run.mode,
            lengths=batch.lengths,
            ids=batch.ids,
            freedom=freedom,
            windows=windows,
            evaluated=batch.evaluated(gathered.evaluated),
            X=batch.given() if keep_input else None,
            model=model,
            **explained(batch, call.distance, gathered.outputs, run.axes, call.predictor),
        )


class Removal(Method):
    """A method that replaces values, and compares the model's outputs with and without."""

    distance: Distance = option(
        default="auto",
        help="between outputs: pd, kl, js, l2 or diff (the target's signed change); auto: pd, for regression abs",
    )
    counterfactuals: CounterfactualLike | None = option(
        default=None,
        help="what stands in: a strategy, its name with options, a number, or values (D,), (D, T), (B, D, T) or "
        "(S, B, D, T)",
        recorded=False,
    )
    categorical: Sequence[int] | None = option(
        default=None, help="features that hold categories: whole numbers, replaced by such only", recorded=False
    )
    categorical_name: str | None = option(
        default=None,
        help="the argument by which the model takes them, an integer tensor (N, K, T); x has the other features",
        recorded=False,
    )
    evaluation: Evaluation = option(
        default="auto", help="how the model is evaluated; changes no number beyond rounding", recorded=False
    )


class RemovalAttributor(Removal, Attributor):
    """One that scores cells."""


#: Methods by name: on the command line, in tables, in the reference and under the contract of ``rambit.testing``.
METHODS: Registry[type[Attributor]] = Registry("method")
