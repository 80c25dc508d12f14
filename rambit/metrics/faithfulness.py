"""Scores judged by the model itself: cells are removed in the order of their scores and a game is asked again.

Every function takes a `Game` over B series and scores, numpy or tensor, of the shape (B, D, T) of its ``sample.x``.
What replaces a removed cell is the game's counterfactuals: ``Zero()``, ``Mean()``, ``CarryForward()`` or any other;
answers to several draws are averaged. Missing cells are neither replaced nor counted. Cells go in the order of their
scores, the earlier (feature, time) first among equals, so constant scores remove from the front; scores with a sign
that does not matter are passed as their absolute values.

``k``: how much is removed, a count (int, 1 up to the number of cells) or a fraction (float, above 0 up to 1, rounded
down to whole cells). ``per="series"`` takes the top k of each series, ``"all"`` the top k of all series together.

``extent``: how far a removal reaches. ``cell``: the cell alone. ``end``: from there to the end of its feature.
``std``: until the value first differs from the cell's by more than its feature's standard deviation over time. With
``CarryForward()`` the last two are WinIT's removals (Leung et al., 2023). Such runs start after t = 0; a cell that an
earlier run has removed starts none. A count counts runs, a fraction the cells that are gone through.

``target``: the class whose probability p_c is followed, one for all series or (B,); None: the predicted class of each.

Errors: ValueError or TypeError naming the argument; a dry game, and a regression where classes are needed, are errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.game import Coalitions, Game
from rambit.metrics.truth import Array, auroc, read_numbers

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

PER = ("series", "all")
EXTENTS = ("cell", "end", "std")
#: Probabilities below this count as this in logarithms.
TINY = 1e-12


# -- the top k removed at once -----------------------------------------------------------------------------------------


def comprehensiveness(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: str = "series",
    extent: str = "cell",
) -> float:
    """Mean over series of p_c(x) - p_c(x without its top k), in [-1, 1]; high means that what scores high is needed.

    Source: ERASER (DeYoung et al., 2020); k as in time_interpret, ⌊k · cells⌋.
    """
    before, after = _without_top(game, scores, k, target, per, extent)
    return _number(game, (before - after).mean())


def sufficiency(
    game: Game, scores: Array, k: float = 0.2, *, target: int | Array | None = None, per: str = "series"
) -> float:
    """Mean over series of p_c(x) - p_c(only its top k kept), in [-1, 1]; low means that what scores high is enough.

    A fraction removes the lowest ⌊(1 - k) · cells⌋, as in time_interpret. Source: ERASER (DeYoung et al., 2020).
    """
    removal = _Removal.of(game, scores, k, per, "cell", keep=True)
    before, classes = _predicted(game, target)
    after = _of_class(removal.answers(keep_top=True), classes)
    return _number(game, (before - after).mean())


def accuracy_at(game: Game, scores: Array, labels: Array, k: int) -> float:
    """The share of series that get their class of ``labels`` (B,) from their k best timestamps alone, in [0, 1].

    A timestamp scores the sum of its cells, the earlier first among equals; k is 1 up to T. The class is the one of
    the highest mean probability over draws. High is better: what scores high is enough.
    """
    values = _numbers(game, scores)
    _check_classes(game)
    if game.runner.dry:
        raise ValueError("game must not be dry: it counts rows and asks the model nothing")
    B, D, T = values.shape
    if not _is_int(k):
        raise TypeError(f"k must be a count (int), got {type(k).__name__}")
    if not 1 <= k <= T:
        raise ValueError(f"k must be between 1 and the number of timestamps, {T}, got {k}")
    y = _classes(labels, "labels", B)
    order = np.argsort(-values.sum(axis=1), axis=1, kind="stable")[:, :k]
    masks = np.zeros((1, B, T), dtype=bool)
    np.put_along_axis(masks[0], order, True, axis=1)
    answers = next(game.ask(Coalitions(torch.from_numpy(masks), torch.arange(T).repeat(D))))[0].double()
    _check_range(y, "labels", answers.shape[2])
    found = game.to_host(answers.mean(dim=0).argmax(dim=1)).numpy()
    return float((found == y).mean())


def log_odds(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: str = "series",
    extent: str = "cell",
) -> float:
    """Mean over series of ln p_c(x without its top k) - ln p_c(x), p at least 1e-12; low (negative) is better.

    Source: Shrikumar et al. (2017), as in time_interpret.
    """
    before, after = _without_top(game, scores, k, target, per, extent)
    return _number(game, (after.clamp(min=TINY).log() - before.clamp(min=TINY).log()).mean())


def average_prediction_difference(
    game: Game,
    scores: Array,
    k: float = 0.2,
    *,
    target: int | Array | None = None,
    per: str = "series",
    extent: str = "cell",
) -> float:
    """Mean over series of |p_c(x) - p_c(x without its top k)|, in [0, 1]; high is better.

    With two classes either gives the same. A regression's values are compared, summed over outputs (no ``target``).
    Source: WinIT (Leung et al., 2023).
    """
    if game.predictor.output != "regression":
        before, after = _without_top(game, scores, k, target, per, extent)
        return _number(game, (before - after).abs().mean())
    if target is not None:
        raise ValueError("target must be None for a regression")
    removal = _Removal.of(game, scores, k, per, extent)
    return _number(game, (game.predict().double() - removal.answers()).abs().sum(-1).mean())


def auc_drop(
    game: Game, scores: Array, labels: Array, k: float = 0.2, *, per: str = "series", extent: str = "cell"
) -> float:
    """The task's AUROC before minus after the top k are removed, in [-1, 1]; high is better.

    ``labels`` (B,): the classes, as places in the model's answers. (A model with one output p answers (p, 1 - p): the
    series that p means are class 0.) The AUROC is that of each class against the rest, averaged over the classes that
    occur; there must be two of them. Source: FIT (Tonekaboni et al., 2020) and WinIT (Leung et al., 2023).
    """
    removal = _Removal.of(game, scores, k, per, extent)
    _check_classes(game)
    y = _classes(labels, "labels", len(game.sample))
    if len(np.unique(y)) < 2:
        raise ValueError("labels must hold at least two classes: AUROC compares them")
    original = game.predict().double()
    _check_range(y, "labels", original.shape[1])
    before, after = (game.to_host(p).numpy() for p in (original, removal.answers().mean(0)))
    return _task_auroc(before, y) - _task_auroc(after, y)


# -- one after another -------------------------------------------------------------------------------------------------


def cpd(game: Game, scores: Array, k: float = 0.2, *, per: str = "series", extent: str = "cell") -> float:
    """Cumulative prediction difference: Σ_j ‖f(x_j) - f(x_{j-1})‖₁ while the top k go one by one, mean over series.

    x_j is the series without its j highest cells, f all probabilities (or regression values); from 0, high is better.
    Steps in both directions add up, so that opposite effects do not cancel. Costs one row a removal, series and draw.
    Source: TIMING (Jang et al., 2025).
    """
    return _cumulative(game, _numbers(game, scores), k, per, extent)


def cpp(game: Game, scores: Array, k: float = 0.2, *, per: str = "series", extent: str = "cell") -> float:
    """Cumulative prediction preservation: as `cpd`, but the lowest scores go first; low is better."""
    return _cumulative(game, -_numbers(game, scores), k, per, extent)


def deletion_auc(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> float:
    """Area under p_c over the share of cells removed, 0 to 1, highest scores first; mean over series; low is better.

    Trapezoids over ``steps`` equal shares (None: one cell at a time); in [0, 1]. Source: RISE (Petsiuk et al., 2018).
    """
    return _curve(game, scores, steps, target, insertion=False)


def insertion_auc(game: Game, scores: Array, *, steps: int | None = None, target: int | Array | None = None) -> float:
    """Area under p_c over the share of cells kept, 0 to 1, highest scores first; mean over series; high is better.

    Otherwise as `deletion_auc`.
    """
    return _curve(game, scores, steps, target, insertion=True)


# -- the order of removal ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Removal:
    """In which order the cells go.

    ``step`` (B, cells): how many removals of its own series a cell outlasts. ``limit`` (B,): how many are asked for.
    """

    game: Game
    step: Tensor
    limit: Int

    @staticmethod
    def of(game: Game, scores: Array, k: float | None, per: str, extent: str, *, keep: bool = False) -> _Removal:
        """k None: all cells. ``keep``: k is what stays, so a fraction is rounded up."""
        values = _numbers(game, scores)
        for name, given, allowed in (("per", per, PER), ("extent", extent, EXTENTS)):
            if given not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {given!r}")
        if game.runner.dry:
            raise ValueError("game must not be dry: it counts rows and asks the model nothing")
        B, D, T = values.shape
        seen = game.sample.observed
        may = np.ones((B, D, T), dtype=bool) if seen is None else game.to_host(seen).numpy().copy()
        observed = may.copy()
        if extent != "cell":
            may[:, :, 0] = False  # nothing stands before it that could be carried forward
        flat, may = values.reshape(B, -1), may.reshape(B, -1)
        cells = may.sum(axis=1)
        size = cells if per == "series" else np.asarray(cells.sum())
        wanted = size if k is None else _amount(k, size, keep)
        order = np.argsort(np.where(may, -flat, np.inf), axis=1, kind="stable")
        if extent == "cell":
            step, starts = np.empty_like(order), may
            np.put_along_axis(step, order, np.broadcast_to(np.arange(D * T), order.shape), axis=1)
        else:
            series = game.to_host(game.sample.x).double().numpy()
            step, starts = _runs(series, observed, order, may, extent)
        limit = _limits(flat, order, starts, starts if _is_int(k) else may, wanted, per)
        if not limit.any():
            raise ValueError(f"k={k} of {int(np.max(size))} cells is none of them")
        return _Removal(game, torch.from_numpy(step.astype(np.int32)).to(game.device), limit)

    def ask(self, removed: Int, *, keep_top: bool = False) -> Iterator[Tensor]:
        """Answers (n, S, B, C) without the first ``removed`` (J, B) cells of each series, or with those alone."""
        cells = self.step.numel()
        size = max(1, self.game.max_memory // 4 // cells)  # a question's masks stay within the game's memory
        for begin in range(0, len(removed), size):
            reached = torch.from_numpy(removed[begin : begin + size, :, None].astype(np.int32)).to(self.step.device)
            masks = self.step < reached if keep_top else self.step >= reached
            for answers in self.game.ask(Coalitions(masks)):
                yield answers.double()

    def answers(self, *, keep_top: bool = False) -> Tensor:
        """Answers (S, B, C) after all removals that are asked for."""
        return next(self.ask(self.limit[None], keep_top=keep_top))[0]


def _runs(x: Float, observed: Bool, order: Int, may: Bool, extent: str) -> tuple[Int, Bool]:
    """With which run of its series each cell (B, cells) goes, and which cells start one.

    All series walk down their ranking together.
    """
    B, D, T = x.shape
    step = np.full((B, D, T), D * T)
    starts, number = np.zeros_like(may), np.zeros(B, dtype=np.int64)
    series, time = np.arange(B), np.arange(T)
    known = np.where(observed, x, np.nan)
    far = _deviation(x, observed)
    for i in range(D * T):
        cell = order[:, i]
        d, t = cell // T, cell % T
        begins = may[series, cell] & (step[series, d, t] == D * T)
        run = time >= t[:, None]
        if extent == "std":
            line = known[series, d]
            with np.errstate(invalid="ignore"):
                left = run & (np.abs(line - line[series, t][:, None]) > far[series, d][:, None])
            run &= ~np.logical_or.accumulate(left, axis=1)
        goes = begins[:, None] & run & (step[series, d] == D * T)
        step[series, d] = np.where(goes, number[:, None], step[series, d])
        starts[series, cell] |= begins
        number += begins
    return step.reshape(B, -1), starts


def _deviation(x: Float, observed: Bool) -> Float:
    """Standard deviation over time of each feature, (B, D), from what is observed."""
    count = np.maximum(observed.sum(axis=2, keepdims=True), 1)
    mean = np.where(observed, x, 0).sum(axis=2, keepdims=True) / count
    squares = np.where(observed, x - mean, 0) ** 2
    return np.asarray(np.sqrt(squares.sum(axis=2) / count[:, :, 0]))


def _is_int(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _amount(k: float, size: Int, keep: bool) -> Int:
    """How many of ``size`` cells k means."""
    if not _is_int(k) and not isinstance(k, (float, np.floating)):
        raise TypeError(f"k must be a count (int) or a fraction (float), got {type(k).__name__}")
    if _is_int(k):
        if not 1 <= k <= np.max(size):
            raise ValueError(f"k must be between 1 and the number of cells, {int(np.max(size))}, got {k}")
        return np.full_like(size, k)
    if not 0 < k <= 1:
        raise ValueError(f"k must be a fraction above 0 and up to 1 (or a count, as int), got {k}")
    rounding = 1e-9  # 0.29 of 100 is 29, though 0.29 * 100 is a little less
    floor = np.floor((1 - k if keep else k) * size + rounding).astype(np.int64)
    return np.asarray(size - floor if keep else floor)


def _limits(scores: Float, order: Int, starts: Bool, counted: Bool, wanted: Int, per: str) -> Int:
    """How many of each series' starts are among the first ``wanted`` counted cells, its own or those of all series."""
    chosen = np.zeros_like(counted)
    if per == "series":
        first = np.cumsum(np.take_along_axis(counted, order, axis=1), axis=1) <= wanted[:, None]
        np.put_along_axis(chosen, order, first, axis=1)
    else:
        where = np.flatnonzero(counted)
        best = np.argsort(-scores.ravel()[where], kind="stable")[: int(wanted)]
        chosen.ravel()[where[best]] = True
    return np.asarray((chosen & starts).sum(axis=1))


