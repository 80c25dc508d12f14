"""ReX: which parts of an input are responsible for a decision, and a small part that suffices for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rambit import arrays, frames
from rambit.checks import channels_first, count, flag, member
from rambit.counterfactuals import Counterfactual, Replay
from rambit.game import Game, TensorSample, progress
from rambit.labels import Labels
from rambit.options import option
from rambit.output_names import are_names, numbers_of
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.extra import read_extra
from rambit.predictors.predictor import Output
from rambit.results.record_checks import check_grid_labels
from rambit.rex.decision import Decision, boxes_together
from rambit.rex.evaluation import Evaluation, evaluate
from rambit.rex.extraction import ExtractionOptions, NoExplanationError, Strategy, extract
from rambit.rex.extraction.changes import smallest_change
from rambit.rex.mask_values import MaskValue, check_mask_value, is_context, mask_values
from rambit.rex.rex_explanation import RexExplanation
from rambit.rex.search import Found, Rows, SearchResult, search, search_together
from rambit.rex.settings import SearchSettings

#: Positions of one input beyond which maps and masks no longer fit a reasonable amount of memory.
MAX_POSITIONS = 1 << 26
#: Inputs that are searched in lock-step.
TOGETHER = 16
#: The memory that the engine may take by default: half of its own default, with which images are as fast.
MAX_MEMORY = 1 << 29
#: Where a call has no labels.
NAMELESS = Labels()
_NAMED = (NoExplanationError, PredictionError, TypeError, ValueError)
#: How tensors of images and volumes lie, and how the model reads them.
Layout = Literal["NCHW", "NHWC"]
_SHAPES = "(1, C, H, W), (1, C, Z, H, W), (1, 1, T) or (1, D, T)"


class ReX(SearchSettings, ExtractionOptions):
    """Causal responsibility and sufficient masks for images, volumes, spectra and series.

    Raises TypeError or ValueError naming the argument, before any work.
    Source: Chockler, Kelly, Kroening, Sun, "Causal explanations for image classifiers" (2024), and ReX 0.4.1, whose
    maps of images this returns bit for bit, given the same seed and a model with the same outputs.
    """

    model: Any = option(help="a classifier: anything that `Predictor.of` takes", recorded=False, kw_only=False)
    strategy: Strategy | str = option(default=Strategy.Global, help="how an explanation is taken from the map")
    mask_value: MaskValue = option(
        default=0,
        help="what replaces: a number, min, mean, random, linear, spectral or a strategy (gaussian:std=0.5)",
        recorded=False,
    )
    output: Output = option(default="auto", help="what the model returns: auto, logits or probs", recorded=False)
    binary_threshold: float = option(
        default=0.5, low=0, high=1, above=True, help="from which p on a model of one column decides for class 1"
    )
    layout: Layout = option(
        default="NCHW", help="NHWC: the channels of images and volumes come last, in x, in mask_value and for the model"
    )
    evaluation: Literal["full", "incremental"] = option(
        default="full",
        help="incremental: images of modules that torch can trace, by what differs from the replaced image",
        recorded=False,
    )
    max_memory: int | None = option(
        default=None, low=1 << 20, help="bound on what the engine allocates, in bytes (512 MiB)", recorded=False
    )
    device: torch.device | str | None = option(
        default=None, help="where the model runs: cpu, cuda or cuda:N (where it is)", recorded=False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.output == "regression":
            raise ValueError("output must be auto, logits or probs: ReX explains the decisions of classifiers")
        check_mask_value(self.mask_value)
        self.max_memory = MAX_MEMORY if self.max_memory is None else self.max_memory
        self.model = self.predictor = Predictor.of(
            self.model, output=self.output, device=self.device, threshold=self.binary_threshold
        )
        self.binary_threshold = self.predictor.threshold
        if self.layout == "NHWC":
            if self.evaluation == "incremental":
                raise ValueError("evaluation='incremental' is for layout='NCHW'")
            self.model = self.predictor = self.predictor.with_channels_last()

    def explain(
        self,
        x: Tensor,
        *,
        target: int | str | None = None,
        show_progress: bool = False,
        labels: Labels | Mapping[str, Any] | None = None,
        keep_input: bool = True,
        extra: Any = None,
    ) -> RexExplanation:
        """Maps of every class seen and, by the strategy, a part of the input that suffices for its class.

        ``x``: one input, (1, C, H, W), (1, C, Z, H, W), (1, 1, T) or (1, D, T), float32 or float64; with
        ``layout="NHWC"`` (1, H, W, C) or (1, Z, H, W, C). ``target``: a class, by its number or, where ``labels`` or
        the model names them, its name; by default that which the model gives to x. Of another one the result has the
        map and, as its mask, what is kept when as little as was found is replaced to make the model decide for that
        class: why is x not of it? Where what replaces the input has the class of x by itself, the mask is empty:
        nothing of x is needed. ``labels``: what classes and, of series, features and times are called, a
        ``rambit.labels.Labels`` or a dictionary of its fields. ``keep_input=False``: the result holds no copy of x.
        ``extra``: further inputs of the model, (1, …), as attributors take them.

        Raises ValueError or TypeError naming the argument, and NoExplanationError where no part passes.
        """
        x, named = frames.with_names("x", x, labels)
        x, model = self._one(x), self.predictor.digest()
        flag("keep_input", keep_input)
        check_grid_labels(named, tuple(x.shape[1:]))
        with progress(show_progress, lambda: 0) as bar:  # how far the search goes is not known before
            wanted = self._class(target, named)
            decision = self._decision(x, wanted, bar, self._extra(extra, x), any_class=True)
            self._check_other(decision)
            named.check_outputs(len(decision.outputs))
            result = self._checked_maps(decision, self._or_seen(decision, x, search(decision, self)))
            return self._explanation(decision, result, x, named, model, keep_input=keep_input)

    def explain_all(
        self,
        X: Tensor,
        *,
        target: Sequence[int | str] | Tensor | None = None,
        labels: Labels | Mapping[str, Any] | None = None,
        keep_input: bool = True,
        extra: Any = None,
    ) -> list[RexExplanation]:
        """What `explain` finds for each of several inputs, whose searches advance together, in batches of rows of all.

        ``X`` (B, …), ``target`` (B,), ``extra`` (B, …) and what is raised, naming the input: as in `explain`. Parts are
        taken from the maps one input after another.
        """
        X, named = frames.with_names("X", X, labels)
        X, model = self._inputs("X", X), self.predictor.digest()
        flag("keep_input", keep_input)
        check_grid_labels(named, tuple(X.shape[1:]))
        found = []
        for b, decision, result in self._searched(X, target, extra, named, any_class=True):
            with _named(f"X[{b}]"):
                named.check_outputs(len(decision.outputs))
                x = X[b : b + 1]
                found.append(self._explanation(decision, result, x, named, model, keep_input=keep_input))
        return found

    def _or_seen(self, decision: Decision, X: Tensor, result: SearchResult) -> SearchResult:
        """The maps, or those of the search for the input's own class, whose later mutants may be of another target.

        They are needed where no first mutant is of that target.
        """
        if decision.target in result.maps or decision.target == decision.whole[0]:
            return result
        own = self._of_game(decision.game, X, None, series=decision.series)
        maps, before = search(own, self), result.stats
        decision.rows += own.rows
        both = {name: count + before[name] for name, count in maps.stats.items()}
        return replace(maps, log_maps={}, stats={**both, "depth": max(maps.stats["depth"], before["depth"])})

    def _check_other(self, decision: Decision) -> None:
        """Raise ValueError for a strategy that a class other than that of the input has not."""
        strategy = member("strategy", self.strategy, Strategy)
        if decision.target != decision.whole[0] and strategy not in (Strategy.Global, Strategy.MapOnly):
            raise ValueError(
                f"target={decision.target} is another class than the model gives to x, {decision.whole[0]}: that "
                f"needs strategy='global', got {strategy.value!r}"
            )

    def _explanation(
        self, decision: Decision, result: SearchResult, x: Tensor, named: Labels, model: str | None, *, keep_input: bool
    ) -> RexExplanation:
        """What is taken from the maps of one input x (1, C, …)."""
        strategy, grid = member("strategy", self.strategy, Strategy), _grid(x)
        other = decision.target != decision.whole[0]
        maps = {label: torch.from_numpy(map_).to(x.device).view(grid) for label, map_ in result.maps.items()}
        if other and strategy is Strategy.Global:
            found = smallest_change(decision, maps, self)
        else:
            logs = result.log_maps.get(decision.target)
            finer = None if logs is None else torch.from_numpy(logs)
            found = extract(decision, maps[decision.target], strategy, self, logs=finer, seed=self.seed)
        return RexExplanation(
            responsibility=maps[decision.target],
            maps=maps,
            mask=found.mask,
            target=decision.target,
            confidence=found.confidence,
            area=float(found.mask.double().mean()),
            stats={**result.stats, "rows": decision.rows},
            settings=self.settings(),
            seed=self.seed,
            necessary=found.necessary,
            complete=found.complete,
            spotlights=found.spotlights,
            labels=named,
            outputs=decision.outputs.to(x.device),
            x=self._as_given(x).clone() if keep_input else None,
            model=model,
            predicted=decision.whole[0] if other else None,
        )

    def attribute(self, X: Tensor, *, target: Sequence[int | str] | Tensor | None = None, extra: Any = None) -> Tensor:
        """The responsibility of each input of a batch, float32, each as `explain` finds it.

        ``X`` (B, C, H, W), (B, C, Z, H, W) or (B, D, T); the result is (B, H, W), (B, Z, H, W) or (B, D, T), on the
        device of X. ``target`` (B,): the classes that the model is expected to give. ``extra``: its further inputs,
        (B, …). All are searched together. The map of an input whose class what replaces it has by itself means little:
        `explain` says so. Raises as `explain` does, naming the input.
        """
        X = self._inputs("X", X)
        maps = [
            torch.from_numpy(result.maps[decision.target]) for _, decision, result in self._searched(X, target, extra)
        ]
        grid = X.shape[1:] if X.ndim == 3 else X.shape[2:]
        return torch.stack(maps).view(len(X), *grid).to(X.device)

    def _searched(
        self, X: Tensor, target: Any, extra: Any, named: Labels = NAMELESS, *, any_class: bool = False
    ) -> Iterator[tuple[int, Decision, SearchResult]]:
        """Each input's number, decision and maps; several are searched in lock-step. Raises naming the input."""
        beside, targets = self._extra(extra, X), [None] * len(X)
        if target is not None:
            given = numbers_of("target", target, self._classes(named)) if are_names(target) else target
            targets = arrays.whole("target", given, holds="integers").tolist()
            if len(targets) != len(X):
                raise ValueError(f"target must have one class an input, ({len(X)},), got {len(targets)}")
        together = 1 if self.evaluation == "incremental" else TOGETHER
        for begin in range(0, len(X), together):
            numbers = range(begin, min(begin + together, len(X)))
            try:
                found = self._group(X, numbers, targets, beside, any_class=any_class)
            except _NAMED:
                found = []
                for b in numbers:  # alone, each says whose error it is
                    with _named(f"X[{b}]"):
                        found += self._group(X, range(b, b + 1), targets, beside, any_class=any_class)
            for b, (decision, result) in zip(numbers, found, strict=True):
                with _named(f"X[{b}]"):
                    yield b, decision, self._checked_maps(decision, self._or_seen(decision, X, result))

    def _group(
        self, X: Tensor, numbers: range, targets: Sequence[Any], beside: Mapping[str, Tensor], *, any_class: bool
    ) -> list[tuple[Decision, SearchResult]]:
        """The decisions about some of the inputs, and their searches in lock-step."""
        where = slice(numbers.start, numbers.stop)
        game = self._game(X[where], {name: values[where] for name, values in beside.items()}, None)
        decisions = []
        for series, b in enumerate(numbers):
            decisions.append(self._of_game(game, X, targets[b], any_class=any_class, series=series))
            self._check_other(decisions[-1])
        return list(zip(decisions, search_together(decisions, self, partial(_boxes, decisions)), strict=True))

    def decision(self, x: Tensor, *, target: int | str | None = None, extra: Any = None) -> Decision:
        """The decision about one input, open to questions about masked versions of it: what `search` takes.

        ``x``, ``target``, ``extra`` and what is raised: as in `explain`.
        """
        x = self._one(x)
        return self._decision(x, self._class(target, NAMELESS), None, self._extra(extra, x))

    def _class(self, target: Any, named: Labels) -> int | None:
        """The number of a class that is given by its number or its name. Raises TypeError or ValueError."""
        if are_names(target):
            return int(numbers_of("target", target, self._classes(named)))
        return None if target is None else count("target", target, -(2**31), 2**31 - 1)

    def _classes(self, named: Labels) -> tuple[str, ...]:
        """What classes are called: by the labels of a call, or else by the model."""
        return named.outputs or self.predictor.class_names

    def responsibility(self, decision: Decision) -> SearchResult:
        """The maps (Z, H, W) of every class seen, of a `decision`. Raises NoExplanationError where no part passes."""
        return self._checked_maps(decision, search(decision, self))

    def _checked_maps(self, decision: Decision, result: SearchResult) -> SearchResult:
        """The maps, if there is one of the target. Raises NoExplanationError."""
        if not result.stats["mutants"]:
            raise NoExplanationError(
                f"min_box_size={self.min_box_size} leaves nothing to split in an input of {decision.terms} positions"
            )
        if decision.target not in result.maps:
            raise NoExplanationError(
                f"none of {result.stats['mutants']:,} mutants gives class {decision.target} with the confidence that "
                "passes: try other values of mask_value, confidence_filter, min_box_size, iters or seed"
            )
        return result

    def evaluate(
        self,
        x: Tensor,
        explanation: RexExplanation,
        *,
        step: int = 100,
        repeats: int = 50,
        seed: int = 0,
        extra: Any = None,
    ) -> Evaluation:
        """How good an explanation of ``x`` is: small, sharp, and faithful to the model.

        ``step``: positions between two points of the insertion and deletion curves. ``repeats``, ``seed``: of the noise
        that robustness draws. Raises ValueError naming the argument; also where the model does not give the
        explanation's class to x.
        """
        x = self._one(x)
        if explanation.responsibility.shape != _grid(x):
            raise ValueError(
                f"explanation must be of x, over the grid {_grid(x)}, got {tuple(explanation.responsibility.shape)}"
            )
        decision = self._decision(x, explanation.target, None, self._extra(extra, x))
        return evaluate(decision, explanation, step=step, repeats=repeats, seed=seed)

    def masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """What the model reads of ``x`` with only the mask kept, bool over the grid; in the layout of x.

        Raises ValueError naming the argument, and where what replaces depends on what is kept.
        """
        x = self._one(x)
        if mask.dtype != torch.bool or mask.shape != _grid(x):
            raise ValueError(f"mask must be {_grid(x)} bool, got {mask.dtype} {tuple(mask.shape)}")
        sample = self._sample(x, {})
        values = mask_values(self._replacement(x), sample)
        if not values.fixed:
            raise ValueError(f"mask_value: what {type(values).__name__} puts in a place depends on what is kept")
        [outside] = values.draws(sample.x, None, sample.ids, 1, seed=self.seed)
        return self._as_given(torch.where(mask.to(x.device), x, outside.view(x.shape).to(x)))

    def settings(self) -> dict[str, Any]:
        """Everything that an explanation depends on, as JSON values."""
        value: Any = self.mask_value
        if isinstance(value, Counterfactual):
            value = value.describe()
        elif isinstance(value, Tensor):
            value = "context"
        given = self.recorded().items()
        plain = {name: value.value if isinstance(value, Enum) else value for name, value in given}
        return {"method": "ReX", **plain, "mask_value": value, "output": self.predictor.output}

    def _inputs(self, name: str, x: Any) -> Tensor:
        """Inputs in the model's type. Raises TypeError or ValueError naming the argument."""
        module = self.predictor.module
        return arrays.as_model(name, _checked(name, x, module, self.layout), module)

    def _as_given(self, x: Tensor) -> Tensor:
        """An input of ours in the layout that was given."""
        return x.movedim(1, -1) if self.layout == "NHWC" else x

    def _one(self, x: Any) -> Tensor:
        one = self._inputs("x", x)
        if len(one) != 1:
            raise ValueError(f"x must be one input, {_SHAPES}, got a batch of {len(one)}: {tuple(one.shape)}")
        return one

    def _extra(self, extra: Any, x: Tensor) -> dict[str, Tensor]:
        """What goes beside the inputs x. Raises TypeError or ValueError naming it."""
        found = read_extra(extra, len(x), self.predictor.device_for(x), arrays.model_type(self.predictor.module))
        self.predictor.check_extra(found)
        return found

    def _sample(self, x: Tensor, extra: dict[str, Tensor]) -> TensorSample:
        """Inputs (B, C, …) as the game holds them, where rows are made; draws are the same for each."""
        inside = x.to(self.predictor.device_for(x))
        ids = torch.zeros(len(x), dtype=torch.int64, device=inside.device)
        sample = TensorSample(inside, ids) if x.ndim == 3 else TensorSample.spatial(inside, ids)
        return replace(sample, extra=extra)

    def _replacement(self, x: Tensor) -> MaskValue:
        """The mask value, a context with its channels where those of x (1, C, …) are."""
        value = self.mask_value
        if self.layout == "NCHW" or not is_context(value):
            return value
        context = arrays.whole("mask_value", value)
        if context.ndim not in (x.ndim - 1, x.ndim):
            return context  # which is refused
        return context.movedim(-1, context.ndim - x.ndim + 1)

    def _decision(
        self, x: Tensor, target: int | None, bar: Any, extra: dict[str, Tensor], *, any_class: bool = False
    ) -> Decision:
        """The game about one input, and the decision that is explained."""
        return self._of_game(self._game(x, extra, bar), x, target, any_class=any_class)

    def _game(self, X: Tensor, extra: dict[str, Tensor], bar: Any) -> Game:
        """The game about inputs (B, C, …)."""
        sample = self._sample(X, extra)
        return Game(
            self.predictor,
            sample,
            self._values(X, sample),
            evaluation=self.evaluation,
            max_memory=self.max_memory,
            seed=self.seed,
            progress=bar,
        )

    def _values(self, X: Tensor, sample: TensorSample) -> Counterfactual:
        """What replaces; of several inputs that which each would have alone."""
        value = self._replacement(X)
        each = [sample.take(slice(b, b + 1)) for b in range(len(sample))]
        found = [mask_values(value, one) for one in each]
        if len(found) == 1 or not found[0].fixed:
            return found[0]
        drawn = [values.draws(one.x, None, one.ids, 1, seed=self.seed) for values, one in zip(found, each, strict=True)]
        return Replay(torch.cat(drawn, dim=1))

    def _of_game(self, game: Game, X: Tensor, target: Any, *, any_class: bool = False, series: int = 0) -> Decision:
        """The decision about one of the inputs X (B, C, …) of a game."""
        if target is not None and (isinstance(target, bool) or not isinstance(target, (int, np.integer))):
            raise TypeError(f"target must be an integer, got {target!r}")
        dimensions = 3 if X.ndim == 5 else 1 if X.ndim == 3 and X.shape[1] == 1 else 2
        wanted = None if target is None else int(target)
        return Decision(game, dimensions=dimensions, target=wanted, any_class=any_class, series=series)


