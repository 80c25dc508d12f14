"""Scores against known salient cells: arrays in, a float out.

``scores`` are numpy arrays or tensors (N, D, T), or of any shape with the series first and time last; ``truth`` has
their shape and is boolean (or 0 and 1), True = salient. Everything is computed in float64. Scores that are NaN or
infinite, other shapes, and a truth without a salient cell raise ValueError.

AUPRC, AUROC, the ranks and the IoU depend on the order of the scores alone. AUP, AUR, information and entropy change
when the scores are rescaled, so report the former first:

>>> a, truth = np.array([[0.1, 0.2, 0.3, 0.6, 0.8]]), np.array([[0, 0, 0, 1, 1]])
>>> [f"{auprc(a**p, truth):.2f} {aup(a**p, truth):.2f}" for p in (1, 4, 0.25)]
['1.00 0.79', '1.00 0.94', '1.00 0.71']
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata
from torch import Tensor

from rambit import arrays
from rambit.registry import Registry

Float = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]
Array = Tensor | npt.ArrayLike

#: Keeps the scaling and the logarithms finite; the value that Dynamask and time_interpret use.
EPSILON = 1e-5
Ties = Literal["average", "min"]
TIES: tuple[Ties, ...] = get_args(Ties)
#: How well scores find known cells, by name: functions of scores and truth. ``rambit compare`` has a column for each.
MEASURES: Registry[Callable[..., float]] = Registry("measure")


# -- from the order of the scores --------------------------------------------------------------------------------------


@MEASURES.register("auprc")
def auprc(scores: Array, truth: Array, *, skip_first: bool = False, scale: bool = False) -> float:
    """Average precision Σ_i (R_i - R_{i-1}) P_i over the distinct scores, highest first, all series pooled; in [0, 1].

    Equal to scikit-learn's ``average_precision_score``. ``skip_first`` leaves t = 0 out, which some methods cannot
    score. ``scale`` first maps each series to [0, 1] (time_interpret's default), which changes the order across series.
    Constant scores give the share of salient cells; 1 if all cells are salient. Source: WinIT (Leung et al., 2023).
    """
    s, y = _read(scores, truth, skip_first)
    return _average_precision(_scaled(s) if scale else s, y)


def auprc_trapezoid(scores: Array, truth: Array, *, skip_first: bool = False, scale: bool = False) -> float:
    """Area under the curve of precision over recall by trapezoids, from (recall 0, precision 1); in [0, 1].

    Otherwise as `auprc`, whose steps do not interpolate between what two thresholds give. It is the "AUPRC" that
    WinIT's and RaMbIT's repositories report, whose "AP" is `auprc`.
    """
    s, y = _read(scores, truth, skip_first)
    _, hits, misses = _counts(_scaled(s) if scale else s, y)
    recall, precision = np.append(0.0, hits / hits[-1]), np.append(1.0, hits / (hits + misses))
    return _area(-recall, precision)


@MEASURES.register("auroc")
def auroc(scores: Array, truth: Array, *, skip_first: bool = False, scale: bool = False) -> float:
    """Chance that a salient cell scores above another one, ties counting half; all series pooled; in [0, 1].

    Equal to scikit-learn's ``roc_auc_score``; options as in `auprc`. Constant scores give 1/2. ValueError if all cells
    are salient. Source: Hanley and McNeil (1982).
    """
    s, y = _read(scores, truth, skip_first)
    if y.all():
        raise ValueError("truth must have a cell that is not salient: AUROC compares the two kinds")
    _, hits, misses = _counts(_scaled(s) if scale else s, y)
    twice = np.sum(np.diff(misses, prepend=0) * (hits + np.append(0, hits[:-1])))
    return float(twice / (2 * hits[-1] * misses[-1]))


@MEASURES.register("mean_rank")
def mean_rank(scores: Array, truth: Array, *, skip_first: bool = False, ties: Ties = "average") -> float:
    """Mean rank of the salient cells among the cells of their own series; 1 is best, the cells of a series the worst.

    ``ties``: equal scores share the ``average`` of their ranks or the ``min`` (what WinIT's tables call "mean rank
    (min)"); constant scores rank (cells + 1)/2 or 1. Source: WinIT (Leung et al., 2023).
    """
    s, y = _read(scores, truth, skip_first)
    return float(_ranks(s, ties)[_rows(y)].mean())


@MEASURES.register("mean_rank_min")
def mean_rank_min(scores: Array, truth: Array, *, skip_first: bool = False, ties: Ties = "average") -> float:
    """Rank of the best salient cell of a series, averaged over the series that have one; 1 is best. As `mean_rank`."""
    s, y = _read(scores, truth, skip_first)
    salient = _rows(y)
    best = np.where(salient, _ranks(s, ties), np.inf).min(axis=1)
    return float(best[salient.any(axis=1)].mean())


@MEASURES.register("iou")
def iou(scores: Array, truth: Array, quantile: float = 0.9, *, skip_first: bool = False) -> float:
    """``|A ∩ S| / |A ∪ S|`` of salient cells A and those S that reach their series' ``quantile``; pooled; in [0, 1].

    The quantile (0 to 1) interpolates linearly; cells equal to it belong to S, so constant scores select every cell
    and give the share of salient ones. Source: the Jaccard index.
    """
    s, y = _read(scores, truth, skip_first)
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile must be between 0 and 1, got {quantile}")
    rows = _rows(s)
    found = rows >= np.quantile(rows, quantile, axis=1, keepdims=True)
    salient = _rows(y)
    return float((found & salient).sum() / (found | salient).sum())


def aup_by_rank(scores: Array, truth: Array, *, skip_first: bool = False) -> float:
    """Area under precision over the share of cells taken, highest first, all series pooled; in [0, 1].

    Trapezoids from the first cell (share 1 / cells) to all; equal scores go in the order of their cells. Depends on the
    order of the scores alone, unlike `aup`, whose name it has in RaMbIT's repository. One cell gives 0.
    """
    share, found = _by_rank(scores, truth, skip_first)
    return _area(-share, found / np.arange(1, len(found) + 1))


def aur_by_rank(scores: Array, truth: Array, *, skip_first: bool = False) -> float:
    """Area under recall over the share of cells taken, otherwise as `aup_by_rank`; in [0, 1]."""
    share, found = _by_rank(scores, truth, skip_first)
    return _area(-share, found / found[-1])


# -- from their values -------------------------------------------------------------------------------------------------


@MEASURES.register("aup")
def aup(scores: Array, truth: Array, *, skip_first: bool = False, scale: bool = True) -> float:
    """Area under precision: ∫ P(θ) dθ by trapezoids over the distinct scores θ, all series pooled; in [0, 1].

    P(θ) is the share of salient cells among those that score at least θ. Each series is scaled to
    (x - min) / (max - min + 1e-5) first; ``scale=False`` takes scores that lie in [0, 1] as they are. Constant scores
    give 0, having one threshold. Changes when the scores are rescaled: a, a⁴ and a^¼ have the same AUPRC, not AUP.
    Source: Dynamask (Crabbé and van der Schaar, 2021), computed as in time_interpret.
    """
    s, y = _read(scores, truth, skip_first)
    thresholds, hits, misses = _counts(_unit(s, scale), y)
    return _area(thresholds, hits / (hits + misses))


@MEASURES.register("aur")
def aur(scores: Array, truth: Array, *, skip_first: bool = False, scale: bool = True) -> float:
    """Area under recall: ∫ R(θ) dθ, R(θ) the share of the salient cells that score at least θ; in [0, 1].

    Otherwise as `aup`; it changes too when the scores are rescaled (a, a⁴ and a^¼ have the same AUPRC).
    """
    s, y = _read(scores, truth, skip_first)
    thresholds, hits, _ = _counts(_unit(s, scale), y)
    return _area(thresholds, hits / hits[-1])


@MEASURES.register("information")
def information(scores: Array, truth: Array | None = None, *, skip_first: bool = False, scale: bool = True) -> float:
    """Mask information ``I_M(A) = Σ_A |log2(1 - m + 1e-5)|`` in bits, from 0 up to 16.6 a cell.

    A: the salient cells of all series, or every cell without ``truth``. m: the scores scaled as in `aup`. Constant
    scores have m = 0 and next to no information. Changes when the scores are rescaled (a, a⁴ and a^¼ have the same
    AUPRC). Source: Dynamask (Crabbé and van der Schaar, 2021), summed over series as in time_interpret.
    """
    m = _mask(scores, truth, skip_first, scale)
    return float(np.abs(np.log2(1 - m + EPSILON)).sum())


@MEASURES.register("entropy")
def entropy(scores: Array, truth: Array | None = None, *, skip_first: bool = False, scale: bool = True) -> float:
    """Mask entropy ``S_M(A) = Σ_A m |log2(1e-5 + m)| + (1 - m) |log2(1e-5 + 1 - m)|`` in bits, from 0 up to 1 a cell.

    A, m, constant scores and source as for `information`; low is sharp. It changes too when the scores are rescaled
    (a, a⁴ and a^¼ have the same AUPRC).
    """
    m = _mask(scores, truth, skip_first, scale)
    return float((m * np.abs(np.log2(EPSILON + m)) + (1 - m) * np.abs(np.log2(EPSILON + 1 - m))).sum())


def summary(scores: Array, truth: Array, *, skip_first: bool = False, quantile: float = 0.9) -> dict[str, float]:
    """All that are registered, by name: AUPRC and AUROC first, those that change with the scores' scale later."""
    s, y = _read(scores, truth, skip_first)
    options = {name: {"quantile": quantile} if "quantile" in MEASURES.parameters(name) else {} for name in MEASURES}
    return {name: float(MEASURES[name](s, y, **options[name])) for name in MEASURES}


# -- input -------------------------------------------------------------------------------------------------------------


def read_numbers(value: Array, name: str) -> Float:
    """Finite numbers as float64 on the host. Errors: TypeError or ValueError naming the argument."""
    array = _host(value, name)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be real numbers, got {array.dtype}")
    array = array.astype(np.float64, copy=False)
    if array.size == 0:
        raise ValueError(f"{name} is empty: {array.shape}")
    if not np.isfinite(array).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{name} must be finite, but holds NaN or infinite values, the first at {first}")
    return array


def _host(value: Array, name: str) -> npt.NDArray[Any]:
    if isinstance(value, (Tensor, np.ma.MaskedArray, list, tuple)):
        tensor = arrays.whole(name, value, holds="real numbers").cpu()
        return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())  # it has no bfloat16
    return np.asarray(value)


def _read_scores(scores: Array, skip_first: bool) -> Float:
    s = read_numbers(scores, "scores")
    if s.ndim < 2:
        raise ValueError(f"scores must be (N, D, T), series first and time last, got {s.shape}")
    if skip_first and s.shape[-1] == 1:
        raise ValueError("skip_first leaves nothing of scores with one time step")
    return s[..., 1:] if skip_first else s


def _read(scores: Array, truth: Array, skip_first: bool) -> tuple[Float, Bool]:
    s, y = read_numbers(scores, "scores"), _host(truth, "truth")
    if y.shape != s.shape:
        raise ValueError(f"truth must have the shape of scores {s.shape}, got {y.shape}")
    if y.dtype != bool:
        if y.dtype.kind not in "fiu" or not ((y == 0) | (y == 1)).all():
            raise ValueError(f"truth must be boolean, or 0 and 1, got {y.dtype} with other values")
        y = y == 1
    s = _read_scores(s, skip_first)
    y = y[..., 1:] if skip_first else y
    if not y.any():
        raise ValueError("truth must have at least one salient cell" + (" after t = 0" if skip_first else ""))
    return s, y


def _unit(s: Float, scale: bool) -> Float:
    """The scores as values in [0, 1]."""
    if scale:
        return _scaled(s)
    if s.min() < 0 or s.max() > 1:
        raise ValueError(f"scores must lie in [0, 1] with scale=False, got {s.min():g} to {s.max():g}")
    return s


def _scaled(s: Float) -> Float:
    each = tuple(range(1, s.ndim))
    low, high = s.min(axis=each, keepdims=True), s.max(axis=each, keepdims=True)
    if (high / 2 - low / 2).max() > np.finfo(np.float64).max / 2:
        raise ValueError("scores of a series lie further apart than float64 can tell: divide them by a number first")
    return np.asarray((s - low) / (high - low + EPSILON))


def _mask(scores: Array, truth: Array | None, skip_first: bool, scale: bool) -> Float:
    if truth is None:
        return _unit(_read_scores(scores, skip_first), scale)
    s, y = _read(scores, truth, skip_first)
    return _unit(s, scale)[y]


def _rows(a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return a.reshape(len(a), -1)


# -- arithmetic --------------------------------------------------------------------------------------------------------


def _counts(s: Float, y: Bool) -> tuple[Float, Int, Int]:
    """The distinct scores, highest first, and how many salient and other cells score at least as high as each."""
    s, y = s.ravel(), y.ravel()
    order = np.argsort(-s, kind="stable")
    s, y = s[order], y[order]
    last = np.append(np.flatnonzero(s[1:] != s[:-1]), s.size - 1)  # the last cell of each group of equal scores
    hits = np.cumsum(y, dtype=np.int64)[last]
    return s[last], hits, last + 1 - hits


def _average_precision(s: Float, y: Bool) -> float:
    _, hits, misses = _counts(s, y)
    return float(np.sum(np.diff(hits, prepend=0) / hits[-1] * (hits / (hits + misses))))


def _by_rank(scores: Array, truth: Array, skip_first: bool) -> tuple[Float, Float]:
    """The share of all cells that the first k are, and how many salient ones they hold, for k = 1 … cells."""
    s, y = _read(scores, truth, skip_first)
    found = np.cumsum(y.ravel()[np.argsort(-s.ravel(), kind="stable")])
    return np.arange(1, s.size + 1) / s.size, found.astype(np.float64)


def _area(x: Float, y: Float) -> float:
    """Trapezoids under y over falling x."""
    return float(np.sum((x[:-1] - x[1:]) * (y[:-1] + y[1:])) / 2)


def _ranks(s: Float, ties: Ties) -> Float:
    if ties not in TIES:
        raise ValueError(f"ties must be one of {', '.join(TIES)}, got {ties!r}")
    return np.asarray(rankdata(-_rows(s), method=ties, axis=1), dtype=np.float64)
