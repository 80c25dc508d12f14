"""Every attributor against its definition, one cell, mask, horizon and draw at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import Attribution, RaMbIT
from rambit.attribution import (
    AFO,
    FIT,
    FO,
    METHODS,
    Attributor,
    Banzhaf,
    BiWinIT,
    ExactShapley,
    FeatureAblation,
    Gradients,
    Interactions,
    Occlusion,
    SegmentGradients,
    ShapleySampling,
    WinIT,
)
from rambit.counterfactuals import JointGenerator
from rambit.game import ANCHORS
from rambit.game import shapley_values as orders_of
from rambit.masks import (
    FAMILIES,
    AllBlocks,
    Bernoulli,
    Block,
    Columns,
    Explicit,
    Family,
    MaskSet,
    Permutation,
    Rows,
    Segments,
    UpperTriangle,
    Whole,
    resolve,
)
from rambit.results import PairAttribution
from rambit.testing import check_attributor
from tests.models_for_tests import GRU
from tests.naive import attribution as naive
from tests.naive import errors as naive_errors
from tests.naive import masks as naive_masks
from tests.naive import rambit as naive_rambit
from tests.naive import winit as naive_winit
from tests.soak.engine import TOLERANCE, Draw, case, either
from tests.soak.series import FIXED, GAPS, RUNS, Series, Values, series, turned, values

NAMED = ("block", "all_blocks", "rows", "columns", "segments", "upper_triangle", "bernoulli", "permutation", "none")


def how_evaluated(draw: Draw, s: Series, anchor: str) -> tuple[dict[str, Any], str | None]:
    """How the model is asked, which changes nothing, and what a way that it cannot serve is refused with."""
    evaluated = s.evaluated
    evaluation = draw.of("auto", "auto", *evaluated.modes, *(("full",) if anchor == "end" else ()))
    refused = None
    if draw.chance(0.05):
        evaluation = draw.of("prefix", "causal", "stateful", "full", "both")
        known = ("prefix", "full") if anchor == "end" else ("prefix",)
        if evaluation in evaluated.false:
            evaluation = "auto"
        elif evaluation not in (*evaluated.modes, *known):
            refused = "evaluation"
    options = draw.note(evaluation=evaluation, **draw.some(0.3, batch_size=(1, 3, 1000), max_memory=(1 << 20, 1 << 24)))
    return options, refused


def both_ways(draw: Draw, method: Any, s: Series, refused: str | None, **options: Any) -> Attribution:
    """The result of ``explain``, which ``attribute`` and ``cost`` must agree with."""
    result = draw.call(method.explain, s.given, refused=refused, **s.options(), **options)
    if draw.chance(0.3):
        draw.equal(draw.call(method.attribute, s.given, **s.options(), **options), result.values, what="attribute")
    draw.true(result.values.dtype == s.dtype and result.values.is_contiguous(), "scores are like X")
    if draw.chance(0.3):
        cost = draw.call(method.cost, s.given, **s.options(), **options)
        if cost.mode == result.mode:  # a claim that was found out is asked otherwise
            draw.equal((cost.rows, cost.row_steps), (result.rows, result.row_steps), what="what it costs")
    return result


@case()
def contracts(draw: Draw) -> None:
    """What every attributor promises, of random series: the package's own checks of it."""
    X = draw.normal(draw.whole(4, 5), draw.whole(1, 3), draw.whole(5, 8))
    seed, background = draw.whole(0, 99), draw.normal(3, X.shape[1], X.shape[2])
    own = {
        "rambit": {"L": 8, "anchor": draw.of(*ANCHORS)}, "winit": {"window_size": 2}, "biwinit": {"window_size": 2},
        "fo": {}, "afo": {"anchor": draw.of("cell", "end")}, "occlusion": {"width": 2}, "banzhaf": {"num_masks": 8},
        "exact-shapley": {"players": "features"}, "shapley": {"num_permutations": 2},
    }  # fmt: skip
    others = {"fit", "gradients", "dynamask", "extremal-mask", "segment-gradients", "feature-ablation"}
    others |= {"temporal-occlusion", "tint-fit"}  # which need a generator, gradients or another library
    draw.equal(set(METHODS), {*own, *others}, what="the set of known methods")
    name = draw.of(*own)
    draw.note(name=name, shape=tuple(X.shape), own=own[name], seed=seed)

    def make(model: Any, **options: Any) -> Attributor:
        if name != "fo":  # which draws from nothing by default
            options["background"] = background.transpose(1, 2) if options.get("layout") == "BTD" else background
        return METHODS[name](model, **{"seed": seed, "num_samples": 2, **own[name], **options})

    draw.call(check_attributor, make, X=X, pure=False)


