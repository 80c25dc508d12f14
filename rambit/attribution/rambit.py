"""RaMbIT: Randomized Mask-Based Importance Testing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rambit import arrays, ops
from rambit.attribution import pilot
from rambit.attribution import tolerance as tolerances
from rambit.attribution.attributor import DRAWS, LONGEST, METHODS, MOST_CELLS, Call, Part
from rambit.attribution.cell_groups import GroupedAttributor
from rambit.attribution.checkpoint import Checkpoint, Saved
from rambit.checks import count, flag, warn
from rambit.counterfactuals import CounterfactualLike, Replay, Zero
from rambit.game import Anchor, Cost, Flips, FlipScores, Game, TensorSample
from rambit.game.draws import Error
from rambit.game.engine import Engine
from rambit.labels import Labels
from rambit.masks import FAMILIES, Explicit, Family, resolve
from rambit.options import option
from rambit.results import Attribution

#: What is taken of options that are not named: as published, but for the anchor;
PUBLISHED: dict[str, Any] = {
    "counterfactuals": None,
    "masks": "block",
    "L": 20,
    "num_samples": 10,
    "share_draws": True,
    "window_size": 5,
    "reduce": "mean",
}
#: with reference data, and outputs at every step, what finds salient cells where they are known (studies/defaults.py):
#: a draw of its own for each mask tells more than many masks beside few draws; three of ten cells replaced at random
#: uncover what other cells repeat, and leave the rest as it was; where a cell shows is not averaged away;
EACH_STEP = {
    "counterfactuals": "conditional",
    "masks": "bernoulli:p=0.3",
    "L": 60,
    "num_samples": 1,
    "share_draws": False,
    "window_size": "auto",
    "reduce": "max",
}
#: and for whole series: values that fit the past go on with the very pattern that the class hangs on; the mean says
#: nothing.
WHOLE = PUBLISHED | {
    "counterfactuals": "mean",
    "masks": "permutation",
    "L": 60,
    "num_samples": 1,
    "window_size": 1,
}
#: Series of a background from which on that is the default, and steps that are not enough: the neighbours that
#: conditional values are drawn from, and the history by which these are near.
FEWEST, HISTORY = 20, 3
BLOCK_SIZES = ("Wt_min", "Wt_max", "Wd_min", "Wd_max")


@dataclass
class MaskCall(Call):
    """A call with its masks, where its sums are kept, and when it ends: how many rows may still be evaluated."""

    family: Family
    saved: Checkpoint = field(default_factory=lambda: Checkpoint(None))  # which keeps nothing
    tolerance: tolerances.Tolerance | None = None
    left: int | None = None


@METHODS.register("rambit")
class RaMbIT(GroupedAttributor):
    """Importance of each cell: how far replacing it moves the prediction, beside L random masks.

    For each of ``L`` masks (True = kept) and ``num_samples`` draws of counterfactual values, the model's output with
    the cell replaced is compared with the output with the cell kept; the score is the mean of that difference.
    Positive: replacing the cell moves the prediction.

    With ``groups`` a group stands for the cell: all of it replaced is compared with all of it kept. Its own time, for
    anchor ``cell``, is that of its latest cell; with ``normalize="visible"`` masks count that can see its earliest.

    Raises ValueError or TypeError, before any work, naming the argument.

    >>> import torch
    >>> from rambit import RaMbIT
    >>> model = lambda x: torch.stack([x[:, 0].mean(-1), x[:, 1, -1]], dim=1)
    >>> I = RaMbIT(model, num_samples=1, anchor="end", window_size=1, seed=0).attribute(torch.ones(2, 3, 8))
    >>> I.shape, bool(I[:, 2].abs().max() == 0)   # the model never reads the third feature
    (torch.Size([2, 3, 8]), True)
    """

    num_samples: int = option(default=None, help=f"{DRAWS} (10; by default with a background 1)")
    L: int = option(default=None, help="random masks (60 with a background, else 20)")
    window_size: int | Literal["auto"] = option(
        default=None,
        high=LONGEST,
        help="how many horizons (W), from the cell's time on or after the block; with anchor end, window shifts. auto: "
        "the least power of two, up to 32, that holds .95 of what replaced steps of the background do (auto with a "
        "background and anchor cell, 1 with anchor end, else 5)",
    )
    Wt_min: int = option(default=1, help="shortest block, in steps", recorded=False)
    Wt_max: int = option(default=10, help="longest block, in steps, within the series", recorded=False)
    Wd_min: int = option(default=1, help="lowest block, in features", recorded=False)
    Wd_max: int = option(default=5, help="highest block, in features, within the series", recorded=False)
    anchor: Anchor = option(
        default="cell",
        help="where outputs are compared: from the cell's time on; after the block (mask), as in JIMEx; or at the last "
        "step (end), with blocks shifted by 0 … W-1 steps",
    )
    reduce: Literal["mean", "max"] = option(
        default=None,
        help="over horizons; max: the value of largest magnitude (max with a background and anchor cell, else mean)",
    )
    normalize: Literal["all", "visible"] = option(
        default="all", help="average over all masks, or with anchor mask over those that see the cell"
    )
    all_zero_cf: bool = option(default=False, help='short for counterfactuals="zero"', recorded=False)
    masks: str | Tensor | Family = option(
        default=None,
        help="the mask family, its name with options, or masks (L, D, T) bool (with a background bernoulli:p=0.3, with "
        "anchor end permutation; else block)",
        recorded=False,
    )
    share_masks: bool = option(default=True, help="the same masks for all cells; if not, L for each cell")
    share_draws: bool = option(
        default=None, help="the same values beside all masks; if not, draws for each (by default with a background)"
    )

    def __post_init__(self) -> None:
        given = self.counterfactuals
        if flag("all_zero_cf", self.all_zero_cf):
            if given not in (None, "zero") and not isinstance(given, Zero):
                raise ValueError("all_zero_cf=True contradicts counterfactuals=; give one of them")
            self.counterfactuals = "zero"
        super().__post_init__()
        masks = self.masks
        if self.normalize == "visible" and self.anchor != "mask":
            raise ValueError(f"normalize='visible' applies to anchor='mask' only, got anchor={self.anchor!r}")
        if self.anchor == "end" and self.reduce == "max":
            raise ValueError("reduce='max' does not apply to anchor='end', which has one horizon")
        if self.window_size == "auto" and (self.anchor != "cell" or self.background is None):
            raise ValueError("window_size='auto' needs a background, of which it replaces steps, and anchor='cell'")
        if self.groups is not None and not self.share_masks:
            raise ValueError("share_masks=False does not apply beside groups: it makes masks for single cells")
        if not self.share_draws and self.strategy.single:
            name = type(self.strategy).__name__
            raise ValueError(f"share_draws=False does not apply: {name} values are always the same")
        self._bounds = (self.Wt_min, self.Wt_max), (self.Wd_min, self.Wd_max)
        self._check_sizes(masks)
        resolve("block", *self._bounds)  # the bounds are checked even where another family ignores them
        self.masks = self.family = self._family(masks)
        self._check_number(self.family)
        if self.family.per_cell and self.share_masks:
            raise ValueError(f"masks={type(self.family).__name__} are each for one target cell: pass share_masks=False")
        self._pilot = pilot.pilot_series(self.background) if self.window_size == "auto" else None
        self._chosen_window: int | None = None

    def _choose_defaults(self) -> None:
        self._named = {name for name in PUBLISHED if getattr(self, name) is not None}
        for name, value in self._defaults().items():
            if name not in self._named:
                setattr(self, name, value)

    def _defaults(self) -> dict[str, Any]:
        """What is taken of the options that are not named: the one place that says so."""
        data, end = self.background, self.anchor == "end"
        if data is None or self.counterfactuals is not None or self.anchor == "mask":
            return PUBLISHED
        if len(data) < FEWEST or (data.shape[2] <= HISTORY and not end):
            return PUBLISHED
        if end and (self.categorical or bool(((data == data.round()) | data.isnan()).all())):
            return PUBLISHED  # categories have no mean
        if end and self._named & {"num_samples", "share_draws"}:
            return PUBLISHED  # of the mean there is nothing to draw
        chosen = dict(WHOLE if end else EACH_STEP)
        if any(getattr(self, one.name) != one.default for one in self.options() if one.name in BLOCK_SIZES):
            chosen["masks"] = "block"  # which these are the sizes of
        if not end and self.masks is not None and _sized(self.masks):
            chosen |= {"num_samples": 10, "share_draws": True}  # there may be few of them
        return chosen

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
        masks: Tensor | None = None,
        counterfactuals: CounterfactualLike | None = None,
        checkpoint: str | Path | None = None,
        show_progress: bool = False,
        tolerance: float | str | None = None,
        max_rows: int | None = None,
        labels: Labels | Mapping[str, Any] | None = None,
        keep_input: bool = True,
    ) -> Attribution:
        """Scores (B, D, T) in X's layout, with their standard error, cost and settings.

        The standard error is that of the scores as estimates over masks and draws; ``result.interval(0.95)`` covers, in
        about 19 of 20 runs with other seeds, what infinitely many of both would give. It is None with one mask, or with
        one random draw that all masks share. Values that are given, or that are not random, count as exact: the error
        is over masks, given these.

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
        * ``ids`` (B,): what draws are keyed by, 0 … 2**32 - 1, default 0 … B-1: X[3:4] with ids=[3] gives row 3 of X.
        * ``extra``: further inputs of the model, a dictionary by argument or a tuple by position, (B, …) of any type;
          they go with their series and are never replaced. A model's state is not used then.
        * ``masks`` (L, D, T) bool, and ``counterfactuals`` (S, B, D, T), (B, D, T), (D, T), (D,) or a number: exactly
          these instead of sampled ones.
        * ``checkpoint``: a folder; a run that was killed goes on from there and gives the same bits.
        * ``tolerance``: go on in rounds of L masks until the largest standard error, relative to the largest score, is
          below it; or, "top:10", until in every series the 10 highest cells are the true ones with a probability of
          95 % by the standard errors (``attribution.tolerance.StableTop`` is the rule); or until ``max_rows`` rows were
          evaluated, those of a resumed run included. It ends with a warning where the draws alone, which all masks
          share, leave more than that.
        * ``labels``: what features, times, series and outputs are called, ``rambit.labels.Labels`` or a dictionary of
          its fields; ``keep_input=False``: the result holds no copy of X.

        Raises ValueError or TypeError for what does not fit, PredictionError when the model's output is unusable.
        """
        family = self.family if masks is None else self._family(masks)
        flag("keep_input", keep_input)
        series = {"target": target, "targets": targets, "lengths": lengths, "observed": observed, "ids": ids}
        call = self._call(X, counterfactuals, **series, extra=extra, labels=labels)
        self._check_family(family, call)
        until = None if tolerance is None else self._until(tolerance, call, family, max_rows)
        if max_rows is not None:
            count("max_rows", max_rows)
            if tolerance is None:
                raise ValueError("max_rows limits how far tolerance goes: give tolerance too")
        settings = self.settings(family, call)
        stop: dict[str, Any] = {"tolerance": None if until is None else str(until), "max_rows": max_rows}
        if checkpoint is not None and not isinstance(checkpoint, (str, Path)):
            raise TypeError(f"checkpoint must be the path of a folder, got {checkpoint!r}")
        with Checkpoint.open(checkpoint, lambda: self._identity(call, family, settings, stop)) as saved:
            call = MaskCall(**vars(call), family=family, saved=saved, tolerance=until, left=max_rows)
            return self._collect(call, settings=settings, show_progress=show_progress, keep_input=keep_input)

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
        masks: Tensor | None = None,
        counterfactuals: CounterfactualLike | None = None,
        labels: Labels | Mapping[str, Any] | None = None,
    ) -> Cost:
        """Rows, row-steps, the engine's memory bound in bytes and the mode of ``attribute(X)``; no call of the model.

        Under ``evaluation="auto"`` the mode is the cheapest one that the model claims, marked "unconfirmed". Before a
        call has chosen an automatic ``window_size`` the longest is counted, and the mode says so.
        """
        family = self.family if masks is None else self._family(masks)
        series = {"target": target, "targets": targets, "lengths": lengths, "observed": observed, "ids": ids}
        call = self._call(X, counterfactuals, quiet=True, **series, extra=extra, labels=labels)
        self._check_family(family, call)
        cost = self._count(MaskCall(**vars(call), family=family))
        if self._window(call) is not None:
            return cost
        return replace(cost, mode=f"{cost.mode}, window_size at most {call.window_size}")

    def settings(self, family: Family | None = None, call: Call | None = None) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        given: dict[str, Any] = {}
        if call is not None:
            sizes = {"num_samples": call.draws, "window_size": call.window_size}
            given = {"counterfactuals": call.strategy.describe(), **sizes, **call.describe()}
        return {**super().settings(), **given, "masks": (family or self.family).describe()}

    # -- how a call is carried out --------------------------------------------------------------------------------

    def _call(self, X: Any, counterfactuals: CounterfactualLike | None, *, quiet: bool = False, **series: Any) -> Call:
        call = super()._call(X, counterfactuals, quiet=quiet, **series)
        window = self._window(call)
        if window is None:
            window = pilot.SIZES[-1] if quiet else self._choose_window(call)
        call.window_size = window
        return call

    def _window(self, call: Call) -> int | None:
        """The window size of a call; None: it is still to be chosen."""
        if self.window_size != "auto":
            return self.window_size
        # A background has no extra inputs, and a model need not read missing values.
        if call.batch.extra or self._pilot is None:
            return int(PUBLISHED["window_size"])
        return self._chosen_window

    def _choose_window(self, call: Call) -> int:
        """By the background alone, so that it is one for all series, and once: the same for all calls."""
        assert self._pilot is not None
        x = self._pilot.to(call.batch.x)
        sample = TensorSample(x, torch.arange(len(x), device=x.device), tokens=call.batch.tokens)
        how = {"evaluation": self.evaluation, "batch_size": self.batch_size, "max_memory": self.max_memory}
        self._chosen_window = pilot.choose_window(sample, self.predictor, self.strategy, seed=self.seed, **how)
        return self._chosen_window

    def _until(self, tolerance: float | str, call: Call, family: Family, max_rows: int | None) -> tolerances.Tolerance:
        """When rounds of masks end; ValueError where no more can be added, or nothing says how sure the scores are."""
        until = tolerances.read(tolerance, call.batch.x[0].numel())
        if family.sized:
            raise ValueError("tolerance adds masks, but these masks are given: there are no more to add")
        if self.share_draws and call.shared_draws == 1:
            raise ValueError("tolerance needs num_samples >= 2 or share_draws=False: one draw tells no error")
        if isinstance(until, tolerances.StableTop):
            if self.groups is not None:
                raise ValueError(f"tolerance={tolerance!r} ranks single cells: it does not apply beside groups")
            if max_rows is None:
                raise ValueError(f"tolerance={tolerance!r} needs max_rows: cells that score the same never part")
        return until

    def _family(self, masks: str | Tensor | Family) -> Family:
        if arrays.is_array(masks):
            masks = arrays.whole("masks", masks)
        if isinstance(masks, Tensor) and self.layout == "BTD":
            masks = masks.transpose(-1, -2)
        return resolve(masks, *self._bounds)

    def _check_family(self, family: Family, call: Call) -> None:
        D, T = call.batch.x.shape[1:]
        if isinstance(family, Explicit) and family.masks.shape[1:] != (D, T):
            raise ValueError(f"masks must be (L, {D}, {T}) for this X, got {tuple(family.masks.shape)}")
        cells = self.L * D * T * (1 if self.share_masks else D * T)
        if not family.sized and cells > MOST_CELLS:
            raise ValueError(f"L={self.L} masks of this X would have {cells} cells, at most {MOST_CELLS} are made")
        self._check_number(family)

    def _check_sizes(self, masks: str | Tensor | Family) -> None:
        """Raise ValueError for a block size that is not the default beside masks that do not read it."""
        name = masks.partition(":")[0] if isinstance(masks, str) else ""
        if isinstance(masks, str) and name not in FAMILIES:
            return
        reads = FAMILIES.parameters(name) if name else {}
        for size in self.options():
            value = getattr(self, size.name)
            if size.name in BLOCK_SIZES and size.name not in reads and value != size.default:
                raise ValueError(f"{size.name}={value} does not apply to masks={name or type(masks).__name__!r}")

    @property
    def _draws_are_named(self) -> bool:
        return "num_samples" in self._named and self.num_samples != PUBLISHED["num_samples"]

    def _check_number(self, family: Family) -> None:
        if family.sized and "L" in self._named and PUBLISHED["L"] != self.L:
            raise ValueError(f"L={self.L} does not apply: the masks given say themselves how many they are")

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        assert isinstance(call, MaskCall)
        scores = self._scores(call, game, indices)
        part = call.saved.part(scores, game.rule.T if game.sample.length is None else game.sample.length)
        # A game that only counts has no errors to be tolerant of: it counts the first round, and leaves what is left.
        if game.runner.dry:
            self._fill(game, scores, call, part, None)
        else:
            rows = self._fill(game, scores, call, part, call.tolerance)
            call.left = None if call.left is None else max(1, call.left - rows)
        error = scores.error()
        if error is None:
            return Part(scores.values(), None, evaluated=scores.seen())
        stderr, freedom = scores.of_cells(error.stderr()), scores.of_cells(error.freedom)
        return Part(scores.values(), stderr, evaluated=scores.seen(), freedom=freedom)

    def _scores(self, call: Call, game: Game, indices: Tensor) -> FlipScores:
        reduce = ops.Reduce.MAX if self.reduce == "max" else ops.Reduce.MEAN
        target = self._target(call, indices, game)
        B, D, T = game.sample.x.shape
        draws = call.shared_draws if self.share_draws else 0
        groups = self._groups(game)
        return FlipScores((B, D, T), call.metric, reduce, self.normalize, target, game.device, draws, groups)

    def _fill(
        self,
        game: Game,
        scores: FlipScores,
        call: MaskCall,
        saved: Saved,
        tolerance: tolerances.Tolerance | None,
    ) -> int:
        """Evaluate rounds of L masks until the scores are precise enough; without a tolerance, one. The rows of all.

        Rows are counted by a game that evaluates nothing, so that a resumed run counts, and ends, like another.
        """
        counted = game.counting()
        for turn in range(1 << 31):
            question = self._question(game, call.family, turn * self.L)
            game.reduce(question, scores, added=saved.added(turn), done=saved.done(turn, game.to_host))
            if tolerance is None:
                return game.runner.rows
            if call.left is not None:
                counted.reduce(question, self._nothing(scores))
            if turn < saved.reached[0]:  # the sums are those of a later round, which was begun: go on
                continue
            if self._is_precise(game, scores, tolerance) or counted.runner.rows >= (call.left or math.inf):
                return counted.runner.rows
        raise AssertionError("rounds of masks are endless")

    def _nothing(self, scores: FlipScores) -> FlipScores:
        """Scores for a game that only counts."""
        device, groups = scores.target.device, scores.groups
        return FlipScores(
            scores.shape[1:], scores.metric, scores.reduce, scores.normalize, scores.target, device, groups=groups
        )

    def _is_precise(self, game: Game, scores: FlipScores, tolerance: tolerances.Tolerance) -> bool:
        """Whether further masks are not needed, or would not help."""
        found = scores.error()
        if found is None:
            return False
        values, error = game.to_host(scores.values().flatten(2)), Error(*map(game.to_host, found))
        known = game.to_host(self._known(game, scores)).flatten(1)
        # Where the draws leave too much, masks are added only until they matter less than the draws.
        floor = error.of_draws.max()
        draws_alone = error._replace(variance=error.of_draws)
        if error.variance.max() <= 2 * floor and not tolerance.holds(values, draws_alone, known):
            warn(
                f"tolerance={tolerance} is out of reach with num_samples={game.draws}: the draws, which all masks "
                f"share, leave a standard error of {floor.sqrt():.2g} beside a largest score of "
                f"{values.abs().max():.2g}"
            )
            return True
        return tolerance.holds(values, error, known)

    def _known(self, game: Game, scores: FlipScores) -> Tensor:
        """Which cells (B, D, T) have a score: those that some mask sees, but for missing ones and padding."""
        sample = game.sample
        known = scores.seen().expand(sample.x.shape).clone()
        known[:, :, sample.length :] = sample.length is None
        return known if sample.observed is None else known & sample.observed

    def _first_question(self, call: Call) -> Callable[[Engine], Flips] | None:
        assert isinstance(call, MaskCall)
        return partial(self._question, family=call.family, first=0)

    def _question(self, game: Engine, family: Family, first: int) -> Flips:
        D, T = game.sample.x.shape[1:]
        T = T if game.sample.length is None else game.sample.length
        target_cells = None if self.share_masks else torch.arange(D * T, dtype=torch.int32)
        masks = family.sample(self.L, D, T, seed=self.seed, first=first, target_cells=target_cells, device=game.device)
        replayed = isinstance(game.counterfactuals, Replay)
        fresh = not (self.share_draws or replayed or game.counterfactuals.single)
        number = first if target_cells is None else first * D * T
        return Flips(masks, number=number, fresh_draws=fresh, groups=self._groups(game))

    def _identity(self, call: Call, family: Family, settings: dict[str, Any], stop: dict[str, Any]) -> dict[str, Any]:
        """What a resumed run must find unchanged."""
        batch = call.batch
        how = {"evaluation": self.evaluation, "batch_size": self.batch_size, "max_memory": self.max_memory}
        return {
            "settings": {**settings, "seed": self.seed, **stop, **how},
            "data": {name: getattr(batch, name) for name in ("x", "ids", "lengths", "observed")},
            "target": batch.targets.identity(),
            **({"extra": dict(batch.extra)} if batch.extra else {}),
            "masks": family.masks if isinstance(family, Explicit) else None,
            "values": call.strategy.tensors(),
            "model": self.predictor.fingerprint(),
        }


def _sized(masks: str | Tensor | Family) -> bool:
    """Whether masks, as a user names them, say themselves how many they are."""
    if isinstance(masks, str):
        name = masks.partition(":")[0]
        return name in FAMILIES and FAMILIES[name].sized
    return not isinstance(masks, Family) or masks.sized
