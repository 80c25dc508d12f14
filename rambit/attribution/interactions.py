"""Interactions: what replacing two cells, or two sets of cells, does together beyond what each does alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, ops
from rambit.attribution.attributor import DRAWS, LONGEST, MOST_CELLS, Call, CellOrEnd, Distance, Part, Removal
from rambit.attribution.cell_groups import MOST_LISTED, check_groups, read_groups
from rambit.attribution.cell_pairs import (
    CellPairs,
    Features,
    check_pairs,
    group_pairs,
    lag_pairs,
    read_lags,
    read_pairs,
)
from rambit.attribution.explained import explained
from rambit.counterfactuals import CounterfactualLike
from rambit.game import Cost, Flips, FlipScores, Game
from rambit.game.engine import Engine
from rambit.game.pair_flips import MEASURES
from rambit.labels import Labels
from rambit.masks import Explicit, Family, resolve
from rambit.options import option
from rambit.results import PairAttribution
from rambit.store import resume_key

DEFAULT_L = 20


@dataclass
class PairCall(Call):
    """A call with its pairs."""

    pairs: CellPairs


class Interactions(Removal):
    """Interactions of pairs: what replacing both moves the prediction, less what replacing each alone does.

    Write d(S) for the distance of the model's output from the original's when the set S of cells is replaced beside a
    mask, and all else is as the mask says. Of a pair of sets p and q, which share no cell, the result has

    * ``joint`` = d(p and q) - d(neither): the importance of both together;
    * ``first`` = d(p) - d(neither), ``second`` = d(q) - d(neither): of each beside the other one kept;
    * ``values`` = joint - first - second = d(p and q) - d(p) - d(q) + d(neither): the residual, the interaction;

    means over masks, draws and horizons. Without masks, the default, these are the joint importance, the importances
    and the residual that RaMbIT's repository studies. Beside masks the other set is always kept or replaced as said:
    RaMbIT's own importance of one cell is also taken where a mask hides the other, and there the residual would have
    the opposite sign. All parts of a pair are compared at the same horizons: for anchor ``cell`` the ``window_size``
    steps from the pair's latest cell on, so that a model that adds up its cells has no interaction; for ``end`` the
    last step.

    With distance ``diff``, the default here, a positive interaction says that the cells stand in for each other (the
    output falls only when both are replaced), a negative one that they need each other (it falls when either is). Other
    distances do not add up themselves, and so show interactions of their own.

    The pairs are, one of

    * ``pairs``: a list of two cells (feature, time) each, whatever the layout, or of two lists of cells;
    * ``lags``: 2 or [1, 2, 3], every cell with one so many steps later; ``features`` says of which feature;
    * ``groups``: integers as in RaMbIT, every two groups: (D, 1) for features, (1, T) for timestamps.

    Scores belong to pairs and not to cells: this is no Attributor, and no method by name. Raises ValueError or
    TypeError, before any work, naming the argument.

    >>> import torch
    >>> from rambit.attribution import Interactions
    >>> model = lambda x: (x[:, 0, -1] * x[:, 0, -3])[:, None]   # the last step and the one two steps before it
    >>> method = Interactions(model, lags=[1, 2], anchor="end", output="regression")
    >>> result = method.explain(torch.ones(1, 1, 5))
    >>> result.top(1)
    [(0, ((0, 2),), ((0, 4),), -1.0)]
    """

    pairs: Any = option(default=None, help="two cells (feature, time) each, or two lists of cells", recorded=False)
    lags: Any = option(
        default=None, help="steps from a cell to the other one of its pair, one number or several", recorded=False
    )
    features: Features = option(
        default="same",
        help="of lags: a cell is paired with its own feature, the next one, each of all, or all as one set (strip)",
        recorded=False,
    )
    groups: Any = option(
        default=None,
        help="integers (D, T), or (D, 1) or (1, T) for whole features or steps: every two are a pair",
        recorded=False,
    )
    num_samples: int = option(default=10, help=DRAWS)
    window_size: int = option(default=5, high=LONGEST, help="how many horizons (W); for end, window shifts of masks")
    anchor: CellOrEnd = option(
        default="cell", help="where outputs are compared: from the pair's latest cell on, or at the last step"
    )
    masks: str | Tensor | Family = option(
        default="none", help="the mask family, its name with options, or masks (L, D, T) bool", recorded=False
    )
    L: int = option(default=DEFAULT_L, help="random masks")
    distance: Distance = option(default="diff", help=Removal.describe("distance"))

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {name: getattr(self, name) for name in ("pairs", "lags", "groups")}
        named = [name for name, value in given.items() if value is not None]
        if len(named) != 1:
            raise ValueError(f"pairs, lags or groups must be given, one of them, got {', '.join(named) or 'none'}")
        if self.features != "same" and self.lags is None:
            raise ValueError(f"features={self.features!r} applies to lags only, got {named[0]}")
        if self.pairs is not None:
            self.pairs = read_pairs(self.pairs)
        elif self.lags is not None:
            self.lags = read_lags(self.lags, self.features)
        else:
            self.groups = read_groups(self.groups, self.layout)
        masks = arrays.whole("masks", self.masks) if arrays.is_array(self.masks) else self.masks
        if isinstance(masks, Tensor) and self.layout == "BTD":
            masks = masks.transpose(-1, -2)
        self.masks = self.family = resolve(masks, (1, 10), (1, 5))
        if self.family.per_cell:
            raise ValueError(f"masks={type(self.family).__name__} are each for one target cell, not for pairs")
        if self.family.sized and self.L != DEFAULT_L:
            raise ValueError(f"L={self.L} does not apply: the masks given say themselves how many they are")

    def attribute(self, X: Any, **options: Any) -> Tensor:
        """Interactions (B, P) of the pairs, in their order, with ``targets`` (B, K, P); options as of ``explain``."""
        return self.explain(X, **options).values

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
    ) -> PairAttribution:
        """Interactions (B, P) of the pairs, with their parts, standard errors, cost and settings.

        The arguments are those of ``RaMbIT.explain``: with ``targets``, (B, K, P), all from the rows of one. A pair
        scores NaN where one of its sets has no value: all of it is missing, or lies beyond the series' length. The
        standard error is over masks and draws; None with one random draw, or one sampled mask. Raises as
        ``RaMbIT.explain`` does.
        """
        begin = time.perf_counter()
        series = {"target": target, "targets": targets, "lengths": lengths, "observed": observed, "ids": ids}
        call = self._pair_call(X, counterfactuals, **series, extra=extra, labels=labels)
        batch, model = call.batch, self.predictor.digest()
        run = self._gather(call, torch.Size((len(batch.x), len(MEASURES), len(call.pairs))), show_progress)
        seen = torch.from_numpy(call.pairs.seen(batch.needed().cpu().numpy()))[:, None]
        dtype = torch.float32 if batch.tokens else batch.like.dtype

        def table(name: str) -> Tensor | None:
            """Scores (B, measures, P), of several targets (B, K, measures, P)."""
            found = run.gathered.get(name)
            if found is None:
                return None
            found = found.cpu().where(seen, math.nan).to(batch.like.device, dtype)
            return found.transpose(0, 1) if batch.targets.many else found[0]

        values, stderr, freedom = map(table, ("values", "stderr", "freedom"))
        assert values is not None
        cells, sizes = call.pairs.listed()
        said = explained(batch, call.distance, run.gathered.outputs, run.axes, call.predictor)
        return PairAttribution(
            **{name: values[..., k, :].contiguous() for k, name in enumerate(MEASURES)},
            stderr=None if stderr is None else stderr[..., 0, :].contiguous(),
            freedom=None if freedom is None else freedom[..., 0, :].contiguous(),
            cells=torch.from_numpy(cells),
            sizes=torch.from_numpy(sizes),
            rows=run.rows,
            row_steps=run.row_steps,
            seconds=time.perf_counter() - begin,
            settings={**self.settings(), **call.describe(), "num_samples": call.draws}
            | {"counterfactuals": call.strategy.describe(), "output": self.predictor.output},
            seed=self.seed,
            mode=run.mode,
            ids=batch.ids,
            labels=said["labels"],
            targets=said["targets"],
            model=model,
        )

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
        return self._count(self._pair_call(X, None, quiet=True, **series, extra=extra, labels=labels))

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values; of many pairs or group numbers, a digest."""
        found = {**super().settings(), "masks": self.family.describe()}
        if self.lags is not None:
            return {**found, "lags": self.lags, "features": self.features}
        if self.pairs is not None:
            listed = [[list(map(list, cells)) for cells in pair] for pair in self.pairs]
            return {**found, "pairs": listed if len(listed) <= MOST_LISTED else {"digest": resume_key(pairs=listed)}}
        listed = self.groups.numel() <= MOST_LISTED
        return {**found, "groups": self.groups.tolist() if listed else {"digest": resume_key(groups=self.groups)}}

    # -- how a call is carried out --------------------------------------------------------------------------------

    def _pair_call(self, X: Any, counterfactuals: CounterfactualLike | None, **series: Any) -> PairCall:
        call = self._call(X, counterfactuals, **series)
        D, T = call.batch.x.shape[1:]
        if isinstance(self.family, Explicit) and self.family.masks.shape[1:] != (D, T):
            raise ValueError(f"masks must be (L, {D}, {T}) for this X, got {tuple(self.family.masks.shape)}")
        if not self.family.sized and (cells := self.L * D * T) > MOST_CELLS:
            raise ValueError(f"L={self.L} masks of this X would have {cells} cells, at most {MOST_CELLS} are made")
        return PairCall(**vars(call), pairs=self._pairs(D, T))

    def _pairs(self, D: int, T: int) -> CellPairs:
        if self.pairs is not None:
            check_pairs(self.pairs, D, T)
            return CellPairs.of(self.pairs, "pairs")
        if self.lags is not None:
            return CellPairs.of(lag_pairs(self.lags, self.features, D, T), "lags")
        check_groups(self.groups, torch.Size((1, D, T)), self.layout)
        return CellPairs.of(group_pairs(self.groups, D, T), "groups")

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        """Scores (K, b, measures, P), NaN for pairs that these series are too short for."""
        assert isinstance(call, PairCall)
        kept = call.pairs.within(self._length(game))
        target, draws = self._target(call, indices, game), call.shared_draws
        shape = (len(game.sample), len(MEASURES), len(kept))
        nothing = torch.full(
            (len(target), *shape[:2], len(call.pairs)), math.nan, dtype=torch.float64, device=game.device
        )
        if len(kept) == 0:  # whether there is an error, series of another length say
            return Part(nothing, nothing, freedom=nothing)
        scores = FlipScores(shape, call.metric, ops.Reduce.MEAN, "all", target, game.device, draws)
        found, where = game.reduce(self._question(game, call), scores), torch.from_numpy(kept).to(game.device)

        def placed(table: Tensor) -> Tensor:
            return nothing.index_copy(3, where, table)

        error = found.error()
        if error is None:
            return Part(placed(found.values()), None)
        stderr, freedom = (placed(found.of_cells(table)) for table in (error.stderr(), error.freedom))
        return Part(placed(found.values()), stderr, freedom=freedom)

    def _first_question(self, call: Call) -> Callable[[Engine], Flips] | None:
        assert isinstance(call, PairCall)
        return partial(self._question, call=call)

    def _question(self, game: Engine, call: PairCall) -> Flips:
        D, T = game.sample.x.shape[1:]
        length = self._length(game)
        masks = self.family.sample(self.L, D, length, seed=self.seed, device=game.device)
        return Flips(masks, pairs=call.pairs.flat(length, T))

    @staticmethod
    def _length(game: Engine) -> int:
        """The steps of a game's series, without their padding."""
        return game.sample.x.shape[2] if game.sample.length is None else game.sample.length