def of_series(s: Series, shape: tuple[int, ...] = ()) -> np.ndarray[Any, Any]:
    return np.zeros((*s.X.shape, *shape))


def close_errors(draw: Draw, s: Series, found: Tensor, expected: Any) -> None:
    """Roots of differences of sums, which round as the root of what the sums do."""
    draw.close(turned(found, s.layout), expected, 1e-3, 1e-3 * TOLERANCE[s.dtype][1] ** 0.5, what="the standard errors")


# -- RaMbIT ------------------------------------------------------------------------------------------------------------


class Masks:
    """A family as an attributor takes it, and its masks for the twin."""

    def __init__(self, draw: Draw, s: Series) -> None:
        D, T = s.X.shape[1:]
        self.D = D
        self.L = draw.whole(1, 3)
        self.wt = sorted((draw.whole(1, 4), draw.whole(1, 4)))
        self.wd = sorted((draw.whole(1, 3), draw.whole(1, 3)))
        self.p = 0.5
        self.name = draw.of(*NAMED, "explicit", "replayed")
        if self.name == "all_blocks":  # small ones, or there are hundreds
            self.wt, self.wd = [1, min(2, self.wt[1])], [1, 1]
        self.shared = self.name != "upper_triangle" and not draw.chance(0.25)
        self.options: dict[str, Any] = {"share_masks": self.shared, "masks": self.name}
        sizes = {"Wt_min": self.wt[0], "Wt_max": self.wt[1], "Wd_min": self.wd[0], "Wd_max": self.wd[1]}
        if self.name in FAMILIES:  # the sizes that it reads
            self.options |= {name: size for name, size in sizes.items() if name in FAMILIES.parameters(self.name)}
        self.call: dict[str, Any] = {}
        if self.name in ("explicit", "replayed"):
            self.exact = draw.bools(self.L, D, T, p=draw.of(0.3, 0.7, 0.95))
            there = draw.placed(turned(self.exact, s.layout))
            if self.name == "replayed":
                self.call["masks"] = there
                del self.options["masks"]
            else:
                self.options["masks"] = there if s.layout == "BTD" or draw.chance() else Explicit(self.exact)
        elif not self.exact_family:
            self.options["L"] = self.L
        if self.name == "bernoulli" and draw.chance():
            self.p = draw.number(0, 1)
            self.options["masks"] = draw.of(Bernoulli(self.p), f"bernoulli:p={self.p!r}")
        draw.note(masks=self.name, L=self.L, wt=self.wt, wd=self.wd, p=self.p, share_masks=self.shared)

    @property
    def exact_family(self) -> bool:
        """Nothing is sampled."""
        return self.name in ("all_blocks", "none")

    def of(self, length: int, seed: int, target_cell: int | None = None) -> tuple[Tensor, list[float]]:
        if self.name in ("explicit", "replayed"):
            return self.exact[:, :, :length], [1.0] * self.L
        return naive_masks.family(
            self.name,
            self.L,
            self.D,
            length,
            tuple(self.wt),
            tuple(self.wd),
            p=self.p,
            seed=seed,
            target_cell=target_cell,
        )


@case(weight=12)
def rambit(draw: Draw) -> None:
    s = series(draw, most=24)
    exact = s.dtype == torch.float64
    masks, seed = Masks(draw, s), draw.whole(0, 2**63 - 1)
    cf = values(draw, s, seed)
    anchor = draw.of(*ANCHORS)
    reduce = ("mean", "max") if exact and anchor != "end" else ("mean",)  # the end is one horizon
    options = draw.options(anchor=(anchor,), window_size=(1, 2, 3, 12), reduce=reduce, normalize=("all", "visible"))
    how, refused = how_evaluated(draw, s, options["anchor"])
    if options["normalize"] == "visible" and options["anchor"] != "mask":
        if draw.chance(0.9):
            options["normalize"] = "all"
        else:
            refused = either(refused, "normalize")
    fresh = masks.shared and cf.random and draw.chance(0.25)
    draw.note(share_draws=not fresh, **options)

    def evaluate() -> Attribution:
        method = RaMbIT(
            s.model, num_samples=cf.count, counterfactuals=cf.given, background=cf.background, seed=seed,
            share_draws=not fresh, **options, **s.common(), **how, **masks.options,
        )  # fmt: skip
        return both_ways(draw, method, s, None, **masks.call)

    result = draw.call(evaluate, refused=either(refused, cf.refused))
    expected, errors = rambit_twin(s, masks, cf, options, seed, fresh)
    s.close(draw, result.values, expected, cf)
    if options["normalize"] == "all":
        draw.true((errors is None) == (result.stderr is None), "there is a standard error or none")
        if errors is not None:
            close_errors(draw, s, result.stderr, errors)


