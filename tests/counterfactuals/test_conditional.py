"""Conditional draws: the naive twin's, bit for bit, however they are made; refused or said where they cannot be."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import AFO, FO, Occlusion, WinIT
from rambit.counterfactuals import Conditional, conditional
from rambit.counterfactuals import nearest as search
from rambit.models import GRUClassifier
from rambit.sufficiency import explain
from tests.naive import conditional as naive
from tests.ops.layouts import rng

SEED = 5


def data(case, N=9, D=3, T=8, B=2, steps=7):
    """A background, series and which of their values are there, by kind."""
    generator = rng(sum(map(ord, case)))
    background, X = (torch.randn(n, D, t, generator=generator) for n, t in ((N, T), (B, steps)))
    observed = torch.ones_like(X, dtype=torch.bool)
    if "ties" in case:
        background, X = background.sign(), X.sign()
    if "categories" in case:
        background[:, 1], X[:, 1] = (values[:, 1].mul(2).round() for values in (background, X))
    if "holes" in case:
        background[torch.rand(background.shape, generator=generator) < 0.3] = math.nan
        observed = torch.rand(X.shape, generator=generator) < 0.7
        observed[0, :, :4] = False
    if "padding" in case:
        background[: N // 2, :, T // 2 :] = math.nan
    if "double" in case:
        background, X = background.double() * 1e4 + 1e7, X.double() * 1e4 + 1e7
    return background, X, observed


def known(background):
    return {"X": background, "observed": ~background.isnan()}


CASES = {
    "plain": {},
    "ties": {},
    "ties one feature": {"D": 1},
    "holes": {},
    "ties holes": {},
    "padding": {},
    "double": {},
    "categories": {},
    "categories ties holes": {},
    "one step": {"T": 5, "steps": 1},
    "longer than the background": {"steps": 12},
    "few series": {"N": 2},
}


@pytest.mark.filterwarnings("ignore:background has|X has")
@pytest.mark.parametrize(("history", "neighbours"), [(1, 1), (3, 4), (20, 6)])
@pytest.mark.parametrize("case", CASES)
def test_against_the_twin(case, history, neighbours):
    background, X, observed = data(case, **CASES[case])
    categorical = (1,) if "categories" in case else ()
    strategy = Conditional(known(background), history, neighbours).for_categories(categorical)
    twin = naive.Conditional(background, history, neighbours, categorical)
    ids = torch.tensor([7, 2**31])
    given = None if observed.all() else observed
    seen = X.masked_fill(~observed, math.nan)
    found = strategy.draws(X, given, ids, 3, seed=SEED, first=2)
    assert torch.equal(found, twin.draws(seen, ids.tolist(), 3, SEED, first=2))
    found = strategy.windows(X, given, ids, 2, 4, seed=SEED)
    assert torch.equal(found, twin.windows(seen, ids.tolist(), 2, 4, SEED))


def test_neither_batches_nor_blocks_nor_threads_change_a_bit(monkeypatch):
    background, X, observed = data("ties holes", N=40, T=9, B=5)
    ids = torch.arange(5)

    def drawn(series=slice(None)):
        return Conditional(known(background)).draws(X[series], observed[series], ids[series], 3, seed=SEED)

    expected = drawn()
    assert torch.equal(torch.cat([drawn(slice(b, b + 1)) for b in range(5)], dim=1), expected)
    threads = torch.get_num_threads()
    for blocks, queries, number in ((1, 1, 1), (7, 3, 2), (64, 1000, 1)):
        monkeypatch.setattr(search, "WINDOWS", blocks)
        monkeypatch.setattr(search, "QUERIES", queries)
        torch.set_num_threads(number)
        try:
            assert torch.equal(drawn(), expected)
        finally:
            torch.set_num_threads(threads)
    # One after another, from what was found before, and in another process.
    strategy = Conditional(known(background))
    strategy.draws(X[1:3], observed[1:3], ids[1:3], 1, seed=SEED)
    one = [strategy.draws(X, observed, ids, 1, seed=SEED, first=k) for k in range(3)]
    assert torch.equal(torch.cat(one), expected)
    again = pickle.loads(pickle.dumps(strategy))
    assert not again._found
    assert torch.equal(again.draws(X, observed, ids, 3, seed=SEED), expected)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e12, 1e25])
def test_rough_distances_are_off_by_no_more_than_they_say(scale):
    """Nearly equal windows far from zero, where float32 tells little apart: what is found is exact all the same."""
    background = torch.randn(60, 2, 9, generator=rng(1), dtype=torch.float64) * scale
    background[0] *= 1e4  # what a few outliers do to the bounds of all others
    X = background[5:6, :, 1:] + 1e-6 * scale * torch.randn(1, 2, 8, generator=rng(2), dtype=torch.float64)
    found = Conditional(background, neighbours=5).draws(X, None, torch.arange(1), 4, seed=SEED)
    assert torch.equal(found, naive.Conditional(background, 3, 5).draws(X, [0], 4, SEED))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype):
    background, X, _ = data("plain", N=30)
    background, X = background.to(dtype), X.to(dtype)
    found = Conditional(background, neighbours=4).draws(X, None, torch.arange(2), 2, seed=SEED)
    assert found.dtype == dtype
    assert torch.equal(found.double(), naive.Conditional(background, 3, 4).draws(X.double(), [0, 1], 2, SEED))


def test_what_is_found_for_too_many_series_is_forgotten(monkeypatch):
    background, X, _ = data("plain", N=30, B=6)
    monkeypatch.setattr(conditional, "KEPT", 3 * X.shape[2] * 20 * 8)
    strategy = Conditional(background)
    strategy.draws(X, None, torch.arange(6), 1, seed=SEED)
    assert len(strategy._found) == 3


def test_settings_name_the_background():
    background, _, _ = data("plain", N=30)
    one, same, other = Conditional(background), Conditional(background.clone()), Conditional(background + 1)
    assert one.describe() == same.describe() != other.describe()
    assert one.describe() == one.describe() | {"name": "Conditional", "history": 3, "neighbours": 20}
    assert torch.equal(one.tensors()["background"], background)


# -- refused, or said --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"background": None}, ValueError, "'conditional' needs background="),
        ({"history": 0}, ValueError, "history must be"),
        ({"history": 2.5}, TypeError, "history must be"),
        ({"neighbours": 0}, ValueError, "neighbours must be"),
        ({"whole_runs": 1}, TypeError, "whole_runs must be"),
    ],
)
def test_wrong_arguments(given, error, words):
    with pytest.raises(error, match=words):
        Conditional(**{"background": torch.randn(30, 2, 5)} | given)


@pytest.mark.parametrize(
    ("background", "T", "words"),
    [
        (torch.zeros(30, 2, 5), 6, "X has 6 steps, background 5"),
        (torch.zeros(4, 2, 5), 5, "background has 4 series, fewer than neighbours=20"),
        (torch.zeros(2, 2, 5), 5, "background has 10 values of a feature, fewer than neighbours=20"),
    ],
)
def test_a_background_that_is_little_is_said(background, T, words):
    with pytest.warns(UserWarning, match=words):
        Conditional(background).check(2, T)


def test_a_background_that_does_not_do():
    with pytest.raises(ValueError, match="background has 3 features, but X has 2"):
        Conditional(torch.zeros(30, 3, 5)).check(2, 5)
    with pytest.raises(ValueError, match="background has 3 steps, and X has 4: with history=3"):
        Conditional(torch.zeros(30, 2, 3)).check(2, 4)


# -- in methods --------------------------------------------------------------------------------------------------------

BACKGROUND, SERIES, _ = data("plain", N=40, D=3, T=9, B=2, steps=9)
MODEL = GRUClassifier(3, hidden_size=4).eval()


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_rambit_by_steps_is_rambit_of_these_values(anchor, layout):
    turn = (lambda x: x.mT) if layout == "BTD" else (lambda x: x)
    model = (lambda x: MODEL(x.mT)) if layout == "BTD" else MODEL
    options = {"anchor": anchor, "L": 4, "num_samples": 2, "window_size": 2, "seed": SEED, "layout": layout}
    method = RaMbIT(model, background=turn(BACKGROUND), counterfactuals="conditional:neighbours=5", **options)
    values = Conditional(BACKGROUND, neighbours=5).draws(SERIES, None, torch.arange(2), 2, seed=SEED)
    given = RaMbIT(model, **options).attribute(turn(SERIES), counterfactuals=values.mT if layout == "BTD" else values)
    assert torch.equal(method.attribute(turn(SERIES)), given)


@pytest.mark.parametrize("masks", ["permutation", "block"])
@pytest.mark.parametrize("anchor", ["cell", "mask", "end"])
def test_rambit_by_whole_runs_is_rambit_of_these_windows(anchor, masks):
    options = {"anchor": anchor, "masks": masks, "L": 4, "num_samples": 2, "window_size": 2, "seed": SEED}
    if masks == "block":
        options["Wt_max"] = 2  # so that fewer steps than the series has are drawn for a run
    method = RaMbIT(MODEL, background=BACKGROUND, counterfactuals="conditional:whole_runs=true", **options)
    windows = Conditional(BACKGROUND).windows(SERIES, None, torch.arange(2), 2, 9, seed=SEED)
    given = RaMbIT(MODEL, **options).attribute(SERIES, counterfactuals=windows)
    assert torch.equal(method.attribute(SERIES), given)
    one = RaMbIT(MODEL, counterfactuals=Conditional(BACKGROUND, whole_runs=True), **options)
    torch.testing.assert_close(torch.cat([one.attribute(SERIES[b : b + 1], ids=[b]) for b in range(2)]), given)


@pytest.mark.parametrize("whole_runs", [False, True])
def test_other_methods(whole_runs):
    strategy = Conditional(BACKGROUND, whole_runs=whole_runs)
    ids = torch.arange(2)
    windows = strategy.windows(SERIES, None, ids, 3, 4, seed=0)
    options = {"num_samples": 3, "window_size": 4}
    given = WinIT(MODEL, **options).attribute(SERIES, counterfactuals=windows)
    assert torch.equal(WinIT(MODEL, counterfactuals=strategy, **options).attribute(SERIES), given)
    steps = Conditional(BACKGROUND).draws(SERIES, None, ids, 3, seed=0)
    for method in (FO, AFO, Occlusion):  # they replace one step at a time
        found = method(MODEL, counterfactuals=strategy, num_samples=3).attribute(SERIES)
        assert torch.equal(found, method(MODEL, num_samples=3, counterfactuals=steps).attribute(SERIES))
    if whole_runs:
        with pytest.raises(ValueError, match="fixed counterfactuals"):
            explain(MODEL, SERIES[:1], counterfactuals=strategy, heuristic="grad")
    else:
        explain(MODEL, SERIES[:1], counterfactuals=strategy)


def test_categories_of_the_model_match():
    background, X, _ = data("categories", N=40, T=9, steps=9)
    strategy = Conditional(background, neighbours=5)
    values = naive.Conditional(background, 3, 5, (1,)).draws(X, [0, 1], 2, 0)
    assert not torch.equal(values, strategy.draws(X, None, torch.arange(2), 2, seed=0))
    options = {"categorical": [1], "L": 4, "num_samples": 2}
    found = RaMbIT(MODEL, counterfactuals=strategy, **options).attribute(X)
    assert torch.equal(found, RaMbIT(MODEL, **options).attribute(X, counterfactuals=values))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_same_bits_on_a_gpu():
    background, X, observed = data("holes", N=40)
    strategy, ids = Conditional(known(background)), torch.arange(2)
    for make in (strategy.draws, lambda *args, **more: strategy.windows(*args, 4, **more)):
        found = make(X.cuda(), observed.cuda(), ids.cuda(), 3, seed=SEED)
        assert torch.equal(found.cpu(), make(X, observed, ids, 3, seed=SEED))
