"""``Predictor.of``: which face each kind of model gets, and what it then answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit.predictors import (
    EstimatorPredictor,
    ModulePredictor,
    OnnxPredictor,
    PredictionError,
    Predictor,
    ProtocolPredictor,
    Recurrent,
)
from tests.models_for_tests import GRU, Transformer, plain
from tests.ops.layouts import rng

N, D, T, C = 4, 3, 6, 2


def data(n=N, time=T, dtype=torch.float32):
    return torch.randn(n, D, time, dtype=dtype, generator=rng(0))


def classes(x):
    """Logits (N, 2): neither symmetric in features nor in time."""
    time = torch.arange(1.0, x.shape[2] + 1)
    return torch.stack(((x[:, 0] * time).sum(1), x[:, 1, -1] - x[:, 2, 0]), dim=1)


class Protocol:
    """predict(x, return_all=False) -> probabilities (N, C), or (N, C, w)."""

    def predict(self, x, return_all=False):
        every = torch.stack([classes(x[:, :, : t + 1]).softmax(1) for t in range(x.shape[2])], dim=2)
        return every if return_all else every[:, :, -1]


class ProtocolModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.9)

    def predict(self, x, return_all=False):
        return Protocol().predict(self.drop(x), return_all)


class Advancing(nn.Module):
    """Has the predict protocol and a state too: asked through forward and advance, which give logits."""

    def forward(self, x):
        return x.sum(2)

    def predict(self, x, return_all=False):
        raise AssertionError

    def advance(self, x, state):
        raise AssertionError


class Flat:
    """Like a scikit-learn classifier fitted on tables."""

    n_features_in_ = D * T

    def predict_proba(self, table):
        assert isinstance(table, np.ndarray)
        assert table.shape[1:] == (D * T,)
        assert table.flags.c_contiguous
        p = 1 / (1 + np.exp(-table[:, 1]))  # feature 0 at time 1
        return np.stack((p, 1 - p), axis=1)


class Panel:
    """Like an sktime classifier: three dimensions, any length."""

    def predict_proba(self, X):
        assert isinstance(X, np.ndarray)
        assert X.ndim == 3
        assert X.shape[1] == D
        p = 1 / (1 + np.exp(-X[:, 0, 1]))
        return np.stack((p, 1 - p), axis=1)


class Input:
    def __init__(self, shape, kind="tensor(float)", name="series"):
        self.shape, self.type, self.name = shape, kind, name


class Output:
    name, type, shape = "logits", "tensor(float)", ["N", C]


class Label:
    name, type, shape = "label", "tensor(int64)", ["N"]


class Session:
    """Like onnxruntime.InferenceSession, for a model exported with the batch size given, or a symbolic one."""

    def __init__(self, batch="N", kind="tensor(float)", inputs=None):
        self.batch, self.calls = batch, []
        self.inputs = inputs or [Input([batch, D, T], kind)]

    def get_inputs(self):
        return self.inputs

    def get_outputs(self):
        return [Output(), Label()]

    def run(self, names, feed):
        assert names == ["logits"]
        (array,) = feed.values()
        assert list(feed) == ["series"]
        wanted = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
        assert array.dtype == wanted[self.inputs[0].type]
        assert array.flags.c_contiguous
        if isinstance(self.batch, int) and self.batch > 0:
            assert len(array) == self.batch
        self.calls.append(len(array))
        return [classes(torch.from_numpy(array.astype(np.float32))).numpy()]


FACES = [
    (plain, ModulePredictor, "logits", set()),
    (nn.Linear(3, 2), ModulePredictor, "logits", set()),
    (GRU(), ModulePredictor, "logits", {"causal", "stateful"}),
    (Transformer(), ModulePredictor, "logits", {"causal"}),
    (lambda x, return_all=False: x, ModulePredictor, "logits", {"causal"}),
    (lambda x, **more: x, ModulePredictor, "logits", set()),
    (Protocol(), ProtocolPredictor, "probs", {"causal"}),
    (ProtocolModule(), ProtocolPredictor, "probs", {"causal"}),
    (Advancing(), ModulePredictor, "logits", {"stateful"}),
    (Flat(), EstimatorPredictor, "probs", set()),
    (Panel(), EstimatorPredictor, "probs", set()),
    (Session(), OnnxPredictor, "logits", set()),
    (Recurrent(nn.GRU(3, 4), nn.Linear(4, 2)), Recurrent, "logits", {"causal", "stateful"}),
]


@pytest.mark.parametrize(("model", "face", "output", "modes"), FACES)
def test_the_right_face(model, face, output, modes):
    predictor = Predictor.of(model)
    assert type(predictor) is face
    assert predictor.output == output
    assert predictor.modes == modes
    assert not predictor.takes_lengths


@pytest.mark.parametrize("model", [f[0] for f in FACES if not isinstance(f[0], Predictor)])
@pytest.mark.parametrize("output", ["logits", "probs", "regression"])
def test_what_the_user_says_about_the_output_holds(model, output):
    predictor = Predictor.of(model, output=output, model_id="mine")
    assert predictor.output == output
    assert predictor.fingerprint() == {"model_id": "mine"}


def test_a_predictor_is_taken_as_it_is():
    predictor = Recurrent(nn.GRU(3, 4), nn.Linear(4, 2))
    assert Predictor.of(predictor) is predictor
    assert Predictor.of(predictor, output="logits", device="cpu") is predictor


@pytest.mark.parametrize(
    "option", [{"output": "probs"}, {"layout": "BTD"}, {"device": "cuda:1"}, {"model_id": "mine"}], ids=str
)
def test_a_predictor_is_not_told_otherwise(option):
    predictor = Recurrent(nn.GRU(3, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.*, but the Predictor was made with"):
        Predictor.of(predictor, **option)


@pytest.mark.parametrize("model", [None, 3, "model", object(), torch.zeros(3)])
def test_what_cannot_be_evaluated(model):
    with pytest.raises(TypeError, match="model must be callable or have predict_proba"):
        Predictor.of(model)


@pytest.mark.parametrize("model", [plain, Protocol(), Panel(), Session()])
def test_bad_settings(model):
    with pytest.raises(ValueError, match="output must be one of auto, logits, probs, regression, got 'proba'"):
        Predictor.of(model, output="proba")
    with pytest.raises(ValueError, match="layout must be one of BDT, BTD, got 'TBD'"):
        Predictor.of(model, layout="TBD")


def test_what_a_model_does_not_claim_is_a_type_error():
    with pytest.raises(TypeError, match="EstimatorPredictor has no output at every step"):
        Predictor.of(Panel()).steps(data())
    with pytest.raises(TypeError, match="OnnxPredictor has no state"):
        Predictor.of(Session()).advance(data(), None)


# -- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_become_probabilities(dtype):
    x = data(dtype=dtype)
    outputs = Predictor.of(plain).whole(x)
    assert outputs.shape == (N, 3, 1)
    assert outputs.dtype == dtype
    torch.testing.assert_close(outputs[:, :, 0], plain(x).softmax(1))
    torch.testing.assert_close(Predictor.of(plain, output="logits").whole(x), outputs)


def test_probabilities_and_values_pass_through():
    x = data()
    assert torch.equal(Predictor.of(plain, output="regression").whole(x)[:, :, 0], plain(x))
    assert torch.equal(Predictor.of(plain, output="probs").whole(x)[:, :, 0], plain(x))


def test_one_column():
    def one(x):
        return x[:, :1, -1]

    def bounded(x):
        return one(x).sigmoid()

    x, p = data(), data()[:, 0, -1].sigmoid()
    for model, output in [(one, "auto"), (one, "logits"), (bounded, "probs")]:
        outputs = Predictor.of(model, output=output).whole(x)
        torch.testing.assert_close(outputs[:, :, 0], torch.stack((1 - p, p), dim=1))
    assert torch.equal(Predictor.of(one, output="regression").whole(x), x[:, :1, -1:])


def test_a_vector_is_the_second_class_or_a_value_and_says_which():
    def vector(x):
        return x[:, 0, -1]

    x = data()
    p = x[:, 0, -1].sigmoid()
    assert torch.equal(Predictor.of(vector, output="regression").whole(x), x[:, :1, -1:])
    for model, output in ((vector, "logits"), (lambda x: vector(x).sigmoid(), "probs")):
        outputs = Predictor.of(model, output=output).whole(x)
        torch.testing.assert_close(outputs[:, :, 0], torch.stack((1 - p, p), dim=1))
    with pytest.raises(
        PredictionError, match=r"shape \(4,\) for 4 rows, expected \(4, classes\); \(4,\) needs output="
    ):
        Predictor.of(vector).whole(x)


def test_steps_of_one_column_and_of_regression():
    def one(x, return_all=False):
        return x[:, :1] if return_all else x[:, :1, -1]

    def lines(x, return_all=False):
        return x[:, 0] if return_all else x[:, 0, -1]

    x = data()
    p = x[:, 0].sigmoid()
    torch.testing.assert_close(Predictor.of(one).steps(x), torch.stack((1 - p, p), dim=1))
    assert torch.equal(Predictor.of(one, output="regression").steps(x), x[:, :1])
    assert torch.equal(Predictor.of(lines, output="regression").steps(x), x[:, :1])
    with pytest.raises(PredictionError, match=r"\(4, 6\) at every step, expected \(4, classes, 6\)"):
        Predictor.of(lines).steps(x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_answers_come_back_in_float(dtype):
    outputs = Predictor.of(lambda x: plain(x).to(dtype)).whole(data())
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs[:, :, 0], plain(data()).to(dtype).float().softmax(1))


def test_answers_in_a_session_have_no_gradient():
    predictor = Predictor.of(GRU())
    for evaluate in (predictor.whole, predictor.steps):
        with predictor.session():
            assert not evaluate(data()).requires_grad
        assert evaluate(data()).requires_grad  # gradient methods need it


def test_layout_is_what_the_model_reads():
    x = data()

    def reads_features_last(series):
        assert series.shape == (N, T, D)
        return plain(series.transpose(1, 2))

    predictor = Predictor.of(reads_features_last, layout="BTD")
    assert predictor.features_last
    torch.testing.assert_close(predictor.whole(x), Predictor.of(plain).whole(x))
    assert not Predictor.of(plain).features_last


def test_features_last_is_the_models_wish():
    model = GRU()
    model.features_last = True
    assert Predictor.of(model).features_last


@pytest.mark.parametrize("model", [Protocol(), ProtocolModule()])
def test_protocol(model):
    x, predictor = data(), Predictor.of(model)
    with predictor.session():
        every, whole = predictor.steps(x), predictor.whole(x)
    torch.testing.assert_close(every, Protocol().predict(x, return_all=True))
    torch.testing.assert_close(whole, every[:, :, -1:])


def test_module_with_steps_and_state():
    model, x = GRU().eval(), data()
    predictor = Predictor.of(model)
    with torch.no_grad():
        expected = model(x, return_all=True).softmax(1)
    torch.testing.assert_close(predictor.steps(x), expected)
    torch.testing.assert_close(predictor.whole(x), expected[:, :, -1:])
    first, state = predictor.advance(x[:, :, :2], None)
    second, _ = predictor.advance(x[:, :, 2:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=2), expected)


def test_flat_estimator():
    x = data()
    p = x[:, 0, 1].sigmoid()
    outputs = Predictor.of(Flat()).whole(x.mT.contiguous().mT)  # rows may be built features last
    torch.testing.assert_close(outputs[:, :, 0].float(), torch.stack((p, 1 - p), dim=1))


def test_panel_estimator():
    x = data(time=11)
    p = x[:, 0, 1].sigmoid()
    outputs = Predictor.of(Panel()).whole(x)
    torch.testing.assert_close(outputs[:, :, 0].float(), torch.stack((p, 1 - p), dim=1))


def test_estimator_in_the_other_layout():
    class FeaturesLast:
        def predict_proba(self, X):
            return Panel().predict_proba(np.swapaxes(X, 1, 2))

    assert torch.equal(Predictor.of(FeaturesLast(), layout="BTD").whole(data()), Predictor.of(Panel()).whole(data()))


@pytest.mark.parametrize("n", [1, 3, 4, 8, 10])
@pytest.mark.parametrize("kind", ["tensor(float)", "tensor(double)"])
def test_onnx_session_of_a_fixed_batch(n, kind):
    session = Session(4, kind)
    outputs = Predictor.of(session).whole(data(n))
    torch.testing.assert_close(outputs[:, :, 0], classes(data(n)).softmax(1))
    assert session.calls == [4] * math.ceil(n / 4)


@pytest.mark.parametrize("batch", ["N", None, -1])
@pytest.mark.parametrize("n", [1, 5])
def test_onnx_session_of_any_batch(batch, n):
    session = Session(batch)
    outputs = Predictor.of(session).whole(data(n).double())
    torch.testing.assert_close(outputs[:, :, 0], classes(data(n)).softmax(1), check_dtype=False)
    assert session.calls == [n]


@pytest.mark.parametrize(
    "inputs",
    [[], [Input([1]), Input([1], name="mask")], [Input([1], "tensor(string)")]],
)
def test_onnx_models_with_other_inputs(inputs):
    session = Session()
    session.inputs = inputs
    with pytest.raises(TypeError, match="one floating input"):
        Predictor.of(session)


# -- lengths ---------------------------------------------------------------------------------------------------------


def test_lengths_are_passed_on_to_models_that_take_them():
    seen = []

    def masked(x, lengths=None):
        seen.append(lengths)
        return plain(x)

    class Module(nn.Module):
        def forward(self, x, lengths):
            seen.append(lengths)
            return plain(x)

    class Predict:
        def predict(self, x, return_all=False, lengths=None):
            seen.append(lengths)
            return plain(x).softmax(1)

    lengths = torch.tensor([6, 4, 2, 6])
    for model in (masked, Module(), Predict()):
        predictor = Predictor.of(model)
        assert predictor.takes_lengths
        predictor.whole(data(), lengths)
        assert seen.pop() is lengths
    Predictor.of(plain).whole(data(), lengths)  # would be a TypeError if they reached it
    Predictor.of(masked).whole(data())
    assert seen == [None]


# -- what comes back is checked ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned",
    [
        torch.zeros(N - 1, C),
        torch.zeros(N, C, 1, 1),
        torch.zeros(N, 0),
        torch.zeros(()),
        torch.zeros(C),
        [[0.0, 1.0]] * N,
        np.zeros((N - 1, C)),
        None,
    ],
)
@pytest.mark.parametrize("output", ["logits", "probs", "regression"])
def test_wrong_shapes(returned, output):
    with pytest.raises(PredictionError, match="the model returned"):
        Predictor.of(lambda x: returned, output=output).whole(data())


@pytest.mark.parametrize(
    "output",
    [
        torch.zeros(N - 1, C, T),
        torch.zeros(N, C, T - 1),
        torch.zeros(N, C),
        torch.zeros(N, T, C),
        torch.zeros(N, 0, T),
        np.zeros((N, C, T - 1)),
        None,
    ],
)
def test_wrong_shapes_at_every_step(output):
    def model(x, return_all=False):
        return output

    class Stateful:
        def __call__(self, x):
            return output

        def advance(self, x, state):
            return output, state

    with pytest.raises(PredictionError, match="the model returned"):
        Predictor.of(model).steps(data())
    with pytest.raises(PredictionError, match="the model returned"):
        Predictor.of(Stateful()).advance(data(), None)


@pytest.mark.parametrize("output", [None, torch.zeros(N, C, T), (torch.zeros(N, C, T),), (1, 2, 3)])
def test_advance_must_return_answers_and_a_state(output):
    class Stateful:
        def __call__(self, x):
            return plain(x)

        def advance(self, x, state):
            return output

    with pytest.raises(PredictionError, match="advance"):
        Predictor.of(Stateful()).advance(data(), None)


def test_check_names_the_unusable_rows():
    good = torch.full((5, 2, 3), 0.5)
    bad = good.clone()
    bad[1, 0, 2], bad[3, 1, 0] = math.nan, math.inf
    for output in ("logits", "probs", "regression"):
        predictor = Predictor.of(plain, output=output)
        assert not predictor.check(good).any()
        assert predictor.check(bad).tolist() == [False, True, False, True, False]


def test_check_knows_probabilities():
    outputs = torch.tensor([[0.5, 0.5], [0.7, 0.7], [1.2, -0.2], [1.0, 0.0], [0.4999, 0.5], [3.0, -1.0]])[:, :, None]
    assert Predictor.of(plain, output="probs").check(outputs).tolist() == [False, True, True, False, False, True]
    assert not Predictor.of(plain, output="regression").check(outputs).any()


# -- sessions ----------------------------------------------------------------------------------------------------------


class Mixed(nn.Module):
    """Some parts train, some are frozen in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.free = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
        self.frozen.eval()
        self.free[1].eval()

    def forward(self, x):
        assert not torch.is_grad_enabled()
        return self.free(self.frozen(x)).sum(2)


