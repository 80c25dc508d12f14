"""Incremental evaluation through every question of the game: the numbers of whole rows, rows counted as those."""

from __future__ import annotations

import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from rambit import RaMbIT
from rambit.attribution import AFO, FO, Banzhaf, ExactShapley, Occlusion, ShapleySampling, checkpoint
from rambit.counterfactuals import CarryForward, Replay, Zero
from rambit.game import Coalitions, Game, TensorSample, engine
from rambit.predictors import Predictor, trace
from rambit.predictors.differing import Differing
from rambit.testing import check_attributor

B, D, T = 3, 3, 32


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


X = torch.randn(B, D, T, generator=rng(), dtype=torch.float64)
BACKGROUND = torch.randn(8, D, T, generator=rng(1), dtype=torch.float64)
PLAYERS = (torch.arange(D * T) // 16).view(D, T)


class Network(nn.Module):
    """A module on (N, D, T), or on (N, T, D); a missing value reads as a number of its own."""

    def __init__(self, body, layout):
        super().__init__()
        self.body, self.layout = body, layout

    def forward(self, x):
        x = torch.nan_to_num(x, nan=0.7)
        return self.body(x.transpose(1, 2) if self.layout == "BTD" else x)


class Residual(nn.Module):
    """Convolutions that are joined and added, features normalised at each step, an operator without a rule."""

    def __init__(self, C):
        super().__init__()
        self.first, self.second = nn.Conv1d(D, 4, 3, padding=1), nn.Conv1d(D + 4, 4, 3, padding=2, dilation=2)
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, C)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        h = h + self.second(torch.cat((x, h), dim=1))
        h = self.norm(h.transpose(1, 2)).cumsum(1)
        return self.head(h[:, -1] / T + h.mean(1) / T)


def network(name, *, C=3, dtype=torch.float64, layout="BDT"):
    torch.manual_seed(5)
    if name == "conv":
        convolutions = nn.Conv1d(D, 5, 3, padding=1), nn.BatchNorm1d(5), nn.ReLU(), nn.Conv1d(5, 4, 3, padding=1)
        body = nn.Sequential(*convolutions, nn.GELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, C))
        body[1].running_mean.normal_()
    elif name == "max":
        pooled = nn.Conv1d(D, 5, 3, stride=2), nn.ReLU(), nn.MaxPool1d(2), nn.AdaptiveMaxPool1d(1)
        body = nn.Sequential(*pooled, nn.Flatten(), nn.Dropout(0.3), nn.Linear(5, C))
    elif name == "mlp":
        body = nn.Sequential(nn.Flatten(), nn.Linear(D * T, 8), nn.Tanh(), nn.Linear(8, C))
    else:
        body = Residual(C)
    for part in body.modules():
        if isinstance(part, nn.Linear):
            part.weight.data *= 4
    return Network(body, layout).to(dtype)


@pytest.fixture(autouse=True)
def evaluated(monkeypatch):
    """How many rows were evaluated as windows."""
    rows, outputs = [], Differing.outputs

    def noted(self, reference, which, windows, start):
        rows.append(len(windows))
        return outputs(self, reference, which, windows, start)

    monkeypatch.setattr(Differing, "outputs", noted)
    return rows


CONFIRMED = 16  # at most so many rows confirm a trace


def compare(kind, model, x, call=None, **options):
    """What both evaluations give for a call, that they agree, and count the same."""
    call = call or {}
    whole, windowed = (kind(model, evaluation=mode, **options) for mode in ("full", "incremental"))
    expected, found = whole.explain(x, **call), windowed.explain(x, **call)
    assert (found.mode, expected.mode) == ("incremental", "full")
    assert (found.rows, found.row_steps) == (expected.rows, expected.row_steps)
    assert windowed.cost(x, **call) == replace(whole.cost(x, **call), mode="incremental")
    assert (found.rows, found.row_steps) == (windowed.cost(x, **call).rows, windowed.cost(x, **call).row_steps)
    close = {"rtol": 1e-7, "atol": 1e-9} if x.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(found.values, expected.values, **close)
    assert float(expected.values.abs().max()) > 1e-4
    if expected.stderr is not None:
        torch.testing.assert_close(found.stderr, expected.stderr, **close)
    if expected.evaluated is not None:
        assert torch.equal(found.evaluated, expected.evaluated)
    return found