def rambit_twin(
    s: Series, masks: Masks, cf: Values, options: dict[str, Any], seed: int, fresh: bool
) -> tuple[Any, Any]:
    """Scores, and standard errors where they are known: over the masks, and over draws that all masks share."""
    expected, variance = of_series(s), of_series(s)
    exact, shared = masks.exact_family, cf.random and not fresh
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        kind, draws = cf.twin(places, length)
        common = {
            "anchor": options["anchor"], "window": options["window_size"], "reduce": options["reduce"],
            "normalize": options["normalize"], "metric": s.measure, "target": aim, "kind": kind, "observed": seen,
        }  # fmt: skip
        if masks.shared:
            stack, common["weights"] = masks.of(length, seed)
        else:
            own = [masks.of(length, seed, target_cell) for target_cell in range(x.shape[1] * length)]
            stack, common["weights"] = None, own[0][1]
            common["own_masks"] = torch.stack([masks for masks, _ in own])
        if fresh and cf.random:
            found, each = with_own_draws(s, x, stack, cf, places, length, common)
        else:
            found, each = naive_rambit.rambit(s.evaluated.f, x, stack, draws, **common)
        expected[places, :, :length] = found
        if shared and len(draws) > 1:
            alone = [naive_rambit.rambit(s.evaluated.f, x, stack, [one], **common) for one in draws]
            if exact:
                variance[places, :, :length] = np.var([values for values, _ in alone], axis=0, ddof=1) / len(draws)
            elif len(each) > 1:
                table = np.stack([contributions for _, contributions in alone], axis=1)
                variance[places, :, :length] = naive_errors.crossed(table)[0]
        elif not exact and len(each) > 1:
            variance[places, :, :length] = each.var(axis=0, ddof=1) / len(each)
    unknown = (not exact and masks.L < 2) or (shared and cf.count == 1)
    return expected, None if unknown else np.sqrt(variance)


def with_own_draws(
    s: Series, x: Tensor, masks: Tensor, cf: Values, places: list[int], length: int, common: dict[str, Any]
) -> tuple[Any, Any]:
    """Mask n has draws n S … n S + S - 1 for its own; the scores are the mean over masks of those of each alone."""
    weights = common["weights"]
    alone = {**common, "normalize": "all", "weights": [1.0]}
    each = [
        naive_rambit.rambit(s.evaluated.f, x, mask[None], cf.twin(places, length, n)[1], **alone)[0]
        for n, mask in enumerate(masks)
    ]
    counted = sum(w * sees(mask, common) for w, mask in zip(weights, masks, strict=True))
    total = sum(w * one for w, one in zip(weights, each, strict=True))
    return total / np.maximum(counted, 1e-300), np.stack(each)


def sees(mask: Tensor, options: dict[str, Any]) -> Any:
    """(D, T): whether a mask counts for a cell."""
    D, T = mask.shape
    if options["normalize"] == "all":
        return np.ones((D, T))
    replaced = [t for t in range(T) if not bool(mask[:, t].all())]
    end = replaced[-1] + 1 if replaced else 0
    return np.tile((end < T) & (np.arange(T) < min(end + options["window"], T)), (D, 1)).astype(float)


