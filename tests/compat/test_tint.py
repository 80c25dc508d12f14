"""time_interpret's tunnel over temporal occlusions: its own numbers, from the engine or from itself."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from torch import nn

from rambit.game import recognition

NOT_THERE = "time_interpret is not installed (extra baselines)"


@pytest.fixture
def tint():
    return pytest.importorskip("tint.attr", reason=NOT_THERE)


@pytest.fixture
def ours(tint):
    return importlib.import_module("rambit.compat.tint")


class GRU(nn.Module):
    """Recurrent, claims nothing."""

    def __init__(self, D, C, kind=nn.GRU, dropout=0.0):
        super().__init__()
        self.rnn, self.drop, self.head = kind(D, 5, batch_first=True), nn.Dropout(dropout), nn.Linear(5, C)

    def forward(self, x):
        return self.head(self.drop(self.rnn(x)[0][:, -1]))


class Claims(GRU):
    """The same with a state that it says."""

    def advance(self, x, state):
        hidden, after = self.rnn(x, None if state is None else state.transpose(0, 1).contiguous())
        return self.head(hidden).transpose(1, 2), after.transpose(0, 1)


class Opaque(nn.Module):
    """Looks at whole prefixes, in both directions."""

    def __init__(self, D, C):
        super().__init__()
        self.layer, self.head = nn.Conv1d(D, 5, 3, padding=1), nn.Linear(5, C)

    def forward(self, x):
        return self.head(self.layer(x.transpose(1, 2)).relu().mean(2))


class Made(nn.Module):
    """A GRU whose outputs a function changes."""

    def __init__(self, change, D=3, C=4):
        super().__init__()
        self.inside, self.change = GRU(D, C), change

    def forward(self, x):
        return self.change(self.inside(x))


class Asked:
    """Calls both tunnels, and counts how often ours hands a call to time_interpret."""

    def __init__(self, tint, ours, monkeypatch):
        self.tint, self.ours, self.handed_on = tint, ours, 0
        inner = tint.TimeForwardTunnel.attribute.__wrapped__

        def answered(*args, **kwargs):
            self.handed_on += 1
            return inner(*args, **kwargs)

        monkeypatch.setattr(tint.TimeForwardTunnel.attribute, "__wrapped__", answered)

    def same(self, method, x, *, seed=0, **call):
        """Whether the engine served the call; results, errors and the generator's state after it are the same."""
        before, found = self.handed_on, []
        for tunnel in (self.tint.TimeForwardTunnel, self.ours.TimeForwardTunnel):
            torch.manual_seed(seed)
            try:
                found.append(tunnel(method).attribute(x, **call))
            except Exception as error:
                found.append(error)
            found.append(torch.get_rng_state())
        theirs, state, ours, after = found
        if isinstance(theirs, Exception):
            assert type(ours) is type(theirs), (theirs, ours)
            assert str(ours) == str(theirs)
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True)
            assert torch.equal(state, after)
        return self.handed_on == before


@pytest.fixture
def asked(tint, ours, monkeypatch):
    return Asked(tint, ours, monkeypatch)


X = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0))
DATA = torch.randn(7, 8, 3, generator=torch.Generator().manual_seed(1))


def pick(generator, *choices):
    return choices[int(torch.randint(len(choices), (), generator=generator))]