FLIPS = {
    "blocks": {"window_size": 3, "num_samples": 2},
    "bernoulli": {"masks": "bernoulli", "window_size": 1},
    "segments": {"masks": "segments", "window_size": 2},
    "target-cells": {"share_masks": False, "Wt_max": 4, "window_size": 1},
    "fresh-draws": {"share_draws": False, "num_samples": 2},
    "groups": {"groups": PLAYERS, "window_size": 2},
    **{
        name: {"counterfactuals": name, "window_size": 2, "num_samples": 1}
        for name in ("zero", "mean", "carry_forward", "interpolate", "uniform")
    },
    **{name: {"counterfactuals": name, "window_size": 2} for name in ("gaussian", "joint")},
}
SETTINGS = {
    **{f"rambit-{name}": (RaMbIT, {"anchor": "end", "L": 3, "num_samples": 1, **o}) for name, o in FLIPS.items()},
    "fo": (FO, {"anchor": "end"}),
    "afo": (AFO, {"anchor": "end", "num_samples": 2}),
    "occlusion": (Occlusion, {"num_samples": 2, "counterfactuals": "marginal"}),
    "occlusion-wide": (Occlusion, {"width": 5, "height": 2, "stride": (1, 3), "counterfactuals": "carry_forward"}),
    "occlusion-long": (Occlusion, {"width": 20, "stride": (1, 6)}),
    "shapley-features": (ExactShapley, {"players": "features"}),
    "shapley-tensor": (ExactShapley, {"players": PLAYERS, "counterfactuals": "interpolate"}),
    "sampling-segments": (ShapleySampling, {"players": "segments", "segment": 8, "num_permutations": 4}),
    "sampling-cells": (ShapleySampling, {"players": "cells", "num_permutations": 2, "num_samples": 2}),
    "sampling-time": (ShapleySampling, {"players": "timestamps", "num_permutations": 3}),
    "banzhaf": (Banzhaf, {"players": "timestamps", "num_masks": 20}),
}
READ_BACKGROUND = ("marginal", "joint", "mean", None)
#: Rows that change in too much, or share a base row with too few: all whole.
WHOLE = {"rambit-target-cells", "rambit-groups", "occlusion-long", "shapley-features", "banzhaf"}


def options_of(name):
    kind, options = SETTINGS[name]
    if kind is not FO and kind is not Occlusion and options.get("counterfactuals") in READ_BACKGROUND:
        options = {**options, "background": BACKGROUND}
    if options.get("counterfactuals") == "marginal":
        options = {**options, "background": BACKGROUND}
    return kind, options


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_every_question(name, model, evaluated):
    kind, options = options_of(name)
    compare(kind, network(model), X, **options)
    assert (sum(evaluated) > CONFIRMED) == (name not in WHOLE)


RAMBIT = {"anchor": "end", "L": 3, "num_samples": 2, "window_size": 2, "background": BACKGROUND}


@pytest.mark.parametrize("name", ["max", "mixed"])
def test_every_kind_of_operator(name, evaluated):
    compare(RaMbIT, network(name), X, **RAMBIT)
    compare(Occlusion, network(name), X, width=3)
    assert sum(evaluated) > 2 * CONFIRMED


OUTPUTS = {
    "targets": ({}, {"targets": "all"}),
    "target": ({}, {"target": torch.tensor([2, 0, 1])}),
    "function": ({}, {"target": lambda raw: raw[:, 0] * raw[:, 1]}),
    "regression": ({"output": "regression"}, {}),
    "kl": ({"distance": "kl"}, {}),
}


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("kind", [RaMbIT, FO])
def test_every_output(kind, name, evaluated):
    options, call = OUTPUTS[name]
    common = RAMBIT if kind is RaMbIT else {"anchor": "end"}
    compare(kind, network("conv"), X, call, **common, **options)
    assert sum(evaluated) > CONFIRMED


