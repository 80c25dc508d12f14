"""What a model's answers say of it before its scores are believed."""

from __future__ import annotations

import gc
import re
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import ExactShapley, Occlusion
from rambit.counterfactuals import Zero
from rambit.game import Game, TensorSample, probes
from rambit.predictors import PredictionError, Predictor
from rambit.rex import ReX
from tests.game import sound_models

X = torch.randn(6, 2, 5, generator=torch.Generator().manual_seed(0))
OPTIONS = {"num_samples": 1, "anchor": "end", "L": 3}


def test_products_are_exact_while_outputs_are_compared():
    """On a GPU; torch takes the settings where there is none, too."""
    kinds = (torch.backends.cudnn.conv, torch.backends.cudnn.rnn, torch.backends.cuda.matmul)
    before = [kind.fp32_precision for kind in kinds]
    with probes.exact_products(torch.device("cuda")):
        assert [kind.fp32_precision for kind in kinds] == ["ieee"] * 3
    assert [kind.fp32_precision for kind in kinds] == before != ["ieee"] * 3
    with probes.exact_products(torch.device("cpu")):
        assert [kind.fp32_precision for kind in kinds] == before


def linear(x):
    return x.flatten(1)[:, :3] * 2


def probabilities(x):
    return linear(x).softmax(1)


def test_probabilities_are_taken_as_such_and_it_is_said():
    expected = RaMbIT(linear, **OPTIONS).attribute(X)
    with pytest.warns(UserWarning, match="are probabilities .* output='probs' says so"):
        found = RaMbIT(probabilities, **OPTIONS).explain(X)
    torch.testing.assert_close(found.values, expected)
    assert found.settings["output"] == "probs"
    assert torch.equal(RaMbIT(probabilities, output="probs", **OPTIONS).attribute(X), found.values)
    squashed = RaMbIT(probabilities, output="logits", **OPTIONS).explain(X)  # it was said, so it is done
    assert squashed.settings["output"] == "logits"
    assert float((squashed.values - expected).abs().max()) > 0.01


def test_logits_that_come_near_to_probabilities_are_logits():
    def close(x):
        return torch.tensor([0.4, 0.3, 0.3005]) + 1e-6 * linear(x)

    found = RaMbIT(close, **OPTIONS).explain(X)
    assert found.settings["output"] == "logits"
    for dtype in (torch.float32, torch.float64):
        with pytest.warns(UserWarning, match="are probabilities"):
            RaMbIT(lambda x: linear(100 * x).softmax(1), **OPTIONS).attribute(X.to(dtype))


def test_that_is_told_once_and_holds_for_the_next_call():
    method = RaMbIT(probabilities, **OPTIONS)
    with pytest.warns(UserWarning, match="are probabilities"):
        first = method.attribute(X)
    assert torch.equal(method.attribute(X), first)


def test_one_column_is_the_second_class():
    def one(x):
        return linear(x)[:, :1]

    def two(x):
        return torch.cat((torch.zeros(len(x), 1), one(x)), dim=1)

    torch.testing.assert_close(RaMbIT(one, **OPTIONS).attribute(X), RaMbIT(two, **OPTIONS).attribute(X))
    shapley = [ExactShapley(m, distance="diff").attribute(X, target=1) for m in (one, two, lambda x: one(x)[:, 0])[:2]]
    torch.testing.assert_close(*shapley)
    vector = ExactShapley(lambda x: one(x)[:, 0], distance="diff", output="logits").attribute(X, target=1)
    torch.testing.assert_close(vector, shapley[0])
    image = torch.rand(1, 1, 8, 8)
    bright = lambda x: x[:, :, :4].mean((1, 2, 3))[:, None] * 20 - 4  # noqa: E731
    assert ReX(bright, iters=2).explain(image).target == int(bright(image) > 0)


@pytest.mark.parametrize(
    "after",
    [
        lambda p: p.double().float(),
        lambda p: p.clamp(1e-6, 1 - 1e-6),
        lambda p: torch.nan_to_num(p.clone()).view(-1, 1),
        lambda p: torch.stack((p, p)).mean(0),
        lambda p: torch.cat((p, p), dim=1)[:, torch.tensor([1])],
    ],
)
def test_what_leaves_probabilities_as_they_are(after):
    def one(x):
        return linear(x)[:, :1].sigmoid()

    expected = RaMbIT(one, output="probs", **OPTIONS).attribute(X)
    with pytest.warns(UserWarning, match="a single column that a sigmoid or softmax made"):
        found = RaMbIT(lambda x: after(one(x)), **OPTIONS).attribute(X)
    torch.testing.assert_close(found, expected)
    half = RaMbIT(lambda x: one(x) * 0.5 + 0.1, **OPTIONS).explain(X)  # a layer after it: who knows what that is
    assert half.settings["output"] == "logits"


