"""The metrics, with and without a known truth, against plain loops."""

from __future__ import annotations

from typing import Any

import torch

from rambit import metrics
from rambit.counterfactuals import CarryForward, Interpolate, Mean, Replay, Zero
from rambit.game import Game, TensorSample
from rambit.predictors import Predictor
from tests.naive import metrics as naive
from tests.naive import selection as naive_steps
from tests.soak.engine import Draw, case, either
from tests.soak.models import remembered
from tests.soak.series import means

TRUTH = {
    metrics.auprc: naive.auprc,
    metrics.auroc: naive.auroc,
    metrics.aup: naive.aup,
    metrics.aur: naive.aur,
    metrics.auprc_trapezoid: naive.auprc_trapezoid,
    metrics.aup_by_rank: naive.aup_by_rank,
    metrics.aur_by_rank: naive.aur_by_rank,
    metrics.mean_rank: naive.mean_rank,
    metrics.mean_rank_min: naive.mean_rank_min,
    metrics.iou: naive.iou,
    metrics.information: naive.information,
    metrics.entropy: naive.entropy,
}


@case(weight=6)
def truth(draw: Draw) -> None:
    shape = draw.whole(1, 4), draw.whole(1, 3), draw.whole(1, 6)
    scores = draw.normal(*shape, dtype=draw.of(torch.float32, torch.float64)) * draw.of(1.0, 1e-3, 40.0)
    if draw.chance(0.4):
        scores = (scores * draw.of(0, 1, 3)).round()  # ties
    salient = draw.bools(*shape, p=draw.of(0.1, 0.5, 0.9))
    salient.view(-1)[draw.whole(0, salient.numel() - 1)] = True
    function = draw.of(*TRUTH)
    draw.note(function=function.__name__, shape=shape, scores=scores.tolist(), truth=salient.tolist())
    rows = [part.double().flatten(1).tolist() for part in (scores, salient)]
    extra: dict[str, Any] = {}
    if function is metrics.iou:
        extra["quantile"] = draw.number(0, 1)
    if function in (metrics.mean_rank, metrics.mean_rank_min):
        extra["ties"] = draw.of("average", "min")
    refused = "not salient" if function is metrics.auroc and bool(salient.all()) else None
    given = (draw.placed(scores), draw.placed(salient)) if draw.chance() else (scores.numpy(), salient.numpy())
    found = draw.call(function, *given, refused=refused, **extra)
    draw.close(found, TRUTH[function](*rows, *extra.values()), 1e-9, 1e-9, what=function.__name__)


@case()
def summary(draw: Draw) -> None:
    """All of them in one call are each of them alone."""
    shape = draw.whole(1, 4), draw.whole(1, 3), draw.whole(2, 6)
    scores, salient = draw.normal(*shape), draw.bools(*shape, p=0.4)
    salient.view(-1)[:2] = torch.tensor([True, False])
    found = draw.call(metrics.summary, scores, salient)
    draw.equal(set(found), set(metrics.MEASURES), what="the names of all measures")
    for name, value in found.items():
        draw.close(value, metrics.MEASURES[name](scores, salient), what=name)


class Evaluated:
    """A game and its twin on the same random series."""

    def __init__(self, draw: Draw) -> None:
        B, D, T, C = draw.whole(1, 3), draw.whole(1, 3), draw.whole(2, 5), draw.of(2, 3)
        first, second = draw.normal(D * T, 6), draw.normal(6, C)
        self.B, self.C = B, C
        self.x = draw.normal(B, D, T)
        self.scores = draw.normal(B, D, T) if draw.chance(0.7) else draw.normal(B, D, T).round()
        missing = draw.chance(0.3)
        observed = draw.bools(B, D, T, p=0.6)
        observed[:, 0, :2] = True  # something to remove in every series, after t = 0 too
        seen = observed if missing else None
        self.output = draw.of("auto", "auto", "regression")
        kind, self.draws = draw.of("zero", "mean", "carry_forward", "interpolate", "replay"), 1
        if kind == "replay":
            self.draws = draw.whole(1, 2)
        values = draw.normal(self.draws, B, D, T)
        strategy = {
            "zero": Zero, "mean": Mean, "carry_forward": CarryForward, "interpolate": Interpolate,
            "replay": lambda: Replay(values),
        }[kind]()  # fmt: skip
        fixed = {"zero": torch.zeros(1, B, D, T).double(), "replay": values}.get(kind)
        if kind == "mean":
            fixed = means(self.x, seen, None)[None]
        predictor = Predictor.of(lambda x: torch.tanh(x.flatten(1) @ first) @ second, output=self.output)
        self.batch = draw.of("auto", 1, 5)
        sample = TensorSample(self.x, torch.arange(B), seen)
        self.game = Game(predictor, sample, strategy, draws=self.draws, batch_size=self.batch)
        finish = (lambda z: z) if self.output == "regression" else (lambda z: z.softmax(1))
        f = remembered(lambda x: finish(torch.tanh(x.flatten(1) @ first) @ second))
        self.twin = naive.Evaluated(f, self.x, fixed, kind if fixed is None else "fixed", seen)
        draw.note(shape=(B, D, T), kind=kind, draws=self.draws, missing=missing, output=self.output, batch=self.batch)

    def cells(self, per: str, extent: str) -> int:
        """How many cells k may name."""
        counts = [len(self.twin.cells(b, 0 if extent == "cell" else 1)) for b in range(self.B)]
        return sum(counts) if per == "all" else max(counts)


