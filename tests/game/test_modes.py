"""A claim is confirmed before it is used, unless it holds by construction."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.counterfactuals import Replay, Zero, reads_background
from rambit.game import Game, TensorSample
from rambit.models import GRUClassifier
from rambit.predictors import Predictor
from tests.models_for_tests import GRU

pytestmark = pytest.mark.usefixtures("free_calls")  # the strongest claim is then the one that is looked into
X = torch.randn(4, 2, 6, generator=torch.Generator().manual_seed(0))


class Bidirectional(nn.GRU):
    """Reads the future: what it says of a prefix changes with what follows."""

    def forward(self, x, state=None):
        hidden, after = super().forward(x, state)
        return hidden + x.mean(dim=1, keepdim=True).mean(dim=2, keepdim=True), after


def layers_first(model):
    """What was a series is then a step."""
    model.rnn = nn.GRU(2, 5)


def hooked(model):
    """The answer then depends on how many steps, or series, are asked at once."""
    model.head.register_forward_hook(lambda module, args, output: output * args[0].shape[-2])


def replaced(model):
    model.rnn = Bidirectional(2, 5, batch_first=True)


def shadowed(model):
    model.logits = lambda hidden: model.head(hidden) * hidden.shape[-2]


def mode(model, **options):
    return Game(Predictor.of(model), TensorSample(X, torch.arange(4)), Zero(), anchor="cell", **options).mode


@pytest.mark.parametrize("layers", [1, 2])
def test_our_own_gru_is_not_evaluated(layers, monkeypatch):
    model = GRUClassifier(2, 5, num_layers=layers).eval()
    evaluated = []
    monkeypatch.setattr(Predictor, "whole", lambda *args: evaluated.append(args))
    monkeypatch.setattr(Predictor, "advance", lambda *args: evaluated.append(args))
    assert mode(model) == "stateful"
    assert not evaluated


@pytest.mark.parametrize("change", [hooked, layers_first, replaced, shadowed])
def test_one_that_was_changed_is_found_out(change):
    model = GRUClassifier(2, 5).eval()
    change(model)
    with pytest.warns(UserWarning, match="falling back"):
        assert mode(model) != "stateful"
    with pytest.raises(ValueError, match="evaluation='stateful' does not hold"):
        mode(model, evaluation="stateful")


def test_a_head_of_the_users_own_is_confirmed():
    model = GRUClassifier(2, 5).eval()
    model.head = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    assert not Predictor.of(model).proven
    assert mode(model) == "stateful"


# -- claims that hold only where nobody looks -------------------------------------------------------------------------


class Claims(nn.Module):
    """Answers at every step, from ``steps(x)`` (N, D, w) -> (N, C, w), which a subclass says."""

    def forward(self, x, return_all=False):
        outputs = self.steps(x)
        return outputs if return_all else outputs[:, :, -1]


class Saturated(Claims):
    """A bidirectional GRU: its answers hardly differ once its gates are saturated."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 8, batch_first=True, bidirectional=True), nn.Linear(16, 3)

    def steps(self, x):
        return self.head(self.rnn(x.transpose(1, 2))[0]).transpose(1, 2)

    def advance(self, x, state):
        before = None if state is None else state.transpose(0, 1).contiguous()
        hidden, after = self.rnn(x.transpose(1, 2), before)
        return self.head(hidden).transpose(1, 2), after.transpose(0, 1)


class Spikes(Claims):
    """Whether there is a spike within two steps before or after: answers of 0 and 1, for most series always 0."""

    def steps(self, x):
        wide = nn.functional.max_pool1d(x[:, :1], 5, stride=1, padding=2)
        return torch.cat((-40 * (wide - 3), 40 * (wide - 3)), dim=1)


class SometimesAhead(Claims):
    """Looks one step ahead where its first feature is large."""

    def steps(self, x):
        ahead = torch.cat((x[:, 1:2, 1:], x[:, 1:2, -1:]), dim=2)
        chosen = torch.where(x[:, :1] > 2, ahead, x[:, 1:2])
        return torch.cat((chosen, -chosen), dim=1)


class FillsZeros(Claims):
    """Takes a zero for a missing value, and fills it with the mean over all time."""

    def steps(self, x):
        filled = torch.where(x == 0, x.mean(dim=2, keepdim=True), x)
        return torch.cat((filled[:, :1].cumsum(2), -filled[:, 1:2]), dim=1)


class WrongInSingleSteps(Claims):
    """A convolution over two steps, whose state is not kept by a call of a single step."""

    def steps(self, x):
        return self.advance(x, None)[0]

    def advance(self, x, state):
        before = torch.zeros_like(x[:, :, :1]) if state is None else state
        padded = torch.cat((before, x), dim=2)
        outputs = padded[:, :2, 1:] - 0.5 * padded[:, :2, :-1]
        return outputs, (x[:, :, -1:] if x.shape[2] > 1 else before).clone()


class LayersFirst(Claims):
    """Keeps its state as nn.GRU gives it: layers first."""

    def __init__(self):
        super().__init__()
        self.rnn, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def steps(self, x):
        return self.advance(x, None)[0]

    def advance(self, x, state):
        hidden, after = self.rnn(x.transpose(1, 2), state)
        return self.head(hidden).transpose(1, 2), after


class Constant(Claims):
    """Looks ahead, but never says a different thing."""

    def steps(self, x):
        return torch.ones(len(x), 2, x.shape[2]) * torch.tensor([0.0, 3.0])[:, None] + 0 * x.flip(2)[:, :2]


def noise(B, seed, scale=1.0):
    return scale * torch.randn(B, 3, 12, generator=torch.Generator().manual_seed(seed))