@case(weight=4)
def rambit_groups(draw: Draw) -> None:
    """Groups of cells that are replaced together, by RaMbIT, and beside a mask that keeps all by FO and Occlusion."""
    s = series(draw, most=24)
    D, T = s.X.shape[1:]
    seed, kind = draw.whole(0, 2**63 - 1), draw.of(RaMbIT, RaMbIT, FO, Occlusion)
    cf, groups = values(draw, s, seed), draw.integers(-2, draw.whole(-2, 4), D, T)
    masks = draw.bools(draw.whole(1, 3), D, T, p=draw.of(0.3, 0.7, 0.95))
    anchor = draw.of(*ANCHORS)
    reduce = ("mean", "max") if s.dtype == torch.float64 and anchor != "end" else ("mean",)
    normalize = ("all", "visible") if anchor == "mask" else ("all",)
    options = draw.options(anchor=(anchor,), window_size=(1, 2, 3, 12), reduce=reduce, normalize=normalize)
    if kind is not RaMbIT:
        masks, anchor = torch.ones(1, D, T, dtype=torch.bool), "end" if kind is Occlusion else draw.of("cell", "end")
        options = {"anchor": anchor} if kind is FO else {}
    how, refused = how_evaluated(draw, s, anchor)
    draw.note(kind=kind.__name__, groups=groups, **options)

    def evaluate() -> Attribution:
        method = kind(
            s.model, num_samples=cf.count, counterfactuals=cf.given, background=cf.background, seed=seed,
            groups=draw.placed(groups.T if s.layout == "BTD" else groups), **options, **s.common(), **how,
        )  # fmt: skip
        given = {"masks": draw.placed(turned(masks, s.layout))} if kind is RaMbIT else {}
        return both_ways(draw, method, s, None, **given)

    result, expected = draw.call(evaluate, refused=either(refused, cf.refused)), of_series(s)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        gaps, draws = cf.twin(places, length)
        expected[places, :, :length], _, _ = naive_rambit.grouped(
            s.evaluated.f, x, masks[:, :, :length], draws, groups[:, :length], anchor=anchor,
            window=options.get("window_size", 1), reduce=options.get("reduce", "mean"),
            normalize=options.get("normalize", "all"), metric=s.measure, target=aim, kind=gaps, observed=seen,
        )  # fmt: skip
    s.close(draw, result.values, expected, cf)


@case(weight=4)
def interactions(draw: Draw) -> None:
    """Pairs of sets of cells, which masks and missing values may touch in part."""
    s = series(draw, most=16)
    D, T = s.X.shape[1:]
    if D * T < 2:
        return
    seed, anchor = draw.whole(0, 2**63 - 1), draw.of("cell", "end")
    # A generator takes no padding, which models that are given lengths get with a whole series.
    cf = values(draw, s, seed, kinds=FIXED + GAPS + (RUNS if s.lengths is None else RUNS[:1]))
    pairs = [_two_sets(draw, D, T) for _ in range(draw.whole(1, 3))]
    masks = draw.of(None, draw.bools(draw.whole(1, 3), D, T, p=draw.of(0.3, 0.7, 0.95)))
    window = draw.of(1, 2, 3, 12)
    how, refused = how_evaluated(draw, s, anchor)
    draw.note(pairs=pairs, anchor=anchor, window=window, masks=masks)

    def evaluate() -> PairAttribution:
        method = Interactions(
            s.model, pairs=pairs, num_samples=cf.count, counterfactuals=cf.given, background=cf.background, seed=seed,
            masks="none" if masks is None else draw.placed(turned(masks, s.layout)), anchor=anchor, window_size=window,
            **s.common(), **how,
        )  # fmt: skip
        found = draw.call(method.explain, s.given, **s.options())
        cost = draw.call(method.cost, s.given, **s.options())
        if cost.mode == found.mode:
            draw.equal((cost.rows, cost.row_steps), (found.rows, found.row_steps), what="what it costs")
        return found

    result = draw.call(evaluate, refused=either(refused, cf.refused))
    expected = np.full((len(s.X), len(pairs), 4), np.nan)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        kind, draws = cf.twin(places, length)
        cut = [tuple([cell for cell in cells if cell[1] < length] for cells in pair) for pair in pairs]
        there = [k for k, (p, q) in enumerate(cut) if p and q]
        base = torch.ones(1, D, length, dtype=torch.bool) if masks is None else masks[:, :, :length]
        each, _ = naive_rambit.interactions(
            s.evaluated.f, x, base, draws, [cut[k] for k in there], anchor=anchor, window=window, metric=s.measure,
            target=aim, kind=kind, observed=seen,
        )  # fmt: skip
        for row, b in enumerate(places):
            for k, found in zip(there, each[:, :, row].mean(axis=(0, 1)), strict=True):
                if seen is None or all(any(bool(seen[row, d, t]) for d, t in cells) for cells in cut[k]):
                    expected[b, k] = found
    rtol, atol = TOLERANCE[torch.float32 if cf.name in RUNS[1:] else s.dtype]
    for k, name in enumerate(("values", "joint", "first", "second")):
        draw.close(getattr(result, name), expected[..., k], rtol, 4 * atol, what=name)
    unknown = (masks is not None and len(masks) < 2) or (cf.random and cf.count == 1)
    if not np.isnan(expected).all():
        draw.true((result.stderr is None) == unknown, "there is a standard error or none")
        draw.true((result.freedom is None) == unknown, "with its degrees of freedom")