def running(x):
    return linear(x - x.mean(dim=0, keepdim=True))


def by_place(x):
    return linear(x) + torch.arange(len(x))[:, None]


class Random(nn.Module):
    def forward(self, x):
        return linear(x) + torch.rand(1)


@pytest.mark.parametrize("method", [RaMbIT, Occlusion])
@pytest.mark.parametrize(
    ("model", "said"),
    [(running, "depends on its batch"), (by_place, "depends on its batch"), (Random(), "not deterministic")],
)
def test_an_answer_that_is_not_the_rows_own(model, said, method):
    options = OPTIONS if method is RaMbIT else {}
    with pytest.warns(UserWarning, match=said):
        method(model, **options).attribute(X)


def test_batch_norm_without_running_statistics():
    model = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False), nn.Flatten(), nn.Linear(10, 2))
    with pytest.warns(UserWarning, match="depends on its batch"):
        RaMbIT(model, **OPTIONS).attribute(X)
    tracked = nn.Sequential(nn.BatchNorm1d(2), nn.Flatten(), nn.Linear(10, 2))
    RaMbIT(tracked, **OPTIONS).attribute(X)


def test_dropout_that_nobody_can_find():
    with pytest.warns(UserWarning, match="not deterministic"):
        RaMbIT(lambda x: linear(nn.functional.dropout(x, 0.5, training=True)), **OPTIONS).attribute(X)


@pytest.mark.parametrize(
    "votes",
    [
        lambda x: linear(x).argmax(1, keepdim=True),
        lambda x: linear(x) > 0,
        lambda x: linear(x).to(torch.int32),
        lambda x: linear(x).to(torch.complex64),
    ],
)
@pytest.mark.parametrize("output", ["auto", "logits", "probs", "regression"])
def test_what_is_no_score(votes, output):
    with pytest.raises(PredictionError, match="expected floating scores"):
        RaMbIT(votes, output=output, **OPTIONS).attribute(X)


def test_a_number_of_outputs_that_changes():
    def growing(x):
        return x.flatten(1)[:, : 2 + (len(x) > 20)]

    with pytest.raises(PredictionError, match="returned 3 outputs, and 2 before"):
        RaMbIT(growing, **OPTIONS).attribute(X)
    calls = []

    def changing(x):
        calls.append(len(x))
        return torch.randn(len(x), 2 + len(calls) % 3)

    for anchor in ("cell", "mask", "end"):
        with pytest.raises(PredictionError, match="outputs"):
            RaMbIT(changing, num_samples=1, L=3, anchor=anchor).attribute(X)


def test_games_do_not_outlive_their_use():
    """They hold the batch: without the collector of cycles they are gone at once."""
    gc.disable()
    try:
        game = Game(Predictor.of(linear), TensorSample(X, torch.arange(len(X))), Zero())
        game.predict()
        gone = weakref.ref(game)
        del game
        assert gone() is None
    finally:
        gc.enable()


def test_models_that_are_none():
    with pytest.raises(TypeError, match="got the class Linear: make one"):
        RaMbIT(nn.Linear)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device='cuda' cannot be used here"):
            RaMbIT(nn.Linear(3, 2), device="cuda")
    with pytest.raises(ValueError, match="device='nowhere' cannot be used here"):
        RaMbIT(nn.Linear(3, 2), device="nowhere")

    class Several:
        def predict_proba(self, x):
            return [np.full((len(x), 2), 0.5)] * 3

    with pytest.raises(PredictionError, match="returned 3 tables"):
        RaMbIT(Several(), **OPTIONS).attribute(X)


#: Those that read series of any length.
ANY_LENGTH = (
    "convolutions",
    "batch norm",
    "gru",
    "lstm",
    "bidirectional",
    "gru with a state",
    "gru and head",
    "our tcn",
)
ANY_LENGTH += ("causal attention", "attention", "our gru", "our lstm", "our transformer")


def explained(model, **options):
    """Scores of a call with nothing but the number of masks set, and what it warned of."""
    x = X.double() if next(iter(getattr(model, "parameters", lambda: [])()), X).dtype == torch.float64 else X
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scores = RaMbIT(model, L=2, **options).attribute(x)
    return scores, [str(one.message) for one in caught]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of scripting