FALSE = [Saturated, SometimesAhead, FillsZeros, WrongInSingleSteps, LayersFirst]


@pytest.mark.parametrize("anchor", ["cell", "mask"])
@pytest.mark.parametrize("make", FALSE)
def test_false_claims_are_found_out(make, anchor):
    torch.manual_seed(0)
    model = make().eval()
    for seed, B in ((0, 6), (1, 1), (2, 2)):
        X = 300 * (1 + noise(B, seed, 0.01)) if make is Saturated else noise(B, seed)
        X[-1, 0, 5] = 300 if make is Saturated else 2.5
        options = {"num_samples": 1, "L": 3, "window_size": 2, "anchor": anchor, "output": "logits"}
        with pytest.warns(UserWarning, match="falling back"):
            found = RaMbIT(model, **options).explain(X)
        right = RaMbIT(model, evaluation="prefix", **options).attribute(X)
        torch.testing.assert_close(found.values, right, rtol=0, atol=1e-5)


def test_a_look_ahead_that_few_series_show():
    model = Spikes()
    for seed in range(100):
        X = noise(4, seed)
        X[:, 0].clamp_(max=1.5)
        X[seed % 4, 0, 2 + seed % 9] = 4.0
        with pytest.warns(UserWarning, match="falling back"):
            found = Game(Predictor.of(model), TensorSample(X, torch.arange(4)), Zero(), anchor="cell").mode
        assert found == "prefix"


@pytest.mark.filterwarnings("ignore:.*never moved")
def test_a_check_whose_answers_do_not_vary_confirms_nothing():
    X = noise(3, 0)
    with pytest.warns(UserWarning, match="did not vary"):
        assert RaMbIT(Constant(), num_samples=1, L=2).explain(X).mode == "prefix"
    assert RaMbIT(Constant(), num_samples=1, L=2, evaluation="causal").explain(X).mode == "causal"


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
@pytest.mark.parametrize("layers", [1, 2])
def test_true_claims_hold_at_any_scale(scale, anchor, layers):
    torch.manual_seed(0)
    model = GRU(layers=layers).eval()
    sample = TensorSample(noise(5, 0, scale), torch.arange(5))
    assert Game(Predictor.of(model), sample, Zero(), anchor=anchor).mode == "stateful"


def test_the_check_is_on_rows_of_any_strategy():
    torch.manual_seed(0)
    model, X = GRU().eval(), noise(3, 0)
    for name in ("zero", "mean", "marginal", "uniform", "carry_forward", "interpolate"):
        background = X if reads_background(name) else None
        found = RaMbIT(model, num_samples=1, L=2, counterfactuals=name, background=background).explain(X)
        assert found.mode == "stateful"


class AheadOfDraws(Claims):
    """Looks a step ahead, but only at values that no series has: those that replace."""

    def steps(self, x):
        ahead = torch.cat((x[:, :, 1:], x[:, :, -1:]), dim=2)
        seen = torch.where(ahead > 50, ahead, x)
        return torch.cat((seen[:, :1], -seen[:, 1:2]), dim=1)


def test_what_only_the_replacing_values_show():
    X = noise(5, 0)
    background = noise(40, 1)
    background[17, :, 3] = 60.0
    with pytest.warns(UserWarning, match="falling back"):
        found = RaMbIT(AheadOfDraws(), L=2, counterfactuals="marginal", background=background).explain(X)
    assert found.mode == "prefix"


SEED = 2


@pytest.mark.parametrize(("share_draws", "B"), [(False, 5), (True, 60)])
def test_values_that_the_first_draws_of_a_few_series_do_not_have(share_draws, B):
    X, background = noise(B, 0), noise(40, 1)
    background[17, :, 3] = 60.0
    options = {"L": 20, "num_samples": 1, "counterfactuals": "marginal", "background": background, "seed": SEED}
    method = RaMbIT(AheadOfDraws(), share_draws=share_draws, **options)
    few = torch.linspace(0, B - 1, 4).round().long()
    assert method.strategy.draws(X[few], None, few, 1, seed=SEED).max() < 50
    assert method.strategy.draws(X, None, torch.arange(B), 1 if share_draws else 20, seed=SEED).max() > 50
    with pytest.warns(UserWarning, match="falling back"):
        assert method.explain(X).mode == "prefix"


def test_given_values_of_series_that_are_not_looked_at():
    X = noise(60, 0)
    values = noise(60, 1)[None]
    values[0, 7, 0, 4] = 60.0
    with pytest.warns(UserWarning, match="falling back"):
        found = Game(Predictor.of(AheadOfDraws()), TensorSample(X, torch.arange(60)), Replay(values), anchor="cell")
    assert found.mode == "prefix"


class AheadOfOrdinaryValues(Claims):
    """Looks a step ahead, but for values that are far out."""

    def steps(self, x):
        ahead = torch.cat((x[:, :, 1:], x[:, :, -1:]), dim=2)
        seen = torch.where(x.abs() < 100, ahead.clamp(-5, 5), x)
        return torch.cat((seen[:, :1], -seen[:, 1:2]), dim=1)


def test_values_far_out_do_not_make_rounding_of_what_others_show():
    X, background = noise(5, 0), noise(40, 1)
    background[0], background[1] = 1e8, -1e8
    options = {"counterfactuals": "marginal", "background": background, "output": "regression"}
    with pytest.warns(UserWarning, match="falling back"):
        assert RaMbIT(AheadOfOrdinaryValues(), L=2, num_samples=1, seed=SEED, **options).explain(X).mode == "prefix"
