"""Which outputs are explained: one, one for each series, several from the same rows, or a function of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import (
    AFO,
    FO,
    Banzhaf,
    BiWinIT,
    ExactShapley,
    Gradients,
    Interactions,
    Occlusion,
    ShapleySampling,
    WinIT,
)
from rambit.predictors import PredictionError
from tests.naive import rambit as naive

B, D, T, H, Q = 3, 2, 7, 4, 3


class Forecaster(nn.Module):
    """An LSTM that forecasts H steps, or Q quantiles of each."""

    def __init__(self, quantiles=False, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.rnn = nn.LSTM(D, 5, batch_first=True)
        self.head = nn.Linear(5, H * Q if quantiles else H)
        self.quantiles = quantiles
        self.rows = 0

    def forward(self, x):
        self.rows += len(x)
        out = self.head(self.rnn(x.transpose(1, 2))[0][:, -1])
        return out.view(-1, H, Q) if self.quantiles else out


class Classes(nn.Module):
    """Class logits at every step, with a state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.rnn, self.head = nn.GRU(D, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x, return_all=False):
        out = self.head(self.rnn(x.transpose(1, 2))[0])
        return out.transpose(1, 2) if return_all else out[:, -1]

    def advance(self, x, state=None):
        out, state = self.rnn(x.transpose(1, 2), None if state is None else state.transpose(0, 1).contiguous())
        return self.head(out).transpose(1, 2), state.transpose(0, 1).contiguous()