@pytest.mark.parametrize("name", sound_models.SOUND)
def test_sound_models_are_not_warned_of(name):
    make = sound_models.SOUND[name]
    scores, warned = explained(make(), anchor="end")
    assert not warned
    assert float(scores.abs().max()) > 0
    if name in ANY_LENGTH:
        assert not explained(make())[1]


def test_there_are_many_kinds():
    assert len(sound_models.SOUND) > 30
    assert set(ANY_LENGTH) < set(sound_models.SOUND)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", sound_models.PROBABILITIES)
def test_probabilities_are_said_to_be_taken_as_such(name):
    model = sound_models.PROBABILITIES[name]()
    scores, warned = explained(model, anchor="end")
    assert len(warned) == 1
    assert "are probabilities" in warned[0]
    assert torch.equal(scores, explained(model, anchor="end", output="probs")[0])


@pytest.mark.parametrize("name", sound_models.TOLD)
def test_what_is_said_of_an_output_holds(name):
    make, options = sound_models.TOLD[name]
    scores, warned = explained(make(), anchor="end", **options)
    assert not warned
    assert float(scores.abs().max()) > 0


def forecaster(x):
    return 1000.0 * torch.arange(1, 25) + x.sum((1, 2))[:, None]


def one_value(x):
    return 1e4 + x.sum((1, 2))[:, None]


def large_logits(x):
    return 1e4 * (linear(x) + torch.tensor([0.3, 0.0, -0.4]))


def votes(x):
    return nn.functional.one_hot(linear(x + 0.1).argmax(1), 3).float()


def one_vote(x):
    return (linear(x).sum(1, keepdim=True) > 0.1).float()


def constant(x):
    return torch.ones(len(x), 3) * torch.tensor([0.5, 2.0, -1.0])


def several_labels(x):
    return (linear(x) + 0.3).sigmoid()


#: A model, options, and what is said of it: once, and nothing else.
GUARDED = {
    "forecasts": (
        forecaster,
        {},
        r"never moved.*outputs \(9.* to 2.4e\+04\) are too large.*output='regression'",
    ),
    "one large value": (one_value, {}, r"never moved.*outputs \(1e\+04 to 1e\+04\) are too large.*output='regression'"),
    "large logits": (large_logits, {}, r"every probability was 0 or 1.*too large for logits.*output='regression'"),
    "votes": (votes, {}, "every probability was 0 or 1.*hard votes.*predict_proba"),
    "one vote": (one_vote, {}, "every probability was 0 or 1.*hard votes.*predict_proba"),
    "votes as such": (votes, {"output": "probs"}, "every probability was 0 or 1.*hard votes"),
    "a vote that never changes": (lambda x: votes(x * 0), {}, "never moved.*returned 1, 0, 0 .*hard votes"),
    "a constant": (constant, {}, r"never moved.*is the model constant\? It returned 0.5, 2, -1 for every row"),
    "a constant value": (constant, {"output": "regression"}, r"never moved.*is the model constant\? It returned 0.5"),
    "several labels": (
        several_labels,
        {},
        r"of several labels at once.*select=lambda outputs: outputs\[:, :1\]",
    ),
    "the batch": (running, {}, "depends on its batch: .*batch_size=1"),
    "the place": (by_place, {}, "depends on its batch"),
    "chance": (Random(), {}, r"not deterministic: call eval\(\) on a module in training mode"),
}


@pytest.mark.parametrize("name", GUARDED)
def test_each_guard_says_what_to_write_and_no_other_speaks(name):
    model, options, said = GUARDED[name]
    warned = explained(model, anchor="end", **options)[1]
    assert len(warned) == 1
    assert re.search(said, warned[0]), warned


def test_what_the_guards_advise_helps():
    for model, options in (
        (forecaster, {"output": "regression"}),
        (one_value, {"output": "regression"}),
        (large_logits, {"output": "regression"}),
        (by_place, {"batch_size": 1}),
    ):
        scores, warned = explained(model, anchor="end", **options)
        assert not warned
        assert float(scores.abs().max()) > 0
    one = Predictor.of(several_labels, output="probs", select=lambda outputs: outputs[:, :1])
    first = RaMbIT(lambda x: several_labels(x)[:, :1], output="probs", **OPTIONS).attribute(X)
    assert torch.equal(RaMbIT(one, **OPTIONS).attribute(X), first)