def _boxes(decisions: list[Decision], which: list[int], rows: list[Rows]) -> list[Found]:
    """What the model says of rows of some of these decisions."""
    return boxes_together([decisions[i] for i in which], rows)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors say which input of a batch they are about."""
    try:
        yield
    except _NAMED as error:
        kind = next(kind for kind in _NAMED if isinstance(error, kind))
        raise kind(f"{name}: {error}") from error


def _checked(name: str, given: Any, module: nn.Module | None, layout: Layout) -> Tensor:
    """Floating inputs (B, C, …), checked. Raises TypeError or ValueError naming the argument."""
    if frames.is_frame(given):
        x = frames.of_one_length(name, given).values
    elif arrays.is_array(given):
        x = arrays.whole(name, given)
    else:
        raise TypeError(f"{name} must be a tensor, got {type(given).__name__}")
    if x.ndim not in (3, 4, 5) or x.numel() == 0:
        raise ValueError(f"{name} must be {_SHAPES.replace('(1, ', '(B, ')}, got {tuple(x.shape)}")
    if layout == "NHWC":
        if x.ndim == 3:
            raise ValueError(f"layout='NHWC' is for images and volumes, got {name} {tuple(x.shape)}")
        x = x.movedim(-1, 1)
    else:
        channels_first(name, tuple(x.shape), "layout='NHWC', or ")
    x = arrays.as_rows(name, x, module)
    positions = x[0].numel() if x.ndim == 3 else x[0, 0].numel()
    if positions > MAX_POSITIONS:
        raise ValueError(f"{name} must have at most {MAX_POSITIONS:,} positions, got {positions:,}: {tuple(x.shape)}")
    if not bool(torch.isfinite(x).all()):
        first = tuple((~torch.isfinite(x)).nonzero()[0].tolist())
        raise ValueError(f"{name} must be finite, got NaN or infinite values, the first at {first}")
    return x


def _grid(x: Tensor) -> tuple[int, ...]:
    """The shape of maps and masks: (H, W), (Z, H, W), (T,) or (D, T)."""
    if x.ndim == 3 and x.shape[1] > 1:
        return tuple(x.shape[1:])
    return tuple(x.shape[2:])
