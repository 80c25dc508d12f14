"""RaMbIT: Randomized Mask-Based Importance Testing."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from rambit import ops
from rambit.attribution.base import METRICS, Attributor, Stopwatch, count, one_of
from rambit.attribution.batch import Batch
from rambit.attribution.checkpoint import Checkpoint
from rambit.counterfactuals import Counterfactual, Replay, Zero
from rambit.game import ANCHORS, Cost, Flips, FlipScores, Game, TensorSample
from rambit.game.runner import Progress
from rambit.masks import Explicit, Family, MaskSet, resolve
from rambit.results import Attribution


class RaMbIT(Attributor):
    """Importance of each cell: how far replacing it moves the prediction, beside L random masks.

    For each of ``L`` masks (True = kept) and ``num_samples`` draws of counterfactual values, the model's answer with
    the cell replaced is compared with the answer with the cell kept; the score is the mean of that difference.
    Positive: replacing the cell moves the prediction.

    Arguments, all keyword after ``model`` (a module, callable, estimator, ONNX session or Predictor):

    * ``num_samples`` (S): draws; ``L``: masks; ``window_size`` (W): horizons.
    * ``Wt_min, Wt_max, Wd_min, Wd_max``: block length in steps and height in features, clipped to the series.
    * ``anchor``: where the horizons start: ``cell`` (at the target cell: t … t+W-1), ``mask`` (after the block, as in
      JIMEx), ``end`` (the last step only; the block is shifted by 0 … W-1 steps, averaged).
    * ``reduce``: over horizons, ``mean`` or ``max`` (the difference of largest magnitude).
    * ``normalize``: ``all`` averages over all masks, ``visible`` over those that can see the cell (anchor mask).
    * ``metric``: ``pd``, ``kl``, ``js``, ``l2``, ``diff`` (signed change of the target); ``abs`` for regression.
    * ``counterfactuals``: a strategy, its name, or exact values (S, B, D, T); ``background``: its reference data.
      ``all_zero_cf=True`` is short for ``counterfactuals="zero"``.
    * ``masks``: a family, its name, or exact masks (L, D, T) bool; ``share_masks=False`` draws L for each cell.
      ``share_draws=False`` draws values for each mask.
    * ``evaluation``, ``batch_size``, ``max_memory`` (bytes), ``device``: how the model is asked. They change nothing
      beyond rounding. ``seed``: the same seed gives the same masks and draws, bit for bit, on every device.
    * ``output``, ``layout``: what the model returns and how it reads series; masks and values follow the layout.
    * ``model_id``: names a plain callable for checkpoints.

    Raises ValueError or TypeError, before any work, naming the argument.

    >>> import torch
    >>> from rambit import RaMbIT
    >>> model = lambda x: torch.stack([x[:, 0].mean(-1), x[:, 1, -1]], dim=1)
    >>> I = RaMbIT(model, num_samples=1, anchor="end", window_size=1, seed=0).attribute(torch.ones(2, 3, 8))
    >>> I.shape, bool(I[:, 2].abs().max() == 0)   # the model never reads the third feature
    (torch.Size([2, 3, 8]), True)
    """

    def __init__(
        self,
        model: Any,
        *,
        num_samples: int = 10,
        L: int = 20,
        window_size: int = 5,
        Wt_min: int = 1,
        Wt_max: int = 10,
        Wd_min: int = 1,
        Wd_max: int = 5,
        anchor: str = "cell",
        reduce: str = "mean",
        normalize: str = "all",
        metric: str = "auto",
        counterfactuals: str | Tensor | Counterfactual | None = None,
        background: Any = None,
        all_zero_cf: bool = False,
        masks: str | Tensor | Family = "block",
        share_masks: bool = True,
        share_draws: bool = True,
        evaluation: str = "auto",
        output: str = "auto",
        layout: str = "BDT",
        batch_size: int | str = "auto",
        max_memory: int | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        model_id: str | None = None,
    ) -> None:
        if all_zero_cf:
            if counterfactuals not in (None, "zero") and not isinstance(counterfactuals, Zero):
                raise ValueError("all_zero_cf=True contradicts counterfactuals=; give one of them")
            counterfactuals = "zero"
        super().__init__(
            model,
            metric=metric,
            counterfactuals=counterfactuals,
            background=background,
            evaluation=evaluation,
            output=output,
            layout=layout,
            batch_size=batch_size,
            max_memory=max_memory,
            seed=seed,
            device=device,
            model_id=model_id,
        )
        self.num_samples = count("num_samples", num_samples)
        self.L = count("L", L)
        self.window_size = count("window_size", window_size)
        self.anchor = one_of("anchor", anchor, ANCHORS)
        self.reduce = one_of("reduce", reduce, ("mean", "max"))
        self.normalize = one_of("normalize", normalize, ("all", "visible"))
        self.share_masks, self.share_draws = bool(share_masks), bool(share_draws)
        self._bounds = (Wt_min, Wt_max), (Wd_min, Wd_max)
        resolve("block", *self._bounds)  # the bounds are checked even where another family ignores them
        self.masks = self._family(masks)
        if self.masks.per_cell and self.share_masks:
            raise ValueError(f"masks={type(self.masks).__name__} belong to a target cell each: pass share_masks=False")

    def explain(
        self,
        X: Tensor,
        *,
        target: Any = None,
        lengths: Any = None,
        observed: Tensor | None = None,
        ids: Any = None,
        masks: Tensor | None = None,
        counterfactuals: Tensor | None = None,
        checkpoint: str | None = None,
        show_progress: bool = False,
        tolerance: float | None = None,
        max_rows: int | None = None,
    ) -> Attribution:
        """Scores (B, D, T) in X's layout, with the standard error over masks, cost and settings.

        * ``target``: class (int or (B,)) for metric ``diff``; default: the predicted class at the last step.
        * ``lengths`` (B,): series b ends before step lengths[b]; ``observed`` (bool, like X): False where a value is
          missing (X may be NaN there). Such cells are never replaced, never counted, and score 0.
        * ``ids`` (B,): what draws are keyed by, default 0 … B-1: X[3:4] with ids=[3] gives row 3 of X.
        * ``masks`` (L, D, T) bool and ``counterfactuals`` (S, B, D, T): exactly these instead of sampled ones.
        * ``checkpoint``: a folder; a run that was killed goes on from there and gives the same bits.
        * ``tolerance``: go on in rounds of L masks until the largest standard error, relative to the largest score, is
          below it, or ``max_rows`` rows were asked.

        Raises ValueError or TypeError for what does not fit, PredictionError when the model's answer is unusable.
        """
        watch = Stopwatch()
        call = self._call(X, target, lengths, observed, ids, masks, counterfactuals)
        if tolerance is not None:
            if not tolerance > 0:
                raise ValueError(f"tolerance must be positive, got {tolerance}")
            if call.family.sized:
                raise ValueError("tolerance adds masks, but these masks are given: there are no more to add")
        if max_rows is not None:
            count("max_rows", max_rows)
        saved = Checkpoint.open(checkpoint, lambda: call.identity(self, tolerance, max_rows))
        bar: Any = tqdm(
            total=call.cost(self).row_steps, unit="row-step", unit_scale=True, disable=not show_progress, leave=False
        )
        try:
            values = torch.zeros(call.batch.x.shape, dtype=torch.float64, device=call.batch.x.device)
            errors: Tensor | None = torch.zeros_like(values)
            rows = row_steps = 0
            mode = ""
            for places, sample in call.batch.by_length():
                game = call.game(self, sample, places, progress=bar)
                scores = call.scores(self, game, places)
                mode = game.mode
                self._fill(
                    game,
                    scores,
                    call.family,
                    tolerance,
                    max_rows,
                    saved.part(scores, int(game.sample.length or game.rule.T)),
                )
                here = places.to(values.device)
                width = game.rule.T
                values[here, :, :width] = scores.values()
                error = scores.stderr()
                if error is None or errors is None:
                    errors = None
                else:
                    errors[here, :, :width] = error
                rows += game.runner.rows
                row_steps += game.runner.row_steps
        finally:
            bar.close()
            saved.close()
        batch = call.batch
        return Attribution(
            values=batch.restore(values),
            stderr=None if errors is None else batch.restore(errors),
            rows=rows,
            row_steps=row_steps,
            seconds=watch.seconds,
            settings=self.settings(call),
            seed=self.seed,
            mode=mode,
            lengths=batch.lengths,
            ids=batch.ids,
        )

    def cost(
        self,
        X: Tensor,
        *,
        lengths: Any = None,
        observed: Tensor | None = None,
        ids: Any = None,
        masks: Tensor | None = None,
        counterfactuals: Tensor | None = None,
    ) -> Cost:
        """Rows, row-steps, the engine's memory bound in bytes and the mode of ``attribute(X)``; the model is not asked.

        Under ``evaluation="auto"`` the mode is the strongest one that the model claims, marked "unconfirmed".
        """
        cost = self._call(X, None, lengths, observed, ids, masks, counterfactuals, quiet=True).cost(self)
        unconfirmed = self.evaluation == "auto" and cost.mode in ("causal", "stateful")
        return Cost(cost.rows, cost.row_steps, cost.bytes, cost.mode + (" (unconfirmed)" if unconfirmed else ""))

    def settings(self, call: _Call | None = None) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values."""
        family = self.masks if call is None else call.family
        strategy = self.counterfactuals if call is None else call.strategy
        return {
            **super().settings(),
            "counterfactuals": strategy.describe(),
            "num_samples": self.num_samples if call is None else call.draws,
            "L": self.L,
            "window_size": self.window_size,
            "anchor": self.anchor,
            "reduce": self.reduce,
            "normalize": self.normalize,
            "masks": family.describe(),
            "share_masks": self.share_masks,
            "share_draws": self.share_draws,
        }

    # -- how a call is carried out --------------------------------------------------------------------------------

    def _family(self, masks: str | Tensor | Family) -> Family:
        if isinstance(masks, Tensor) and self.layout == "BTD":
            masks = masks.transpose(-1, -2)
        return resolve(masks, *self._bounds)

    def _call(
        self,
        X: Tensor,
        target: Any,
        lengths: Any,
        observed: Any,
        ids: Any,
        masks: Tensor | None,
        counterfactuals: Tensor | None,
        quiet: bool = False,
    ) -> _Call:
        batch = Batch.read(X, self.predictor, self.layout, target=target, lengths=lengths, observed=observed, ids=ids)
        family = self.masks if masks is None else self._family(masks)
        strategy = self.counterfactuals if counterfactuals is None else self._strategy(counterfactuals)
        B, D, T = batch.x.shape
        strategy.check(D, T)
        draws = self.num_samples
        if isinstance(strategy, Replay):
            draws = len(strategy.values)
            if strategy.values.shape[1:] != (B, D, T):
                raise ValueError(
                    f"counterfactuals must be (S, {B}, {D}, {T}) for this X, got {tuple(strategy.values.shape)}"
                )
        elif strategy.single and draws > 1:
            draws = 1
            if not quiet:
                warnings.warn(
                    f"num_samples={self.num_samples}, but {type(strategy).__name__} counterfactuals have one value: "
                    "one draw is asked",
                    UserWarning,
                    stacklevel=4,
                )
        if isinstance(family, Explicit) and family.masks.shape[1:] != (D, T):
            raise ValueError(f"masks must be (L, {D}, {T}) for this X, got {tuple(family.masks.shape)}")
        if family.sized and self.L != 20:
            raise ValueError(f"L={self.L} does not apply: the masks given say themselves how many they are")
        fresh = not self.share_draws and not isinstance(strategy, Replay) and not strategy.single
        return _Call(batch, family, strategy, draws, fresh)

    def _fill(
        self, game: Game, scores: FlipScores, family: Family, tolerance: float | None, max_rows: int | None, saved: Any
    ) -> None:
        """Ask rounds of L masks until the answer is precise enough; without a tolerance, one round."""
        asked = 0
        for number in range(1 << 31):
            question = self._question(game, family, asked)
            asked += self.L
            game.reduce(question, scores, added=saved.added(number), done=saved.done(number, game.runner))
            if tolerance is None:
                return
            error = scores.stderr()
            if error is not None:
                largest = game.to_host(torch.stack((error.max(), scores.values().abs().max())))
                if float(largest[0]) <= tolerance * float(largest[1]):
                    return
            if max_rows is not None and game.runner.rows >= max_rows:
                return

    def _question(self, game: Game, family: Family, first: int) -> Flips:
        D, T = game.sample.x.shape[1:]
        T = T if game.sample.length is None else game.sample.length
        owners = None if self.share_masks else torch.arange(D * T, dtype=torch.int32)
        masks: MaskSet = family.sample(self.L, D, T, seed=self.seed, first=first, owners=owners, device=game.device)
        fresh = (
            not self.share_draws and not isinstance(game.counterfactuals, Replay) and not game.counterfactuals.single
        )
        return Flips(masks, number=first if owners is None else first * D * T, fresh_draws=fresh)


