"""The native way through a GRU: equal to the module for any cuts, and never taken where a call would be more."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

from rambit.attribution import FO, RaMbIT
from rambit.models import GRUClassifier
from rambit.predictors import Predictor, Recurrent, fused
from rambit.predictors.fused import Steps
from tests.ops.layouts import rng

D, H, C = 4, 5, 3
#: The module and the native way round differently; nothing more.
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}


def make(layers=1, bias=True, batch_first=True, dtype=torch.float64, dropout=0.0, kind=nn.GRU):
    torch.manual_seed(0)
    rnn = kind(D, H, layers, bias=bias, batch_first=batch_first, dropout=dropout).to(dtype).eval()
    return rnn, nn.Linear(H, C).to(dtype)


def relu(*sizes, **options):
    return nn.RNN(*sizes, nonlinearity="relu", **options)


def data(N, w, dtype=torch.float64, seed=0):
    return torch.randn(N, D, w, generator=rng(seed), dtype=dtype)


def whole(rnn, head, x):
    """The plain module's probabilities (N, C, w)."""
    with torch.no_grad():
        hidden = rnn(x.transpose(1, 2) if rnn.batch_first else x.permute(2, 0, 1))[0]
        return head(hidden if rnn.batch_first else hidden.transpose(0, 1)).softmax(-1).transpose(1, 2)


def used(monkeypatch):
    """A list that grows with every native step."""
    steps, step = [], Steps.step
    monkeypatch.setattr(Steps, "step", lambda self, x, state: steps.append(len(x)) or step(self, x, state))
    return steps


VARIANTS = [
    *((nn.GRU, *rest) for rest in itertools.product([1, 2, 3], [True, False], [True, False], TOLERANCE)),
    *(
        (kind, *rest, dtype)
        for kind in (nn.LSTM, nn.RNN, relu)
        for rest in ((1, True, True), (2, False, False))
        for dtype in TOLERANCE
    ),
]


@pytest.mark.parametrize(("kind", "layers", "bias", "batch_first", "dtype"), VARIANTS)
@given(N=st.sampled_from([1, 3, fused.FEW, fused.FEW + 1]), cuts=st.sets(st.integers(1, 6)), seed=st.integers(0, 99))
def test_equals_the_module_for_any_segments(kind, layers, bias, batch_first, dtype, N, cuts, seed):
    rnn, head = make(layers, bias, batch_first, dtype, 0.5 if layers > 1 else 0.0, kind)
    predictor, x = Recurrent(rnn, head), data(N, 7, dtype, seed)
    expected = whole(rnn, head, x)
    with predictor.session():
        state, outputs = None, []
        for begin, end in itertools.pairwise([0, *sorted(cuts), 7]):
            part, state = predictor.advance(x[:, :, begin:end], state)
            outputs.append(part)
        torch.testing.assert_close(torch.cat(outputs, dim=2), expected, rtol=0, atol=TOLERANCE[dtype])
        walk, state = predictor.walk(x), None
        for t in range(7):
            hidden, state = walk.step(x[:, :, t : t + 1], state)
            torch.testing.assert_close(walk.outputs(hidden), expected[:, :, t : t + 1], rtol=0, atol=TOLERANCE[dtype])
        traced, after = zip(*walk.trace(x), strict=True)
        outputs = torch.cat([walk.outputs(hidden) for hidden in traced], dim=2)
        torch.testing.assert_close(outputs, expected, rtol=0, atol=TOLERANCE[dtype])
        torch.testing.assert_close(after[-1], state, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("head", ["linear", "batchnorm"])
@pytest.mark.parametrize(("layers", "standardize"), [(1, False), (2, True)])
def test_equals_our_own_model(monkeypatch, dtype, head, layers, standardize):
    torch.manual_seed(0)
    model = GRUClassifier(D, H, C, layers, dropout=0.3, head=head, standardize=standardize).to(dtype).eval()
    if standardize:
        model.set_standardization(torch.arange(D), 1 + torch.arange(D))
    predictor, x, steps = Predictor.of(model), data(fused.BLOCK + 3, 3, dtype), used(monkeypatch)
    with predictor.session():
        expected, state = model.advance(x)
        found, after = predictor.advance(x, None)
        assert len(steps) == 3
        torch.testing.assert_close(found, expected.softmax(1), rtol=0, atol=TOLERANCE[dtype])
        torch.testing.assert_close(after, state, rtol=0, atol=TOLERANCE[dtype])
        last = predictor.whole(x), predictor.whole(x, torch.full((len(x),), 2))
        assert len(steps) == 9
        torch.testing.assert_close(last[0], expected.softmax(1)[:, :, 2:], rtol=0, atol=TOLERANCE[dtype])
        torch.testing.assert_close(last[1], expected.softmax(1)[:, :, 1:2], rtol=0, atol=TOLERANCE[dtype])


def test_a_hook_of_the_model_still_sees_every_call(monkeypatch):
    torch.manual_seed(0)
    model, steps = GRUClassifier(D, H, C).double().eval(), used(monkeypatch)
    model.register_forward_hook(lambda module, given, found: 0 * found)
    predictor = Predictor.of(model)
    with predictor.session():
        assert bool((predictor.whole(data(fused.FEW, 3)) == 1 / C).all())
    assert steps == []


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("n", [1, 5, fused.BLOCK, fused.BLOCK + 1])
def test_any_rows(n, kind):
    rnn, head = make(2, kind=kind)
    predictor, x = Recurrent(rnn, head), data(n, 1)
    with predictor.session():
        assert predictor.advance(x[:0], None)[0].shape == (0, C, 1)
        torch.testing.assert_close(predictor.advance(x, None)[0], whole(rnn, head, x), rtol=0, atol=1e-12)


def test_weights_are_read_anew(monkeypatch):
    rnn, head = make()
    predictor, x, steps = Recurrent(rnn, head), data(2, 1), used(monkeypatch)
    with predictor.session():
        before = predictor.advance(x, None)[0]
    with torch.no_grad():
        rnn.weight_ih_l0.mul_(2)
    rnn.weight_hh_l0 = nn.Parameter(rnn.weight_hh_l0 + 1)
    rnn.load_state_dict({**rnn.state_dict(), "bias_ih_l0": torch.ones(3 * H, dtype=torch.float64)})
    with predictor.session():
        after = predictor.advance(x, None)[0]
    assert len(steps) == 2
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, whole(rnn, head, x), rtol=0, atol=1e-12)