@pytest.fixture
def X():
    return torch.randn(B, D, T, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


METHODS = {
    "rambit cell": lambda m, **o: RaMbIT(m, L=3, num_samples=2, Wt_max=3, Wd_max=2, window_size=2, **o),
    "rambit mask": lambda m, **o: RaMbIT(
        m, anchor="mask", L=3, num_samples=2, Wt_max=3, Wd_max=2, window_size=2, normalize="visible", **o
    ),
    "rambit end": lambda m, **o: RaMbIT(m, anchor="end", L=3, num_samples=2, Wt_max=3, Wd_max=2, window_size=2, **o),
    "rambit own masks": lambda m, **o: RaMbIT(
        m, share_masks=False, share_draws=False, L=2, num_samples=2, Wt_max=3, Wd_max=2, window_size=2, **o
    ),
    "fo": lambda m, **o: FO(m, num_samples=2, **o),
    "winit": lambda m, **o: WinIT(m, num_samples=2, window_size=3, **o),
    "biwinit": lambda m, **o: BiWinIT(m, num_samples=2, window_size=3, **o),
    "occlusion": lambda m, **o: Occlusion(m, width=2, height=2, stride=(1, 2), **o),
    "exact shapley": lambda m, **o: ExactShapley(m, num_samples=2, **o),
    "shapley": lambda m, **o: ShapleySampling(m, num_permutations=3, num_samples=2, **o),
    "banzhaf": lambda m, **o: Banzhaf(m, num_masks=9, num_samples=2, **o),
}


def same(many, each):
    """Whether scores and errors of several targets are those of each alone."""
    for k, one in enumerate(each):
        assert torch.equal(many.values[:, k], one.values)
        assert (many.stderr is None) == (one.stderr is None)
        if many.stderr is not None:
            torch.testing.assert_close(many.stderr[:, k], one.stderr, rtol=1e-12, atol=0)
        assert (many.windows is None) == (one.windows is None)
        assert many.windows is None or torch.equal(many.windows[:, k], one.windows)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("model", [Forecaster, Classes])
def test_all_outputs_come_from_the_rows_of_one(name, model, X):
    model = model().double()
    output = "regression" if isinstance(model, Forecaster) else "logits"
    method = METHODS[name](model, output=output, counterfactuals="gaussian")
    many = method.explain(X, targets="all")
    count = H if output == "regression" else 3
    each = [method.explain(X, target=k) for k in range(count)]
    assert many.values.shape == (B, count, D, T)
    assert many.settings["targets"] == "all"
    assert many.settings["distance"] == "diff"
    same(many, each)
    assert method.cost(X, targets="all").rows == many.rows <= each[0].rows + B  # a call on the originals
    assert float((many.values[:, 0] - many.values[:, 1]).abs().max()) > 0


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("distance", ["auto", "abs", "l2"])
def test_forecasts_by_their_definition(layout, distance, X):
    model = Forecaster().double()
    L, S, shape = 2, 2, (B, D, T)
    masks = torch.rand(L, D, T, generator=torch.Generator().manual_seed(3)) < 0.6
    draws = torch.randn(S, *shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    turned = (lambda x: x.transpose(-1, -2)) if layout == "BTD" else (lambda x: x)

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(turned(x))

    method = RaMbIT(
        Turned(),
        anchor="end",
        output="regression",
        window_size=1,
        layout=layout,
        distance=distance,
        masks=turned(masks).contiguous(),
        counterfactuals=turned(draws).contiguous(),
        L=20,
    )
    found = method.attribute(turned(X).contiguous(), targets=[2, 0])
    metric = "diff" if distance == "auto" else "change"
    for k, target in enumerate((2, 0)):
        expected = torch.zeros(shape, dtype=torch.float64)
        for b in range(B):
            with torch.no_grad():
                p = model(X[b : b + 1])[0]
                for d in range(D):
                    for t in range(T):
                        for mask in masks:
                            for s in range(S):
                                kept, gone = mask.clone(), mask.clone()
                                kept[d, t], gone[d, t] = True, False
                                far, near = (
                                    naive.distance(metric, p, model(torch.where(m, X[b], draws[s, b])[None])[0], target)
                                    for m in (gone, kept)
                                )
                                expected[b, d, t] += (far - near) / (L * S)
        torch.testing.assert_close(turned(found[:, k]), expected)


def test_quantiles_are_named_by_pairs(X):
    model = Forecaster(quantiles=True).double()
    method = Occlusion(model, output="regression")
    every = method.explain(X, targets="all")
    assert every.values.shape == (B, H * Q, D, T)
    assert torch.equal(method.attribute(X, target=(2, 1)), every.values[:, 2 * Q + 1])
    assert torch.equal(method.attribute(X, targets=[(3, 0), (0, 2)]), every.values[:, [3 * Q, 2]])
    pairs = torch.tensor([[0, 1], [3, 2], [1, 0]])
    each = torch.stack([every.values[b, int(h) * Q + int(q)] for b, (h, q) in enumerate(pairs)])
    for given in (pairs, pairs.tolist(), pairs.numpy()):
        assert torch.equal(method.attribute(X, target=given), each)
    for given in ([(0, 1), (3, 2)], ((0, 1), (3, 2))):  # a pair for each of two series, and no pair itself
        torch.testing.assert_close(method.attribute(X[:2], target=given), each[:2])
    moved = method.attribute(X)  # how far all of them moved together
    assert moved.shape == X.shape
    assert float(moved.min()) >= 0


def test_a_target_for_each_series(X):
    method = Occlusion(Forecaster().double(), output="regression")
    every = method.attribute(X, targets="all")
    found = method.attribute(X, target=[2, 0, 3])
    assert torch.equal(found, torch.stack([every[0, 2], every[1, 0], every[2, 3]]))
    pair = method.attribute(X[:2], target=(2, 0))  # of two series, since these forecasts have one axis
    torch.testing.assert_close(pair, found[:2])


@pytest.mark.parametrize(
    ("evaluation", "anchor"),
    [
        *((mode, anchor) for mode in ("stateful", "causal", "prefix") for anchor in ("cell", "mask", "end")),
        ("incremental", "end"),
    ],
)
def test_every_mode_explains_all_outputs(evaluation, anchor, X):
    model = Classes().double()
    options = {
        "counterfactuals": "gaussian",
        "anchor": anchor,
        "L": 3,
        "num_samples": 2,
        "Wt_max": 3,
        "Wd_max": 2,
        "window_size": 2,
    }
    expected = RaMbIT(model, evaluation="full" if anchor == "end" else "prefix", **options).attribute(X, targets="all")
    found = RaMbIT(model, evaluation=evaluation, **options).attribute(X, targets="all")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_function_of_the_outputs(X):
    """It sees what the model returned, and its values are explained as a regression."""
    model = Forecaster(quantiles=True).double()

    def width(outputs):
        assert outputs.shape[1:] == (H, Q)
        return outputs[:, :, 2].sum(1) - outputs[:, :, 0].sum(1)

    class Width(nn.Module):
        def forward(self, x):
            return width(model(x))

    found = Occlusion(model, output="regression").explain(X, target=width)
    expected = Occlusion(Width(), output="regression").explain(X, target=0)
    assert torch.equal(found.values, expected.values)
    assert "width" in found.settings["target"]
    both = Occlusion(model, output="regression").attribute(X, targets=lambda y: torch.stack((width(y), y[:, 0, 0]), 1))
    assert torch.equal(both[:, 0], found.values)


@pytest.mark.parametrize("evaluation", ["stateful", "causal", "prefix"])
def test_a_function_of_class_logits(evaluation, X):
    model = Classes().double()
    method = RaMbIT(model, L=2, num_samples=1, Wt_max=3, window_size=2, evaluation=evaluation)
    margin = method.attribute(X, target=lambda y: y[:, 0] - y[:, 1])
    raw = RaMbIT(model, L=2, num_samples=1, Wt_max=3, window_size=2, output="regression").attribute(X, targets=[0, 1])
    torch.testing.assert_close(margin, raw[:, 0] - raw[:, 1], rtol=0, atol=1e-12)


def test_lengths_and_missing_values(X):
    seen = torch.rand(X.shape, generator=torch.Generator().manual_seed(1)) < 0.8
    method = RaMbIT(
        Classes().double(), counterfactuals="gaussian", L=3, num_samples=2, Wt_max=3, Wd_max=2, window_size=2
    )
    given = {"lengths": [5, 7, 5], "observed": seen}
    many = method.explain(X, targets="all", **given)
    for k in range(3):
        assert torch.equal(many.values[:, k], method.attribute(X, target=k, **given))
    assert bool((many.values[:, :, :, 5:][[0, 2]] == 0).all())


def test_memory_bound_and_chunks(X):
    model = Forecaster().double()
    options = {"output": "regression", "anchor": "end", "L": 4, "num_samples": 1, "Wt_max": 3, "Wd_max": 2}
    whole = RaMbIT(model, **options).attribute(X, targets="all")
    small = RaMbIT(model, **options, batch_size=5, max_memory=1 << 20).attribute(X, targets="all")
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-12)


def test_a_checkpoint_goes_on(tmp_path, X):
    method = RaMbIT(Classes().double(), counterfactuals="gaussian", L=3, num_samples=2, Wt_max=3, window_size=2)
    first = method.explain(X, targets=[0, 2], checkpoint=tmp_path / "run")
    again = method.explain(X, targets=[0, 2], checkpoint=tmp_path / "run")
    assert torch.equal(again.values, first.values)
    for other in ({"targets": "all"}, {"target": 0}, {"targets": [2, 0]}):
        with pytest.raises(ValueError, match="was written for other settings"):
            method.explain(X, checkpoint=tmp_path / "run", **other)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target": 1, "targets": [0]}, "target and targets were both given"),
        ({"targets": "every"}, "targets must be 'all'"),
        ({"targets": []}, "targets is empty"),
        ({"targets": 3}, "targets must be 'all' or a list"),
        ({"targets": [0, (1, 2, 3)]}, "one number, or by two"),
        ({"targets": [0, -1]}, "targets must lie between"),
        ({"targets": [0, 4]}, "target must be below 4"),
        ({"targets": [0.5]}, "integers"),
        ({"target": (0, 1)}, "one of the model's outputs .4,. by one number"),
        ({"target": [0, 1]}, "target must have one value a series"),
        ({"target": lambda y: y}, "target returned 4 values for each row: targets="),
    ],
)
def test_what_is_no_target(given, message, X):
    with pytest.raises((ValueError, TypeError), match=message):
        Occlusion(Forecaster().double(), output="regression").attribute(X, **given)


