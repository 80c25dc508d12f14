"""``evaluation="auto"`` takes the mode that its count of work and its prices say is cheapest, and no clock."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rambit import RaMbIT, ops
from rambit.attribution import FO, WinIT
from rambit.counterfactuals import Zero
from rambit.game import Flips, FlipScores, Game, TensorSample, modes
from rambit.game.runner import Runner
from rambit.game.work import PRICES, Flipped, Price, Work
from rambit.masks import Bernoulli, Block, MaskSet, Whole
from rambit.models import GRUClassifier, LSTMClassifier
from rambit.predictors import Predictor, Recurrent
from tests.models_for_tests import GRU, Transformer, plain

# -- what a mode does -------------------------------------------------------------------------------------------------


class Counting(nn.Module):
    """Notes the calls of a model and the steps of each; a state is the last step."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def advance(self, x, state):
        self.calls.append(x.shape[2])
        return x[:, :2] * 1.0, x[:, :, -1].clone()

    def forward(self, x, return_all=False):
        self.calls.append(x.shape[2])
        return x[:, :2] * 1.0 if return_all else x[:, :2, -1] * 1.0


def masks_of(name, D, T, seed):
    cells = torch.arange(D * T, dtype=torch.int32) if name == "own" else None
    if name == "none":
        return Whole().sample(1, D, T, seed=seed)
    if name == "mixed":  # some replace nothing, some all over
        two = (Block(2, 4, 1, 2).sample(3, D, T, seed=seed), Bernoulli(0.5).sample(2, D, T, seed=seed))
        found = torch.cat([m.masks for m in two] + [torch.ones(1, D, T, dtype=torch.bool)])
        return MaskSet(found, torch.ones(len(found), dtype=torch.float64))
    return Block(1, 4, 1, 2).sample(2, D, T, seed=seed, target_cells=cells)