def test_small_is_not_still():
    scores, warned = explained(lambda x: x[:, :1, 0] * 1e-30, anchor="end", output="regression")
    assert not warned
    assert float(scores.abs().max()) > 0


@pytest.mark.parametrize("method", [RaMbIT, Occlusion, ExactShapley])
def test_every_method_tells_of_outputs_that_never_moved(method):
    options = OPTIONS if method is RaMbIT else {}
    with pytest.warns(UserWarning, match="rows were evaluated and the outputs never moved"):
        scores = method(constant, **options).attribute(X)
    assert float(scores.abs().max()) == 0


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (linear, r"no probabilities \(-.*, sum .*\) for the row of series id .*: are these logits\? output='logits'"),
        (lambda x: linear(x)[:, :1], "are these logits"),
        (lambda x: linear(x).exp(), "are these logits"),
        (
            several_labels,
            r"no probabilities \(0\..*\) .*: are these logits .* or several labels .*select=lambda",
        ),
        (lambda x: linear(x) * float("nan"), "NaN or infinite values for the row"),
    ],
)
@pytest.mark.parametrize("method", [RaMbIT, Occlusion])
def test_what_is_said_to_be_probabilities_and_is_none(model, said, method):
    options = OPTIONS if method is RaMbIT else {}
    with pytest.raises(PredictionError, match=said):
        method(model, output="probs", **options).attribute(X)


def test_the_callers_precision_does_not_leak_in():
    model = nn.Sequential(nn.Flatten(), nn.Linear(10, 3))
    method = RaMbIT(model, **OPTIONS)
    expected = method.attribute(X)
    with torch.autocast("cpu", torch.bfloat16):
        found = method.attribute(X)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found, expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(method.attribute(X), expected)
    finally:
        torch.set_default_dtype(torch.float32)


def test_onnx_labels_are_not_scores():
    class Output:
        def __init__(self, name, kind):
            self.name, self.type, self.shape = name, kind, ["N"]

    class Session:
        def __init__(self, outputs):
            self.outputs = outputs

        def get_inputs(self):
            series = Output("x", "tensor(float)")
            series.shape = ["N", 2, 5]
            return [series]

        def get_outputs(self):
            return self.outputs

        def run(self, names, feed):
            output = probabilities(torch.from_numpy(next(iter(feed.values())))).numpy()
            kinds = {output.name: output.type for output in self.outputs}
            if kinds[names[0]].startswith("seq"):
                return [[dict(enumerate(row.tolist())) for row in output]]
            return [output if "int" not in kinds[names[0]] else output.argmax(1)]

    label, scores = Output("label", "tensor(int64)"), Output("probabilities", "tensor(float)")
    zipped, hidden = Output("output_probability", "seq(map(int64,tensor(float)))"), Output("hidden", "tensor(float)")
    expected = RaMbIT(linear, **OPTIONS).attribute(X)
    for outputs in ([label, scores], [label, zipped], [label, scores, hidden], [label, hidden, scores]):
        session = Session(outputs)
        torch.testing.assert_close(RaMbIT(session, **OPTIONS).attribute(X), expected)
    for select in ("hidden", 2):
        chosen = Predictor.of(Session([label, scores, hidden]), select=select, output="probs")
        torch.testing.assert_close(RaMbIT(chosen, **OPTIONS).attribute(X), expected)
    for outputs, select in (([label], None), ([hidden, hidden], None), ([label, scores], "label"), ([scores], 5)):
        with pytest.raises(ValueError, match=r"select.*there are 0"):
            Predictor.of(Session(outputs), select=select)
    with pytest.raises(ValueError, match="select is for modules, callables and ONNX sessions"):
        Predictor.of(SimpleNamespace(predict_proba=linear), select=0)


def test_forecasts_that_are_sometimes_close_are_told_all_the_same():
    """One graded probability among thousands makes them no logits."""

    def forecasts(x):
        return 3000 + 1000 * torch.tanh(x.flatten(1) @ torch.randn(10, 24, generator=torch.Generator().manual_seed(0)))

    with pytest.warns(UserWarning, match=r"probability was 0 or 1.*too large for logits.*output='regression'"):
        RaMbIT(forecasts, **OPTIONS).attribute(X)
    RaMbIT(forecasts, output="regression", **OPTIONS).attribute(X)
    RaMbIT(forecasts, output="logits", **OPTIONS).attribute(X[:, :, :5])  # it was said, so it is done
