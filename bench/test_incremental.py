"""Models as their users write them: only what a flip changes, against whole rows."""

from __future__ import annotations

import pytest
import torch

from bench import image_models, series_models
from bench.image_models import trained_images
from bench.series_models import trained
from bench.timing import best, measure
from rambit.attribution import FO, RaMbIT
from rambit.counterfactuals import Zero
from rambit.game import Game
from rambit.game.questions import Coalitions
from rambit.game.tensor_sample import TensorSample
from rambit.predictors import Predictor
from rambit.predictors.differing import Differing

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's, of even kernels
D, T = 6, 1000
#: Steps whose cells are flipped where whole rows are timed; a whole row takes the same time wherever its flip is. (On a
#: GPU so few rows of a recurrent network take longer, each, than many.)
STEPS = 16
MODELS = ("FCN", "ResNet", "InceptionTime", "TCN", "MLP", "BidirectionalGRU", "LSTM", "Transformer")
#: How much fewer flips are timed of models that gain less.
PARTS = {"InceptionTime": 8, "TCN": 4, "BidirectionalGRU": 2, "LSTM": 2, "Transformer": 60}
OPTIONS = {"anchor": "end", "window_size": 1, "counterfactuals": "zero", "num_samples": 1}


def series(B, T, seed=1):
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(seed))


def flipping(B, T, count):
    """(B, D, T): which cells are observed, that is, flipped: those of so many steps spread over the series."""
    observed = torch.zeros(B, D, T, dtype=torch.bool)
    observed[:, :, torch.linspace(0, T - 1, count).long()] = True
    return observed


def equal(found, expected):
    torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-5)
    assert found.rows == expected.rows


def compare(benchmark, report, place, attributor, X, steps, what):
    """The time a flip of whole rows over that of windows, after both gave the same scores."""
    whole, incremental = attributor("full"), attributor("incremental")
    few, many = flipping(*X.shape[::2], STEPS), flipping(*X.shape[::2], steps)
    equal(incremental.explain(X, observed=few), whole.explain(X, observed=few))
    seconds, result = measure(benchmark, lambda: incremental.explain(X, observed=many), rounds=2)
    rows = whole.cost(X, observed=few).rows
    whole_row = best(lambda: whole.explain(X, observed=few), rounds=2) / rows
    found = Differing.of(Predictor.of(incremental.predictor.model), X)
    ratio = whole_row / (seconds / result.rows)
    report(
        f"{what}, {place}",
        f"{ratio:.2f} x whole rows ({1e6 * whole_row:.0f} us a row; ours {1e6 * seconds / result.rows:.1f} us; "
        f"bound {found.gain(X):.1f})",
        ratio=ratio,
        rows=result.rows,
        row_steps=result.row_steps,
    )


@pytest.mark.parametrize("name", MODELS)
def test_against_whole_rows(benchmark, report, place, name):
    model = trained(getattr(series_models, name), D, T).to(place.device)
    compare(
        benchmark,
        report,
        place,
        lambda how: RaMbIT(model, L=1, evaluation=how, **OPTIONS),
        series(1 if name == "Transformer" else 4, T).to(place.device),
        T // PARTS.get(name, 1),
        f"{name}, T = {T}",
    )


@pytest.mark.parametrize("length", [100, 1000, 10_000])
def test_length(benchmark, report, place, length):
    """The time a flip must not grow with the series."""
    model = trained(series_models.FCN, D, length).to(place.device)
    compare(
        benchmark,
        report,
        place,
        lambda how: RaMbIT(model, L=1, evaluation=how, **OPTIONS),
        series(1, length).to(place.device),
        length,
        f"FCN, T = {length}",
    )