def hooked(rnn):
    rnn.register_forward_hook(lambda module, given, found: (found[0] + 1, found[1]))
    return rnn


def prehooked(rnn):
    rnn.register_forward_pre_hook(lambda module, given: None)
    return rnn


def replaced(rnn):
    rnn.forward = rnn.forward
    return rnn


def tensor_weights(rnn):
    del rnn.weight_ih_l0
    rnn.weight_ih_l0 = torch.ones(3 * H, D, dtype=torch.float64)
    return rnn


class Own(nn.GRU):
    pass


REFUSED = {
    "projected": lambda: nn.LSTM(D, H, proj_size=2, batch_first=True).double().eval(),
    "subclass": lambda: Own(D, H, batch_first=True).double(),
    "bidirectional": lambda: nn.GRU(D, H, batch_first=True, bidirectional=True).double(),
    "hook": lambda: hooked(make()[0]),
    "pre-hook": lambda: prehooked(make()[0]),
    "forward": lambda: replaced(make()[0]),
    "dropout": lambda: make(layers=2, dropout=0.5)[0].train(),
    "weight_norm": lambda: parametrizations.weight_norm(make()[0], "weight_hh_l0"),
    "tensors": lambda: tensor_weights(make()[0]),
    "half": lambda: make()[0].half(),
    "meta": lambda: make()[0].to("meta"),
    "linear": lambda: nn.Linear(D, H),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_must_be_called_itself(name):
    series = data(2, 1).transpose(1, 2)
    with torch.no_grad():
        assert Steps.of(make()[0], series) is not None
        assert Steps.of(REFUSED[name](), series) is None


def test_other_ways_of_calling():
    rnn, series = make()[0], data(2, 1).transpose(1, 2)
    assert Steps.of(rnn, series) is None  # gradients
    with torch.no_grad():
        assert Steps.of(rnn, series.float()) is None
        assert Steps.of(rnn, series[:, :, 1:]) is None
        assert (
            Steps.of(make()[0].to("meta"), series.to("meta")) is None
        )  # another device, whose kernels are torch's own
        with torch.autocast("cpu"):
            assert Steps.of(rnn, series) is None
        hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
        try:
            assert Steps.of(rnn, series) is None
        finally:
            hook.remove()


def test_a_hook_still_sees_every_step():
    rnn, head = make()
    predictor, x = Recurrent(hooked(rnn), head), data(2, 1)
    with predictor.session():
        torch.testing.assert_close(predictor.advance(x, None)[0], whole(rnn, head, x))


def test_a_model_that_overrides_a_part_is_asked_itself(monkeypatch):
    class Shifted(GRUClassifier):
        def advance(self, x, state=None):
            return super().advance(x + 1, state)

    torch.manual_seed(0)
    model, x, steps = Shifted(D, H, C).double().eval(), data(2, 1), used(monkeypatch)
    predictor = Predictor.of(model)
    with predictor.session():
        torch.testing.assert_close(predictor.advance(x, None)[0], model.advance(x)[0].softmax(1))
        torch.testing.assert_close(predictor.walk(x).step(x, None)[0], model.advance(x)[0].softmax(1))
    assert steps == []


SMALL = {"L": 3, "num_samples": 1, "window_size": 2, "Wt_max": 4, "Wd_max": 3}
METHODS = {
    "mask": lambda m: RaMbIT(m, anchor="mask", counterfactuals="zero", **SMALL),
    "cell": lambda m: RaMbIT(m, anchor="cell", counterfactuals="zero", **SMALL),
    "end": lambda m: FO(m, anchor="end", counterfactuals="zero", num_samples=1),
}


@pytest.mark.usefixtures("free_calls")
@pytest.mark.parametrize("anchor", METHODS)
def test_attributions_do_not_change(monkeypatch, anchor):
    torch.manual_seed(0)
    model, x = GRUClassifier(D, H, C).double().eval(), data(3, 8)
    steps = used(monkeypatch)
    found = METHODS[anchor](model).attribute(x)
    assert len(steps) > 0
    monkeypatch.setattr(Steps, "of", lambda *_: None)
    torch.testing.assert_close(found, METHODS[anchor](model).attribute(x), rtol=0, atol=1e-10)