# -- asking ------------------------------------------------------------------------------------------------------------


def _without_top(
    game: Game, scores: Array, k: float, target: int | Array | None, per: str, extent: str
) -> tuple[Tensor, Tensor]:
    """p_c before, (B,), and after the removal, (S, B)."""
    removal = _Removal.of(game, scores, k, per, extent)
    before, classes = _predicted(game, target)
    return before, _of_class(removal.answers(), classes)


def _cumulative(game: Game, values: Float, k: float, per: str, extent: str) -> float:
    removal = _Removal.of(game, values, k, per, extent)
    removed = np.minimum(np.arange(1, removal.limit.max() + 1)[:, None], removal.limit)
    moved = torch.from_numpy(np.diff(removed, axis=0, prepend=0) > 0).to(game.device)
    last = game.predict().double().expand(1, game.draws, len(game.sample), -1)
    total, begin = torch.zeros((), dtype=torch.float64, device=game.device), 0
    for answers in removal.ask(removed):
        change = torch.cat((last, answers)).diff(dim=0).abs().sum(-1)
        total = total + (change * moved[begin : begin + len(answers), None]).sum()
        last, begin = answers[-1:], begin + len(answers)
    return _number(game, total) / (game.draws * len(game.sample))


def _curve(game: Game, scores: Array, steps: int | None, target: int | Array | None, *, insertion: bool) -> float:
    removal = _Removal.of(game, scores, None, "series", "cell")
    most = int(removal.limit.max())
    if steps is not None and not _is_int(steps):
        raise TypeError(f"steps must be an int, got {type(steps).__name__}")
    if steps is not None and not 1 <= steps <= most:
        raise ValueError(f"steps must be between 1 and the number of cells, {most}, got {steps}")
    count = most if steps is None else steps
    _, classes = _predicted(game, target)
    removed = np.arange(count + 1)[:, None] * removal.limit // count
    weight = torch.full((count + 1,), 1 / count, dtype=torch.float64, device=game.device)
    weight[0] = weight[-1] = 0.5 / count
    total, begin = torch.zeros((), dtype=torch.float64, device=game.device), 0
    for answers in removal.ask(removed, keep_top=insertion):
        means = _of_class(answers, classes).flatten(1).mean(1)
        total = total + (means * weight[begin : begin + len(means)]).sum()
        begin += len(means)
    return _number(game, total)