FAITHFULNESS = {
    metrics.comprehensiveness: naive.comprehensiveness,
    metrics.sufficiency: naive.sufficiency,
    metrics.log_odds: naive.log_odds,
    metrics.average_prediction_difference: naive.average_prediction_difference,
    metrics.auc_drop: naive.auc_drop,
    metrics.cpd: naive.cpd,
    metrics.cpp: naive.cpp,
    metrics.masked_count: naive.masked_count,
}


#: Which of them serve a regression.
VALUES = ("cpd", "cpp", "average_prediction_difference", "masked_count")


@case(weight=4)
def faithfulness(draw: Draw) -> None:
    evaluated, function = Evaluated(draw), draw.of(*FAITHFULNESS)
    per, extent = draw.of("series", "all"), draw.of("cell", "end", "std")
    k = draw.of(1, 2, 0.34, 0.5, 0.9, 1.0)
    twin, name = FAITHFULNESS[function], function.__name__
    draw.note(metric=name, per=per, extent=extent, k=k)
    options: dict[str, Any] = {"per": per}
    if name != "sufficiency":
        options["extent"] = extent
    cells = evaluated.cells(per, options.get("extent", "cell"))
    regression = evaluated.output == "regression"
    arguments, more = [], {}
    if name == "auc_drop":
        arguments = [draw.integers(0, evaluated.C - 1, evaluated.B)]
    if regression and name == "average_prediction_difference":
        more["regression"] = True
    refused = either(
        "k must be between" if isinstance(k, int) and k > cells else None,
        "is none of them" if isinstance(k, float) and name != "sufficiency" and k * cells < 1 else None,
        "at least two classes" if arguments and len(set(arguments[0].tolist())) < 2 else None,
        "regression" if regression and name not in VALUES else None,
    )
    found = draw.call(
        function, evaluated.game, draw.placed(evaluated.scores), *arguments, k, refused=refused, **options
    )
    labels = [arguments[0].tolist()] if arguments else []
    draw.close(
        found, twin(evaluated.twin, evaluated.scores.numpy(), *labels, k, **options, **more), 1e-8, 1e-9, what=name
    )


@case(weight=2)
def curves(draw: Draw) -> None:
    evaluated = Evaluated(draw)
    steps, insertion = draw.of(None, 1, 2, 4), draw.chance()
    refused = either(
        "regression" if evaluated.output == "regression" else None,
        "steps must be" if steps is not None and steps > evaluated.cells("series", "cell") else None,
    )
    draw.note(steps=steps, insertion=insertion)
    functions = {
        (True, True): (metrics.insertion_auc, naive.insertion_auc),
        (False, True): (metrics.deletion_auc, naive.deletion_auc),
        (True, False): (metrics.insertion_curve, naive.insertion_curve),
        (False, False): (metrics.deletion_curve, naive.deletion_curve),
    }
    ours, twin = functions[insertion, draw.chance()]
    found = draw.call(ours, evaluated.game, evaluated.scores, steps=steps, refused=refused)
    draw.close(found, twin(evaluated.twin, evaluated.scores.numpy(), steps), 1e-8, 1e-9)


@case()
def accuracy_at(draw: Draw) -> None:
    B, D, T, C = draw.whole(1, 5), draw.whole(1, 3), draw.whole(1, 6), 3
    weight, x, scores = draw.normal(D * T, C), draw.normal(B, D, T), draw.normal(B, D, T)
    labels, k = draw.integers(0, C - 1, B), draw.whole(1, T)
    game = Game(Predictor.of(lambda x: x.flatten(1) @ weight), TensorSample(x, torch.arange(B)), Zero())
    found = draw.call(metrics.accuracy_at, game, scores, labels, k)
    f = lambda x: (x.flatten(1) @ weight)[0]  # noqa: E731
    draw.close(found, naive_steps.accuracy_at(f, x, scores, labels.tolist(), k))