def test_captum(benchmark, report, place):
    """captum's FeatureAblation of single cells; its time is that of the cells of a few steps, each a feature."""
    captum = pytest.importorskip("captum.attr")
    model = trained(series_models.FCN, D, T).to(place.device)
    X = series(4, T).to(place.device)
    ours = FO(model, distance="diff", **{k: v for k, v in OPTIONS.items() if k != "window_size"})
    few = flipping(1, T, STEPS)[0]
    mask = torch.where(few.flatten(), few.flatten().cumsum(0), 0).view(1, D, T)  # 0: all that is not looked at
    mask = mask.to(X.device)
    target = model(X).argmax(dim=1)

    def theirs():
        def probability(x):
            return model(x).softmax(dim=1)

        with torch.no_grad():
            return captum.FeatureAblation(probability).attribute(X, target=target, feature_mask=mask)

    found = ours.explain(X)
    torch.testing.assert_close(found.values[:, few], theirs()[:, few].to(found.values), rtol=1e-3, atol=1e-5)
    seconds, result = measure(benchmark, lambda: ours.explain(X), rounds=2)
    each = best(theirs, rounds=1) / (int(few.sum()) + 2)
    ratio = each / (seconds / (D * T))
    report(
        f"captum's FeatureAblation of the FCN, T = {T}, {place}",
        f"{ratio:.0f} x captum ({1e3 * each:.1f} ms a cell; ours {1e3 * seconds / (D * T):.3f} ms)",
        ratio=ratio,
        rows=result.rows,
        row_steps=result.row_steps,
    )


@pytest.mark.parametrize("name", ["ResNet18", "EfficientNetLite0"])
def test_images(benchmark, report, count_threads, name):
    """Occlusion by squares of 16 in steps of 8 of an image of 224: every eighth square, in rectangles and whole."""
    threads, side = count_threads(1), 224
    model = trained_images(getattr(image_models, name))
    sample = TensorSample.spatial(torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1)))
    corners = [(y, x) for y in range(0, side - 15, 8) for x in range(0, side - 15, 8)][::8]
    masks = torch.ones(len(corners), side, side, dtype=torch.bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + 16, x : x + 16] = False

    def evaluate(how):
        game = Game(Predictor.of(model, output="logits"), sample, Zero(), evaluation=how)
        return torch.cat(list(game.evaluate(Coalitions(masks.flatten(1)))))

    torch.testing.assert_close(evaluate("incremental"), evaluate("full"), rtol=1e-4, atol=1e-5)
    seconds, _ = measure(benchmark, lambda: evaluate("incremental"), rounds=2)
    whole = best(lambda: evaluate("full"), rounds=2)
    found = Differing.of(Predictor.of(model), sample.x.view(1, 3, side, side))
    report(
        f"occlusion of an image, {name}, {threads}",
        f"{whole / seconds:.2f} x whole rows ({1e3 * whole / len(masks):.1f} ms a row; "
        f"bound {found.incremental.gain(sample.x.view(1, 3, side, side), 16, 16):.1f})",
        ratio=whole / seconds,
        rows=len(masks),
    )


@pytest.mark.parametrize("name", ["LSTM", "GRU", "TCN"])
@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_recognised(benchmark, report, threads, anchor, name):
    """A plain module that is recognised as stateful, against a call on a prefix for every horizon."""
    steps, masks = 100, 20
    model, X = trained(getattr(series_models, name), D, steps), series(1 if name == "TCN" else 2, steps)

    def attributor(how):
        options = {**OPTIONS, "anchor": anchor, "window_size": 5}
        return RaMbIT(model, L=masks, evaluation=how, **options)

    expected, ours, found = attributor("prefix"), attributor("stateful"), []
    prefixes = best(lambda: found.append(expected.explain(X)), rounds=1)
    torch.testing.assert_close(ours.explain(X).values, found[0].values, rtol=1e-4, atol=1e-5)
    seconds, result = measure(benchmark, lambda: ours.explain(X), rounds=3)
    report(
        f"{name}, anchor {anchor}, T = {steps}, L = {masks}, {threads}",
        f"{prefixes / seconds:.1f} x prefixes ({prefixes:.2f} s, ours {seconds:.3f} s)",
        ratio=prefixes / seconds,
        rows=result.rows,
        row_steps=result.row_steps,
    )