def _predicted(game: Game, target: int | Array | None) -> tuple[Tensor, Tensor]:
    """p_c (B,) of the original series, and c (B,)."""
    _check_classes(game)
    given = None
    if target is not None:
        each = np.full(len(game.sample), target) if _is_int(target) else target
        given = _classes(each, "target", len(game.sample))
    p = game.predict().double()
    if given is None:
        classes = p.argmax(dim=1)
    else:
        _check_range(given, "target", p.shape[1])
        classes = torch.from_numpy(given).to(p.device)
    return _of_class(p, classes), classes


def _of_class(p: Tensor, classes: Tensor) -> Tensor:
    """p_c (..., B) of answers (..., B, C)."""
    return p.gather(-1, classes.expand(p.shape[:-1])[..., None])[..., 0]


def _number(game: Game, value: Tensor) -> float:
    return float(game.to_host(value))


def _classes(value: Array, name: str, B: int) -> Int:
    given = read_numbers(value, name)
    if given.shape != (B,):
        raise ValueError(f"{name} must hold one class for each of {B} series, got shape {given.shape}")
    if (given != np.floor(given)).any():
        raise ValueError(f"{name} must be classes, whole numbers from 0 on")
    return given.astype(np.int64)


def _check_range(classes: Int, name: str, C: int) -> None:
    if classes.min() < 0 or classes.max() >= C:
        raise ValueError(f"{name} must be classes 0 to {C - 1}, got {classes.min()} to {classes.max()}")


def _check_classes(game: Game) -> None:
    if game.predictor.output == "regression":
        raise ValueError("game must ask a classifier: a regression has no class probabilities")


def _task_auroc(p: Float, labels: Int) -> float:
    present = np.unique(labels)
    return float(np.mean([auroc(p[:, [c]], (labels == c)[:, None]) for c in present]))


def _numbers(game: Game, scores: Array) -> Float:
    values = read_numbers(game.to_host(scores) if isinstance(scores, Tensor) else scores, "scores")
    shape = tuple(game.sample.x.shape)
    if values.shape != shape:
        raise ValueError(f"scores must have the shape (B, D, T) = {shape} of the game's series, got {values.shape}")
    return values
