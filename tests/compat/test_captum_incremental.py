"""captum's methods of ours over modules that are traced: rows evaluated where they differ, with captum's numbers."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

captum = pytest.importorskip("captum")

import rambit.compat.captum as ours  # noqa: E402
from rambit.game import recognition, tuple_windows  # noqa: E402
from rambit.game.tuple_game import TupleGame  # noqa: E402
from rambit.game.tuple_sample import Groups, Singles, TupleSample, WindowPlaces  # noqa: E402
from rambit.game.tuple_windows import TupleWindows  # noqa: E402
from rambit.predictors import ModulePredictor  # noqa: E402
from rambit.predictors.call import CallPredictor  # noqa: E402
from rambit.predictors.trace import traces_made  # noqa: E402
from tests.compat.test_captum import check, reasons  # noqa: E402, F401


class OverSteps(nn.Module):
    """A model of (B, T, D): layers on each step, and one on their mean."""

    def __init__(self):
        super().__init__()
        self.step, self.head = nn.Linear(3, 5), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.step(x).tanh().mean(dim=1))


class FirstRecurrent(nn.Module):
    """A GRU over (B, T, D), with outputs (B, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1]).view(-1, 2, 2)


def image():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3, 3), nn.Flatten(), nn.Linear(72, 4)
    )


def series():
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )


def features():
    return nn.Sequential(nn.Linear(30, 6), nn.Tanh(), nn.Linear(6, 4))


#: A model and the shape of a row of it.
MODELS = {
    "image": (image, (2, 12, 16)),
    "series": (series, (3, 24)),
    "steps": (OverSteps, (24, 3)),
    "recurrent": (FirstRecurrent, (24, 3)),
    "features": (features, (30,)),
}


@pytest.fixture(autouse=True)
def _traced(monkeypatch):
    """Models as small as these are traced, too, and of as few rows."""
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 0)
    monkeypatch.setattr(tuple_windows, "LEAST_GAIN", {"cpu": 0.0})
    monkeypatch.setattr(tuple_windows, "FEW", 2)


@pytest.fixture
def evaluated(monkeypatch):
    """The rows, first and last, that were evaluated by what differs."""
    found, outputs = [], TupleWindows.outputs

    def counted(self, begin, end):
        found.append((begin, end))
        return outputs(self, begin, end)

    monkeypatch.setattr(TupleWindows, "outputs", counted)
    return found


def network(name):
    torch.manual_seed(1)
    return MODELS[name][0]().eval()


