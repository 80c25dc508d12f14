"""``Recurrent``: a user's rnn and head, equal to the plain module however its series are cut."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rambit.predictors import Recurrent
from tests.ops.layouts import rng

N, D, H, C, T = 3, 4, 5, 2, 9


def make(kind=nn.GRU, layers=1, batch_first=True, layout="BDT", head=None, **more):
    torch.manual_seed(0)
    rnn = kind(D, H, layers, batch_first=batch_first, **more).double()
    head = head or nn.Linear(more.get("proj_size", H), C).double()
    return rnn, head, Recurrent(rnn, head, layout=layout)


def whole(rnn, head, x):
    """The plain module's probabilities (N, C, T)."""
    with torch.no_grad():
        series = x.transpose(1, 2) if rnn.batch_first else x.permute(2, 0, 1)
        hidden = rnn(series)[0]
        if not rnn.batch_first:
            hidden = hidden.transpose(0, 1)
        return head(hidden).softmax(-1).transpose(1, 2)


def data(seed=0):
    return torch.randn(N, D, T, generator=rng(seed), dtype=torch.float64)


VARIANTS = list(itertools.product([nn.GRU, nn.LSTM], [1, 2], [True, False], ["BDT", "BTD"]))


@pytest.mark.parametrize(("kind", "layers", "batch_first", "layout"), VARIANTS)
@given(cuts=st.sets(st.integers(1, T - 1)), seed=st.integers(0, 99))
def test_equals_the_plain_module_for_any_segments(kind, layers, batch_first, layout, cuts, seed):
    rnn, head, predictor = make(kind, layers, batch_first, layout)
    x = data(seed)
    expected = whole(rnn, head, x)
    places = [0, *sorted(cuts), T]
    state, outputs = None, []
    with predictor.session():
        for begin, end in itertools.pairwise(places):
            part, state = predictor.advance(x[:, :, begin:end], state)
            outputs.append(part)
        torch.testing.assert_close(torch.cat(outputs, dim=2), expected)
        torch.testing.assert_close(predictor.steps(x), expected)
        torch.testing.assert_close(predictor.whole(x), expected[:, :, -1:])


@pytest.mark.parametrize(("kind", "layers", "batch_first", "layout"), VARIANTS)
def test_rows_of_a_state_can_be_chosen(kind, layers, batch_first, layout):
    """The engine gathers rows of states: the row is their first dimension."""
    rnn, head, predictor = make(kind, layers, batch_first, layout)
    x, rows = data(), torch.tensor([2, 0, 2, 1])
    expected = whole(rnn, head, x)[rows][:, :, 4:]
    with predictor.session():
        _, state = predictor.advance(x[:, :, :4], None)
        chosen = state[rows] if isinstance(state, torch.Tensor) else tuple(s[rows] for s in state)
        torch.testing.assert_close(predictor.advance(x[rows][:, :, 4:], chosen)[0], expected)


def test_projections():
    rnn, head, predictor = make(nn.LSTM, proj_size=3)
    x = data()
    first, state = predictor.advance(x[:, :, :4], None)
    second, _ = predictor.advance(x[:, :, 4:], state)
    torch.testing.assert_close(torch.cat((first, second), dim=2), whole(rnn, head, x))


def test_any_callable_is_a_head():
    rnn, _, predictor = make(head=lambda hidden: hidden[..., :C])
    torch.testing.assert_close(predictor.steps(data()), whole(rnn, lambda hidden: hidden[..., :C], data()))


def test_it_says_what_it_is():
    predictor = make()[2]
    assert predictor.modes == {"causal", "stateful"}
    assert predictor.features_last
    assert len(predictor.fingerprint()["state_dict"]) == 6


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_bidirectional_networks_have_no_state(kind):
    with pytest.raises(TypeError, match="rnn is bidirectional"):
        Recurrent(kind(D, H, bidirectional=True), nn.Linear(2 * H, C))


@pytest.mark.parametrize("rnn", [nn.Linear(D, H), None, nn.GRUCell(D, H)])
def test_other_networks(rnn):
    with pytest.raises(TypeError, match=r"rnn must be nn\.GRU, nn\.LSTM or nn\.RNN"):
        Recurrent(rnn, nn.Linear(H, C))


def test_other_heads():
    with pytest.raises(TypeError, match="head must be callable"):
        Recurrent(nn.GRU(D, H), 3)


def test_bad_settings():
    rnn, head = nn.GRU(D, H), nn.Linear(H, C)
    with pytest.raises(ValueError, match="output must be"):
        Recurrent(rnn, head, output="classes")
    with pytest.raises(ValueError, match="layout must be"):
        Recurrent(rnn, head, layout="TBD")