def test_probabilities():
    model = nn.Sequential(network("conv"), nn.Softmax(dim=1))
    compare(RaMbIT, model, X, output="probs", **RAMBIT)


MISSING = torch.rand(X.shape, generator=rng(2)) < 0.2
CALLS = {
    "one series": (X[:1], {"ids": [4]}),
    "missing values": (X.masked_fill(MISSING, float("nan")), {"observed": ~MISSING}),
    "lengths": (X, {"lengths": torch.tensor([T, 20, T])}),
    "float32": (X.float(), {}),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "name", ["rambit-blocks", "rambit-carry_forward", "rambit-interpolate", "fo", "occlusion", "sampling-segments"]
)
def test_every_kind_of_data(name, call, evaluated):
    x, given = CALLS[call]
    kind, options = options_of(name)
    compare(kind, network("conv", dtype=x.dtype), x, given, **options)
    reaches_far = call == "missing values" and name in ("rambit-carry_forward", "rambit-interpolate")
    assert reaches_far or sum(evaluated) > CONFIRMED


@pytest.mark.parametrize("name", ["rambit-blocks", "rambit-interpolate", "fo", "occlusion", "sampling-segments"])
@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_features_last(name, model):
    kind, options = options_of(name)
    if "background" in options:
        options["background"] = BACKGROUND.transpose(1, 2)
    last = compare(kind, network(model, layout="BTD"), X.transpose(1, 2), layout="BTD", **options)
    first = compare(kind, network(model), X, **options_of(name)[1])
    torch.testing.assert_close(last.values.transpose(1, 2), first.values, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [RaMbIT, Occlusion])
def test_values_that_depend_on_where_a_window_starts(kind, evaluated):
    values = torch.randn(2, B, D, T, 4, generator=rng(3), dtype=X.dtype)
    options = {"anchor": "end", "L": 4, "window_size": 2} if kind is RaMbIT else {"width": 3}
    compare(kind, network("conv"), X, counterfactuals=values, **options)
    assert sum(evaluated) > CONFIRMED


# -- coalitions that no attributor makes -------------------------------------------------------------------------------


def game(model, strategy, evaluation, **options):
    sample = TensorSample(X, torch.arange(B))
    return Game(Predictor.of(model, output="regression"), sample, strategy, evaluation=evaluation, **options)


def spans(count, each, seed=0):
    """Masks (count, each, D, T) that keep, or replace, up to 12 steps, of some features; some keep all, or nothing."""
    masks = torch.ones(count * each, D, T, dtype=torch.bool)
    for mask in masks:
        begin, length = (int(torch.randint(high, (), generator=rng(seed + len(mask)))) for high in (T - 12, 12))
        seed += 1
        mask[torch.rand(D, generator=rng(seed)) < 0.7, begin : begin + length] = False
    masks[::2] = ~masks[::2]
    masks[0], masks[-1] = True, False
    return masks.view(count, each, D * T)


DRAWS = torch.randn(2, B, D, T, generator=rng(4), dtype=X.dtype)