def flags(model):
    return [m.training for m in model.modules()]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("all_evaluating", [False, True])
def test_training_flags_come_back(fails, all_evaluating):
    model = Mixed().eval() if all_evaluating else Mixed()
    before, predictor = flags(model), Predictor.of(model)

    def evaluate():
        with predictor.session():
            assert not any(flags(model))
            torch.testing.assert_close(predictor.whole(data()), predictor.whole(data()))
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            evaluate()
    else:
        evaluate()
    assert flags(model) == before
    assert torch.is_grad_enabled()


def test_training_flags_of_protocol_and_recurrent_models_come_back():
    rnn, head = nn.GRU(3, 4, 2, dropout=0.5), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    head[1].eval()
    protocol = ProtocolModule()
    for predictor, modules in [(Recurrent(rnn, head), (rnn, head)), (Predictor.of(protocol), (protocol,))]:
        before = [flags(m) for m in modules]
        with predictor.session():
            assert not any(any(flags(m)) for m in modules)
        assert [flags(m) for m in modules] == before


def test_callables_have_a_session_too():
    with Predictor.of(plain).session():
        assert not torch.is_grad_enabled()


def test_fingerprint():
    model = nn.Linear(3, 2)
    assert set(Predictor.of(model).fingerprint()["state_dict"]) == {"weight", "bias"}
    with pytest.raises(ValueError, match="model_id"):
        Predictor.of(plain).fingerprint()