@pytest.mark.parametrize("seed", range(40))
def test_random_calls(asked, tint, monkeypatch, seed):
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", pick(g, 1e99, 1e99, 0.0))
    B, T, D, C = pick(g, 1, 4), pick(g, 1, 6), pick(g, 1, 3, 5), pick(g, 2, 4)
    kind = pick(g, GRU, lambda D, C: GRU(D, C, nn.LSTM), Claims, Opaque)
    dtype = pick(g, torch.float32, torch.float64)
    model = kind(D, C).to(dtype)
    model = pick(g, model.train(), model.eval())
    x, data = (torch.randn(n, T, D, dtype=dtype, generator=g) for n in (B, 7))
    width = 1 + int(torch.randint(D, (), generator=g))
    strides = pick(g, None, (1,), (width,))
    classes = torch.randint(C, (B,), generator=g)
    call = pick(
        g,
        {"target": 1},
        {"target": -1},
        {"target": torch.tensor([1])},
        {"target": classes},
        {"target": classes.tolist()},
        {"target": (1, 0)},
        {"task": "binary"},
        {"task": "multiclass", "target": 1},
        {"task": "multilabel", "threshold": 0.4},
        {"target": None},
    )
    together = 1 if call.get("target", 1) is None else pick(g, 1, 3)
    call |= {"sliding_window_shapes": (width,), "strides": strides, "perturbations_per_eval": together}
    call["return_temporal_attributions"] = pick(g, False, True)
    if pick(g, False, True):
        draws = 1 if call.get("target", 1) is None else pick(g, 1, 3)
        method = tint.TemporalAugmentedOcclusion(model, data, n_sampling=draws, is_temporal=True)
    else:
        method = tint.TemporalOcclusion(model)
        call["baselines"] = pick(g, None, 2, 0.5, x.mean(1, keepdim=True), (x.roll(1, 2),), x[:1])
    assert asked.same(method, pick(g, x, (x,)), seed=seed, **call)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("draws", [0, 2])
def test_one_output_needs_no_target(asked, tint, shape, draws):
    model = Made(lambda outputs: outputs[:, 0].view(-1, *shape))
    method = tint.TemporalAugmentedOcclusion(model, DATA, draws, True) if draws else tint.TemporalOcclusion(model)
    assert asked.same(method, X, sliding_window_shapes=(2,), perturbations_per_eval=3)


def test_data_need_not_be_temporal_for_one_step(asked, tint):
    method = tint.TemporalAugmentedOcclusion(GRU(3, 4), DATA[:, :1])
    assert asked.same(method, X[:, :1], sliding_window_shapes=(1,), target=0)


def test_of_many_series_and_windows(asked, tint, monkeypatch):
    """In batches that cut through the original series and through the rows of a window."""
    from rambit.game.engine import Engine

    monkeypatch.setattr(Engine, "_batch", lambda self, size, x: 3)
    assert asked.same(tint.TemporalOcclusion(Opaque(3, 4)), X, sliding_window_shapes=(1,), task="multiclass")
    assert asked.same(tint.TemporalOcclusion(Claims(3, 4)), X, sliding_window_shapes=(2,), target=1)


@pytest.mark.parametrize("trace", [False, True])
def test_a_tunnel_sees_what_becomes_of_its_module(tint, ours, monkeypatch, trace):
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 0.0 if trace else 1e99)
    model = GRU(3, 4, dropout=0.5).eval()
    tunnel, theirs = (side.TimeForwardTunnel(tint.TemporalOcclusion(model)) for side in (ours, tint))
    for change in (
        lambda: None,
        lambda: None,
        lambda: nn.init.normal_(model.rnn.weight_hh_l0),
        lambda: setattr(model, "head", nn.Sequential(nn.ReLU(), nn.Linear(5, 4))),
        lambda: model.register_forward_hook(lambda module, inputs, outputs: outputs**2),
        lambda: setattr(model, "forward", lambda x: model.head(model.rnn(x)[0].mean(1))),
        lambda: model.train(),
    ):
        change()
        found = []
        for side in (tunnel, theirs):
            torch.manual_seed(1)
            found.append(side.attribute(X, sliding_window_shapes=(1,), target=1))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_tunnel_traces_its_module_once_calls_outweigh_that(tint, ours, monkeypatch):
    model = GRU(3, 4).eval()
    tunnel, theirs = (side.TimeForwardTunnel(tint.TemporalOcclusion(model)) for side in (ours, tint))
    each = 4 * (1 + 3) * 7 / 2 * ours.multiplications(model, 6)
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 2.5 * each)
    for modes in (set(), set(), {"causal", "stateful"}, {"causal", "stateful"}):
        found, expected = (side.attribute(X, sliding_window_shapes=(1,), target=1) for side in (tunnel, theirs))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        (seen,) = ours._SEEN[tunnel].models.values()
        assert seen.predictor.modes == modes