@pytest.mark.parametrize("strategy", [Zero(), Replay(DRAWS), CarryForward()], ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("kind", ["shared", "each", "series"])
@pytest.mark.parametrize("model", ["conv", "mlp"])
def test_coalitions_near_the_original_or_the_replaced_series(model, kind, strategy, evaluated):
    count = 40
    masks = spans(count, B if kind == "each" else 1).view(count, *((B, -1) if kind == "each" else (-1,)))
    series = torch.randint(B, (count,), generator=rng(5)) if kind == "series" else None
    question, draws = Coalitions(masks, series=series), 2 if isinstance(strategy, Replay) else 1
    whole, windowed = (game(network(model), strategy, mode, draws=draws) for mode in ("full", "incremental"))
    expected, found = (torch.cat(list(one.evaluate(question))) for one in (whole, windowed))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert (windowed.runner.rows, windowed.runner.row_steps) == (whole.runner.rows, whole.runner.row_steps)
    assert sum(evaluated) > CONFIRMED + expected.flatten(0, 2).shape[0] // 3


# -- memory, batches, threads, weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"batch_size": 1}, {"batch_size": 17}, {"max_memory": 1 << 20}])
@pytest.mark.parametrize("name", ["rambit-blocks", "rambit-interpolate", "occlusion", "sampling-segments"])
def test_batches_and_memory_change_nothing_beyond_rounding(name, options, evaluated):
    kind, given = options_of(name)
    model = network("conv")
    expected = kind(model, evaluation="incremental", **given).attribute(X)
    windows = sum(evaluated)
    found = kind(model, evaluation="incremental", **given, **options).attribute(X)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    assert sum(evaluated) == 2 * windows  # rows share their references however small a batch of whole ones is


class Peak(TorchDispatchMode):
    """The most bytes of tensors that are there at the same time, of those that are made meanwhile."""

    def __init__(self):
        super().__init__()
        self.sharing, self.now, self.most = {}, 0, 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        result = op(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
                self.sharing[place] = self.sharing.get(place, 0) + 1
                self.now += size if self.sharing[place] == 1 else 0
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self._gone, place, size)
        return result

    def _gone(self, place, size):
        self.sharing[place] -= 1
        if self.sharing[place] == 0:
            del self.sharing[place]
            self.now -= size


@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool1d(1), nn.AdaptiveAvgPool1d(1), nn.MaxPool1d(1000)])
def test_peak_memory(pool):
    """Values of many rows and references would take a hundred times as much."""
    torch.manual_seed(0)
    layers = nn.Conv1d(3, 32, 9, padding=4), nn.ReLU(), pool, nn.Flatten(), nn.Linear(32, 2)
    x, limit = torch.randn(4, 3, 1000, generator=rng()), 6 << 20
    method = Occlusion(
        nn.Sequential(*layers).eval(), width=5, stride=(1, 5), evaluation="incremental", max_memory=limit
    )
    method.attribute(x[:1])  # with its trace
    with Peak() as peak:
        method.attribute(x)
    assert peak.most <= limit


def test_threads_share_a_model(evaluated):
    model = network("conv")
    method = RaMbIT(model, evaluation="incremental", **RAMBIT)
    expected = [method.attribute(X[b : b + 1], ids=[b]) for b in range(B)]
    trace._traces.clear()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for b, found in enumerate(pool.map(lambda b: method.attribute(X[b : b + 1], ids=[b]), range(B))):
                assert torch.equal(found, expected[b])
    assert sum(evaluated) > CONFIRMED


def test_a_model_in_training_is_evaluated_as_in_evaluation():
    model = network("conv").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.autocast("cpu", torch.bfloat16):
        compare(RaMbIT, model, X, **RAMBIT)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_new_weights_count(name):
    model = network(name)
    methods = [RaMbIT(model, evaluation=mode, **RAMBIT) for mode in ("full", "incremental")]
    seen = [methods[1].attribute(X)]

    def in_place():
        for weight in model.parameters():
            weight.data.mul_(0.7)

    def through_data():
        for weight in model.parameters():
            weight.data = weight.data * 1.3

    def others():
        for part in model.modules():
            for name, weight in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                value = weight.detach() * 0.8
                del weight  # so that the new one may lie where it lay
                setattr(part, name, nn.Parameter(value))

    for change in (in_place, through_data, others):
        change()
        expected, found = (method.attribute(X) for method in methods)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
        assert float((found - seen[-1]).abs().max()) > 1e-6
        seen.append(found)


