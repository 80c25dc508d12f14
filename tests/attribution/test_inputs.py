"""Series, masks and what goes with them as people have them: read as they are meant, or refused by name."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import AFO, FO, Banzhaf, BiWinIT, ExactShapley, Occlusion, ShapleySampling, WinIT
from tests.models_for_tests import GRU, plain

B, D, T = 4, 3, 6
ARRAY = np.random.default_rng(0).normal(size=(B, D, T))
X = torch.tensor(ARRAY)
LENGTHS = [6, 2, 4, 1]
PADDING = (torch.arange(T) >= torch.tensor(LENGTHS)[:, None, None]).expand_as(X)
SEEN = torch.rand(B, D, T, generator=torch.Generator().manual_seed(1)) < 0.7
HOLES = X.masked_fill(~SEEN, math.nan)

METHODS = {
    "RaMbIT": lambda f, **o: RaMbIT(f, num_samples=1, L=3, window_size=2, **o),
    "RaMbIT mask": lambda f, **o: RaMbIT(f, num_samples=1, L=3, window_size=2, anchor="mask", **o),
    "RaMbIT end": lambda f, **o: RaMbIT(f, num_samples=1, L=3, window_size=2, anchor="end", **o),
    "FO": lambda f, **o: FO(f, num_samples=1, **o),
    "AFO": lambda f, **o: AFO(f, num_samples=1, **{"background": X, **o}),
    "Occlusion": lambda f, **o: Occlusion(f, width=2, **o),
    "ExactShapley": lambda f, **o: ExactShapley(f, **o),
    "ShapleySampling": lambda f, **o: ShapleySampling(f, num_permutations=2, **o),
    "Banzhaf": lambda f, **o: Banzhaf(f, num_masks=9, **o),
    "WinIT": lambda f, **o: WinIT(f, window_size=2, num_samples=1, **o),
    "BiWinIT": lambda f, **o: BiWinIT(f, window_size=2, num_samples=1, **o),
}


def model(x):
    """Reads missing values as zero, and answers for series of any length."""
    return plain(x.nan_to_num(0.0, 0.0, 0.0))


def fo(f=model, **options):
    return FO(f, num_samples=1, counterfactuals="zero", **options)


def same(a, b):
    return a.dtype == b.dtype and torch.equal(a, b)


# -- read as they are meant --------------------------------------------------------------------------------------------


class Backed:
    """An array of some other library."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


