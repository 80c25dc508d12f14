"""Backgrounds and given values as people have them: read as they are meant, or refused by name; never changed."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.counterfactuals import (
    CarryForward,
    FeatureGenerator,
    Gaussian,
    Generated,
    GeneratorModel,
    Interpolate,
    Joint,
    JointGenerator,
    Marginal,
    Mean,
    Replay,
    Uniform,
    Zero,
    declared,
    read_background,
    resolve,
)
from rambit.store import resume_key
from tests.naive import ops as naive
from tests.ops.layouts import rng

N, D, T, S = 5, 3, 7, 4
IDS = torch.tensor([40, 41])
DATA = torch.randn(N, D, T, generator=rng(3)).double()
SEEN = torch.rand(N, D, T, generator=rng(4)) < 0.7
LENGTHS = [7, 3, 5, 1, 7]
INSIDE = torch.arange(T) < torch.tensor(LENGTHS)[:, None, None]
HOLES = DATA.masked_fill(~SEEN, math.nan)
SERIES = torch.randn(2, D, T, generator=rng(5))


def draws(strategy, x=SERIES, first=0, count=S):
    return strategy.draws(x, None, IDS, count, seed=9, first=first)


def same(a, b):
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())


# -- read as they are meant --------------------------------------------------------------------------------------------

ARRAY = DATA.numpy()
PLAIN = {
    "array": ARRAY,
    "reversed": ARRAY[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "big-endian": ARRAY.astype(">f8"),
    "read-only": np.broadcast_to(ARRAY, ARRAY.shape),
    "Fortran": np.asfortranarray(ARRAY),
    "objects": ARRAY.astype(object),
    "long double": ARRAY.astype(np.longdouble),
    "unmasked": np.ma.MaskedArray(ARRAY),
    "one field of records": np.rec.fromarrays([ARRAY, ARRAY.astype(np.float32)])["f0"],
    "with a gradient": DATA.clone().requires_grad_(),
    "negative view": torch.complex(torch.zeros_like(DATA), -DATA).conj().imag,
    "batches": [ARRAY[:2], DATA[2:]],
    "batches of tuples": [(ARRAY[:2], "label"), (ARRAY[2:], "label")],
    "a dict": {"X": ARRAY},
    "a dict that says nothing more": {"X": ARRAY, "observed": None, "lengths": None},
}


@pytest.mark.parametrize("kind", PLAIN)
def test_kinds_of_background(kind):
    found = read_background(PLAIN[kind])
    assert torch.equal(found, DATA)
    assert not found.requires_grad
    assert not found.is_neg()
    assert torch.equal(draws(Marginal(PLAIN[kind])), draws(Marginal(DATA)))


MISSING = {
    "a masked array": np.ma.MaskedArray(ARRAY, mask=~SEEN.numpy()),
    "a masked array with NaN below": np.ma.masked_invalid(HOLES.numpy()),
    "a dict": {"X": HOLES, "observed": SEEN},
    "a dict with arrays": {"X": ARRAY[:, :, ::-1][:, :, ::-1], "observed": SEEN.numpy()},
    "infinite where it is missing": {"X": DATA.masked_fill(~SEEN, math.inf), "observed": SEEN},
    "batches": [{"X": HOLES[:2], "observed": SEEN[:2]}, np.ma.masked_invalid(HOLES[2:].numpy())],
    "a masked array in a tuple": [(np.ma.masked_invalid(HOLES.numpy()), "label")],
}


@pytest.mark.parametrize("kind", MISSING)
def test_missing_values_that_are_declared(kind):
    assert same(read_background(MISSING[kind]), HOLES)
    assert same(read_background(declared(HOLES)), HOLES)


@pytest.mark.parametrize("padding", [0.0, math.nan, math.inf, 1e300])
def test_padding_is_never_judged(padding):
    data = DATA.masked_fill(~INSIDE, padding)
    for layout, x in (("BDT", data), ("BTD", data.mT)):
        found = read_background({"X": x, "lengths": LENGTHS}, layout=layout)
        assert same(found, DATA.masked_fill(~INSIDE, math.nan))
    # One long series of the values that count is the same reference data.
    long = DATA.transpose(1, 2)[INSIDE.expand_as(DATA)[:, 0]].T[None]
    known = {"X": data, "lengths": LENGTHS}
    assert torch.equal(draws(Marginal(known)), draws(Marginal(long)))
    torch.testing.assert_close(draws(Mean(known)), draws(Mean(long)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_missing_values_are_not_drawn(dtype):
    x = SERIES.to(dtype)
    known = {"X": HOLES, "observed": SEEN}
    found = draws(Marginal(known), x, first=3)
    units = naive.draw("UNIFORM", S, IDS.tolist(), D, T, torch.float64, first=3, seed=9, low=0.0, high=1.0)
    for s, b, d, t in np.ndindex(*found.shape):
        there = [float(DATA[n, d, time]) for n in range(N) for time in range(T) if SEEN[n, d, time]]
        assert found[s, b, d, t] == torch.tensor(there[int(units[s, b, d, t] * len(there))], dtype=dtype)
    mean = draws(Mean(known), x)
    for d in range(D):
        there = DATA[:, d][SEEN[:, d]]
        expected = torch.full((S, 2, T), float(there.sum() / len(there)), dtype=dtype)
        torch.testing.assert_close(mean[:, :, d], expected)
    whole = SEEN.flatten(1).all(dim=1)
    assert not whole.any()
    for steps in range(1, T):
        if (whole := SEEN[:, :, :steps].flatten(1).all(dim=1)).any():
            short = x[:, :, :steps]
            expected = draws(Joint(DATA[whole]), short)
            assert torch.equal(draws(Joint(known), short), expected)
    with pytest.raises(ValueError, match=f"no series without missing values in {T} steps"):
        Joint(known).check(D, T)


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_an_attributor_with_a_background_that_misses_values(layout):
    """Three values of one feature each, the others missing: what is drawn is one of them."""
    data = torch.full((2, 3, 6), math.nan)
    data[0, :, 2], data[1, :, 5], data[0, :, 0] = 4.0, 5.0, 6.0
    evaluated = []

    def model(x):
        evaluated.append(x.clone() if layout == "BDT" else x.transpose(1, 2).clone())
        return x.flatten(1).sum(1, keepdim=True)

    x, reference = (SERIES, data) if layout == "BDT" else (SERIES.mT, data.mT)
    method = RaMbIT(model, background={"X": reference, "observed": ~reference.isnan()}, layout=layout, anchor="end",
                    output="regression", L=3, num_samples=2, window_size=1)  # fmt: skip
    assert method.attribute(x).isfinite().all()
    rows = torch.cat([row for row in evaluated if row.shape[2] == T])
    replaced = rows[(rows != SERIES[0]) & (rows != SERIES[1])]
    assert set(replaced.tolist()) == {4.0, 5.0, 6.0}


# -- refused by name ---------------------------------------------------------------------------------------------------


class DataFrame:
    """What is known of one of pandas or polars: named columns, and that NumPy reads it."""

    columns = ("a", "b", "c")

    def __array__(self, dtype=None, copy=None):
        return ARRAY[0].T


FRAME = DataFrame()
BAD = {
    "NaN": (HOLES, r"holds NaN .* first at \(0, .*'observed': ~X.isnan\(\)"),
    "NaN where it is observed": ({"X": HOLES, "observed": torch.ones_like(SEEN)}, "holds NaN"),
    "NaN before the end": ({"X": HOLES, "lengths": LENGTHS}, "holds NaN"),
    "a data frame": (FRAME, r"got a DataFrame: write background.to_numpy\(\)"),
    "sparse": (DATA.to_sparse(), r"background is stored as torch.sparse_coo: write background.to_dense\(\)"),
    "meta": (DATA.to("meta"), "background is on the device 'meta'"),
    "nested": (torch.nested.as_nested_tensor([DATA[0], DATA[1, :, :3]], layout=torch.jagged), "nested"),
    "objects that are no numbers": (np.full((2, 3, 4), None), "must hold numbers"),
    "text": (np.full((2, 3, 4), "1.5"), "must hold numbers"),
    "complex": (DATA + 0j, "background must be a floating tensor"),
    "another dict": ({"x": DATA}, "must have X, .* it has x"),
    "observed of another shape": ({"X": DATA, "observed": SEEN[:1]}, "observed must be a bool tensor"),
    "observed of another type": ({"X": DATA, "observed": SEEN.double()}, "observed must be a bool tensor"),
    "observed that is masked": ({"X": DATA, "observed": np.ma.MaskedArray(SEEN, mask=~SEEN)}, "observed is a masked"),
    "lengths beyond": ({"X": DATA, "lengths": [8] * N}, r"lengths must be \(5,\) integers from 1 to 7"),
    "lengths of zero": ({"X": DATA, "lengths": [0] * N}, "lengths must be"),
    "lengths of others": ({"X": DATA, "lengths": [3]}, "lengths must be"),
    "lengths that are no integers": ({"X": DATA, "lengths": [2.0] * N}, "lengths must be"),
    "a feature without values": ({"X": DATA, "observed": SEEN & torch.tensor([1, 0, 1])[:, None].bool()}, "feature 1"),
    "shapes that differ": ([DATA, DATA[:, :, :3]], "pad them to one length"),
    "an empty tuple": ([()], "background must give tensors"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_background(kind):
    with pytest.raises((ValueError, TypeError), match=f"background.*{BAD[kind][1]}|{BAD[kind][1]}"):
        read_background(BAD[kind][0])
    with pytest.raises((ValueError, TypeError), match="background"):
        Marginal(BAD[kind][0])


@pytest.mark.parametrize("strategy", [Marginal, Joint, Mean])
def test_values_beyond_the_type_that_the_model_is_asked_in(strategy):
    with pytest.raises(ValueError, match=r"background holds values beyond torch.float32"):
        draws(strategy(DATA * 1e300))
    assert draws(strategy(DATA * 1e300), SERIES.double()).isfinite().all()


# -- given values ------------------------------------------------------------------------------------------------------


def test_given_values_that_are_never_used_are_never_judged():
    needed = torch.ones(2, D, T, dtype=torch.bool)
    needed[1, :, 4:] = False
    needed[0, 1, 2] = False
    given = torch.randn(S, 2, D, T, generator=rng(6))
    spoiled = given.masked_fill(~needed, math.nan)
    assert torch.equal(Replay(spoiled).within(needed).values, given.masked_fill(~needed, 0.0))
    assert Replay(given).within(needed).values is given
    with pytest.raises(ValueError, match="first that is not: draw 0, series 0, feature 1, time 2"):
        Replay(spoiled).within(torch.ones_like(needed))
    with pytest.raises(ValueError, match=r"counterfactuals must be \(S, 2, 3, 6\)"):
        Replay(given).within(needed[:, :, :6])
    # By run: entry p, j stands at step p + j.
    W = 3
    runs = torch.randn(S, 2, D, T, W, generator=rng(7))
    for b, d, p, j in np.ndindex(2, D, T, W):
        if p + j >= T or not needed[b, d, p + j]:
            runs[:, b, d, p, j] = math.inf
    used = Replay(runs).within(needed).values
    assert torch.equal(used, runs.masked_fill(runs.isinf(), 0.0))
    runs[1, 1, 2, 3, 0] = math.nan
    with pytest.raises(ValueError, match="draw 1, series 1, feature 2, time 3"):
        Replay(runs).within(needed)


def test_a_game_refuses_values_that_it_would_use():
    spoiled = torch.zeros(1, 2, D, T)
    spoiled[0, 1, 2, 3] = math.nan
    with pytest.raises(ValueError, match="draw 0, series 1, feature 2, time 3"):
        Replay(spoiled).draws(SERIES, None, IDS, 1, seed=0)
    with pytest.raises(ValueError, match=r"counterfactuals must be finite .* in the type"):
        Replay(torch.full((1, 2, D, T), 1e300, dtype=torch.float64)).draws(SERIES, None, IDS, 1, seed=0)


def test_given_arrays():
    given = np.random.default_rng(0).normal(size=(S, 2, D, T))
    for array in (given, given[::-1].copy()[::-1], given.astype(">f8"), np.ma.MaskedArray(given)):
        assert torch.equal(Replay(array).values, torch.tensor(given))
    with pytest.raises(ValueError, match=r"counterfactuals is a masked array with 1 masked .*filled"):
        Replay(np.ma.masked_equal(given, given.max()))
    with pytest.raises(TypeError, match=r"got ndarray: write torch.tensor\(counterfactuals\)"):
        resolve(given)
    with pytest.raises(TypeError, match=r"write torch.tensor\(counterfactuals.filled"):
        resolve(np.ma.masked_equal(given, given.max()))


# -- nothing changes in place ------------------------------------------------------------------------------------------


def strategies():
    generator = FeatureGenerator(D, 4, 3)
    return [
        Zero(), Mean(), Mean(DATA), Marginal(DATA), Marginal(declared(HOLES)), Joint(DATA), Joint(DATA.flip(0)),
        Uniform(), Gaussian(), CarryForward(), Interpolate(), Interpolate(0.5), Replay(torch.ones(S, 2, D, T).double()),
        Generated(generator), Generated(JointGenerator(D, 4, 3).train()), Generated(copy.deepcopy(generator).eval()),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(16))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_strategy_that_was_asked_is_the_same_as_before(number, dtype, monkeypatch):
    strategy = strategies()[number]
    modes = {id(m): m.training for m in strategy.generator.modules()} if isinstance(strategy, Generated) else {}
    key, described = resume_key(**strategy.tensors()), strategy.describe()
    monkeypatch.setattr(torch.nn.Module, "train", None)  # a mode that changes for a moment is changed for other threads
    x = SERIES.to(dtype)
    before = x.clone()
    first = (
        draws(strategy, x),
        None if isinstance(strategy, Interpolate) else strategy.windows(x, None, IDS, S, 2, seed=9),
    )
    assert resume_key(**strategy.tensors()) == key
    assert strategy.describe() == described
    assert torch.equal(x, before)
    if isinstance(strategy, Generated):
        assert {id(m): m.training for m in strategy.generator.modules()} == modes
    again = pickle.loads(pickle.dumps(strategy))
    assert resume_key(**again.tensors()) == key
    assert torch.equal(draws(again, x), first[0])
    if first[1] is not None:
        assert torch.equal(again.windows(x, None, IDS, S, 2, seed=9), first[1])


@pytest.mark.parametrize("strategy", ["marginal", "joint", "mean"])
def test_a_checkpoint_is_the_same_run_when_it_is_called_again(tmp_path, strategy):
    """float64 reference data beside float32 series: what is kept of the data in the other type is not the strategy."""
    model = lambda x: torch.stack((x[:, 0].sum(-1), x[:, 1].mean(-1)), dim=1)  # noqa: E731
    method = RaMbIT(model, background=DATA, counterfactuals=strategy, L=3, num_samples=1, anchor="end", model_id="m")
    first = method.attribute(SERIES, checkpoint=tmp_path / "c")
    assert torch.equal(method.attribute(SERIES, checkpoint=tmp_path / "c"), first)
    assert method.counterfactuals.background.dtype == torch.float64


@pytest.mark.parametrize("name", ["scale", "head.weight1", "head.norm.running_var"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_weights_that_no_training_leaves_are_refused(tmp_path, name, value):
    generator = FeatureGenerator(D, 4, 3)
    with torch.no_grad():
        generator.state_dict()[name].view(-1)[0] = value
    generator.save(tmp_path / "g.safetensors")
    if math.isfinite(value) and name != "scale":
        GeneratorModel.load(tmp_path / "g.safetensors")
        return
    with pytest.raises(ValueError, match=r"g\.safetensors .*: (its weights are not finite|the deviations)"):
        GeneratorModel.load(tmp_path / "g.safetensors")


def test_a_loader_leaves_the_global_generator_alone():
    data = torch.randn(6, 2, 4, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    for shuffle in (False, True):
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=2, shuffle=shuffle)
        assert len(read_background(loader)) == 6
    assert torch.equal(torch.get_rng_state(), before)