@pytest.mark.parametrize("mode", ["prefix", "causal", "stateful"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("name", ["none", "block", "mixed", "own"])
def test_work_is_what_the_engine_does(name, anchor, mode):
    rng = np.random.default_rng(sum(map(ord, name + anchor + mode)))
    for fresh in (False, True):
        B, D, T, S, W = 2, 3, int(rng.integers(5, 11)), int(rng.integers(1, 3)), int(rng.integers(1, 5))
        batch, masks, model = int(rng.choice([7, 40, 500])), masks_of(name, D, T, int(rng.integers(99))), Counting()
        sample = TensorSample(torch.randn(B, D, T) + 5, torch.arange(B))
        game = Game(
            Predictor.of(model, output="regression"),
            sample,
            Zero(),
            anchor=anchor,
            window_size=W,
            draws=S,
            evaluation=mode,
            batch_size=batch,
        )
        game.runner.begin()
        model.calls.clear()
        question = Flips(masks, fresh_draws=fresh)
        target = torch.zeros(1, B, dtype=torch.int64)
        game.reduce(question, FlipScores((B, D, T), ops.Metric.PD, ops.Reduce.MEAN, "all", target, game.device))
        work = game.flips(question).work(mode)
        if len({bytes(m.numpy()) for m in masks.masks}) == len(masks) or fresh:  # equal ones are evaluated once
            assert work.row_steps == game.runner.row_steps
        if mode == "stateful":
            assert work.calls == work.steps
            assert abs(work.steps - sum(model.calls)) <= 5 + 0.15 * sum(model.calls)
        elif work.row_steps == game.runner.row_steps:
            assert (work.calls, work.steps) == (len(model.calls), sum(model.calls))


@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_very_many_masks_are_looked_at_in_part(anchor, monkeypatch):
    masks = Block().sample(600, 3, 20, seed=0)
    sample = TensorSample(torch.randn(2, 3, 20), torch.arange(2))
    game = Game(Predictor.of(GRU()), sample, Zero(), anchor=anchor, window_size=2, dry=True)
    whole = game.flips(Flips(masks))
    monkeypatch.setattr("rambit.game.work.MOST", 4000)
    part = game.flips(Flips(masks))
    assert whole.every == 1 < part.every
    assert len(part.first) * part.every >= 600
    for mode in ("causal", "stateful"):
        assert part.work(mode).row_steps == pytest.approx(whole.work(mode).row_steps, rel=0.05)


def test_seconds_are_the_sum_of_what_is_paid_for():
    assert Work(2, 30, 500).seconds(Price(7.0, 5.0, 3.0, 2.0), 11) == 2 * 7 + 30 * 5 + 500 * (3 + 11 * 2)
    assert Work(1, 2, 3) + Work(4, 5, 6) == Work(5, 7, 9)


# -- which mode that makes --------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A user's model, whose steps are calls of its module; it offers no output at every step."""

    def __init__(self, D, H):
        super().__init__()
        self.inner = GRU(D, H)

    def forward(self, x):
        return self.inner(x)

    def advance(self, x, state):
        return self.inner.advance(x, state)


def recurrent(D, H):
    return Recurrent(nn.LSTM(D, H, batch_first=True), nn.Linear(H, 2))


KINDS = {"gru": GRUClassifier, "lstm": LSTMClassifier, "recurrent": recurrent, "own": Own}


def order(model, anchor, device="cpu", *, B=4, D=4, T=40, masks=None, W=3, draws=1, **options):
    """The candidates of a game on a device that need not be there."""
    sample = TensorSample(torch.randn(B, D, T), torch.arange(B))
    game = Game(Predictor.of(model), sample, Zero(), anchor=anchor, window_size=W, draws=draws, dry=True)
    runner = Runner(game.predictor, torch.device(device), 2048 if device == "cpu" else 1 << 16, dry=True)
    flips = Flipped.of(
        None if masks is None else Flips(masks),
        game.rule,
        features=D,
        draws=draws,
        series=B,
        batch=runner.batch,
        fixed=True,
        to_host=Tensor.cpu,
    )
    return modes.candidates(runner, sample, anchor, "auto", lambda: flips)


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_of_a_large_model_walk_from_states(kind):
    model, masks = KINDS[kind](4, 64), Block().sample(20, 4, 40, seed=0)
    for anchor in ("cell", "mask", "end"):
        assert order(model, anchor, masks=masks)[0] == "stateful"
        assert order(model, anchor, B=32)[0] == "stateful"


@pytest.mark.parametrize("kind", KINDS)
def test_few_rows_of_a_small_model_are_run_whole(kind):
    """A call of a step then costs more than all that it saves."""
    assert order(KINDS[kind](4, 8), "end", B=1) == ["full", "stateful"]


def test_short_steps_wait_for_launches_on_a_gpu():
    masks = Block().sample(20, 6, 40, seed=0)
    setting = {"B": 8, "D": 6, "T": 40, "masks": masks, "W": 5, "draws": 3}
    model = GRUClassifier(6, 50)
    assert order(model, "mask", "cuda", **setting)[0] == "causal"
    assert order(model, "mask", "cpu", **setting)[0] == "stateful"
    assert order(model, "cell", "cuda", **setting)[0] == "stateful"
    assert order(model, "mask", "cuda", **setting)[1:] == ["stateful", "prefix"]
    assert order(GRUClassifier(6, 400), "mask", "cuda", **{**setting, "B": 64})[0] == "stateful"


def test_a_device_without_prices_is_taken_for_a_gpu():
    masks = Block().sample(20, 6, 40, seed=0)
    setting = {"B": 8, "D": 6, "T": 40, "masks": masks, "W": 5, "draws": 3}
    for device in ("mps", "xpu"):
        assert order(GRUClassifier(6, 50), "mask", device, **setting)[0] == "causal"


def test_nothing_is_reckoned_where_there_is_no_choice():
    def never():
        raise AssertionError("there is one mode only")

    sample = TensorSample(torch.randn(2, 3, 9), torch.arange(2))
    for model, anchor, expected in [
        (plain, "end", "full"),
        (plain, "mask", "prefix"),
        (Transformer(), "end", "full"),
        (GRU(), "named", "stateful"),
    ]:
        runner = Runner(Predictor.of(model), torch.device("cpu"), 9, dry=True)
        named = anchor == "named"
        found = modes.candidates(runner, sample, "cell" if named else anchor, expected if named else "auto", never)
        assert found == [expected]


@pytest.mark.parametrize("device", PRICES)
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_cheapest_comes_first(kind, anchor, device):
    """Against prices that are paid one by one."""
    for H, B, T, L in ((4, 1, 8, 1), (40, 3, 20, 4), (200, 2, 12, 2)):
        model = KINDS[kind](3, H)
        masks = Block().sample(L, 3, T, seed=H)
        sample, weights = TensorSample(torch.randn(B, 3, T), torch.arange(B)), sum(p.numel() for p in parameters(model))
        game = Game(Predictor.of(model), sample, Zero(), anchor=anchor, window_size=2, dry=True)
        runner = Runner(game.predictor, torch.device(device), game.runner.batch, dry=True)
        flips = game.flips(Flips(masks))
        seconds = {}
        last = "full" if anchor == "end" else "prefix"
        competing = ["stateful", last if anchor == "end" or kind == "own" else "causal"]
        for mode in competing:
            price = PRICES[device]["whole" if mode != "stateful" else "advance" if kind == "own" else "own"]
            work = flips.work(mode)
            row_step = price.row_step + weights * price.weight
            seconds[mode] = work.calls * price.call + work.steps * price.step + work.row_steps * row_step
            calls = {"stateful": 2 * (T // 2), "causal": 2 * modes.CUTS}.get(mode, 0)
            if kind not in ("gru", "lstm"):  # which hold by construction
                seconds[mode] += calls * (price.call + price.step * (T if mode == "causal" else 1))
        found = modes.candidates(runner, sample, anchor, "auto", lambda flips=flips: flips)
        cheapest = sorted(competing, key=seconds.__getitem__)
        assert found == cheapest + [last] * (last not in cheapest)


def parameters(model):
    return (model.module if isinstance(model, Predictor) else model).parameters()


def test_weights_and_padding_count():
    """Of series that are padded, a model with lengths is given the padding where it is run whole."""
    sample = TensorSample(torch.randn(4, 3, 200), torch.arange(4), length=8)
    model = GRUClassifier(3, 8)
    for given, expected in ((sample.cut(), "full"), (sample, "stateful")):
        runner = Runner(Predictor.of(model), torch.device("cpu"), 999, dry=True)
        flips = Game(runner.predictor, sample.cut(), Zero(), dry=True).flips(None)
        assert modes.candidates(runner, given, "end", "auto", lambda flips=flips: flips)[0] == expected


# -- what is said is what runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("H", [3, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_cost_names_the_mode_that_runs(kind, H, anchor):
    torch.manual_seed(0)
    X = torch.randn(2, 3, 9)
    method = RaMbIT(KINDS[kind](3, H), L=3, num_samples=2, anchor=anchor, window_size=2, counterfactuals="uniform")
    cost, found = method.cost(X), method.explain(X)
    assert (cost.mode.removesuffix(" (unconfirmed)"), cost.row_steps) == (found.mode, found.row_steps)
    if kind in ("gru", "lstm") or found.mode == "full":
        assert cost.mode == found.mode


@pytest.mark.parametrize("make", [FO, WinIT])
def test_methods_without_masks_name_it_too(make):
    torch.manual_seed(0)
    X = torch.randn(2, 3, 9)
    method = make(GRUClassifier(3, 32), counterfactuals="uniform", num_samples=2)
    assert method.cost(X).mode == method.explain(X).mode


def test_equal_settings_choose_equally_and_give_equal_bits():
    torch.manual_seed(0)
    X, model = torch.randn(3, 3, 12), recurrent(3, 16)
    found = [RaMbIT(model, L=2, num_samples=1, anchor="mask").explain(X) for _ in range(2)]
    assert found[0].mode == found[1].mode
    assert torch.equal(found[0].values, found[1].values)