KINDS = {
    "array": ARRAY,
    "reversed": ARRAY[::-1, :, ::-1].copy()[::-1, :, ::-1],
    "big-endian": ARRAY.astype(">f8"),
    "read-only": np.broadcast_to(ARRAY, ARRAY.shape),
    "Fortran": np.asfortranarray(ARRAY),
    "objects": ARRAY.astype(object),
    "an array of arrays": np.array([None, *ARRAY], dtype=object)[1:],
    "long double": ARRAY.astype(np.longdouble),
    "unmasked": np.ma.MaskedArray(ARRAY),
    "a field of records": np.rec.fromarrays([ARRAY, ARRAY.astype(np.float32)])["f0"],
    "of another library": Backed(ARRAY),
    "list of arrays": list(ARRAY),
    "tuple of tensors": tuple(X),
    "list of arrays and tensors": [ARRAY[0], *X[1:]],
    "lists": ARRAY.tolist(),
    "with a gradient": X.clone().requires_grad_(),
    "parameter": nn.Parameter(X.clone()),
    "negative view": torch.complex(torch.zeros_like(X), -X).conj().imag,
    "every other": torch.stack((X, X * 0)).transpose(0, 3).transpose(0, 3)[0],
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_series(kind):
    assert same(fo().attribute(KINDS[kind]), fo().attribute(X))


WHOLE = {
    "list": lambda v: list(v),
    "array": np.array,
    "int32": lambda v: np.array(v, dtype=np.int32),
    "big-endian": lambda v: np.array(v, dtype=">i8"),
    "reversed": lambda v: np.array(v[::-1])[::-1],
    "unsigned": lambda v: np.array(v, dtype=np.uint64),
    "objects": lambda v: np.array(v, dtype=object),
    "tensors": lambda v: [torch.tensor(x) for x in v],
    "unmasked": np.ma.array,
    "of another library": lambda v: Backed(np.array(v)),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_kinds_of_integers(kind):
    make, method = WHOLE[kind], RaMbIT(model, num_samples=1, counterfactuals="gaussian", distance="diff", L=2)
    values = {"lengths": LENGTHS, "ids": [7, 5, 3, 2**31 - 1], "target": [0, 1, 2, 1]}
    expected = method.attribute(X, **{name: torch.tensor(value) for name, value in values.items()})
    assert same(method.attribute(X, **{name: make(value) for name, value in values.items()}), expected)


def test_frames_of_pandas():
    pandas = pytest.importorskip("pandas")
    index = pandas.RangeIndex(10, 10 + B)
    method = RaMbIT(model, num_samples=1, distance="diff", L=2)
    columns = {"lengths": LENGTHS, "target": [0, 1, 2, 1]}
    given = {name: pandas.Series(value, index=index) for name, value in columns.items()}
    assert same(method.attribute(X, **given), method.attribute(X, **columns))
    frame = pandas.DataFrame(ARRAY[0].T, columns=list("abc"), index=range(5, 5 + T))
    assert same(fo().attribute(frame), fo().attribute(X[:1]))
    with pytest.raises(TypeError, match=r"masks must be an array, got a DataFrame: write masks.to_numpy\(\)"):
        RaMbIT(model, masks=frame > 0)


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("kind", ["tensor", "array", "reversed", "objects", "list"])
def test_kinds_of_observed(layout, kind):
    turn = (lambda a: a) if layout == "BDT" else (lambda a: a.swapaxes(1, 2))
    seen = turn(SEEN.numpy())
    make = {
        "tensor": torch.tensor,
        "array": lambda a: a,
        "reversed": lambda a: a[::-1].copy()[::-1],
        "objects": lambda a: a.astype(object),
        "list": lambda a: a.tolist(),
    }[kind]
    f = model if layout == "BDT" else lambda x: model(x.transpose(1, 2))
    result = fo(f, layout=layout).explain(turn(HOLES), observed=make(seen))
    assert torch.equal(turn(result.evaluated), SEEN)
    assert torch.equal(turn(result.values), fo().attribute(HOLES, observed=SEEN))


# -- masked arrays: what is masked is missing --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_a_masked_array_is_its_data_and_what_is_observed(method, layout):
    turn = (lambda a: a) if layout == "BDT" else (lambda a: a.swapaxes(1, 2))
    f = model if layout == "BDT" else lambda x: model(x.transpose(1, 2))
    attributor = METHODS[method](f, layout=layout, **({"background": turn(X)} if method == "AFO" else {}))
    masked = np.ma.masked_invalid(turn(HOLES).numpy())
    found, expected = attributor.explain(masked), attributor.explain(turn(HOLES), observed=turn(SEEN))
    assert torch.equal(found.values, expected.values)
    scored = SEEN.clone()
    if "WinIT" in method:  # no window begins at time 0
        scored[:, :, 0] = False
    for result in (found, expected):
        assert torch.equal(result.evaluated, turn(scored))
        assert bool((result.values[~result.evaluated] == 0).all())
    cells = found.top(B * D * T)
    assert {cell[:3] for cell in cells} == {tuple(cell) for cell in scored.nonzero().tolist()}
    for complete in ({}, {"observed": turn(torch.ones_like(SEEN))}):
        evaluated = attributor.explain(turn(X), **complete).evaluated
        if "WinIT" in method:
            assert torch.equal(turn(evaluated), (torch.arange(T) > 0).expand(X.shape))
        else:
            assert evaluated is None


def test_masks_and_observed_are_taken_together():
    other = torch.rand(B, D, T, generator=torch.Generator().manual_seed(2)) < 0.5
    result = fo().explain(np.ma.masked_invalid(HOLES.numpy()), observed=other)
    assert torch.equal(result.evaluated, SEEN & other)
    parts = [np.ma.masked_invalid(HOLES[0].numpy()), *X[1:].numpy()]
    assert torch.equal(fo().explain(parts).evaluated[0], SEEN[0])
    assert bool(fo().explain(parts).evaluated[1:].all())


def test_a_value_that_is_missing_may_be_anything():
    """It is handed to the model as it is, as NaN always was; a model that can't read it says so in its own answer."""
    for value in (math.nan, math.inf, -math.inf):
        x = X.masked_fill(~SEEN, value)
        assert torch.equal(fo().attribute(x, observed=SEEN), fo().attribute(HOLES, observed=SEEN))
        assert torch.equal(fo().attribute(np.ma.masked_invalid(x.numpy())), fo().attribute(HOLES, observed=SEEN))


@pytest.mark.parametrize("name", ["lengths", "ids", "target", "observed", "masks", "counterfactuals"])
def test_what_is_masked_elsewhere_is_refused(name):
    values = {"observed": SEEN, "masks": SEEN[:2], "counterfactuals": X[None]}.get(name, torch.tensor([1, 2, 1, 1]))
    masked = np.ma.array(values.numpy(), mask=False)
    masked[0] = np.ma.masked
    with pytest.raises((TypeError, ValueError), match=rf"{name} .*{name}.filled\(...\)"):
        RaMbIT(model, num_samples=1, distance="diff", L=2).attribute(X, **{name: masked})


# -- padding that is declared is never judged --------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("padding", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("knows", [False, True])
def test_padding_of_every_input(method, padding, knows):
    net = GRU(D)

    class WithLengths(nn.Module):
        """Fixed length: it sees the padding, and must see numbers there."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x, lengths):
            assert x.isfinite().all()
            inside = torch.arange(x.shape[2]) < lengths[:, None]
            return self.weight * plain(x * inside[:, None])

    f = WithLengths() if knows else net
    attributor = METHODS[method](f, evaluation="full" if knows and METHODS[method](f).anchor == "end" else "auto")
    x = X.float()
    expected = attributor.explain(x, lengths=LENGTHS)
    noise = torch.rand(B, D, T, generator=torch.Generator().manual_seed(3)) < 0.5
    found = attributor.explain(X.masked_fill(PADDING, padding).numpy(), lengths=LENGTHS, observed=~PADDING | noise)
    assert torch.equal(found.values.float(), expected.values)
    masked = np.ma.array(X.masked_fill(PADDING, padding).numpy(), mask=PADDING)
    assert torch.equal(attributor.explain(masked, lengths=LENGTHS).values.float(), expected.values)
    cells = {cell[:3] for cell in found.top(B * D * T)}
    scored = ~PADDING & (torch.arange(T) > 0) if "WinIT" in method else ~PADDING  # no window begins at time 0
    assert cells == {cell[:3] for cell in expected.top(B * D * T)} == {tuple(c) for c in scored.nonzero().tolist()}


@pytest.mark.parametrize("method", [name for name in METHODS if name != "AFO"])
@pytest.mark.parametrize("padding", [math.nan, math.inf])
def test_padding_of_given_values(method, padding):
    given = torch.randn(2, B, D, T, generator=torch.Generator().manual_seed(4)).double()
    spoiled = given.masked_fill(PADDING, padding)
    attributor = METHODS[method](model)
    expected = attributor.attribute(X, lengths=LENGTHS, counterfactuals=given)
    assert torch.equal(attributor.attribute(X, lengths=LENGTHS, counterfactuals=spoiled), expected)
    at_first = METHODS[method](model, counterfactuals=spoiled)
    assert torch.equal(at_first.attribute(X, lengths=LENGTHS), expected)
    with pytest.raises(ValueError, match="counterfactuals must be finite"):
        at_first.attribute(X)


# -- precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("weights", "given"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_series_are_asked_in_the_type_of_the_model(method, weights, given):
    net = GRU(D).to(weights)
    attributor = METHODS[method](net)
    x = X.float().to(given)
    found, expected = attributor.explain(x), attributor.explain(x.to(weights))
    assert found.values.dtype == given
    assert torch.equal(found.values.float(), expected.values.float())
    assert all(p.dtype == weights for p in net.parameters())
    assert attributor.cost(x) == attributor.cost(x.to(weights))


def test_values_beyond_the_type_of_the_model():
    x = X.clone()
    x[1, 2, 3] = 1e300
    with pytest.raises(ValueError, match=r"X holds values beyond torch.float32, first at series 1, feature 2, time 3"):
        FO(GRU(D), num_samples=1).attribute(x)
    with pytest.raises(ValueError, match="first at series 1, feature 2, time 3"):
        FO(GRU(D), num_samples=1, layout="BTD").attribute(x.mT)
    assert FO(GRU(D), num_samples=1).attribute(x, lengths=[6, 3, 6, 6]).isfinite().all()


# -- refused by name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (X.to_sparse(), TypeError, r"X is stored as torch.sparse_coo: write X.to_dense\(\)"),
        (X.to("meta"), TypeError, "X is on the device 'meta', where tensors have no values"),
        (torch.nested.as_nested_tensor([X[0], X[1]], layout=torch.jagged), TypeError, r"write X.to_padded_tensor"),
        (
            [X[0], X[1, :, :3]],
            ValueError,
            r"X holds arrays of different shapes, \(3, 6\) and \(entry 1\) \(3, 3\): pad",
        ),
        ([ARRAY[0].tolist(), ARRAY[1, :, :3].tolist()], ValueError, "X holds arrays of different shapes, .*lengths="),
        ([X[:2], X[2:]], TypeError, "X must be a tensor or NumPy array .*got list; .*attribute_many takes batches"),
        (iter([X]), TypeError, "X must be .*attribute_many takes batches"),
        ({"X": X}, TypeError, r"X must be a tensor or NumPy array \(B, D, T\), got dict$"),
        ("X.npy", TypeError, r"X must be a tensor or NumPy array \(B, D, T\), got str$"),
        (None, TypeError, "X must be a tensor .* got NoneType"),
        (np.full((B, D, T), None), TypeError, "must hold numbers, got"),
        (np.full((B, D, T), "1.5"), TypeError, "X must hold numbers"),
        (ARRAY.astype(complex), TypeError, "X must hold real numbers of 16 bits or more, got torch.complex128"),
        (ARRAY.astype(int), TypeError, "X must be floating for a model without .*weights, got torch.int64: convert it"),
        (ARRAY > 0, TypeError, "X must be floating for a model without floating weights, got torch.bool"),
        (np.datetime64("2020-01-01") + np.zeros((B, D, T), int), TypeError, "X must hold numbers"),
        (np.float64(3.0), ValueError, "X must be .* got 0 dimensions"),
        (X.float().to(torch.float8_e4m3fn), TypeError, "X must hold real numbers of 16 bits or more, got torch.float8"),
    ],
)
def test_what_is_no_series(x, error, words):
    with pytest.raises(error, match=words):
        fo().attribute(x)


@pytest.mark.parametrize("name", ["lengths", "ids", "target"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1.0] * B, "must hold integers, got torch.float64"),
        ([True] * B, "must hold integers, got torch.bool"),
        ([None] * B, "must hold integers, got .None"),
        (["1"] * B, "must (hold integers|be given by number), got .'1'"),
        ([[1, 2], [1], [1], [1]], "arrays of different shapes"),
        ([1] * (B + 1), r"one value a series, \(4,\), got \(5,\)"),
        ([[1]] * B, r"one value a series, \(4,\), got \(4, 1\)"),
        ([1, 2, 3, 2**70], "must hold integers"),
        ([1, 1, 1, 2**63], "must lie between|must hold integers"),
        ([1, 1, 1, -1], "must lie between"),
        (np.array([1, 1, np.nan, 1]), "must hold integers, got torch.float64"),
        (torch.ones(B, dtype=torch.int64).to_sparse(), "stored as torch.sparse_coo: write .*to_dense"),
        (torch.ones(B, dtype=torch.int64, device="meta"), "device 'meta'"),
        ({1, 2, 3, 4}, r"must hold integers, got .*\{1, 2, 3, 4\}"),
        (object(), "must hold integers, got"),
    ],
)
def test_what_are_no_integers(name, value, words):
    with pytest.raises((TypeError, ValueError), match=rf"{name}.*{words}"):
        RaMbIT(model, num_samples=1, distance="diff").attribute(X, **{name: value})
