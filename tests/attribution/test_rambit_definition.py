"""RaMbIT against its definition, for every anchor, mode and kind of model."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.masks import Block
from rambit.predictors import Recurrent
from tests.models_for_tests import GRU, Transformer, plain
from tests.naive import rambit as naive

B, D, T, S, L = 2, 3, 9, 2, 5


def data(seed, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(B, D, T, generator=g, dtype=dtype)
    draws = torch.randn(S, B, D, T, generator=g, dtype=dtype)
    masks = torch.ones(L, D, T, dtype=torch.bool)
    for l in range(L - 2):  # blocks, one mask that replaces nothing, and one without any structure
        w, h = int(torch.randint(1, 5, (), generator=g)), int(torch.randint(1, D + 1, (), generator=g))
        t, d = int(torch.randint(0, T - w + 1, (), generator=g)), int(torch.randint(0, D - h + 1, (), generator=g))
        masks[l, d : d + h, t : t + w] = False
    masks[-1] = torch.rand(D, T, generator=g) < 0.6
    return X, draws, masks


def twin_of(model):
    """Its probabilities of one prefix. The definition asks for most of them many times: they are remembered."""
    known = {}

    def f(x):
        key = (tuple(x.shape), x.numpy().tobytes())
        if key not in known:
            with torch.no_grad():
                known[key] = model(x).softmax(-1)
        return known[key]

    return f


def make(name):
    torch.manual_seed(3)
    if name == "plain":
        return plain
    models = {
        "gru": lambda: GRU(),
        "gru2": lambda: GRU(layers=2),
        "lstm": lambda: GRU(cell=nn.LSTM),
        "bidirectional": lambda: GRU(bidirectional=True),
        "transformer": lambda: Transformer(),
        "conv": lambda: nn.Sequential(nn.Conv1d(D, 5, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(5 * T, 3)),
    }
    return models[name]().double().eval()


MODES = {
    "gru": ("prefix", "causal", "stateful"),
    "gru2": ("stateful",),
    "lstm": ("causal", "stateful"),
    "transformer": ("prefix", "causal"),
    "plain": ("prefix",),
}
EVERY_MODE = [(m, a) for m in ("prefix", "causal", "stateful") for a in ("cell", "mask", "end")]
EVERY_MODE.append(("incremental", "end"))
WHOLE = [(name, "full", "end") for name in ("gru", "plain")]
TRACED = [(name, "incremental", "end") for name in ("gru", "gru2", "lstm", "bidirectional", "transformer", "conv")]
CASES = [(m, mode, a) for m, modes in MODES.items() for mode in modes for a in ("cell", "mask", "end")]


@functools.cache  # every mode is compared with the same numbers
def definition(name, anchor):
    """Scores and contributions of each mask, for each way to reduce horizons; the last step is one horizon."""
    f, (X, draws, masks) = twin_of(make(name)), data(len(name) * 7 + len(anchor))
    return {
        reduce: naive.rambit(f, X, masks, draws, anchor=anchor, window=3, reduce=reduce)
        for reduce in (("mean",) if anchor == "end" else ("mean", "max"))
    }


@pytest.mark.parametrize(("name", "mode", "anchor"), [*CASES, *TRACED, *WHOLE])
def test_equals_the_definition(name, mode, anchor):
    model, (X, draws, masks) = make(name), data(len(name) * 7 + len(anchor))
    for reduce, (expected, each) in definition(name, anchor).items():
        result = RaMbIT(model, window_size=3, anchor=anchor, reduce=reduce, evaluation=mode).explain(
            X, masks=masks, counterfactuals=draws
        )
        assert result.mode == mode
        np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-5, atol=1e-10)
        np.testing.assert_allclose(result.stderr.numpy(), each.std(axis=0, ddof=1) / np.sqrt(L), rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("metric", ["pd", "kl", "js", "diff", "l2"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_metrics(metric, anchor):
    model, (X, draws, masks) = make("gru"), data(11)
    expected, _ = naive.rambit(twin_of(model), X, masks, draws, anchor=anchor, window=2, metric=metric)
    scores = RaMbIT(model, window_size=2, anchor=anchor, distance=metric).attribute(
        X, masks=masks, counterfactuals=draws
    )
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-10)


def test_visible_normalisation():
    model, (X, draws, masks) = make("gru"), data(12)
    expected, _ = naive.rambit(twin_of(model), X, masks, draws, anchor="mask", window=2, normalize="visible")
    for mode in ("prefix", "causal", "stateful"):
        method = RaMbIT(model, window_size=2, anchor="mask", normalize="visible", evaluation=mode)
        scores = method.attribute(X, masks=masks, counterfactuals=draws)
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("kind", ["carry_forward", "interpolate", "windows"])
@pytest.mark.parametrize("missing", [True, False])
def test_visible_normalisation_where_a_flip_reaches_further_than_its_cell(kind, missing):
    X, _, masks = data(31)
    observed = None
    if missing:
        observed = torch.rand(X.shape, generator=torch.Generator().manual_seed(7)) < 0.6
    runs = torch.randn(S, B, D, T, 4, generator=torch.Generator().manual_seed(1), dtype=X.dtype)
    expected, _ = naive.rambit(
        lambda x: plain(x).softmax(-1),
        X,
        masks,
        runs if kind == "windows" else [None],
        anchor="mask",
        window=2,
        kind=kind,
        observed=observed,
        normalize="visible",
    )
    given = {"num_samples": 1, "counterfactuals": runs if kind == "windows" else kind}
    method = RaMbIT(plain, window_size=2, anchor="mask", normalize="visible", **given)
    scores = method.attribute(X, masks=masks, observed=observed)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("kind", ["carry_forward", "interpolate"])
def test_a_cell_that_no_mask_sees_scores_nothing(kind):
    def model(x):
        return torch.stack((x[:, 0].cumsum(-1)[:, -1], -x.mean((1, 2))), dim=1)

    X = torch.tensor([[[1.0, 2, 3, 4, 5, 6, 7, 9]]], dtype=torch.float64)
    mask, observed = torch.ones(1, 1, 8, dtype=torch.bool), torch.ones(1, 1, 8, dtype=torch.bool)
    mask[..., :2], observed[..., 2:7] = False, False
    method = RaMbIT(model, num_samples=1, anchor="mask", normalize="visible", output="regression", counterfactuals=kind)
    scores = method.attribute(X, masks=mask, observed=observed)
    assert bool(torch.isfinite(scores).all())
    assert float(scores[0, 0, 7]) == 0
    evaluated = method.explain(X, masks=mask, observed=observed).evaluated
    assert evaluated[0, 0].tolist() == [True] * 2 + [False] * 6


@functools.cache
def conditional(kind, anchor):
    X, _, masks = data(13)
    return naive.rambit(twin_of(make("gru")), X, masks, [None], anchor=anchor, window=2, kind=kind)[0]


@pytest.mark.parametrize(("mode", "anchor"), EVERY_MODE)
@pytest.mark.parametrize("kind", ["carry_forward", "interpolate"])
def test_conditional_strategies(kind, anchor, mode):
    model, (X, _, masks) = make("gru"), data(13)
    method = RaMbIT(model, num_samples=1, window_size=2, anchor=anchor, evaluation=mode, counterfactuals=kind)
    expected = conditional(kind, anchor)
    np.testing.assert_allclose(method.attribute(X, masks=masks).numpy(), expected, rtol=1e-5, atol=1e-10)


RUNS = torch.randn(S, B, D, T, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@functools.cache
def by_run(anchor, window):
    X, _, masks = data(23)
    return naive.rambit(twin_of(make("gru")), X, masks, RUNS, anchor=anchor, window=window, kind="windows")[0]


@pytest.mark.parametrize(("mode", "anchor"), EVERY_MODE)
@pytest.mark.parametrize("window", [1, 3])
def test_values_by_run(anchor, mode, window):
    model, (X, _, masks) = make("gru"), data(23)
    method = RaMbIT(model, window_size=window, anchor=anchor, evaluation=mode)
    scores = method.attribute(X, masks=masks, counterfactuals=RUNS)
    np.testing.assert_allclose(scores.numpy(), by_run(anchor, window), rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("kind", ["fixed", "carry_forward", "interpolate"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_missing_values(kind, anchor):
    X, draws, masks = data(14)
    observed = torch.rand(X.shape, generator=torch.Generator().manual_seed(5)) < 0.7
    X[~observed] = float("nan")

    def model(x):
        return plain(torch.nan_to_num(x, nan=-0.5))

    expected, _ = naive.rambit(
        lambda x: model(x).softmax(-1),
        X,
        masks,
        draws if kind == "fixed" else [None],
        anchor=anchor,
        window=2,
        kind=kind,
        observed=observed,
    )
    strategy = draws if kind == "fixed" else kind
    method = RaMbIT(model, num_samples=1, window_size=2, anchor=anchor, counterfactuals=strategy)
    scores = method.attribute(X, masks=masks, observed=observed)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-5, atol=1e-10)
    assert bool((scores[~observed] == 0).all())


@pytest.mark.parametrize("name", ["gru", "plain"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_lengths(name, anchor):
    model, (X, draws, masks) = make(name), data(15)
    lengths = torch.tensor([9, 6])
    scores = RaMbIT(model, window_size=2, anchor=anchor).attribute(
        X, masks=masks, counterfactuals=draws, lengths=lengths
    )
    for b, length in enumerate(lengths.tolist()):
        cut = slice(0, length)
        expected, _ = naive.rambit(
            twin_of(model), X[b : b + 1, :, cut], masks[:, :, cut], draws[:, b : b + 1, :, cut], anchor=anchor, window=2
        )
        np.testing.assert_allclose(scores[b : b + 1, :, cut].numpy(), expected, rtol=1e-5, atol=1e-10)
        assert bool((scores[b, :, length:] == 0).all())


@functools.cache
def of_own_masks(anchor):
    X, draws, _ = data(16)
    target_cells = torch.arange(D * T, dtype=torch.int32)
    own = Block(1, 4, 1, 2).sample(2, D, T, seed=7, target_cells=target_cells).masks.view(D * T, 2, D, T)
    return naive.rambit(twin_of(make("gru")), X, None, draws, anchor=anchor, window=2, own_masks=own)[0]


@pytest.mark.parametrize(("mode", "anchor"), EVERY_MODE)
def test_masks_of_a_cells_own(anchor, mode):
    model, (X, draws, _) = make("gru"), data(16)
    expected = of_own_masks(anchor)
    method = RaMbIT(
        model, L=2, window_size=2, anchor=anchor, Wt_max=4, Wd_max=2, share_masks=False, evaluation=mode, seed=7
    )
    np.testing.assert_allclose(method.attribute(X, counterfactuals=draws).numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.usefixtures("free_calls")
@pytest.mark.parametrize("anchor", ["cell", "mask"])
def test_a_bidirectional_model_is_refused_and_asked_on_prefixes(anchor):
    model, (X, draws, masks) = make("bidirectional"), data(17)
    expected, _ = naive.rambit(twin_of(model), X, masks, draws, anchor=anchor, window=2)
    with pytest.warns(UserWarning, match="falling back") as caught:
        result = RaMbIT(model, window_size=2, anchor=anchor).explain(X, masks=masks, counterfactuals=draws)
    assert {"stateful", "causal"} == {str(w.message).split("offers ")[1].split()[0] for w in caught}
    assert result.mode == "prefix"
    np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-5, atol=1e-10)
    for mode in ("causal", "stateful"):
        with pytest.raises(ValueError, match=mode):
            RaMbIT(model, anchor=anchor, evaluation=mode).attribute(X, masks=masks, counterfactuals=draws)


@pytest.mark.usefixtures("free_calls")
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_a_users_rnn_and_head(cell, batch_first, layers):
    torch.manual_seed(0)
    rnn, head = cell(D, 5, layers, batch_first=batch_first).double(), nn.Linear(5, 3).double()
    X, draws, masks = data(18)

    def f(x):
        with torch.no_grad():
            series = x.transpose(1, 2) if batch_first else x.permute(2, 0, 1)
            hidden = rnn(series)[0]
            return head(hidden[:, -1] if batch_first else hidden[-1]).softmax(-1)

    expected, _ = naive.rambit(f, X, masks, draws, anchor="mask", window=2)
    result = RaMbIT(Recurrent(rnn, head), window_size=2, anchor="mask").explain(X, masks=masks, counterfactuals=draws)
    assert result.mode == "stateful"
    np.testing.assert_allclose(result.values.numpy(), expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("mode", ["prefix", "causal", "stateful"])
def test_layout_btd_is_the_same_numbers_transposed(mode):
    model, (X, draws, masks) = make("gru"), data(19)

    class Transposed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x, return_all=False):
            return self.inner(x.transpose(1, 2), return_all=return_all)

        def advance(self, x, state):
            return self.inner.advance(x.transpose(1, 2), state)

    common = {"window_size": 2, "anchor": "cell", "evaluation": mode}
    expected = RaMbIT(model, **common).attribute(X, masks=masks, counterfactuals=draws)
    scores = RaMbIT(Transposed(), layout="BTD", **common).attribute(
        X.transpose(1, 2), masks=masks.transpose(1, 2), counterfactuals=draws.transpose(2, 3)
    )
    torch.testing.assert_close(scores, expected.transpose(1, 2), rtol=1e-10, atol=1e-12)


def test_all_blocks_is_the_expectation_of_both_shared_and_own_masks():
    model, (X, draws, _) = make("gru"), data(20)
    X, draws = X[:1, :2, :5], draws[:1, :1, :2, :5]
    torch.manual_seed(0)
    model = GRU(D=2).double().eval()
    bounds = {"Wt_max": 2, "Wd_max": 2, "window_size": 2}
    exact = RaMbIT(model, masks="all_blocks", **bounds).explain(X, counterfactuals=draws)
    assert bool((exact.stderr == 0).all())
    for shared in (True, False):
        sampled = RaMbIT(model, L=400, share_masks=shared, **bounds).explain(X, counterfactuals=draws)
        assert bool(((sampled.values - exact.values).abs() <= 5 * sampled.stderr + 1e-9).all())
        assert float(sampled.stderr.max()) > 0


def test_ignored_features_score_zero_and_additive_models_have_a_closed_form():
    X, draws, masks = data(21)
    weight = torch.randn(2, T, dtype=torch.float64)

    def additive(x):  # regression; feature 2 is never read
        return (x[:, :2] * weight[:, : x.shape[2]]).sum(dim=(1, 2))

    for anchor in ("cell", "end"):
        method = RaMbIT(additive, output="regression", distance="diff", anchor=anchor, window_size=3)
        scores = method.attribute(X, masks=masks, counterfactuals=draws)
        expected = weight * (X[:, :2] - draws[:, :, :2].mean(dim=0))
        torch.testing.assert_close(scores[:, :2], expected, rtol=1e-9, atol=1e-11)
        assert float(scores[:, 2].abs().max()) == 0.0


def test_fresh_draws_agree_in_expectation():
    model, (X, _, masks) = make("gru"), data(22)
    background = torch.randn(50, D, T, dtype=torch.float64)
    common = {"background": background, "counterfactuals": "marginal", "num_samples": 200, "window_size": 2}
    shared = RaMbIT(model, **common).explain(X, masks=masks)
    fresh = RaMbIT(model, share_draws=False, **common).explain(X, masks=masks)
    assert not torch.equal(shared.values, fresh.values)
    scale = float(shared.values.abs().max())
    assert float((shared.values - fresh.values).abs().max()) < 0.15 * scale


def test_one_valued_strategies_warn_about_draws():
    with pytest.warns(UserWarning, match="num_samples=3, .* one draw is evaluated"):
        RaMbIT(plain, anchor="end", num_samples=3).attribute(torch.randn(1, 3, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RaMbIT(plain, anchor="end", num_samples=1).attribute(torch.randn(1, 3, 4))
        RaMbIT(plain, anchor="end").attribute(torch.randn(1, 3, 4))  # nobody asked for the default's ten


@pytest.mark.parametrize("window", [1, 3, 8])
def test_blocks_are_not_shifted_into_the_padding(window):
    """A model of one length is told where a series ends; its masks move inside of that, as those of the series cut."""
    X, draws, masks = data(41)
    length = 5
    weight = torch.randn(D, T, generator=torch.Generator().manual_seed(2), dtype=X.dtype)

    def whole(x, lengths):
        inside = torch.arange(x.shape[2]) < lengths[:, None]
        total = (x * weight[:, : x.shape[2]] * inside[:, None]).sum((1, 2))
        return torch.stack((total, total**2), dim=1)

    def cut(x):
        return whole(x, torch.full((len(x),), x.shape[2]))

    method = RaMbIT(whole, window_size=window, anchor="end", output="regression")
    found = method.attribute(X, masks=masks, counterfactuals=draws, lengths=[length] * len(X))
    expected, _ = naive.rambit(
        cut, X[:, :, :length], masks[:, :, :length], draws[..., :length], anchor="end", window=window, metric="abs"
    )
    np.testing.assert_allclose(found[:, :, :length].numpy(), expected, rtol=1e-6, atol=1e-10)
    assert bool((found[:, :, length:] == 0).all())
