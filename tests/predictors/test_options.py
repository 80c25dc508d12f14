"""``autocast`` and ``compile``: the same answers but for rounding, by the model itself, and another run on disk."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from rambit import RaMbIT
from rambit.attribution import FO
from rambit.models import GRUClassifier, LSTMClassifier, TCNClassifier, TransformerClassifier
from rambit.predictors import Predictor, Recurrent
from rambit.predictors.compiled import MODES
from rambit.predictors.fused import FEW
from rambit.store import StoreError, resume_key
from tests.models_for_tests import GRU, plain
from tests.ops.layouts import rng
from tests.predictors.test_faces import Panel, Protocol, Session
from tests.predictors.test_fused import used

#: torch's compiler imports a part of torch that warns about itself.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")

D, C = 3, 3
HALF = [torch.bfloat16, torch.float16]
SMALL = {"L": 3, "num_samples": 1, "window_size": 2, "Wt_max": 4, "Wd_max": 3, "counterfactuals": "zero"}


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def data(N=4, T=8, seed=0):
    return torch.randn(N, D, T, generator=rng(seed))


#: Far below the rounding of half precision.
close = partial(torch.testing.assert_close, rtol=0, atol=1e-6)


def made(make, *args, **kwargs):
    torch.manual_seed(0)
    return make(*args, **kwargs).eval()


class Opaque(nn.Module):
    """A convolution and a head, for inputs of any length."""

    def __init__(self):
        super().__init__()
        self.convolution, self.head = nn.Conv1d(D, 8, 3, padding=1), nn.Linear(8, C)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.head(self.drop(self.convolution(x).relu()).mean(2))


class Outputs(nn.Module):
    """As above, and with everything that a model may offer."""

    def __init__(self):
        super().__init__()
        self.inner = Opaque()

    def forward(self, x, return_all=False, lengths=None):
        steps = torch.stack([self.inner(x[:, :, : t + 1]) for t in range(x.shape[2])], dim=2)
        if return_all:
            return steps
        return steps[:, :, -1] if lengths is None else steps[torch.arange(len(x)), :, lengths - 1]


# -- what is refused --------------------------------------------------------------------------------------------------

BAD = [
    ({"autocast": torch.float32}, "autocast must be torch.bfloat16, torch.float16 or None, got torch.float32"),
    ({"autocast": "bfloat16"}, "autocast must be torch.bfloat16, torch.float16 or None, got 'bfloat16'"),
    ({"autocast": torch.bfloat16, "device": "meta"}, "device='meta' cannot be used here"),
    ({"compile": "fast"}, "compile must be True, False or one of default, reduce-overhead, .*, got 'fast'"),
    ({"compile": None}, "compile must be .*, got None"),
    ({"compile": 1}, "compile must be .*, got 1"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
@pytest.mark.parametrize("model", [made(Opaque), plain, Protocol()])
def test_bad_options(model, options, message):
    with pytest.raises(ValueError, match=message):
        Predictor.of(model, **options)


def test_float64_weights_would_ignore_autocast():
    with pytest.raises(ValueError, match=r"autocast=torch.float16 leaves float64 as it is: convert the model"):
        Predictor.of(made(Opaque).double(), autocast=torch.float16)


def test_bfloat16_where_the_gpu_has_none(monkeypatch):
    from rambit.predictors import module

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    with pytest.raises(ValueError, match=r"autocast=torch.bfloat16 is not available on cuda; torch.float16 is"):
        module._check_autocast(torch.bfloat16, torch.device("cuda"), None)
    module._check_autocast(torch.float16, torch.device("cuda"), None)


@pytest.mark.parametrize("options", [{"autocast": torch.bfloat16}, {"compile": True}])
@pytest.mark.parametrize("model", [Panel(), Session(), Recurrent(nn.GRU(3, 4), nn.Linear(4, 2))])
def test_models_without_options(model, options):
    with pytest.raises(ValueError, match=f"for modules and callables, got {type(model).__name__}"):
        Predictor.of(model, **options)


# -- what stays that of the model -------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [made(Opaque), made(Outputs), made(GRU), made(GRUClassifier, D), Protocol(), plain])
def test_claims_are_those_of_the_model(model):
    expected = Predictor.of(model)
    found = Predictor.of(model, autocast=torch.bfloat16, compile="max-autotune")
    for name in ("modes", "takes_lengths", "features_last", "module", "model", "output", "device"):
        assert getattr(found, name) == getattr(expected, name), name
    assert type(found) is type(expected)


def test_a_run_is_another_one_with_other_options(tmp_path):
    model, x = made(Opaque), data()
    kinds = [{}, *({"autocast": dtype} for dtype in HALF), *({"compile": mode} for mode in MODES)]
    prints = [Predictor.of(model, **options).fingerprint() for options in kinds]
    assert all(list(p["state_dict"]) == list(model.state_dict()) for p in prints)
    assert len({tuple(p.get(option) for option in ("autocast", "compile")) for p in prints}) == len(kinds)
    assert len({resume_key(**p) for p in prints}) == len(kinds)
    assert Predictor.of(model, compile=True).fingerprint().keys() == {"face", "state_dict", "structure", "compile"}

    def run(**options):
        return RaMbIT(Predictor.of(model, **options), **SMALL).attribute(x, checkpoint=str(tmp_path))

    first = run(autocast=torch.bfloat16)
    assert torch.equal(run(autocast=torch.bfloat16), first)
    with pytest.raises(StoreError):
        run()
    with pytest.raises(StoreError):
        run(autocast=torch.float16)


def test_training_goes_on_as_before():
    model = made(Opaque)
    predictor = Predictor.of(model, autocast=torch.bfloat16)
    with predictor.session():
        expected = predictor.whole(data())
    model.train()
    with predictor.session():
        assert torch.equal(predictor.whole(data()), expected)
    assert all(m.training for m in model.modules())


# -- autocast ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(
    "model", [made(Opaque), made(Outputs), made(GRU), made(TCNClassifier, D)], ids=lambda m: type(m).__name__
)
def test_answers_are_those_under_autocast_in_single_precision(model, dtype):
    predictor, x = Predictor.of(model, autocast=dtype), data()

    def by_hand(function, *args, **more):
        with torch.autocast("cpu", dtype):
            output = function(*args, **more)
        return output

    with predictor.session():
        raw = by_hand(model, x)
        assert raw.dtype == dtype
        found = predictor.whole(x)
        assert found.dtype == torch.float32
        close(found[:, :, 0], raw.float().softmax(1))
        assert float((found[:, :, 0] - model(x).softmax(1)).abs().max()) > 1e-5
        if "causal" in predictor.modes:
            close(predictor.steps(x), by_hand(model, x, return_all=True).float().softmax(1))
        if "stateful" in predictor.modes:
            state = None
            for t in range(x.shape[2]):
                raw, after = by_hand(model.advance, x[:, :, t : t + 1], state)
                outputs, state = predictor.advance(x[:, :, t : t + 1], state)
                close(outputs, raw.float().softmax(1))
                torch.testing.assert_close(state, after, rtol=0, atol=0, check_dtype=False)
        if predictor.takes_lengths:
            lengths = torch.tensor([1, 8, 3, 5])
            raw = by_hand(model, x, lengths=lengths)
            close(predictor.whole(x, lengths)[:, :, 0], raw.float().softmax(1))
    assert not torch.is_autocast_enabled("cpu")


def test_plain_callables_and_the_predict_protocol():
    weight = torch.randn(C, 3 * 8, generator=rng(1))

    class Predicts:
        def predict(self, x, return_all=False):
            return (x.flatten(1) @ weight.T).softmax(1)

    x = data()
    with torch.autocast("cpu", torch.bfloat16):
        raw = x.flatten(1) @ weight.T
    found = Predictor.of(lambda x: x.flatten(1) @ weight.T, autocast=torch.bfloat16).whole(x)
    close(found[:, :, 0], raw.float().softmax(1))
    found = Predictor.of(Predicts(), autocast=torch.bfloat16).whole(x)
    close(found[:, :, 0], raw.softmax(1).float())


def test_rounded_probabilities_are_not_refused():
    """In bfloat16 a thousand probabilities miss a sum of one by more than in float32; by far too much is too much."""
    raw = torch.randn(64, 1000, generator=rng(0)).mul(3).softmax(1).bfloat16()
    outputs = raw.float()[:, :, None]
    off = (outputs.sum(1) - 1).abs()
    assert 1e-3 < float(off.max()) < 4e-3
    assert bool(Predictor.of(plain, output="probs").check(outputs).any())
    half = Predictor.of(plain, output="probs", autocast=torch.bfloat16)
    assert not bool(half.check(outputs).any())
    assert bool(half.check(outputs * 1.01).all())


@pytest.mark.parametrize("option", [{"autocast": torch.bfloat16}, {"compile": True}])
def test_our_own_gru_is_called_itself(monkeypatch, option):
    model, x, steps = made(GRUClassifier, D), data(FEW + 1), used(monkeypatch)
    monkeypatch.setattr(torch, "compile", lambda model, mode: model)
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    monkeypatch.setattr("rambit.predictors.module.is_wrapped", lambda _: False)
    predictor = Predictor.of(model, **option)
    with predictor.session():
        predictor.whole(x)
        predictor.steps(x)
    assert calls == [1, 1]
    assert steps == []


def test_no_native_step_of_our_own_gru_ignores_autocast(monkeypatch):
    model, x, steps = made(GRUClassifier, D), data(FEW + 1), used(monkeypatch)
    method = RaMbIT(Predictor.of(model, autocast=torch.bfloat16), **SMALL, evaluation="stateful")
    with method.predictor.session():
        with torch.autocast("cpu", torch.bfloat16):
            raw, state = model.advance(x)
        outputs, after = method.predictor.advance(x, None)
        close(outputs, raw.float().softmax(1))
        torch.testing.assert_close(after, state.float(), rtol=0, atol=0)
        walk = method.predictor.walk(x)
        assert torch.equal(walk.outputs(walk.step(x, None)[0]), outputs)
    assert steps == []


CAUSAL = {
    "gru": lambda: GRU(layers=2),
    "lstm": lambda: GRU(cell=nn.LSTM),
    "own gru": lambda: GRUClassifier(D, hidden_size=16),
    "own lstm": lambda: LSTMClassifier(D, hidden_size=16),
    "tcn": lambda: TCNClassifier(D, hidden_size=16),
    "transformer": lambda: TransformerClassifier(D, hidden_size=16),
}


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_a_true_claim_holds_and_scores_are_close(name, anchor):
    """A warning would be an error. Scores are differences of answers in half precision."""
    model, x = made(CAUSAL[name]), data(T=12)
    with torch.no_grad():  # as sharp as a trained model: rounding shows
        for parameter in model.parameters():
            parameter.mul_(1.5)
    expected = RaMbIT(model, anchor=anchor, **SMALL).explain(x)
    found = RaMbIT(Predictor.of(model, autocast=torch.bfloat16), anchor=anchor, **SMALL).explain(x)
    assert found.mode == expected.mode != "prefix"
    assert found.values.dtype == torch.float32
    assert found.rows == expected.rows
    apart = (found.values - expected.values).abs().max() / expected.values.abs().max()
    assert 0 < float(apart) < 0.1


@pytest.mark.parametrize("options", [{"autocast": torch.bfloat16}, {"compile": True}])
def test_a_false_claim_does_not_hide_in_the_rounding(options):
    model, x = made(GRU, bidirectional=True), data(T=12)
    with torch.no_grad():  # what comes from the future is below the rounding of bfloat16, and far above that of float32
        model.rnn.weight_ih_l0_reverse.mul_(0.01)
        model.rnn.bias_ih_l0_reverse.zero_()
        model.rnn.bias_hh_l0_reverse.zero_()
    with pytest.raises(ValueError, match="evaluation='causal' does not hold for this model"):
        RaMbIT(Predictor.of(model, **options), evaluation="causal", **SMALL).attribute(x)


# -- compile ----------------------------------------------------------------------------------------------------------


def counted(monkeypatch):
    """Compiles to what runs as it is, and counts how often."""
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    return counter


@pytest.mark.parametrize(("anchor", "limit"), [("cell", 5), ("end", 3)])
@pytest.mark.parametrize("B", [1, 5])
def test_few_compilations_serve_every_length_and_batch(monkeypatch, anchor, limit, B):
    """Of the eight that torch allows a function."""
    counter, model, x = counted(monkeypatch), made(Opaque), data(B, T=16)
    options = {**SMALL, "anchor": anchor, "batch_size": 33}
    expected = RaMbIT(model, **options).explain(x)
    method = RaMbIT(Predictor.of(model, compile=True), **options)
    found = method.explain(x)
    assert found.rows == expected.rows
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-6)
    assert 0 < counter.frame_count <= limit
    compiled = counter.frame_count
    method.explain(data(B, T=16, seed=1))
    assert counter.frame_count == compiled


def test_steps_and_lengths(monkeypatch):
    counter, model, x = counted(monkeypatch), made(Outputs), data(6, T=4)
    expected, found = Predictor.of(model), Predictor.of(model, compile=True)
    lengths = torch.tensor([1, 2, 4, 4, 3, 4])
    with expected.session():
        for n in (6, 5, 4):
            part, ends = x[:n], lengths[:n]
            torch.testing.assert_close(found.steps(part), expected.steps(part))
            torch.testing.assert_close(found.whole(part), expected.whole(part))
            torch.testing.assert_close(found.whole(part, ends), expected.whole(part, ends))
    assert counter.frame_count == 3


class Reused:
    """Like a CUDA graph: every answer has the same memory, and what is there is lost when the next step begins."""

    def __init__(self, model):
        self.model = model
        self.memory = torch.empty(1 << 20)

    def compile(self, model, mode):
        assert (model, mode) == (self.model, "reduce-overhead")
        return self

    def begin(self):
        self.began = True
        self.memory.fill_(torch.nan)

    def __call__(self, x, **more):
        assert self.began
        self.began = False
        output = self.model(x, **more)
        return self.memory[: output.numel()].view(output.shape).copy_(output)


@pytest.mark.parametrize("output", ["regression", "logits"])
@pytest.mark.parametrize("make", [Opaque, Outputs])
def test_earlier_answers_outlive_later_calls(monkeypatch, make, output):
    model, x = made(make), data()
    options = {**SMALL, "anchor": "mask", "output": output, "batch_size": 5}
    expected = RaMbIT(model, **options).attribute(x)
    reused = Reused(model)
    monkeypatch.setattr(torch, "compile", reused.compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", reused.begin)
    predictor = Predictor.of(model, output=output, compile="reduce-overhead")
    torch.testing.assert_close(RaMbIT(predictor, **options).attribute(x), expected)
    with predictor.session():
        first = predictor.whole(x)
        held = first.clone()
        predictor.whole(-x)
    assert torch.equal(first, held)


def test_gradients_are_those_of_the_model_itself(monkeypatch):
    counter, model, x = counted(monkeypatch), made(Opaque), data().requires_grad_()
    predictor = Predictor.of(model, compile=True)
    with predictor.session(gradients=True):
        (found,) = torch.autograd.grad(predictor.whole(x)[:, 0].sum(), x)
    (expected,) = torch.autograd.grad(model(x).softmax(1)[:, 0].sum(), x)
    torch.testing.assert_close(found, expected)
    assert counter.frame_count == 0


@pytest.mark.parametrize("model", [plain, Protocol()])
def test_callables_compile_too(monkeypatch, model):
    counter, x = counted(monkeypatch), data()
    method = partial(RaMbIT, **SMALL, evaluation="prefix")
    expected = method(Predictor.of(model)).attribute(x[:, :, :4])
    torch.testing.assert_close(method(Predictor.of(model, compile=True)).attribute(x[:, :, :4]), expected)
    assert counter.frame_count > 0


def test_a_compiled_model_travels(monkeypatch):
    counter, model, x = counted(monkeypatch), made(Opaque), data()
    method = FO(Predictor.of(model, autocast=torch.bfloat16, compile=True), counterfactuals="zero", num_samples=1)
    expected = method.attribute(x)
    compiled = counter.frame_count
    torch._dynamo.reset()  # as in another process
    assert torch.equal(pickle.loads(pickle.dumps(method)).attribute(x), expected)
    assert counter.frame_count == 2 * compiled > 0


def test_weights_are_read_anew(monkeypatch):
    counter, model, x = counted(monkeypatch), made(Opaque), data()
    predictor = Predictor.of(model, compile=True)
    with predictor.session():
        before = predictor.whole(x)
    model.load_state_dict({name: 2 * value for name, value in model.state_dict().items()})
    with predictor.session():
        after = predictor.whole(x)
        torch.testing.assert_close(after[:, :, 0], model(x).softmax(1))
    assert not torch.allclose(before, after)
    assert counter.frame_count == 1


def test_threads(monkeypatch):
    counted(monkeypatch)
    model, inputs = made(Opaque).train(), [data(N, T, seed=T) for N in (2, 5) for T in (6, 9, 14)]
    expected = [RaMbIT(model, **SMALL).attribute(x) for x in inputs]
    method = RaMbIT(Predictor.of(model, compile=True), **SMALL)
    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(method.attribute, inputs), expected, strict=True):
            torch.testing.assert_close(found, right, rtol=0, atol=1e-6)
    assert all(m.training for m in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "autocast"), [(True, None), ("reduce-overhead", torch.bfloat16)])
def test_the_real_compiler(device, mode, autocast):
    """On a GPU the second records CUDA graphs, whose answers are read after later calls."""
    model, x = made(Opaque).to(device), data(T=12).to(device)
    options = {**SMALL, "anchor": "mask", "batch_size": 32}
    expected = RaMbIT(Predictor.of(model, autocast=autocast), **options).attribute(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own, of which every GPU and version has others
        found = RaMbIT(Predictor.of(model, autocast=autocast, compile=mode), **options).attribute(x)
    atol = 1e-6 if autocast is None else 0.1 * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_settings_say_what_was_asked_for():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    given = Predictor.of(model, autocast=torch.bfloat16, compile=True)
    settings = RaMbIT(given, anchor="end", counterfactuals="zero", num_samples=1).settings()
    assert settings["autocast"] == "torch.bfloat16"
    assert settings["compile"] == "default"
    assert not {"autocast", "compile"} & RaMbIT(model, anchor="end").settings().keys()


def test_autocast_that_a_device_does_not_have(monkeypatch):
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda kind: False)
    with pytest.raises(ValueError, match="autocast is not available on cpu"):
        Predictor.of(plain, autocast=torch.bfloat16)
