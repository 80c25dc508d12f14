"""Counterfactual strategies against their twins, their keys, and errors that name the argument."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.utils.data import DataLoader, TensorDataset

from rambit import counterfactuals, ops
from rambit.counterfactuals import (
    CarryForward,
    Gaussian,
    Interpolate,
    Joint,
    Marginal,
    Mean,
    Replay,
    Uniform,
    Zero,
    read_background,
)
from tests.naive import ops as naive
from tests.naive import rambit as fill
from tests.ops.layouts import POISON, rng

B, D, T, S = 3, 2, 5, 4
IDS = torch.tensor([40, 41, 42])
DTYPES = [torch.float32, torch.float64]


def series(dtype=torch.float64):
    return torch.randn(B, D, T, dtype=dtype, generator=rng(1)) + 3


def background(dtype=torch.float64, n=6, time=7):
    return torch.randn(n, D, time, dtype=dtype, generator=rng(2))


def strategies():
    return {
        "zero": Zero(),
        "mean": Mean(),
        "mean of background": Mean(background()),
        "marginal": Marginal(background()),
        "joint": Joint(background()),
        "uniform": Uniform(-1, 4),
        "gaussian": Gaussian(2, 0.5),
        "interpolate": Interpolate(noise=0.5),
    }


@pytest.mark.parametrize("name", ["marginal", "joint", "uniform", "gaussian", "replay", "replay windows"])
def test_all_draws_lie_within_the_extent(name):
    data = background()
    data[:, 1] = 40 + 3 * data[:, 1]
    data[0, 1, 2] = math.nan
    complete = data[1:]
    known = {"X": data, "observed": ~data.isnan()}
    made = {
        **strategies(),
        "marginal": Marginal(known),
        "joint": Joint(known),
        "replay": Replay(complete[:, None, :, :5].expand(-1, B, -1, -1)),
        "replay windows": Replay(complete[:, None, :, :5, None].expand(-1, B, -1, -1, 3)),
    }
    strategy, x = made[name], series()
    found = strategy.draws(x, None, IDS, 2000, seed=9) if "windows" not in name else strategy.values
    by_feature = found.movedim(2, 0).flatten(1)
    extent = strategy.extent().double()
    assert bool((by_feature >= extent[:, :1]).all() & (by_feature <= extent[:, 1:]).all())
    if name not in ("uniform", "gaussian"):  # the bounds are met
        expected = data if name in ("marginal", "joint") else complete[:, :, :5]
        known = expected.movedim(1, 0).flatten(1)
        met = torch.stack((known.nan_to_num(math.inf).amin(1), known.nan_to_num(-math.inf).amax(1)), dim=1)
        torch.testing.assert_close(extent, met, rtol=0, atol=0)


def test_no_bounds_are_known_of_values_that_nothing_bounds():
    assert Interpolate(noise=0.5).extent() is None
    # The largest normal deviate is that of the largest number below 1 that is drawn.
    assert Gaussian(2, 0.5).extent()[0, 1] > 2 + 0.5 * norm.isf(2.0**-53)


def values(strategy, x, *, observed=None, ids=IDS, count=S, seed=9, first=0):
    device = x.device
    observed = None if observed is None else observed.to(device)
    return strategy.draws(x, observed, ids.to(device), count, seed=seed, first=first)


# -- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "strategy", "more"),
    [
        ("MARGINAL", lambda: Marginal(background()), {"background": True}),
        ("JOINT", lambda: Joint(background()), {"background": True}),
        ("UNIFORM", lambda: Uniform(-1, 4), {"low": -1, "high": 4}),
        ("GAUSSIAN", lambda: Gaussian(2, 0.5), {"low": 2, "high": 0.5}),
        ("GAUSSIAN", lambda: Interpolate(noise=0.5), {"low": 0, "high": 0.5}),
    ],
)
def test_drawn_values_are_the_twins(device, dtype, kind, strategy, more):
    if "background" in more:
        more = {"background": background().to(dtype)}
    expected = naive.draw(kind, S, IDS.tolist(), D, T, dtype, first=3, seed=9, **more)
    found = values(strategy(), series(dtype).to(device), first=3)
    assert torch.equal(found.cpu(), expected)
    assert found.device.type == device.type


def test_zero(device):
    found = values(Zero(), series(torch.float32).to(device))
    assert found.shape == (S, B, D, T)
    assert found.dtype == torch.float32
    assert (found == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_mean_over_the_time_of_the_same_series(device, dtype):
    x = series(dtype)
    found = values(Mean(), x.to(device)).cpu()
    for b in range(B):
        for d in range(D):
            expected = sum(float(v) for v in x[b, d]) / T
            torch.testing.assert_close(found[:, b, d], torch.full((S, T), expected, dtype=dtype))


def test_mean_of_what_was_observed(device):
    x, observed = series(), torch.rand(B, D, T, generator=rng(5)) < 0.6
    observed[1, 0] = False
    x[~observed] = torch.nan
    found = values(Mean(), x.to(device), observed=observed).cpu()
    for b in range(B):
        for d in range(D):
            seen = x[b, d][observed[b, d]].tolist()
            expected = sum(seen) / len(seen) if seen else 0.0
            torch.testing.assert_close(found[:, b, d], torch.full((S, T), expected, dtype=x.dtype))


def test_mean_of_the_background(device):
    data = background()
    found = values(Mean(data), series().to(device)).cpu()
    for d in range(D):
        torch.testing.assert_close(found[:, :, d], torch.full((S, B, T), float(data[:, d].mean()), dtype=torch.float64))


def test_marginal_values_come_from_the_same_feature():
    data = torch.arange(6 * D * 7, dtype=torch.float64).reshape(6, D, 7)
    found = values(Marginal(data), series(), count=200)
    for d in range(D):
        assert set(found[:, :, d].flatten().tolist()) == set(data[:, d].flatten().tolist())


def test_joint_takes_one_series():
    data = torch.arange(6 * D * 7, dtype=torch.float64).reshape(6, D, 7)
    found = values(Joint(data), series(), count=50)
    which = (found[:, :, 0, 0] / (D * 7)).long()
    assert torch.equal(found, data[which][..., :T])
    assert set(which.flatten().tolist()) == set(range(6))


def test_uniform_and_gaussian_have_their_moments():
    x = series()
    uniform, gaussian = (values(s, x, count=2000) for s in (Uniform(-1, 4), Gaussian(2, 0.5)))
    assert uniform.min() > -1
    assert uniform.max() < 4
    n = uniform.numel()
    assert abs(uniform.mean() - 1.5) < 4 * 5 / math.sqrt(12 * n)
    assert abs(gaussian.mean() - 2) < 4 * 0.5 / math.sqrt(n)
    assert abs(gaussian.std() - 0.5) < 4 * 0.5 / math.sqrt(2 * n)


@pytest.mark.parametrize("noise", [0.0, 0.7])
@pytest.mark.parametrize("name", ["carry_forward", "interpolate"])
@pytest.mark.parametrize("missing", [False, True])
def test_conditional_values_depend_on_what_is_kept(device, name, noise, missing):
    strategy = Interpolate(noise) if name == "interpolate" else CarryForward()
    x = series()
    observed = (torch.rand(B, D, T, generator=rng(8)) < 0.7) if missing else None
    masks = torch.rand(4, D, T, generator=rng(7)) < 0.5
    noises = values(strategy, x.to(device))
    assert noises.shape == ((S, B, D, T) if name == "interpolate" and noise else (0, B, D, T))
    rows = torch.zeros(12, 9, dtype=torch.int32)
    for i in range(12):
        rows[i, :4] = torch.tensor([i % B, i % S, i % 4, i % (D * T) - 1])
    out = torch.full((12, D, T), POISON, dtype=x.dtype, device=device)
    operands = (t.to(device) for t in (masks, rows))
    ops.masked_batch(
        out, x.to(device), noises, *operands, None if observed is None else observed.to(device), strategy.fill
    )
    for i in range(12):
        b, s, m, cell = rows[i, :4].tolist()
        kept = masks[m].clone()
        if cell >= 0:
            kept[cell // T, cell % T] ^= True
        draw = noises[s, b].cpu() if len(noises) else None
        expected = fill.fill(x[b], kept, draw, name, None if observed is None else observed[b])
        assert torch.equal(out[i].cpu(), expected)


@pytest.mark.parametrize("by_run", [False, True])
def test_replay_gives_the_values_given(device, by_run):
    given = torch.randn(S, B, D, T, *([3] if by_run else []), generator=rng(0))
    replay, x = counterfactuals.resolve(given), series().to(device)
    assert replay.values is given
    assert replay.fixed == (not by_run)
    assert not replay.looks_ahead
    drawn, runs = values(replay, x), replay.windows(x, None, IDS, S, 3, seed=0)
    expected = given.double().to(device)
    if by_run:
        assert (replay.fill, drawn.shape) == (ops.Fill.WINDOWS, (0, B, D, T))
        assert torch.equal(runs, expected)
    else:
        assert (replay.fill, runs) == (ops.Fill.FIXED, None)
        assert torch.equal(drawn, expected)


@pytest.mark.parametrize("by_run", [False, True])
def test_replay_takes_some_series_at_another_length(by_run):
    given = torch.randn(S, B, D, T, *([3] if by_run else []), generator=rng(0))
    for places in (torch.tensor([2, 0]), slice(1, 3)):
        shorter, longer = (Replay(given).take(places, n).values for n in (T - 2, T + 2))
        assert torch.equal(shorter, given[:, places, :, : T - 2])
        assert torch.equal(longer[:, :, :, :T], given[:, places])
        assert (longer[:, :, :, T:] == 0).all()


# -- values of whole runs ----------------------------------------------------------------------------------------------


def test_carry_forward_holds_the_last_value_before_a_run(device):
    x, window = series(), 3
    runs = CarryForward().windows(x.to(device), None, IDS, S, window, seed=0)
    assert runs.shape == (1, B, D, T, window)
    for p in range(1, T):
        assert torch.equal(runs[0, :, :, p].cpu(), x[:, :, p - 1 : p].expand(B, D, window))
    with pytest.raises(ValueError, match=r"carry_forward.*observed"):
        CarryForward().windows(x, torch.ones_like(x, dtype=torch.bool), IDS, S, window, seed=0)


def test_what_looks_beyond_a_run_has_no_values_for_it():
    with pytest.raises(ValueError, match="interpolate"):
        Interpolate().windows(series(), None, IDS, S, 3, seed=0)
    for name, strategy in strategies().items():
        assert strategy.looks_ahead == (name == "interpolate")
        if name != "interpolate":
            assert strategy.windows(series(), None, IDS, S, 3, seed=0) is None


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", strategies())
def test_draws_are_keyed_by_series_and_number(name):
    strategy, x = strategies()[name], series()
    whole = values(strategy, x)
    assert whole.shape == (S, B, D, T)
    assert whole.is_contiguous()
    assert torch.equal(whole[:, 1:2], values(strategy, x[1:2], ids=IDS[1:2]))
    assert torch.equal(whole[2:], values(strategy, x, count=2, first=2))
    if not strategy.single:
        assert not torch.equal(whole, values(strategy, x, seed=10))
        assert not torch.equal(whole[0], whole[1])
    if name != "mean":
        assert torch.equal(whole[..., :3], values(strategy, x[..., :3]))


@pytest.mark.parametrize("name", strategies())
def test_single_means_that_draws_repeat(name):
    strategy = strategies()[name]
    drawn = values(strategy, series())
    assert strategy.single == bool((drawn == drawn[:1]).all())
    assert strategy.fixed == (name != "interpolate")


def test_conditional_strategies_say_so():
    assert (CarryForward().single, CarryForward().fixed) == (True, False)
    assert (Interpolate().single, Interpolate().fixed) == (True, False)
    assert (Interpolate(0.1).single, Interpolate(0.1).fixed) == (False, False)


def test_global_random_state_is_not_touched():
    before = torch.get_rng_state()
    for strategy in strategies().values():
        values(strategy, series())
    assert torch.equal(before, torch.get_rng_state())


def test_describe_is_plain_and_tensors_are_the_data():
    assert Uniform(-1, 4).describe() == {"name": "Uniform", "lo": -1.0, "hi": 4.0}
    assert Interpolate(0.5).describe() == {"name": "Interpolate", "noise": 0.5, "single": False}
    data = background()
    assert Marginal(data).describe() == {
        "name": "Marginal",
        "background": Marginal(data.clone()).describe()["background"],
    }
    assert Marginal(data).describe() != Marginal(data + 1).describe()
    assert Marginal(data).tensors()["background"] is data


# -- background ------------------------------------------------------------------------------------------------------


def test_background_from_anything():
    data = background(torch.float32)
    labels = torch.zeros(len(data), dtype=torch.int64)
    for given in (
        data,
        data.numpy(),
        DataLoader(TensorDataset(data, labels), batch_size=4),
        DataLoader(TensorDataset(data), batch_size=2),
        DataLoader(data, batch_size=5),
        [data[:2], data[2:]],
    ):
        assert torch.equal(read_background(given), data)
    assert read_background(None) is None


def test_background_in_the_other_layout():
    data = background()
    assert torch.equal(read_background(data.mT, layout="BTD"), data)
    assert torch.equal(read_background(DataLoader(TensorDataset(data.mT)), layout="BTD"), data)
    marginal = values(Marginal(read_background(data.mT.contiguous(), layout="BTD")), series())
    assert torch.equal(marginal, values(Marginal(data), series()))


@pytest.mark.parametrize("x_dtype", DTYPES)
def test_background_takes_the_type_of_the_series(device, x_dtype):
    found = values(Marginal(background(torch.float64)), series(x_dtype).to(device))
    assert found.dtype == x_dtype


def spoiled(value):
    data = background()
    data[1, 1, 2] = value
    return data


BAD_BACKGROUNDS = {
    "rank 2": background()[0],
    "rank 4": background()[None],
    "no series": background()[:0],
    "no steps": background()[..., :0],
    "NaN": spoiled(math.nan),
    "infinite": spoiled(-math.inf),
    "empty loader": [],
    "a number": 3.0,
    "a string": "train",
    "strings": ["a", "b"],
    "batches that differ": [background(time=7), background(time=6)],
    "complex": background() + 0j,
    "integers beyond": np.full((3, D, T), 2**53 + 1),
}


@pytest.mark.parametrize("name", BAD_BACKGROUNDS)
def test_bad_background(name):
    with pytest.raises((ValueError, TypeError), match="background"):
        read_background(BAD_BACKGROUNDS[name])


@pytest.mark.parametrize("strategy", [Marginal, Joint, Mean])
@pytest.mark.parametrize("name", ["rank 2", "complex", "no series", "NaN", "a number"])
def test_bad_background_given_to_a_strategy_itself(strategy, name):
    """The classes are public: what ``background=`` refuses they refuse too, at the latest when they are checked."""
    with pytest.raises((ValueError, TypeError), match="background"):
        strategy(BAD_BACKGROUNDS[name]).check(D, T)


@pytest.mark.parametrize("strategy", [Marginal, Joint, Mean])
def test_background_of_other_features(strategy):
    with pytest.raises(ValueError, match="background has 2 features, but X has 3"):
        strategy(background()).check(3, T)
    strategy(background()).check(D, T)


def test_joint_background_is_long_enough():
    with pytest.raises(ValueError, match="background has 7 steps, but X has 8"):
        Joint(background()).check(D, 8)
    Joint(background()).check(D, 7)
    Marginal(background()).check(D, 800)


@pytest.mark.parametrize("name", ["marginal", "joint"])
def test_missing_background(name):
    with pytest.raises(ValueError, match=f"counterfactuals='{name}' needs background="):
        counterfactuals.resolve(name)


# -- names and mistakes ------------------------------------------------------------------------------------------------


def test_resolve():
    data = background()
    named = {
        "zero": Zero,
        "mean": Mean,
        "marginal": Marginal,
        "joint": Joint,
        "uniform": Uniform,
        "gaussian": Gaussian,
        "carry_forward": CarryForward,
        "interpolate": Interpolate,
    }
    for name, kind in named.items():
        assert type(counterfactuals.resolve(name, data)) is kind
    assert type(counterfactuals.resolve(None)) is Zero
    assert type(counterfactuals.resolve(None, data)) is Marginal
    assert counterfactuals.resolve("mean", data).background is data
    own = Uniform(0, 1)
    assert counterfactuals.resolve(own, data) is own
    assert (Uniform().lo, Uniform().hi) == (-3, 3)


def test_unknown_names_and_types():
    with pytest.raises(ValueError, match=r"counterfactuals: unknown strategy 'median'; known: .*marginal"):
        counterfactuals.resolve("median")
    for wrong in (True, 1j, ["zero"], Zero):
        with pytest.raises(TypeError, match="counterfactuals must be"):
            counterfactuals.resolve(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(2, B, D),
        torch.zeros(1, B, D, T, 2, 2),
        torch.zeros(1, B, D, T, 0),
        torch.zeros(0, B, D, T),
        torch.zeros(1, B, D, T, dtype=torch.bool),
        torch.full((1, B, D, T), math.nan),
        torch.full((1, B, D, T), math.inf),
        [[1.0]],
    ],
)
def test_bad_values_to_replay(wrong):
    with pytest.raises((ValueError, TypeError), match="counterfactuals"):
        Replay(wrong)


@pytest.mark.parametrize(("lo", "hi"), [(1, 1), (2, 1), (math.nan, 1), (0, math.inf), (-math.inf, 0)])
def test_bad_uniform(lo, hi):
    with pytest.raises(ValueError, match=r"lo=.*hi="):
        Uniform(lo, hi)


@pytest.mark.parametrize(("mean", "std"), [(0, 0), (0, -1), (math.nan, 1), (0, math.inf)])
def test_bad_gaussian(mean, std):
    with pytest.raises(ValueError, match="std="):
        Gaussian(mean, std)


@pytest.mark.parametrize("noise", [-0.1, math.nan, math.inf])
def test_bad_noise(noise):
    with pytest.raises(ValueError, match="noise"):
        Interpolate(noise)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Uniform("0", 1), "lo"),
        (lambda: Uniform(0, None), "hi"),
        (lambda: Gaussian("0"), "mean"),
        (lambda: Gaussian(0, [1]), "std"),
        (lambda: Interpolate("0.1"), "noise"),
    ],
)
def test_numbers_of_the_wrong_type(make, name):
    with pytest.raises((TypeError, ValueError), match=name):
        make()