def test_what_a_function_may_not_return(X):
    method = Occlusion(Forecaster().double(), output="regression")
    for function, got in ((lambda y: y.sum(), r"\(\)"), (lambda y: 3.0, "float"), (lambda y: y[:1], r"\(1, 4\)")):
        with pytest.raises(RuntimeError, match=f"target returned {got}"):
            method.attribute(X, target=function)


def test_who_returned_what_cannot_be_used(X):
    method = FO(lambda x: x.mean(2), output="regression", anchor="end", counterfactuals=0)
    with pytest.raises(PredictionError, match="the function given as target returned NaN or infinite"):
        method.attribute(X, target=lambda y: y[:, 0] * torch.nan)
    with pytest.raises(PredictionError, match=r"the function given as target returned torch\.bool"):
        method.attribute(X, target=lambda y: y[:, 0] > 0)
    with pytest.raises(TypeError, match="target must be given by number, got"):
        method.attribute(X, target="ill")


def test_numbers_and_pairs_are_not_mixed_up(X):
    method = Occlusion(Forecaster(quantiles=True).double(), output="regression")
    with pytest.raises(ValueError, match=r"outputs \(4, 3\) by a pair"):
        method.attribute(X, target=2)
    with pytest.raises(ValueError, match=r"lie within the outputs \(4, 3\)"):
        method.attribute(X, target=(0, 3))
    with pytest.raises(ValueError, match="one of the model's classes by one number"):
        Occlusion(Classes().double()).attribute(X, target=(0, 1))


def test_what_a_distance_compares(X):
    """A target's change is the default beside a target; a distance between whole distributions has none."""
    model = Classes().double()
    assert torch.equal(
        FO(model, num_samples=1).attribute(X, target=1),
        FO(model, num_samples=1, distance="diff").attribute(X, target=1),
    )
    for distance in ("pd", "kl", "js", "l2"):
        with pytest.raises(ValueError, match="target applies to distance='diff' only"):
            FO(model, distance=distance).attribute(X, target=1)
    with pytest.raises(ValueError, match="target is needed"):
        FO(Forecaster().double(), output="regression", distance="diff", anchor="end").attribute(X)


