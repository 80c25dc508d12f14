"""Models that read the ids of tokens: an id, or drawn ids, stand where a token is not kept."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn

from rambit import Predictor, RaMbIT
from rambit.attribution import AFO, FO, Banzhaf, ExactShapley, Gradients, Occlusion, ShapleySampling, WinIT
from rambit.counterfactuals import FeatureGenerator, Joint, Marginal
from rambit.game import Game, TensorSample, shapley_values
from rambit.masks import Bernoulli
from rambit.metrics import comprehensiveness
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.naive import attribution as naive
from tests.naive import rambit as naive_rambit

WORDS, B, T = 9, 3, 5
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randint(1, WORDS, (B, T), generator=GENERATOR)
BACKGROUND = torch.randint(1, WORDS, (6, T), generator=GENERATOR)
SEEN = torch.rand(B, T, generator=GENERATOR) < 0.7


class Recurrent(nn.Module):
    """An embedding and a GRU: causal and stateful."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(WORDS, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x, return_all=False):
        outputs = self.advance(x, None)[0]
        return outputs if return_all else outputs[:, :, -1]

    def advance(self, x, state):
        assert x.dtype == torch.int64
        state = None if state is None else state.transpose(0, 1).contiguous()
        hidden, after = self.rnn(self.embedding(x), state)
        return self.head(hidden).transpose(1, 2), after.transpose(0, 1)