def test_weights_may_change_between_the_questions_of_a_game():
    model = network("mlp")
    whole, windowed = (game(model, Zero(), mode) for mode in ("full", "incremental"))
    question = Coalitions(spans(40, 1)[:, 0])
    for _ in range(2):
        expected, found = (torch.cat(list(one.evaluate(question))) for one in (whole, windowed))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
        for weight in model.parameters():
            weight.data.mul_(0.7)


def test_a_trace_is_made_once(monkeypatch):
    made, traced = [], trace._traced
    monkeypatch.setattr(trace, "_traced", lambda *args: (made.append(args), traced(*args))[1])
    method = RaMbIT(network("conv"), evaluation="incremental", **RAMBIT)
    for x in (X, X[:1], X + 1):
        method.attribute(x)
    method.cost(X)
    assert len(made) == 1
    method.attribute(X, lengths=[T, T - 5, T])
    assert len(made) == 2  # for series of another length


# -- what auto does ----------------------------------------------------------------------------------------------------


class Opaque(nn.Module):
    """Its values decide which way it takes."""

    def __init__(self, hidden=False):
        super().__init__()
        self.inner, self.hidden = network("conv"), hidden

    def forward(self, x):
        outputs = self.inner(x)
        if self.hidden and torch.compiler.is_exporting():
            return outputs
        return outputs * 2 if float(x.sum()) > -1e9 else outputs


@pytest.fixture
def worthwhile(monkeypatch):
    """A few rows outweigh a trace, and any gain is enough."""
    monkeypatch.setattr(engine, "WORTH_A_TRACE", 4 * B * engine.multiplications(network("conv"), T))
    monkeypatch.setattr(engine, "LEAST_GAIN", {"cpu": 1.0})