def blocks(shape, rng, rows=1):
    """A feature mask of small pieces, of all channels of an image; for each of several rows another one."""
    place = [torch.arange(size) // rng.choice([1, 2]) for size in shape]
    if len(shape) == 3:
        place[0].zero_()
    number = sum(one * 40**k for k, one in enumerate(torch.meshgrid(*place, indexing="ij")))
    return torch.stack([number ^ (k % 2) for k in range(rows)])


def random_call(rng, shape, name):
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    B = rng.choice([1, 2, 3])
    given = {"inputs": torch.randn(B, *shape, generator=generator), "target": rng.randrange(4)}
    if rng.random() < 0.3:
        given["target"] = torch.randint(0, 4, (B,), generator=generator)
    kind = rng.choice([None, "number", "row", "rows"])
    if kind is not None:
        rows = {"row": 1, "rows": B}.get(kind)
        given["baselines"] = 0.5 if rows is None else torch.randn(rows, *shape, generator=generator)
    if name == "Occlusion":
        window = [rng.randint(1, max(1, size // 3)) for size in shape]
        given["sliding_window_shapes"] = tuple(window)
        given["strides"] = rng.choice([None, tuple(rng.randint(1, w) for w in window)])
    elif rng.random() < 0.5:
        given["feature_mask"] = blocks(shape, rng, rng.choice([1, B]))
    given["perturbations_per_eval"] = rng.choice([1, 1, 5])
    return given


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["FeatureAblation", "Occlusion"])
def test_random_calls(name, model, reasons, evaluated):  # noqa: F811
    rng, module, shape = random.Random(name + model), network(model), MODELS[model][1]
    for _ in range(8):
        given = random_call(rng, shape, name)
        if model == "recurrent":  # outputs (B, 2, 2)
            given["target"] = (rng.randrange(2), rng.randrange(2))
        evaluated.clear()
        check(name, lambda: module, **given)
        assert evaluated, reasons()
    assert not reasons()


def test_a_module_that_changes_between_calls(reasons, evaluated):  # noqa: F811
    model, x = network("series"), torch.randn(2, 3, 24)
    method = ours.FeatureAblation(model)
    for change, incremental in (
        (lambda: None, True),
        (lambda: nn.init.normal_(model[0].weight), True),
        (lambda: model[1].running_mean.add_(1.0), True),
        (lambda: setattr(model[0], "weight", nn.Parameter(torch.randn(4, 3, 3))), True),
        (lambda: model.__setitem__(2, nn.Tanh().eval()), True),
        (lambda: model.append(nn.Linear(4, 4).eval()), True),
        (lambda: model[2].register_forward_hook(lambda module, inputs, outputs: outputs**2), False),
        (lambda: model[2]._forward_hooks.clear(), True),
        (lambda: setattr(model[2], "forward", torch.sin), False),
        (lambda: (vars(model[2]).pop("forward"), model[2].train()), False),
    ):
        change()
        evaluated.clear()
        expected = captum.attr.FeatureAblation(model).attribute(x, target=1)
        torch.testing.assert_close(method.attribute(x, target=1), expected, rtol=1e-4, atol=1e-5)
        assert bool(evaluated) == incremental
    assert [part.training for part in model] == [False, False, True, False, False, False]


#: A function of a module, and what it is called with, that are evaluated whole.
WHOLE = {
    "a function": (lambda model: lambda x: model(x), {}),
    "another method": (lambda model: model.doubled, {}),
    "training": (lambda model: model.train(), {}),
    "float16": (lambda model: model.half(), {"inputs": torch.randn(1, 24, 3).half()}),
    "integers": (lambda model: model.float(), {"inputs": torch.ones(1, 24, 3, dtype=torch.int64), "baselines": 0}),
    "a wide baseline": (lambda model: model.double(), {"baselines": torch.zeros(1, 24, 3, dtype=torch.float64)}),
    "wide windows": (lambda model: model, {"feature_mask": torch.arange(72).view(1, 24, 3) % 5}),
    "one number": (lambda model: model.total, {}),
}


class Several(OverSteps):
    """Takes integers too, and has other methods than ``forward``."""

    def forward(self, x):
        return super().forward(x.to(self.head.weight.dtype))

    def doubled(self, x):
        return 2 * self(x)

    def total(self, x):
        return self(x).sum()


@pytest.mark.parametrize("case", WHOLE)
def test_what_is_evaluated_whole(case, reasons, evaluated):  # noqa: F811
    function, more = WHOLE[case]
    given = {"inputs": torch.randn(1, 24, 3), "target": None if case == "one number" else 1, **more}
    model = function(Several().eval())
    check("FeatureAblation", lambda: model, tolerance=1e-2 if case == "float16" else 1e-5, **given)
    assert not evaluated
    assert not reasons()


def test_the_method_forward_is_its_module(evaluated):
    model = network("steps")
    check("FeatureAblation", lambda: model.forward, torch.randn(1, 24, 3), target=1)
    assert evaluated


def test_more_inputs_and_arguments_are_evaluated_whole(evaluated):
    class Two(nn.Module):
        def forward(self, x, y):
            return (x.sin().sum(dim=1) + y.sum(dim=1))[:, None]

    model = Two().eval()
    check("FeatureAblation", lambda: model, (torch.randn(2, 30), torch.randn(2, 4)), target=0)
    check("FeatureAblation", lambda: model, torch.randn(2, 30), additional_forward_args=torch.randn(2, 4), target=0)
    assert not evaluated


def test_autocast(evaluated):
    model, x = network("series"), torch.randn(1, 3, 24)
    with torch.autocast("cpu", torch.bfloat16):
        check("FeatureAblation", lambda: model, x, target=1, tolerance=1e-2)
    assert not evaluated


def test_a_trace_that_is_not_the_module(monkeypatch, evaluated, caplog):
    """Rows are evaluated whole where some come out otherwise."""
    other, trace = another_series(), tuple_windows.trace
    monkeypatch.setattr(tuple_windows, "trace", lambda _, x: trace(ModulePredictor(other, output="regression"), x))
    caplog.set_level("DEBUG", logger="rambit.game.tuple_game")
    model = network("series")
    check("FeatureAblation", lambda: model, torch.randn(2, 3, 24), target=1)
    assert evaluated == [(36, 39)]
    assert "the model was traced, but its outputs then differ" in caplog.text


def another_series():
    torch.manual_seed(2)
    return series().eval()


class Mixing(nn.Module):
    """Its outputs for an example depend on the others."""

    def __init__(self, mix):
        super().__init__()
        self.mix, self.norm, self.step = mix, nn.BatchNorm1d(3, track_running_stats=False), OverSteps()

    def forward(self, x):
        return self.step(self.mix(self, x))


@pytest.mark.parametrize(
    "mix",
    [
        lambda self, x: x.softmax(dim=0),
        lambda self, x: x - x.mean(dim=0),
        lambda self, x: x.cumsum(dim=0),
        lambda self, x: x.flip(0),
        lambda self, x: self.norm(x.transpose(1, 2)).transpose(1, 2),
    ],
    ids=["softmax", "mean", "sums", "order", "normalised"],
)
def test_rows_that_depend_on_each_other(mix):
    model = Mixing(mix).eval()
    check("FeatureAblation", lambda: model, torch.randn(2, 24, 3), target=1)


class Root(nn.Module):
    """NaN where a value is negative."""

    def forward(self, x):
        return x.sqrt().sum(dim=1, keepdim=True)


def test_outputs_that_are_nan_go_to_captum(reasons):  # noqa: F811
    model = Root().eval()
    baselines = torch.where(torch.arange(40) == 7, -1.0, 0.5)[None]
    check("FeatureAblation", lambda: model, torch.rand(1, 40), baselines=baselines, target=0)
    assert reasons() == ["passed on to captum: outputs are NaN, infinite or bool"]


def test_only_what_saves_enough_is_evaluated_so(monkeypatch, evaluated):
    model, x = network("image"), torch.randn(1, 2, 12, 16)
    for name, value in (("LEAST_GAIN", {"cpu": 1e9}), ("FEW", x.numel() + 2)):
        with monkeypatch.context() as patch:
            patch.setattr(tuple_windows, name, value)
            check("FeatureAblation", lambda: model, x, target=1)
        assert not evaluated


def test_a_module_is_traced_once_its_calls_outweigh_that(monkeypatch, evaluated):
    model, x = network("image"), torch.randn(1, 2, 12, 16)
    each = (x.numel() + 1) * tuple_windows.multiplications(model, 12 * 16)
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 2.5 * each)
    for k in range(4):
        check("FeatureAblation", lambda: model, x, target=1)
        assert bool(evaluated) == (k >= 2)


def test_a_module_that_counts_its_calls_is_not_traced_at_each(monkeypatch):
    class Counting(OverSteps):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    model, x = Counting().eval(), torch.randn(1, 24, 3)
    each = (x.numel() + 1) * tuple_windows.multiplications(model, 24)
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 2.5 * each)
    for _ in range(10):
        check("FeatureAblation", lambda: model, x, target=1)
    assert 1 < traces_made(model) <= 5


def game(model, x, max_memory=None):
    predictor = CallPredictor(model, lambda output, copies: output)
    return TupleGame(predictor, TupleSample((x,), (torch.zeros_like(x),)), max_memory=max_memory)


def test_memory(monkeypatch, evaluated):
    """References of as many examples as fit; of one that does not, whole rows. What runs out is halved."""
    model, x = network("image"), torch.randn(3, 2, 12, 16)
    expected = game(model, x).evaluate(Singles((x,)))
    evaluated.clear()
    incremental = TupleWindows.of(
        CallPredictor(model, None), TupleSample((x,), (x,)), Singles((x,)), 1 << 30
    ).incremental
    one = incremental.reference_bytes
    for references, used in ((2.5, True), (0.5, False)):
        evaluated.clear()
        found = game(model, x, max_memory=int(4 * references * one)).evaluate(Singles((x,)))
        torch.testing.assert_close(found, expected)
        assert bool(evaluated) == used
    outputs = TupleWindows.outputs

    def scarce(self, begin, end):
        if end - begin > 50:
            raise MemoryError
        return outputs(self, begin, end)

    monkeypatch.setattr(TupleWindows, "outputs", scarce)
    torch.testing.assert_close(game(model, x).evaluate(Singles((x,))), expected)


def test_where_rows_replace_elements():
    """Of each question, against the masks themselves."""
    x = torch.randn(2, 3, 5, 4)
    ids = torch.randint(0, 6, (2, 3, 5, 4))
    windows = WindowPlaces((x,), [(2, 2, 3)], [(1, 2, 2)])
    for question in (Singles((x,)), windows, Groups((ids,), torch.unique(ids).flip(0))):
        start, stop = question.span()
        for row, first, last in zip(range(1, len(question)), start, stop, strict=True):
            places = (~question.kept(0, row, row + 1))[0].any(dim=0).nonzero()
            assert places.amin(dim=0).tolist() == first.tolist()
            assert (places.amax(dim=0) + 1).tolist() == last.tolist()
    assert Singles((x, x)).span() is None