class _Call:
    """One call's data and choices."""

    def __init__(self, batch: Batch, family: Family, strategy: Counterfactual, draws: int, fresh: bool) -> None:
        self.batch, self.family, self.strategy, self.draws, self.fresh = batch, family, strategy, draws, fresh

    def game(
        self,
        method: RaMbIT,
        sample: TensorSample,
        places: Tensor,
        *,
        progress: Progress | None = None,
        dry: bool = False,
    ) -> Game:
        strategy = self.strategy
        if isinstance(strategy, Replay):
            strategy = Replay(strategy.values[:, places])
        return Game(
            method.predictor,
            sample,
            strategy,
            anchor=method.anchor,
            window_size=method.window_size,
            draws=self.draws,
            evaluation=method.evaluation,
            batch_size=method.batch_size,
            max_memory=method.max_memory,
            seed=method.seed,
            progress=progress,
            dry=dry,
        )

    def scores(self, method: RaMbIT, game: Game, places: Tensor) -> FlipScores:
        metric = METRICS[method.metric]
        target = torch.zeros(len(places), dtype=torch.int64, device=game.device)
        if method.metric == "diff" and not game.runner.dry:
            answers = game.predict()
            classes = answers.shape[1]
            if self.batch.target is not None:
                target = self.batch.target[places].to(game.device)
                if int(target.max()) >= classes:
                    raise ValueError(
                        f"target must be below {classes}, the number of the model's outputs, got {int(target.max())}"
                    )
            elif method.predictor.output == "regression":
                if classes > 1:
                    raise ValueError(f"target is needed: metric='diff' and the model has {classes} regression outputs")
            else:
                target = answers.argmax(dim=1)
        B, D, T = game.sample.x.shape
        return FlipScores(
            (B, D, T),
            metric,
            ops.Reduce.MAX if method.reduce == "max" else ops.Reduce.MEAN,
            method.normalize,
            target,
            game.device,
        )

    def cost(self, method: RaMbIT) -> Cost:
        total: Cost | None = None
        for places, sample in self.batch.by_length():
            game = self.game(method, sample, places, dry=True)
            part = game.cost(method._question(game, self.family, 0), self.scores(method, game, places))
            total = part if total is None else total + part
        assert total is not None
        return total

    def identity(self, method: RaMbIT, tolerance: float | None, max_rows: int | None) -> dict[str, Any]:
        """What a resumed run must find unchanged."""
        batch = self.batch
        return {
            "settings": {
                **method.settings(self),
                "seed": method.seed,
                "tolerance": tolerance,
                "max_rows": max_rows,
                "evaluation": method.evaluation,
                "batch_size": method.batch_size,
                "max_memory": method.max_memory,
            },
            "data": {name: getattr(batch, name) for name in ("x", "ids", "lengths", "observed", "target")},
            "masks": self.family.masks if isinstance(self.family, Explicit) else None,
            "values": self.strategy.tensors(),
            "model": method.predictor.fingerprint(),
        }  # fmt: skip