@pytest.mark.parametrize("trace", [False, True])
def test_the_module_is_left_as_it_was(tint, ours, monkeypatch, trace):
    monkeypatch.setattr(recognition, "WORTH_A_TRACE_SO_FAR", 0.0 if trace else 1e99)
    model = nn.Sequential(GRU(3, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[1].eval()
    model[2].eval()
    flags = [part.training for part in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ours.TimeForwardTunnel(tint.TemporalOcclusion(model)).attribute(X, sliding_window_shapes=(1,), target=1)
    assert [part.training for part in model.modules()] == flags
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Total(nn.Module):
    """One number for the whole batch."""

    def forward(self, x):
        return x.sum()


class EveryStep(GRU):
    """An output at every step unless told otherwise."""

    def forward(self, x, return_all=True):
        hidden = self.rnn(x)[0]
        return self.head(hidden) if return_all else self.head(hidden[:, -1])


class TwoInputs(GRU):
    def forward(self, x, y):
        return super().forward(x + y)


class OneBatch(GRU):
    """Serves four series at a time."""

    def forward(self, x):
        return self.head(self.rnn(x, torch.zeros(1, 4, 5))[0][:, -1])


def nan_at(x, *place):
    x = x.clone()
    x[place] = torch.nan
    return x


@pytest.mark.parametrize(
    ("model", "x", "call"),
    [
        (GRU(3, 4).forward, X, {"target": 1}),
        (GRU(3, 4, dropout=0.5), X, {"target": 1}),
        (nn.Sequential(GRU(3, 4), nn.BatchNorm1d(4)), X, {"target": 1}),
        (Made(lambda outputs: outputs - outputs.mean(0)), X, {"target": 1}),
        (Made(lambda outputs: outputs + torch.randn_like(outputs)), X, {"target": 1}),
        (Made(lambda outputs: outputs / 0), X, {"target": 1}),
        (Made(lambda outputs: outputs[:, :, None]), X, {"target": (1, 0)}),
        (Made(lambda outputs: outputs.tolist()), X, {}),
        (Made(lambda outputs: outputs.argmax(1)), X, {}),
        (Made(lambda outputs: outputs[:, 0]), X, {"target": 0}),
        (Made(lambda outputs: outputs[:, 0]), X, {"task": "binary"}),
        (Made(lambda outputs: outputs[:, :1]), X, {"task": "multilabel"}),
        (EveryStep(3, 4), X, {"target": 0}),
        (OneBatch(3, 4), X, {"target": 1}),
        (Total(), X, {}),
        (TwoInputs(3, 4), X, {"target": 1, "additional_forward_args": X}),
        (
            TwoInputs(3, 4),
            X,
            {"target": 1, "additional_forward_args": (X,), "temporal_additional_forward_args": (True,)},
        ),
        (TwoInputs(3, 4), (X, X), {"target": 1}),
        (nn.Flatten(), X, {"target": 0}),
        (GRU(3, 4), nan_at(X, 0, 2, 1), {"target": 1}),
        (GRU(3, 4), X.double(), {"target": 1}),
        (GRU(3, 4), X[None], {"target": 1}),
        (GRU(3, 4), X[:0], {"target": 1}),
        (GRU(3, 4), X.tolist(), {"target": 1}),
        (GRU(3, 4), X, {"target": 4}),
        (GRU(3, 4), X, {"target": -5}),
        (GRU(3, 4), X, {"target": True}),
        (GRU(3, 4), X, {"target": ()}),
        (GRU(3, 4), X, {"target": (0, 7)}),
        (GRU(3, 4), X, {"target": 1.0}),
        (GRU(3, 4), X, {"target": [0, 1]}),
        (GRU(3, 4), X, {"target": [0, 1, 2, -1]}),
        (GRU(3, 4), X, {"target": [(0,), (1,), (2,), (3,)]}),
        (GRU(3, 4), X, {"target": torch.tensor([0, 1, 2, 4])}),
        (GRU(3, 4), X, {"target": torch.tensor([0.0, 1.0, 2.0, 3.0])}),
        (GRU(3, 4), X, {"target": torch.zeros(4, 6, dtype=torch.int64), "temporal_target": True}),
        (GRU(3, 4), X, {"perturbations_per_eval": 2}),
        (GRU(3, 4), X, {"target": 1, "perturbations_per_eval": 0}),
        (GRU(3, 4), X, {"target": 1, "perturbations_per_eval": 2.0}),
        (GRU(3, 4), X, {"target": 1, "attributions_fn": abs}),
        (GRU(3, 4), X, {"target": 1, "sliding_window_shapes": (4,)}),
        (GRU(3, 4), X, {"target": 1, "sliding_window_shapes": (0,)}),
        (GRU(3, 4), X, {"target": 1, "sliding_window_shapes": (1, 1)}),
        (GRU(3, 4), X, {"target": 1, "sliding_window_shapes": 1}),
        (GRU(3, 4), X, {"target": 1, "strides": (2,)}),
        (GRU(3, 4), X, {"target": 1, "strides": 1}),
        (GRU(3, 4), X, {"target": 1, "strides": (0,)}),
        (GRU(3, 4), X, {"target": 1, "baselines": torch.nan}),
        (GRU(3, 4), X, {"target": 1, "baselines": 1e300}),
        (GRU(3, 4), X, {"target": 1, "baselines": X[0, 0]}),
        (GRU(3, 4), X, {"target": 1, "baselines": X[:2]}),
        (GRU(3, 4), X, {"target": 1, "baselines": torch.cat((X, X), 1)}),
        (GRU(3, 4), X, {"target": 1, "baselines": X.long()}),
        (GRU(3, 4), X, {"target": 1, "baselines": (0.0, 1.0)}),
        (GRU(3, 4), X, {"target": 1, "baselines": "zero"}),
        (GRU(3, 4), X, {"target": 1, "n_samples": 3}),
        (GRU(3, 4), X, {"task": "regression"}),
        (GRU(3, 4), X, {"task": "wrong"}),
        (GRU(3, 4), X, {"task": "binary", "threshold": 2.0}),
    ],
)
def test_what_is_not_served_is_answered_by_time_interpret(asked, tint, model, x, call):
    assert not asked.same(tint.TemporalOcclusion(model), x, **{"sliding_window_shapes": (1,), **call})


@pytest.mark.parametrize(
    ("data", "options", "call"),
    [
        (DATA, {}, {}),  # only of one step
        (DATA[:, :4], {"is_temporal": True}, {}),
        (DATA.double(), {"is_temporal": True}, {}),
        (nan_at(DATA, 0, 0, 0), {"is_temporal": True}, {}),
        (DATA[:, :, :2], {"is_temporal": True}, {}),
        ((DATA, DATA), {"is_temporal": True}, {}),
        (DATA, {"is_temporal": True}, {"baselines": 0.0}),
        (DATA, {"is_temporal": True, "n_sampling": 2}, {"target": None}),
    ],
)
def test_data_that_are_not_served(asked, tint, data, options, call):
    method = tint.TemporalAugmentedOcclusion(GRU(3, 4), data, **options)
    assert not asked.same(method, X, **{"sliding_window_shapes": (1,), "target": 1, **call})


def test_draws_that_gave_no_finite_output_are_drawn_again(asked, tint):
    model = GRU(3, 4)
    model.register_forward_hook(lambda module, inputs, outputs: outputs / (inputs[0][:, -1, :1] != DATA[3, 2, 0]))
    method = tint.TemporalAugmentedOcclusion(model, DATA, n_sampling=5, is_temporal=True)
    assert not asked.same(method, X, sliding_window_shapes=(1,), target=1)


def test_other_methods_are_time_interprets(asked, tint):
    captum = importlib.import_module("captum.attr")
    model = GRU(3, 4)
    assert not asked.same(captum.Saliency(model), X, target=1)
    assert not asked.same(tint.Occlusion(model), X[:, :1], sliding_window_shapes=(1, 1), target=1)


def test_weights_that_are_made_by_the_first_call(tint, ours):
    model = Made(nn.LazyLinear(4))
    first, again = (
        side.TimeForwardTunnel(tint.TemporalOcclusion(model)).attribute(X, sliding_window_shapes=(1,), target=1)
        for side in (ours, tint)
    )
    torch.testing.assert_close(first, again)


def test_more_settings_than_a_tunnel_keeps(tint, ours, monkeypatch):
    monkeypatch.setattr(ours, "MOST_SETTINGS", 2)
    method = tint.TemporalOcclusion(GRU(3, 4))
    tunnel, theirs = ours.TimeForwardTunnel(method), tint.TimeForwardTunnel(method)
    for steps in (2, 3, 4, 2, 6):
        found = [side.attribute(X[:, :steps], sliding_window_shapes=(1,), target=1) for side in (tunnel, theirs)]
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_progress_bar(tint, ours, capsys):
    tunnel = ours.TimeForwardTunnel(tint.TemporalOcclusion(GRU(3, 4)))
    tunnel.attribute(X, sliding_window_shapes=(1,), target=1)
    assert capsys.readouterr().err == ""
    tunnel.attribute(X, sliding_window_shapes=(1,), target=1, show_progress=True)
    assert "/336 " in capsys.readouterr().err  # (4 + 3 · 4) series of 1 … 6 steps


def test_every_name_of_time_interpret(tint, ours):
    assert ours.__all__ == tint.__all__
    for name in tint.__all__:
        assert (getattr(ours, name) is getattr(tint, name)) == (name != "TimeForwardTunnel")
    assert list(ours.CLASSES) == ["tint.attr"]
    assert ours.CLASSES["tint.attr"] == {"TimeForwardTunnel": ours.TimeForwardTunnel}
    with pytest.raises(AttributeError, match="Nothing"):
        _ = ours.Nothing


def test_without_time_interpret(monkeypatch):
    monkeypatch.setitem(sys.modules, "tint.attr", None)
    monkeypatch.delitem(sys.modules, "rambit.compat.tint", raising=False)
    with pytest.raises(ImportError, match=r"rambit\[baselines\]"):
        importlib.import_module("rambit.compat.tint")


def test_it_is_imported_by_name_only():
    code = "import sys, rambit, rambit.compat; sys.exit('rambit.compat.tint' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


#: After time_interpret's README and the examples of its classes. Each leaves its scores in ``scores``.
SCRIPTS = {
    "README": """
from tint.attr import TemporalIntegratedGradients

salient = torch.rand(8, 7, 5) > 0.5
explainer = TemporalIntegratedGradients(lambda x, salient: (x**2 * salient).sum(dim=(1, 2)))
more = {"additional_forward_args": (salient,), "temporal_additional_forward_args": (True,)}
scores = explainer.attribute(x, baselines=0 * x, **more).abs()
""",
    "Occlusion": """
from tint.attr import Occlusion

scores = Occlusion(mlp).attribute(x, (1, 1), target=(0, 0))
""",
    "TemporalOcclusion": """
from tint.attr import TemporalOcclusion

scores = TemporalOcclusion(mlp).attribute(x, (1,), target=(6, 0))
""",
    "TemporalAugmentedOcclusion": """
from tint.attr import TemporalAugmentedOcclusion

scores = TemporalAugmentedOcclusion(mlp, torch.rand(32, 7, 5)).attribute(x, (1,), target=(6, 0))
""",
    "TimeForwardTunnel": """
from captum.attr import Saliency
from tint.attr import TimeForwardTunnel

scores = TimeForwardTunnel(Saliency(last)).attribute(x, target=0)
""",
    "TimeForwardTunnel of occlusions": """
from tint.attr import TemporalOcclusion, TimeForwardTunnel

scores = TimeForwardTunnel(TemporalOcclusion(last)).attribute(x, sliding_window_shapes=(1,), target=0)
""",
}


@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_of_the_documentation_with_one_line_changed(tint, name):
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    given = {"torch": torch, "x": torch.rand(8, 7, 5), "mlp": mlp, "last": GRU(5, 2).eval()}
    found = []
    for script in (SCRIPTS[name], SCRIPTS[name].replace("from tint.attr", "from rambit.compat.tint")):
        torch.manual_seed(1)
        names = dict(given)
        exec(script, names)
        found.append(names["scores"])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6, equal_nan=True)  # occlusions leave what they skip NaN
    assert found[0].nan_to_num().abs().max() > 0