def test_device_of_the_model(device):
    model = nn.Sequential(nn.Flatten(), nn.Linear(D * T, 2)).to(device)
    predictor = Predictor.of(model)
    assert predictor.device.type == device.type
    assert predictor.whole(data().to(device)).device.type == device.type
    assert Predictor.of(plain).device.type == "cpu"
    assert Predictor.of(plain, device=device).device.type == device.type


def test_a_model_without_weights_is_asked_where_the_series_are():
    elsewhere = torch.empty(1, 3, 4, device="meta")

    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.ones(1))

    def plain(x):
        return x[:, 0]

    for model in (plain, nn.Flatten()):
        assert Predictor.of(model).device_for(elsewhere).type == "meta"
        assert Predictor.of(model, device="cpu").device_for(elsewhere).type == "cpu"
    for model in (nn.Linear(4, 2), Fixed()):
        assert Predictor.of(model).device_for(elsewhere).type == "cpu"


def test_a_callable_may_return_an_array():
    def arrays_of(x):
        return x[:, :C, -1].numpy()

    x = torch.randn(N, C, T)
    of_arrays, of_tensors = (Predictor.of(one, output="logits") for one in (arrays_of, lambda x: x[:, :C, -1]))
    assert torch.equal(of_arrays.whole(x), of_tensors.whole(x))