class Pooled(nn.Module):
    """An embedding, its mean over the tokens, and a layer."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(WORDS, 4), nn.Linear(4, 3)

    def forward(self, x):
        assert x.dtype == torch.int64
        return self.head(self.embedding(x).mean(dim=1))


@functools.cache
def net(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return kind()


def one(model):
    """The model as the slow twins call it: probabilities (1, C) of (1, 1, w)."""
    return lambda x: model(x[:, 0].long()).softmax(dim=1).detach()


KINDS = [Recurrent, Pooled]
ZEROS = [torch.zeros(B, 1, T, dtype=torch.float64)]


def close(scores, expected):
    assert (scores.shape, scores.dtype) == ((B, T), torch.float32)
    np.testing.assert_allclose(scores.numpy(), np.asarray(expected)[:, 0], atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen", [None, SEEN])
def test_methods_are_their_slow_twins(kind, seen):
    model, f = net(kind), one(net(kind))
    observed = None if seen is None else seen[:, None]
    common = {"metric": "pd", "observed": observed}
    given = {"counterfactuals": 0, "output": "logits"}
    for anchor in ("cell", "end"):
        found = FO(model, num_samples=1, anchor=anchor, **given).attribute(X, observed=seen)
        close(found, naive.fo(f, X[:, None].double(), ZEROS, anchor=anchor, **common))
    chosen = model(X).argmax(dim=1).tolist()
    found = Occlusion(model, width=2, **given).attribute(X, observed=seen)
    close(found, naive.occlusion(f, X[:, None].double(), ZEROS, height=1, width=2, stride=(1, 1), **common))
    options = {**given, "players": "timestamps"}
    orders = shapley_values.orders(4, T, seed=0, first=0)
    coalitions = Bernoulli(0.5).sample(9, 1, T, seed=0, first=0).masks[:, 0].numpy()
    for method, slow in (
        (ExactShapley(model, **options), lambda value: naive.exact_shapley(value, T)),
        (ShapleySampling(model, num_permutations=4, **options), lambda v: naive.shapley_sampling(v, orders.numpy())[0]),
        (Banzhaf(model, num_masks=9, **options), lambda value: naive.banzhaf(value, coalitions)),
    ):
        expected = np.zeros((B, 1, T))
        for b in range(B):
            player = np.arange(T)[None]
            value = naive.payoff(f, X[:, None].double(), b, player, ZEROS, "fixed", "diff", chosen[b], observed)
            expected[b, 0] = slow(value)
        close(method.attribute(X, observed=seen), expected if seen is None else expected * seen[:, None].numpy())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_rambit_is_its_slow_twin(kind, anchor):
    masks = torch.rand(3, 1, T, generator=GENERATOR) < 0.6
    method = RaMbIT(net(kind), counterfactuals=0, window_size=2, anchor=anchor, output="logits", num_samples=1)
    expected = naive_rambit.rambit(
        one(net(kind)), X[:, None].double(), masks, ZEROS, anchor=anchor, window=2, reduce="mean", metric="pd"
    )[0]
    close(method.attribute(X, masks=masks), expected)


@pytest.mark.parametrize("strategy", [Marginal, Joint])
def test_ids_are_drawn_from_a_background(strategy):
    drawn = strategy(BACKGROUND).draws(X[:, None].double(), None, torch.arange(B), 3, seed=5)
    assert set(drawn.flatten().tolist()) <= set(BACKGROUND.flatten().tolist())
    name = strategy.__name__.lower()
    method = Occlusion(net(Pooled), counterfactuals=name, background=BACKGROUND, num_samples=3, seed=5, output="logits")
    expected = naive.occlusion(
        one(net(Pooled)), X[:, None].double(), list(drawn), height=1, width=1, stride=(1, 1), metric="pd"
    )
    close(method.attribute(X), expected)
    given = Occlusion(net(Pooled), output="logits").attribute(X, counterfactuals=drawn.long())
    assert torch.equal(given, method.attribute(X))


def test_other_ways_in_which_tokens_are_given():
    method = Occlusion(net(Recurrent), counterfactuals=0, output="logits")
    expected = method.explain(X)
    for given in (X.numpy(), X.int(), X.tolist(), X.numpy().astype(">u2"), list(X)):
        assert torch.equal(method.attribute(given), expected.values)
    turned = Occlusion(net(Recurrent), counterfactuals=0, output="logits", layout="BTD")
    assert torch.equal(turned.attribute(X), expected.values)
    assert expected.top(B * T)[0].feature == 0
    assert method.cost(X).rows == expected.rows
    lengths = [T, 2, 4]
    found = method.attribute(X, lengths=lengths)
    for b, length in enumerate(lengths):
        torch.testing.assert_close(found[b : b + 1, :length], method.attribute(X[b : b + 1, :length]))
        assert bool((found[b, length:] == 0).all())
    masked = np.ma.array(X.numpy(), mask=~SEEN.numpy())
    assert torch.equal(method.attribute(masked), method.attribute(X, observed=SEEN))
    wide = WinIT(net(Recurrent), window_size=2, num_samples=1, counterfactuals=0, output="logits").explain(X)
    assert (wide.values.shape, wide.windows.shape) == ((B, T), (B, T, 2))


@pytest.mark.parametrize("search", ["flat_gadd", "exact"])
def test_sufficient_tokens(search):
    model = net(Pooled)
    for b, found in enumerate(explain(model, X, counterfactuals=0, search=search, output="logits", heuristic="daf")):
        assert found.mask.shape == (T,)
        whole, part = (
            model(x[None]).softmax(dim=1)[0].detach() for x in (X[b], torch.where(found.mask.cpu(), X[b], 0))
        )
        others = torch.arange(3) != found.target
        gaps = [float(p[found.target] - p[others].max()) for p in (whole, part)]
        assert gaps[1] >= 0.9 * gaps[0] - 1e-5
    with pytest.raises(ValueError, match=r"heuristic needs .* no tokens, which have no gradients"):
        explain(model, X, counterfactuals=0, heuristic="grad")
    with pytest.raises(ValueError, match="counterfactuals=Zero does not serve tokens"):
        explain(model, X)


def test_metrics_of_tokens():
    method = Occlusion(net(Pooled), counterfactuals=0, output="logits")
    scores = method.attribute(X)
    game = Game(Predictor.of(net(Pooled), output="logits"), TensorSample.of_tokens(X), method.strategy)
    expected = []
    for b in range(B):
        rows = torch.stack((X[b], X[b].index_fill(0, scores[b].argmax(), 0)))
        p = net(Pooled)(rows).softmax(dim=1).detach()
        expected.append(float((p[0] - p[1])[p[0].argmax()]))
    assert comprehensiveness(game, scores, 1) == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize(
    "wrong", [None, "zero", "mean", "gaussian", "uniform", "interpolate", FeatureGenerator(1, 2, 2)]
)
def test_strategies_that_serve_no_tokens(wrong):
    with pytest.raises(
        ValueError, match=r"does not serve tokens .*use constant, marginal, joint, carry_forward, conditional, or"
    ):
        Occlusion(net(Pooled), counterfactuals=wrong).attribute(X)


def test_what_is_wrong_with_tokens():
    model = net(Pooled)
    with pytest.raises(ValueError, match=r"counterfactuals of tokens .* must be whole numbers, got 0.5"):
        Occlusion(model, counterfactuals=0.5).attribute(X)
    with pytest.raises(ValueError, match=r"counterfactuals of tokens .* must be whole numbers, got 1.5"):
        AFO(model, background=BACKGROUND[:, None] + 0.5).attribute(X)
    with pytest.raises(ValueError, match="does not serve tokens"):
        FO(model).attribute(X)
    with pytest.raises(ValueError, match=r"X must be \(B, D, T\), or integer tokens \(B, T\), got 2 dimensions"):
        Occlusion(model).attribute(X.float())
    with pytest.raises(ValueError, match="X holds integers beyond 9007199254740992"):
        Occlusion(model, counterfactuals=0).attribute(X + 2**53)
    with pytest.raises(ValueError, match=r"x must be integer tokens \(B, T\), got torch.float32"):
        TensorSample.of_tokens(X.float())
    with pytest.raises(ValueError, match=r"X must be \(B, C, H, W\)"):
        ReX(model).attribute(X)


def test_gradients_have_no_tokens():
    pytest.importorskip("captum")
    with pytest.raises(TypeError, match="X must be floating: Gradients needs gradients, and tokens have none"):
        Gradients(net(Pooled)).attribute(X)


def test_carried_tokens():
    found = Occlusion(net(Pooled), counterfactuals="carry_forward", output="logits").attribute(X)
    f = one(net(Pooled))
    expected = naive.occlusion(
        f, X[:, None].double(), [None], height=1, width=1, stride=(1, 1), metric="pd", kind="carry_forward"
    )
    close(found, expected)


def test_several_targets(tmp_path):
    """Scores (B, K, T), each as alone; kept with the tokens, in a file too."""
    method = Occlusion(Pooled(), counterfactuals=0)
    result = method.explain(X, targets="all")
    assert result.values.shape == (B, 3, T)
    for k in range(3):
        torch.testing.assert_close(result.values[:, k], method.attribute(X, target=k))
    assert torch.equal(result.X, X)
    result.save(tmp_path / "tokens.safetensors")
    again = type(result).load(tmp_path / "tokens.safetensors")
    assert again.top(1, target=1) == result.top(1, target=1)
    assert torch.equal(again.isel(target=2, time=[1, 3]).values, result.values[:, 2, [1, 3]])