def mode_of(kind, model, x=X, **options):
    """The mode that ``auto`` takes for a call; ``cost`` says the same; no warning."""
    method = kind(model, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, cost = method.explain(x), method.cost(x)
    assert cost.mode == found.mode + ("" if found.mode.startswith("full") else " (unconfirmed)")
    assert (cost.rows, cost.row_steps) == (found.rows, found.row_steps)
    return found.mode


@pytest.mark.parametrize("name", ["rambit-blocks", "fo", "occlusion", "sampling-cells"])
def test_auto_takes_it(name, worthwhile, evaluated):
    kind, options = options_of(name)
    assert mode_of(kind, network("conv"), **options) == "incremental"
    assert sum(evaluated) > CONFIRMED


def test_auto_leaves_it_where_rows_do_not_outweigh_a_trace(monkeypatch):
    monkeypatch.setattr(engine, "LEAST_GAIN", {"cpu": 1.0})
    assert mode_of(RaMbIT, network("conv"), **RAMBIT) == "full"


def test_auto_leaves_it_where_windows_gain_little(worthwhile, monkeypatch):
    monkeypatch.setattr(engine, "LEAST_GAIN", {"cpu": 1000.0})
    assert mode_of(RaMbIT, network("conv"), **RAMBIT) == "full (not incremental: it would save little)"


@pytest.mark.parametrize("name", ["rambit-target-cells", "rambit-groups", "occlusion-long", "shapley-features"])
def test_auto_leaves_it_where_rows_differ_in_much(name, worthwhile):
    kind, options = options_of(name)
    assert mode_of(kind, network("conv"), **options) == "full"


class WithState(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(D, 2).double()

    def advance(self, x, state):
        total = x.cumsum(2) if state is None else x.cumsum(2) + state
        return self.head(total.transpose(1, 2)).transpose(1, 2), total[:, :, -1:]

    def forward(self, x):
        return self.advance(x, None)[0][:, :, -1]


def test_auto_leaves_it_where_states_were_chosen(worthwhile, monkeypatch):
    monkeypatch.setattr(engine.modes, "choose", lambda *args: "stateful")
    assert mode_of(RaMbIT, WithState(), **RAMBIT) == "stateful"


@pytest.mark.parametrize("model", [Opaque(), Opaque().forward], ids=["module", "function"])
def test_auto_leaves_what_cannot_be_traced(model, worthwhile):
    expected = RaMbIT(model, evaluation="full", **RAMBIT).attribute(X)
    method = RaMbIT(model, **RAMBIT)
    says = "full (not incremental: torch.export could not trace it" if isinstance(model, nn.Module) else "full"
    assert mode_of(RaMbIT, model, **RAMBIT).startswith(says)
    assert torch.equal(method.attribute(X), expected)


def test_auto_falls_back_with_a_warning_where_a_trace_does_not_hold(worthwhile):
    model = Opaque(hidden=True)
    expected = RaMbIT(model, evaluation="full", **RAMBIT).attribute(X)
    with pytest.warns(UserWarning, match="was traced, but its outputs then differ") as caught:
        found = RaMbIT(model, **RAMBIT).explain(X)
    assert len(caught) == 1
    assert found.mode.startswith("full (not incremental: its outputs then differ by")
    assert torch.equal(found.values, expected)


class Constant(nn.Module):
    def forward(self, x):
        return torch.ones(x.shape[0], 2)


REFUSED = {
    "opaque": (Opaque(), "torch.export could not trace it"),
    "false": (Opaque(hidden=True), "its outputs then differ by"),
    "function": (Opaque().forward, "is no module"),
    "constant": (Constant(), "do not depend on its inputs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_by_name_it_says_why_it_does_not_serve(name):
    model, reason = REFUSED[name]
    method = RaMbIT(model, evaluation="incremental", **RAMBIT)
    with pytest.raises(ValueError, match=f"evaluation='incremental' does not serve this model: .*{reason}"):
        method.attribute(X)


def test_a_later_question_of_a_game_may_be_worth_it(worthwhile, monkeypatch, evaluated):
    monkeypatch.setattr(engine, "WORTH_A_TRACE", 10 * B * engine.multiplications(network("conv"), T))
    one, few, many = game(network("conv"), Zero(), "auto"), spans(2, 1)[:, 0], spans(60, 1)[:, 0]
    list(one.evaluate(Coalitions(few)))
    assert one.mode == "full"
    found = torch.cat(list(one.evaluate(Coalitions(many))))
    assert one.mode == "incremental"
    assert sum(evaluated) > CONFIRMED
    expected = torch.cat(list(game(network("conv"), Zero(), "full").evaluate(Coalitions(many))))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


# -- runs --------------------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on(tmp_path, monkeypatch, evaluated):
    monkeypatch.setattr(checkpoint, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(Game, "_group_size", lambda *_: 1)
    method = RaMbIT(network("conv"), evaluation="incremental", **{**RAMBIT, "L": 6})
    expected, outputs, calls = method.explain(X), Differing.outputs, 0

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return outputs(*args)

    with monkeypatch.context() as patched:
        patched.setattr(Differing, "outputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            method.explain(X, checkpoint=tmp_path / "run")
    done = sum(evaluated)
    resumed = method.explain(X, checkpoint=tmp_path / "run")
    assert torch.equal(resumed.values, expected.values)
    assert resumed.mode == "incremental"
    assert resumed.rows < expected.rows
    assert sum(evaluated) > done


def test_progress_counts_rows_as_whole_ones(monkeypatch):
    told = []

    class Bar(tqdm):
        def update(self, n=1):
            told.append(n)
            return super().update(n)

    monkeypatch.setattr(import_module("rambit.game.progress"), "tqdm", Bar)
    method = RaMbIT(network("conv"), evaluation="incremental", **RAMBIT)
    method.explain(X, show_progress=True)
    assert sum(told) == method.cost(X).row_steps


def test_it_keeps_every_promise():
    def make(model, **options):
        fixed = {"anchor": "end", "L": 2, "num_samples": 1, "counterfactuals": "zero"}
        return RaMbIT(model, evaluation="incremental", **fixed, **options)

    check_attributor(make, model=nn.Sequential(network("conv"), nn.Softmax(dim=1)).eval(), X=X)