def test_forecasts_need_to_be_called_so(X):
    with pytest.raises(RuntimeError, match="output='regression'"):
        Occlusion(Forecaster(quantiles=True).double()).attribute(X)


def test_gradients_explain_one_output(X):
    method = Gradients(Classes().double(), "integrated_gradients")
    with pytest.raises(ValueError, match="explains one output"):
        method.attribute(X, targets="all")
    with pytest.raises(ValueError, match="explains one output"):
        method.attribute(X, target=lambda y: y[:, 0])


def test_what_gradients_cost_beside_a_target(X):
    method = Gradients(Forecaster().double(), "integrated_gradients", output="regression")
    assert method.explain(X, target=2).rows == method.cost(X, target=2).rows


def test_afo_with_a_background(X):
    method = AFO(Forecaster().double(), background=X, output="regression", anchor="end", num_samples=2)
    assert torch.equal(method.attribute(X, targets="all")[:, 1], method.attribute(X, target=1))


# -- by name -----------------------------------------------------------------------------------------------------------

NAMES = ("rest", "walk", "run")


@pytest.mark.parametrize("name", ["rambit cell", "rambit end", "winit", "occlusion", "shapley"])
def test_names_are_the_numbers_of_outputs(X, name):
    labels = {"outputs": NAMES}
    method = METHODS[name](Classes().double(), counterfactuals="gaussian")
    for by_name, by_number in (("run", 2), (["run", "rest", "run"], [2, 0, 2]), (np.array(["walk"] * B), 1)):
        found, expected = method.explain(X, target=by_name, labels=labels), method.explain(X, target=by_number)
        assert torch.equal(found.values, expected.values)
        assert torch.equal(found.target, expected.target)
    several = method.explain(X, targets=["run", "rest"], labels=labels)
    assert torch.equal(several.values, method.explain(X, targets=[2, 0]).values)
    assert several.targets == [2, 0]
    assert torch.equal(several.sel(target="rest").values, several.values[:, 1])
    assert method.explain(X, targets="walk", labels=labels).targets == [1]
    found = method.explain(X, target="run", labels=labels)
    assert method.cost(X, target="run", labels=labels).rows == found.rows


def test_names_that_the_model_gives(X):
    method = Occlusion(Classes().double())
    method.predictor.class_names = NAMES
    assert torch.equal(method.attribute(X, target="run"), method.attribute(X, target=2))
    own = method.attribute(X, target="run", labels={"outputs": ["run", "walk", "rest"]})
    assert torch.equal(own, method.attribute(X, target=0)), "a call's own names come first"


def test_names_of_forecasts_with_quantiles(X):
    labels = {"outputs": [f"{h}h {q}" for h in range(H) for q in ("low", "mid", "high")]}
    method = Occlusion(Forecaster(quantiles=True).double(), output="regression")
    found, expected = method.explain(X, target="2h high", labels=labels), method.explain(X, target=(2, 2))
    assert torch.equal(found.values, expected.values)
    assert found.target.tolist() == [[2, 2]] * B
    several = method.explain(X, targets=["3h low", "0h mid"], labels=labels)
    assert several.targets == [[3, 0], [0, 1]]
    assert torch.equal(several.values, method.explain(X, targets=[(3, 0), (0, 1)]).values)


def test_names_of_interactions(X):
    method = Interactions(Classes().double(), lags=1)
    found = method.attribute(X, target="run", labels={"outputs": NAMES})
    assert torch.equal(found, method.attribute(X, target=2))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"target": "wlak"}, ValueError, "target must be one of walk, .*, got 'wlak'"),
        ({"targets": ["run", "Rest"]}, ValueError, "targets must be one of rest, .*, got 'Rest'"),
        ({"target": ["run", "walk", 1]}, TypeError, "target must hold names or numbers, not both, got 1"),
        ({"target": ["run", "walk"]}, ValueError, "target must have one value a series"),
        ({"target": "run", "labels": {}}, TypeError, "target must be given by number, got 'run': .*labels="),
        ({"target": "a", "labels": {"outputs": ["a", "a", "b"]}}, ValueError, r"name of 2 outputs, \[0, 1\]"),
        ({"target": "a", "labels": {"outputs": ["a", "b"]}}, ValueError, "there are 2 names, for 3 outputs"),
    ],
)
def test_names_that_there_are_not(X, given, error, words):
    with pytest.raises(error, match=words):
        Occlusion(Classes().double()).explain(X, **{"labels": {"outputs": NAMES}, **given})
