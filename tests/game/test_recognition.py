"""Plain modules in games: recognised where that was asked for or may pay, confirmed, the same scores."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.game import recognition
from rambit.predictors import Predictor
from rambit.predictors.recognised import RecognisedPredictor
from tests.ops.layouts import rng

B, D, T = 3, 3, 12
X = torch.randn(B, D, T, generator=rng(0))


class Plain(nn.Module):
    """A recurrent layer and a causal convolution, with a head on the last step; ``change`` spoils the output."""

    def __init__(self, kind=nn.LSTM, change=None):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.conv = kind(D, 6, batch_first=True), nn.Conv1d(6, 5, 3, padding=4, dilation=2)
        self.head, self.change = nn.Linear(5, 2), change

    def forward(self, x):
        hidden = self.rnn(x.transpose(1, 2))[0].transpose(1, 2)
        outputs = self.head(torch.relu(self.conv(hidden)[:, :, :-4])[:, :, -1])
        return outputs if self.change is None else self.change(outputs, x)


def by_length(outputs, x):
    """No graph of series of one length shows it."""
    return outputs * x.shape[2]


def mean_added(outputs, x):
    return outputs + x.mean(dim=(1, 2))[:, None]


def method(model, **options):
    given = {"L": 4, "window_size": 3, "num_samples": 2, "counterfactuals": "gaussian", "seed": 1, **options}
    return RaMbIT(model, **given)


@pytest.fixture
def always(monkeypatch):
    """However little work it is, a trace is worth it."""
    monkeypatch.setattr(recognition, "WORTH_A_TRACE", 0)


@pytest.mark.parametrize("anchor", ["cell", "mask"])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_scores_are_those_of_prefixes(anchor, kind):
    model = Plain(kind)
    expected = method(model, anchor=anchor, evaluation="prefix").explain(X)
    for evaluation in ("causal", "stateful"):
        found = method(model, anchor=anchor, evaluation=evaluation)
        result = found.explain(X)
        torch.testing.assert_close(result.values, expected.values, rtol=1e-4, atol=1e-6)
        assert result.mode == found.cost(X).mode == evaluation
        assert result.row_steps == found.cost(X).row_steps < expected.row_steps
        assert result.settings == expected.settings


def test_scores_at_the_end_are_those_of_whole_series():
    expected = method(Plain(), anchor="end", evaluation="full").explain(X)
    result = method(Plain(), anchor="end", evaluation="stateful").explain(X)
    assert result.mode == "stateful"
    torch.testing.assert_close(result.values, expected.values, rtol=1e-4, atol=1e-6)


def test_auto_traces_where_it_may_pay_and_costs_say_the_same(always):
    explainer = method(Plain())
    result, cost = explainer.explain(X), explainer.cost(X)
    assert result.mode in ("causal", "stateful")
    assert cost.mode == f"{result.mode} (unconfirmed)"
    assert cost.row_steps == result.row_steps


def test_auto_does_not_trace_where_it_cannot_pay(monkeypatch):
    def never(predictor, x):
        raise AssertionError("it was traced")

    monkeypatch.setattr(RecognisedPredictor, "of", staticmethod(never))
    assert method(Plain()).explain(X).mode == "prefix"
    monkeypatch.setattr(recognition, "WORTH_A_TRACE", 0)
    assert method(Plain(), anchor="end").explain(X).mode == "full"
    assert method(Plain(), evaluation="prefix").explain(X).mode == "prefix"
    with pytest.raises(AssertionError, match="it was traced"):
        method(Plain()).explain(X)


def test_series_of_several_lengths(always):
    lengths = torch.tensor([T, 9, 9])
    expected = method(Plain(), evaluation="prefix").explain(X, lengths=lengths)
    found = method(Plain(), evaluation="stateful").explain(X, lengths=lengths)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("change", [by_length, mean_added])
def test_auto_falls_back_in_silence(always, change):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert method(Plain(change=change)).explain(X).mode == "prefix"


def test_a_mode_that_was_named_says_why_not():
    with pytest.raises(ValueError, match="does not hold for this model: its outputs at step"):
        method(Plain(change=by_length), evaluation="stateful").explain(X)
    with pytest.raises(ValueError, match=r"needs a model with return_all.*mean.dim reaches across"):
        method(Plain(change=mean_added), evaluation="causal").explain(X)
    with pytest.raises(ValueError, match=r"needs a model with return_all.*offers none"):
        method(lambda x: x[:, :2, -1], evaluation="causal").explain(X)


def test_changed_weights_are_seen_by_the_next_explanation():
    model = Plain()
    explainer, prefixes = method(model, evaluation="stateful"), method(model, evaluation="prefix")
    before = explainer.explain(X).values
    with torch.no_grad():
        model.head.weight.mul_(3)
    model.rnn = nn.LSTM(D, 6, batch_first=True)
    after = explainer.explain(X).values
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, prefixes.explain(X).values, rtol=1e-4, atol=1e-6)


def test_what_the_first_look_decides_is_recorded():
    model = nn.Sequential(Plain(), nn.Softmax(dim=1))
    with pytest.warns(UserWarning, match="are probabilities"):
        result = method(model, evaluation="stateful").explain(X)
    assert result.settings["output"] == "probs"


def test_one_predictor_for_games_of_every_anchor(always):
    predictor = Predictor.of(Plain())
    modes = [method(predictor, anchor=anchor).explain(X).mode for anchor in ("cell", "end", "cell")]
    assert modes[1] == "full"
    assert modes[0] == modes[2] != "prefix"
    assert predictor.modes == frozenset()
