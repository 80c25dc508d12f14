"""Scores judged by the model itself: cells are removed in the order of their scores and a game is evaluated again.

Every function takes a `Game` over B series and scores, numpy or tensor, of the shape (B, D, T) of its ``sample.x``.
What replaces a removed cell is the game's counterfactuals: ``Zero()``, ``Mean()``, ``CarryForward()`` or any other;
outputs for several draws are averaged. Missing cells are neither replaced nor counted. Cells go in the order of their
scores, the earlier (feature, time) first among equals, so constant scores remove from the front; scores with a sign
that does not matter are passed as their absolute values.

``k``: how much is removed, a count (int, 1 up to the number of cells) or a fraction (float, above 0 up to 1, rounded
down to whole cells). ``per="series"`` takes the top k of each series, ``"all"`` the top k of all series together.

``extent``: how far a removal reaches. ``cell``: the cell alone. ``end``: from there to the end of its feature.
``std``: until the value first differs from the cell's by more than its feature's standard deviation over time. With
``CarryForward()`` the last two are WinIT's removals (Leung et al., 2023). Such runs start after t = 0; a cell that an
earlier run has removed starts none. A count counts runs, a fraction the cells that are gone through.

``target``: the class whose probability p_c is followed, one for all series or (B,); None: the predicted class of each.

Each is registered in `FAITHFULNESS`, from which ``rambit compare`` takes them. A mean over series is a `SeriesMean`: a
float that also has the number of each series.

Errors: ValueError or TypeError naming the argument; a dry game, and a regression where classes are needed, are errors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from rambit.game import Coalitions, Game
from rambit.metrics.removal import Extent, Float, Int, Per, Removal, is_int, read_scores
from rambit.metrics.truth import Array, auroc, read_numbers
from rambit.registry import Registry

#: Probabilities below this count as this in logarithms.
TINY = 1e-12
#: What the model says of scores, by name: functions of a game and scores, and of those of ``labels`` (B,), ``k`` and
#: ``keep`` (a count of timestamps) that they have as arguments.
FAITHFULNESS: Registry[Callable[..., float]] = Registry("metric")


class SeriesMean(float):
    """A mean over series; ``by_series`` (B,) float64 has the number of each."""

    by_series: Float

    @staticmethod
    def of(values: Float) -> SeriesMean:
        """The mean of values (B,)."""
        mean = SeriesMean(values.mean())
        mean.by_series = values
        return mean


# -- the top k removed at once -----------------------------------------------------------------------------------------


@FAITHFULNESS.register("comprehensiveness")
def comprehensiveness(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: Per = "series",
    extent: Extent = "cell",
) -> float:
    """Mean over series of p_c(x) - p_c(x without its top k), in [-1, 1]; high means that what scores high is needed.

    Source: ERASER (DeYoung et al., 2020); k as in time_interpret, ⌊k · cells⌋.
    """
    before, after = _probabilities(Removal.of(game, scores, k, per, extent), target)
    return _mean(game, before - after)


@FAITHFULNESS.register("sufficiency")
def sufficiency(
    game: Game, scores: Array, k: float = 0.2, *, target: int | Array | None = None, per: Per = "series"
) -> float:
    """Mean over series of p_c(x) - p_c(only its top k kept), in [-1, 1]; low means that what scores high is enough.

    A fraction removes the lowest ⌊(1 - k) · cells⌋, as in time_interpret. Source: ERASER (DeYoung et al., 2020).
    """
    before, after = _probabilities(Removal.of(game, scores, k, per, keep_top=True), target)
    return _mean(game, before - after)


def accuracy_at(game: Game, scores: Array, labels: Array, k: int) -> float:
    """The share of series that get their class of ``labels`` (B,) from their k best timestamps alone, in [0, 1].

    A timestamp scores the sum of its cells, the earlier first among equals; k is 1 up to T. The class is the one of
    the highest mean probability over draws. High is better: what scores high is enough.
    """
    values = read_scores(game, scores)
    y = _labels(game, labels)
    B, D, T = values.shape
    if not is_int(k):
        raise TypeError(f"k must be a count (int), got {type(k).__name__}")
    if not 1 <= k <= T:
        raise ValueError(f"k must be between 1 and the number of timestamps, {T}, got {k}")
    order = np.argsort(-values.sum(axis=1), axis=1, kind="stable")[:, :k]
    masks = np.zeros((1, B, T), dtype=bool)
    np.put_along_axis(masks[0], order, True, axis=1)
    outputs = next(game.evaluate(Coalitions(torch.from_numpy(masks), torch.arange(T).repeat(D))))[0].double()
    _check_range(y, "labels", outputs.shape[2])
    found = game.to_host(game.predictor.predicted(outputs.mean(dim=0))).numpy()
    return SeriesMean.of((found == y).astype(np.float64))


@FAITHFULNESS.register("log_odds")
def log_odds(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: Per = "series",
    extent: Extent = "cell",
) -> float:
    """Mean over series of ln p_c(x without its top k) - ln p_c(x), p at least 1e-12; low (negative) is better.

    Source: Shrikumar et al. (2017), as in time_interpret.
    """
    before, after = _probabilities(Removal.of(game, scores, k, per, extent), target)
    return _mean(game, after.clamp(min=TINY).log() - before.clamp(min=TINY).log())


@FAITHFULNESS.register("average_prediction_difference")
def average_prediction_difference(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: Per = "series",
    extent: Extent = "cell",
) -> float:
    """Mean over series of ``|p_c(x) - p_c(x without its top k)|``, in [0, 1]; high is better.

    With two classes either gives the same. A regression's values are compared, summed over outputs (no ``target``).
    Source: WinIT (Leung et al., 2023).
    """
    removal = Removal.of(game, scores, k, per, extent)
    if game.predictor.output != "regression":
        before, after = _probabilities(removal, target)
        return _mean(game, (before - after).abs())
    if target is not None:
        raise ValueError("target must be None for a regression")
    return _mean(game, (game.predict().double() - removal.outputs()).abs().sum(-1))


@FAITHFULNESS.register("auc_drop")
def auc_drop(
    game: Game, scores: Array, labels: Array, k: float = 0.2, *, per: Per = "series", extent: Extent = "cell"
) -> float:
    """The task's AUROC before minus after the top k are removed, in [-1, 1]; high is better.

    ``labels`` (B,): the classes, as indices of the model's outputs. (One output p stands for (1 - p, p): it
    is the probability of class 1.) The AUROC is that of each class against the rest, averaged over the classes that
    occur; there must be two of them. Source: FIT (Tonekaboni et al., 2020) and WinIT (Leung et al., 2023).
    """
    removal = Removal.of(game, scores, k, per, extent)
    y = _labels(game, labels)
    if len(np.unique(y)) < 2:
        raise ValueError("labels must hold at least two classes: AUROC compares them")
    before = game.predict().double()
    _check_range(y, "labels", before.shape[1])
    return _task_auroc(game, before, y) - _task_auroc(game, removal.outputs().mean(0), y)


@FAITHFULNESS.register("masked_count")
def masked_count(game: Game, scores: Array, k: float = 0.2, *, per: Per = "series", extent: Extent = "cell") -> float:
    """How many cells of a series are gone when the top k are, on average; of equal effects the fewer cells the better.

    The model is not evaluated. With ``extent="cell"`` and ``per="series"`` it is k. Source: WinIT (Leung et al., 2023).
    """
    removal = Removal.of(game, scores, k, per, extent)
    gone = removal.step < torch.from_numpy(removal.limit).to(removal.step.device)[:, None]
    if game.sample.observed is not None:
        gone = gone & game.sample.observed.flatten(1)
    return _mean(game, gone.sum(dim=1).double())


# -- one after another -------------------------------------------------------------------------------------------------


@FAITHFULNESS.register("cpd")
def cpd(game: Game, scores: Array, k: float = 0.2, *, per: Per = "series", extent: Extent = "cell") -> float:
    """Cumulative prediction difference: Σ_j ‖f(x_j) - f(x_{j-1})‖₁ while the top k go one by one, mean over series.

    x_j is the series without its j highest cells, f all probabilities (or regression values); from 0, high is better.
    Steps in both directions add up, so that opposite effects do not cancel. Costs one row a removal, series and draw.
    Source: TIMING (Jang et al., 2025).
    """
    return _cumulative(game, scores, k, per, extent)


@FAITHFULNESS.register("cpp")
def cpp(game: Game, scores: Array, k: float = 0.2, *, per: Per = "series", extent: Extent = "cell") -> float:
    """Cumulative prediction preservation: as `cpd`, but the lowest scores go first; low is better."""
    return _cumulative(game, -read_scores(game, scores), k, per, extent)


@FAITHFULNESS.register("deletion_auc")
def deletion_auc(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> float:
    """Area under p_c over the share of cells removed, 0 to 1, highest scores first; mean over series; low is better.

    Trapezoids over ``steps`` equal shares (None: one cell at a time); in [0, 1]. Source: RISE (Petsiuk et al., 2018).
    """
    return _area(game, _curve(game, scores, steps, target, insertion=False))


@FAITHFULNESS.register("insertion_auc")
def insertion_auc(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> float:
    """Area under p_c over the share of cells kept, 0 to 1, highest scores first; mean over series; high is better.

    Otherwise as `deletion_auc`.
    """
    return _area(game, _curve(game, scores, steps, target, insertion=True))


def deletion_curve(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> Float:
    """Mean p_c over series with 0, 1 … ``steps`` equal shares of the cells removed, (steps + 1,), as `deletion_auc`."""
    return _curve(game, scores, steps, target, insertion=False).mean(dim=1).cpu().numpy()


def insertion_curve(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> Float:
    """Mean p_c over series with 0, 1 … ``steps`` equal shares of the cells alone kept, as `insertion_auc`."""
    return _curve(game, scores, steps, target, insertion=True).mean(dim=1).cpu().numpy()


# -- evaluating ------------------------------------------------------------------------------------------------------


def _probabilities(removal: Removal, target: int | Array | None) -> tuple[Tensor, Tensor]:
    """p_c before, (B,), and after the removal, (S, B)."""
    before, classes = _predicted(removal.game, target)
    return before, _of_class(removal.outputs(), classes)


def _cumulative(game: Game, scores: Array, k: float, per: Per, extent: Extent) -> float:
    removal = Removal.of(game, scores, k, per, extent)
    removed = np.minimum(np.arange(1, removal.limit.max() + 1)[:, None], removal.limit)
    moved = torch.from_numpy(np.diff(removed, axis=0, prepend=0) > 0).to(game.device)
    last = game.predict().double().expand(1, game.draws, len(game.sample), -1)
    total = torch.zeros(last.shape[1:3], dtype=torch.float64, device=game.device)
    for steps, outputs in removal.evaluate(removed):
        change = torch.cat((last, outputs)).diff(dim=0).abs().sum(-1)
        total = total + (change * moved[steps, None]).sum(dim=0)
        last = outputs[-1:]
    return _mean(game, total)


def _area(game: Game, points: Tensor) -> float:
    """Trapezoids under points (J, B) at equal distances from 0 to 1."""
    return _mean(game, torch.trapezoid(points, dx=1 / (len(points) - 1), dim=0))


def _curve(game: Game, scores: Array, steps: int | None, target: int | Array | None, *, insertion: bool) -> Tensor:
    """p_c (J, B), its mean over draws, with 0 … J - 1 of J - 1 equal shares removed, or alone kept."""
    removal = Removal.of(game, scores, keep_top=insertion)
    most = int(removal.limit.max())
    if steps is not None and not is_int(steps):
        raise TypeError(f"steps must be an int, got {type(steps).__name__}")
    if steps is not None and not 1 <= steps <= most:
        raise ValueError(f"steps must be between 1 and the number of cells, {most}, got {steps}")
    count = most if steps is None else steps
    _, classes = _predicted(game, target)
    removed = np.arange(count + 1)[:, None] * removal.limit // count
    return torch.cat([_of_class(outputs, classes).mean(1) for _, outputs in removal.evaluate(removed)])


def _predicted(game: Game, target: int | Array | None) -> tuple[Tensor, Tensor]:
    """p_c (B,) of the original series, and c (B,)."""
    _check_classifier(game)
    given = None
    if target is not None:
        B = len(game.sample)
        given = _classes(np.full(B, target) if is_int(target) else target, "target", B)
    p = game.predict().double()
    if given is None:
        classes = game.predictor.predicted(p)
    else:
        _check_range(given, "target", p.shape[1])
        classes = torch.from_numpy(given).to(p.device)
    return _of_class(p, classes), classes


def _of_class(p: Tensor, classes: Tensor) -> Tensor:
    """p_c (..., B) of outputs (..., B, C)."""
    return p.gather(-1, classes.expand(p.shape[:-1])[..., None])[..., 0]


def _mean(game: Game, values: Tensor) -> SeriesMean:
    """Over draws and series of values (S, B) or (B,)."""
    return SeriesMean.of(game.to_host(values.reshape(-1, len(game.sample)).mean(dim=0)).numpy())


def _task_auroc(game: Game, p: Tensor, labels: Int) -> float:
    """AUROC of each class that occurs against the rest by p (B, C), their mean."""
    host = game.to_host(p).numpy()
    return float(np.mean([auroc(host[:, [c]], (labels == c)[:, None]) for c in np.unique(labels)]))


# -- classes -----------------------------------------------------------------------------------------------------------


def _labels(game: Game, labels: Array) -> Int:
    """The class of each series."""
    _check_classifier(game)
    return _classes(labels, "labels", len(game.sample))


def _classes(value: Array, name: str, B: int) -> Int:
    given = read_numbers(value, name)
    if given.shape != (B,):
        raise ValueError(f"{name} must hold one class for each of {B} series, got shape {given.shape}")
    if (given != np.floor(given)).any():
        raise ValueError(f"{name} must be classes, whole numbers from 0 on")
    return given.astype(np.int64)


def _check_range(classes: Int, name: str, C: int) -> None:
    if classes.min() < 0 or classes.max() >= C:
        first = int(np.argmax((classes < 0) | (classes >= C)))
        raise ValueError(
            f"{name} must be classes 0 to {C - 1}, got {classes.min()} to {classes.max()}: {classes[first]} for series "
            f"{first}"
        )


def _check_classifier(game: Game) -> None:
    if game.predictor.output == "regression":
        raise ValueError("game must evaluate a classifier: a regression has no class probabilities")