def _two_sets(draw: Draw, D: int, T: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """One to three cells each, none in both."""
    cells = [divmod(int(cell), T) for cell in draw.rng.permutation(D * T)]
    first = draw.whole(1, min(3, D * T - 1))
    return cells[:first], cells[first : first + draw.whole(1, min(3, D * T - first))]


@case()
def rambit_rounds(draw: Draw) -> None:
    """With a tolerance: as many rounds of L masks as it takes, which is one call with all of these masks."""
    s = series(draw, most=20, shortest=2)
    seed, cf = draw.whole(0, 99), None
    cf = values(draw, s, seed, kinds=("zero", "mean", "carry_forward"))
    L, tolerance, most = draw.whole(2, 6), draw.of(0.01, 0.3, 1.0), draw.of(None, 1, 400)
    method = {"counterfactuals": cf.given, "background": cf.background, "num_samples": 1, "seed": seed, "Wt_max": 3}
    limits = draw.note(tolerance=tolerance, max_rows=2000 if most is None else most)
    result = draw.call(RaMbIT(s.model, L=L, **s.common(), **method).explain, s.given, **limits, **s.options())
    if s.lengths is not None:
        return  # each length has rounds of its own
    wanted = None
    for rounds in range(1, 2000):
        one = RaMbIT(s.model, L=L * rounds, **s.common(), **method).explain(s.given, **s.options())
        wanted, error = one.values, float(one.stderr.abs().max())
        if error <= tolerance * float(one.values.abs().max()) or one.rows >= limits["max_rows"]:
            break
        if torch.allclose(wanted.double(), result.values.double(), *TOLERANCE[s.dtype]):
            break  # on the edge of the tolerance: rounding decides
    s.close(draw, result.values, turned(wanted, s.layout), cf)


@case()
def mask_families(draw: Draw) -> None:
    """Masks and weights, whole and in pieces, for all cells and for each of some."""
    draw.equal(set(FAMILIES), set(NAMED), what="the set of known families")
    D, T, L, first = draw.whole(1, 4), draw.whole(1, 9), draw.whole(1, 4), draw.of(0, 0, 3, 2**20)
    wt, wd = sorted((draw.whole(1, 12), draw.whole(1, 12))), sorted((draw.whole(1, 6), draw.whole(1, 6)))
    name, p, seed = draw.of(*NAMED), draw.number(0, 1), draw.whole(0, 2**63 - 1)
    made: Family = {
        "block": lambda: Block(*wt, *wd), "all_blocks": lambda: AllBlocks(*wt, *wd), "rows": lambda: Rows(*wd),
        "columns": lambda: Columns(*wt), "segments": lambda: Segments(*wt),
        "upper_triangle": lambda: UpperTriangle(*wt, *wd), "bernoulli": lambda: Bernoulli(p),
        "permutation": Permutation, "none": Whole,
    }[name]()  # fmt: skip
    if name != "bernoulli" and draw.chance():
        made = draw.call(resolve, name, tuple(wt), tuple(wd))
    draw.note(family=name, shape=(D, T), L=L, first=first, wt=wt, wd=wd, p=p, seed=seed)
    target_cells = None
    if name == "upper_triangle" or draw.chance(0.3):
        target_cells = draw.integers(0, D * T - 1, draw.whole(1, 3)).to(draw.of(torch.int32, torch.int64))
    found: MaskSet = draw.call(made.sample, L, D, T, seed=seed, first=first, target_cells=target_cells)
    parts = [None] if target_cells is None else target_cells.tolist()
    sets = [
        naive_masks.family(name, L, D, T, tuple(wt), tuple(wd), p=p, seed=seed, first=first, target_cell=o)
        for o in parts
    ]
    expected = torch.cat([masks for masks, _ in sets])
    draw.equal(found.masks, expected, what="the masks")
    draw.close(found.weights, [w for _, weights in sets for w in weights], what="the weights")
    draw.true(len(found) == len(expected), "the set is as long as its masks")
    replaced = (~expected).any(dim=1)
    start, end = draw.call(found.span)
    for row, a, b in zip(replaced.tolist(), start.tolist(), end.tolist(), strict=True):
        draw.equal((a, b), (row.index(True), T - row[::-1].index(True)) if any(row) else (T, 0), what="the span")


# -- the family --------------------------------------------------------------------------------------------------------


@case(weight=3)
def winit(draw: Draw) -> None:
    s = series(draw, most=20)
    seed, window = draw.whole(0, 99), draw.whole(1, 5)
    options = draw.options(aggregate=("mean", "max", "absmax") if s.dtype == torch.float64 else ("mean", "max"))
    height = draw.of(None, 1, 2, 3)
    draw.note(window=window, height=height)
    cf = values(draw, s, seed, kinds=(*FIXED, *GAPS, *(RUNS if s.observed is None else ())))
    refused = cf.refused
    if cf.name in ("interpolate", "noisy"):
        refused = "interpolate"
    if cf.name == "carry_forward" and s.observed is not None:
        refused = "carry_forward"
    how, other = how_evaluated(draw, s, "cell")

    def evaluate() -> Attribution:
        common = {
            "window_size": window, "num_samples": cf.count, "counterfactuals": cf.given, "background": cf.background,
            "seed": seed, **options, **s.common(), **how,
        }  # fmt: skip
        method = WinIT(s.model, **common) if height is None else BiWinIT(s.model, height=height, **common)
        return both_ways(draw, method, s, None)

    result = draw.call(evaluate, refused=either(refused, other))
    windows, scores = of_series(s, (window,)), of_series(s)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        runs = winit_runs(cf, x, places, length, window)
        targets = [naive.aim(s.evaluated.f, x, b, s.measure, aim) for b in range(len(x))]
        more = {"metric": s.measure, "targets": targets, "observed": seen}
        if height is None:
            found = naive_winit.winit(s.evaluated.f, x, runs, window, **more)
        else:
            found = naive_winit.biwinit(s.evaluated.f, x, runs, window, height, **more)
        windows[places, :, :length] = found
        scores[places, :, :length] = naive_winit.aggregate(found, options["aggregate"])
    s.close(draw, result.windows, windows, cf, "the windows")
    s.close(draw, result.values, scores, cf)


def winit_runs(cf: Values, x: Tensor, places: list[int], length: int, window: int) -> Tensor:
    """Values by time (S, B, D, T), or by run (S, B, D, T, W)."""
    kind, draws = cf.twin(places, length)
    if kind == "carry_forward":  # the value before the run; no run starts at time 0
        before = torch.cat((x[:, :, :1], x[:, :, :-1]), dim=2)
        return before[None, ..., None].expand(1, *x.shape, window)
    runs = torch.stack(draws)
    if kind == "windows" and runs.shape[4] < window:
        runs = torch.cat((runs, runs[..., -1:].expand(*runs.shape[:4], window - runs.shape[4])), dim=4)
    return runs


@case(weight=2)
def fo(draw: Draw) -> None:
    s, seed = series(draw, most=30), draw.whole(0, 99)
    anchor = draw.of("cell", "end")
    method, kinds = (FO, (*FIXED, *GAPS)) if draw.chance() else (AFO, ("marginal",))
    cf = values(draw, s, seed, kinds=kinds)
    how, refused = how_evaluated(draw, s, anchor)
    given = {} if method is AFO and not isinstance(cf.given, str) else {"counterfactuals": cf.given}
    draw.note(method=method.__name__, anchor=anchor)
    if method is AFO and cf.background is None:
        return

    def evaluate() -> Attribution:
        common = {"num_samples": cf.count, "background": cf.background, "seed": seed, **given, **s.common(), **how}
        return both_ways(draw, method(s.model, anchor=anchor, **common), s, None)

    result = draw.call(evaluate, refused=refused)
    expected = of_series(s)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        kind, draws = cf.twin(places, length)
        more = {"anchor": anchor, "metric": s.measure, "target": aim, "kind": kind, "observed": seen}
        expected[places, :, :length] = naive.fo(s.evaluated.f, x, draws, **more)
    s.close(draw, result.values, expected, cf)


@case(weight=2)
def occlusion(draw: Draw) -> None:
    s, seed = series(draw, most=30), draw.whole(0, 99)
    cf = values(draw, s, seed, kinds=(*FIXED, *GAPS))
    height, width = draw.whole(1, 3), draw.whole(1, 4)
    stride = (draw.whole(1, height), draw.whole(1, width))
    draw.note(height=height, width=width, stride=stride)
    how, refused = how_evaluated(draw, s, "end")

    def evaluate() -> Attribution:
        method = Occlusion(
            s.model, height=height, width=width, stride=stride, num_samples=cf.count, counterfactuals=cf.given,
            background=cf.background, seed=seed, **s.common(), **how,
        )  # fmt: skip
        return both_ways(draw, method, s, None)

    result = draw.call(evaluate, refused=refused)
    expected = of_series(s)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        kind, draws = cf.twin(places, length)
        expected[places, :, :length] = naive.occlusion(
            s.evaluated.f, x, draws, height=height, width=width, stride=stride, metric=s.measure, target=aim, kind=kind,
            observed=seen,
        )  # fmt: skip
    s.close(draw, result.values, expected, cf)


@case(weight=4)
def shapley_and_banzhaf(draw: Draw) -> None:
    s, seed = series(draw, most=16), draw.whole(0, 99)
    cf = values(draw, s, seed, kinds=(*FIXED, *GAPS))
    kind = draw.of("exact", "orders", "banzhaf")
    segment, number = draw.whole(1, 4), draw.whole(1, 6)
    D, T = s.X.shape[1:]
    name: Any = draw.of("features", "timestamps", "segments", "cells", "labels")
    labels = draw.integers(0, 3, D, T)
    draw.note(method=kind, players=name, segment=segment, number=number)
    how, refused = how_evaluated(draw, s, "end")
    players = turned(labels[None], s.layout)[0] if name == "labels" else name
    most = max(len(group(name, labels, D, length, segment).unique()) for _, length in s.parts())
    if kind == "exact" and most > 16:
        refused = either(refused, "too many")
    if kind == "exact" and 9 < most <= 16:
        return  # 2^16 coalitions one at a time

    def evaluate() -> Attribution:
        common = {
            "players": players, "segment": segment, "num_samples": cf.count, "counterfactuals": cf.given,
            "background": cf.background, "seed": seed, **s.common(), **how,
        }  # fmt: skip
        if kind == "exact":
            method: Any = ExactShapley(s.model, **common)
        elif kind == "orders":
            method = ShapleySampling(s.model, num_permutations=number, **common)
        else:
            method = Banzhaf(s.model, num_masks=4 * number, **common)
        return both_ways(draw, method, s, None)

    result = draw.call(evaluate, refused=refused)
    expected, variance = of_series(s), of_series(s)
    for places, length in s.parts():
        x, seen, aim = s.cut(places, length)
        fill, draws = cf.twin(places, length)
        player = group(name, labels, D, length, segment)
        n = int(player.max()) + 1
        for i, b in enumerate(places):
            target = naive.aim(s.evaluated.f, x, i, s.measure, aim)
            worth = [
                naive.payoff(s.evaluated.f, x, i, player, part, fill, s.measure, target, seen)
                for part in (draws, *([one] for one in draws))
            ]
            found, error = players_values(kind, worth[0], n, number, seed)
            there = 1.0 if seen is None else seen[i].numpy()
            expected[b, :, :length] = found[player.numpy()] * there
            several = cf.random and len(draws) > 1
            if several and kind == "orders" and number > 1:
                orders = orders_of.orders(number, n, seed=seed).numpy()
                table = [[naive.shapley_sampling(one, order[None])[0] for one in worth[1:]] for order in orders]
                variance[b, :, :length] = naive_errors.crossed(np.array(table))[0][player.numpy()] * there
            elif several:
                by_draw = np.stack([players_values(kind, one, n, number, seed)[0] for one in worth[1:]])
                variance[b, :, :length] = (by_draw.var(axis=0, ddof=1) / len(draws))[player.numpy()] * there
            elif error is not None:
                variance[b, :, :length] = error[player.numpy()] ** 2 * there
    s.close(draw, result.values, expected, cf)
    if kind != "banzhaf":
        unknown = (kind == "orders" and number == 1) or (cf.random and cf.count == 1)
        draw.true(unknown == (result.stderr is None), "there is a standard error or none")
        if not unknown:
            close_errors(draw, s, result.stderr, np.sqrt(variance))


def players_values(kind: str, worth: Any, n: int, number: int, seed: int) -> tuple[Any, Any]:
    """Values (n,) and, over orders, their standard error."""
    if kind == "exact":
        return naive.exact_shapley(worth, n), None
    if kind == "orders":
        return naive.shapley_sampling(worth, orders_of.orders(number, n, seed=seed).numpy())
    coalitions = naive_masks.family("bernoulli", 4 * number, 1, n, (1, 1), (1, 1), seed=seed)[0][:, 0]
    return naive.banzhaf(worth, coalitions.numpy()), None


def group(name: str, labels: Tensor, D: int, length: int, segment: int) -> Tensor:
    """(D, length): the players' numbers, without gaps."""
    if name == "labels":
        return labels[:, :length].unique(return_inverse=True)[1]
    return naive.players(name, D, length, segment)


@case()
def fit(draw: Draw) -> None:
    s = series(draw, most=20, missing=False, kinds=("gru", "lstm", "opaque", "exact", "ours", "protocol", "writes"))
    D, seed, count = s.X.shape[1], draw.whole(0, 99), draw.whole(1, 3)
    s.metric = s.target = s.aim = None  # type: ignore[assignment]
    generator = JointGenerator(D, prediction_size=draw.whole(1, 3), seed=seed)
    how, refused = how_evaluated(draw, s, "cell")
    s.metric = "kl"

    def evaluate() -> Attribution:
        method = FIT(s.model, generator=generator, num_samples=count, seed=seed, **s.common(), **how)
        return both_ways(draw, method, s, None)

    result = draw.call(evaluate, refused=refused)
    expected = of_series(s)
    for places, length in s.parts():
        x, _, _ = s.cut(places, length)
        ids = s.ids[places]

        def given(d: int, x: Tensor = x, ids: Tensor = ids) -> Tensor:
            return generator.draw_given(x, d, ids, count, seed).to(x.dtype)

        expected[places, :, :length] = naive.fit(s.evaluated.f, x, given, count)
    draw.close(turned(result.values, s.layout), expected, *TOLERANCE[torch.float32])


@case()
def gradients(draw: Draw) -> None:
    """Integrated gradients against the sum over points of the line; they are captum's, the rest of the call is ours."""
    torch.manual_seed(draw.seed)
    D, T, B = draw.whole(1, 3), draw.whole(1, 7), draw.whole(1, 3)
    model, X = GRU(D=D, H=4).double().eval(), draw.normal(B, D, T)
    background = draw.of(None, draw.normal(3, D, T + 1))
    target = draw.of(None, draw.integers(0, 2, B))
    anchor = draw.of("cell", "end")
    draw.note(shape=(B, D, T), anchor=anchor, target=target, background=background is not None)
    scores = draw.call(Gradients(model, anchor=anchor, background=background).attribute, X, target=target)
    baseline = torch.zeros(D, T) if background is None else background.mean(0)[:, :T]
    for b in range(B):
        with torch.no_grad():
            steps = model(X[b : b + 1], return_all=True)[0].argmax(0)
        chosen = steps if target is None else target[b].expand(T)

        def f(x: Tensor, chosen: Tensor = chosen) -> Tensor:
            p = model(x[None], return_all=True)[0].softmax(0).gather(0, chosen[None])[0]
            return p.sum() if anchor == "cell" else p[-1]

        expected = naive.integrated_gradients(f, X[b], baseline.double())
        draw.close(scores[b], expected, 1e-5, 1e-8, what=f"the scores of series {b}")


@case()
def ablations(draw: Draw) -> None:
    """One cell replaced, by captum; and gradients over random segments, of a linear model, where they are the same."""
    torch.manual_seed(draw.seed)
    D, T, B = draw.whole(1, 3), draw.whole(1, 6), draw.whole(1, 3)
    model, X = GRU(D=D, H=4).double().eval(), draw.normal(B, D, T)
    background, absolute, c = draw.normal(3, D, T), draw.chance(), draw.whole(0, 2)
    draw.note(shape=(B, D, T), absolute=absolute, target=c)
    options = {"background": background, "absolute": absolute}
    scores = draw.call(FeatureAblation(model, **options).attribute, X, target=c)
    for b, d, t in itertools.product(range(B), range(D), range(T)):
        without = X[b].clone()
        without[d, t] = background.mean(0)[d, t]
        with torch.no_grad():
            p = model(torch.stack((X[b], without))).softmax(1)[:, c]
        draw.close(scores[b, d, t], (p[0] - p[1]).abs() if absolute else p[0] - p[1], 1e-6, 1e-9, what="a cell")

    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(D * T, 1)).double()
    method = SegmentGradients(flat, output="regression", steps=20, segments=draw.whole(0, 2), longest=2, **options)
    scores = draw.call(method.attribute, X, target=0)
    expected = flat[1].weight.detach().view(D, T) * (X - background.mean(0))
    moved = scores != 0  # a cell that lay in a segment at every point has no gradient
    draw.close(scores[moved], (expected.abs() if absolute else expected)[moved], 1e-9, 1e-12, what="of a linear model")
