"""Frames of pandas and xarray wherever series are taken; series, weights and integers of other types."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from rambit import RaMbIT
from rambit.attribution import AFO, FO, Occlusion
from rambit.attribution.batch import Batch
from rambit.counterfactuals import Marginal
from rambit.predictors import Predictor
from rambit.rex import ReX
from rambit.sufficiency import explain
from tests.models_for_tests import GRU

B, D, T = 3, 2, 6
ARRAY = np.random.default_rng(0).normal(size=(B, D, T))
X = torch.tensor(ARRAY)
ENDS = [6, 2, 5]
NAMES = ["heart", "lung"]


def model(x):
    """Reads missing values as zero."""
    x = x.nan_to_num(0.0)
    return torch.stack((x[:, 0, -1] + x.mean(dim=(1, 2)), x[:, 1].sum(-1)), dim=1)


def turned(x):
    return model(x.transpose(1, 2))


def frame(ends=ENDS, columns=NAMES, array=ARRAY):
    pandas = pytest.importorskip("pandas")
    parts = {f"p{b}": pandas.DataFrame(array[b, :, :end].T, columns=NAMES)[columns] for b, end in enumerate(ends)}
    return pandas.concat(parts)


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("ends", [[T] * B, ENDS])
def test_frames_are_their_values(layout, ends):
    turn = (lambda a: a) if layout == "BDT" else (lambda a: a.transpose(1, 2))
    method = RaMbIT(model if layout == "BDT" else turned, layout=layout, num_samples=2, L=3, background=turn(X))
    found, expected = method.explain(frame(ends)), method.explain(turn(X), lengths=ends)
    assert torch.equal(found.values, expected.values)
    assert found.values.shape == turn(X).shape
    assert method.cost(frame(ends)) == method.cost(turn(X), lengths=ends)
    by_frame = RaMbIT(method.model, layout=layout, num_samples=2, L=3, background=frame([T] * B))
    assert torch.equal(by_frame.attribute(turn(X)), method.attribute(turn(X)))


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_what_is_missing_in_a_frame(layout):
    seen = torch.rand(B, D, T, generator=torch.Generator().manual_seed(1)) < 0.7
    holes = frame(array=np.where(seen.numpy(), ARRAY, math.nan))
    turn = (lambda a: a) if layout == "BDT" else (lambda a: a.transpose(1, 2))
    method = Occlusion(model if layout == "BDT" else turned, layout=layout)
    expected = method.explain(turn(X.masked_fill(~seen, math.nan)), lengths=ENDS, observed=turn(seen))
    found = method.explain(holes, observed=holes.notna())
    assert torch.equal(found.values, expected.values)
    inside = torch.arange(T) < torch.tensor(ENDS)[:, None, None]
    assert torch.equal(turn(found.evaluated) & inside, turn(expected.evaluated) & inside)
    with pytest.raises(ValueError, match="X holds NaN where observed does not say so, first at series 0"):
        method.explain(holes)
    with pytest.raises(ValueError, match="observed must be a bool tensor like X"):
        method.explain(holes, observed=holes)


def test_a_background_with_holes():
    seen = torch.rand(B, D, T, generator=torch.Generator().manual_seed(1)) < 0.7
    holes = frame(array=np.where(seen.numpy(), ARRAY, math.nan))
    given = AFO(model, num_samples=2, background={"X": holes, "observed": holes.notna()})
    inside = torch.arange(T) < torch.tensor(ENDS)[:, None, None]
    expected = AFO(model, num_samples=2, background={"X": X, "observed": seen & inside})
    assert torch.equal(given.attribute(X), expected.attribute(X))
    assert torch.equal(Marginal(frame()).background.isnan(), (~inside).expand(X.shape))
    with pytest.raises(ValueError, match="background holds NaN"):
        AFO(model, background=holes)
    with pytest.raises(ValueError, match="background's lengths: X says itself"):
        AFO(model, background={"X": frame(), "lengths": ENDS})


def test_frames_that_do_not_fit():
    with pytest.raises(ValueError, match="lengths: X says itself where each of its series ends"):
        FO(model).attribute(frame(), lengths=ENDS)
    assert FO(model).attribute(frame([T] * B), lengths=ENDS)[1, :, 2:].abs().max() == 0  # it was silent about ends
    other = AFO(model, background=frame(columns=NAMES[::-1]))
    with pytest.raises(ValueError, match="background has the features lung, heart, but X has heart, lung"):
        other.attribute(frame())
    assert other.attribute(X).shape == X.shape


def test_observed_arrays_have_the_times_of_x():
    xarray = pytest.importorskip("xarray")
    cube = xarray.DataArray(ARRAY, dims=["series", "feature", "time"], coords={"time": np.arange(T) / 2})
    same = Occlusion(model).attribute(cube, observed=cube.notnull())
    assert torch.equal(same, Occlusion(model).attribute(X))
    with pytest.raises(ValueError, match="observed must have the times of X"):
        Occlusion(model).attribute(cube, observed=cube.notnull().assign_coords(time=np.arange(T) / 3))
    assert torch.equal(Occlusion(model).attribute(X, observed=cube.notnull()), same), "X says no times"


def test_observed_frames_have_the_axes_of_x():
    pandas = pytest.importorskip("pandas")
    given = frame()
    moved = lambda table, by: table.set_axis(  # noqa: E731
        pandas.MultiIndex.from_tuples([(series, time + by) for series, time in table.index])
    )
    given = moved(given, 1)
    seen = given < 0.5
    ends = torch.arange(T) < torch.tensor(ENDS)[:, None, None]
    assert torch.equal(FO(model).explain(given, observed=seen).evaluated, (X < 0.5) & ends)
    for other, words in (
        (seen[NAMES[::-1]], "observed has the features lung, heart, but X has heart, lung"),
        (pandas.concat([seen.loc[["p1", "p2"]], seen.loc[["p0"]]]), "observed has the series p1, p2, p0, but X has"),
        (moved(frame([6, 3, 5]), 1) < 0.5, "observed must have as many times in each series as X"),
        (moved(seen, 1), "observed must have the times of X"),
    ):
        with pytest.raises(ValueError, match=words):
            FO(model).attribute(given, observed=other)


def test_names_come_along():
    xarray = pytest.importorskip("xarray")
    coords = {"channel": NAMES, "time": np.arange(T) / 2}
    cube = xarray.DataArray(ARRAY.transpose(2, 0, 1), dims=["time", "instance", "channel"], coords=coords)
    predictor = Predictor.of(model)
    batch = Batch.read(cube, predictor, "BTD")
    assert batch.labels.features == tuple(NAMES)
    assert batch.labels.times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5]
    assert torch.equal(batch.x, X)
    assert torch.equal(FO(model).attribute(cube), FO(model).attribute(X))
    labels = Batch.read(frame(), predictor, "BDT").labels
    assert (labels.features, labels.series, labels.times) == (tuple(NAMES), ("p0", "p1", "p2"), None)
    assert Batch.read(X, predictor, "BDT").labels.features is None


def test_frames_in_rex_and_sufficiency():
    options = {"iters": 2, "output": "logits", "min_box_size": 1}
    assert torch.equal(ReX(model, **options).attribute(frame([T] * B)), ReX(model, **options).attribute(X))
    one = frame([T]).droplevel(0)
    found, expected = ReX(model, **options).explain(one), ReX(model, **options).explain(X[:1])
    assert torch.equal(found.mask, expected.mask)
    assert (found.labels.features, expected.labels.features) == (tuple(NAMES), None)
    given = {"output": "logits", "num_samples": 20}
    named = explain(model, frame([T] * B), labels={"outputs": ["a", "b"]}, **given)
    assert [part.labels.series for part in named] == [("p0",), ("p1",), ("p2",)]
    assert (named[0].labels.features, named[0].labels.outputs) == (tuple(NAMES), ("a", "b"))
    masks = [[part.mask for part in parts] for parts in (named, explain(model, X, **given))]
    assert all(torch.equal(a, b) for a, b in zip(*masks, strict=True))
    for call in (ReX(model, **options).attribute, lambda sample: explain(model, sample)):
        with pytest.raises(ValueError, match=r"must hold series of one length, got \[2, 5, 6\] steps"):
            call(frame())


# -- types -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("weights", [None, torch.float32, torch.float64])
def test_series_of_16_bits(given, weights):
    net = model if weights is None else GRU(D).to(weights)
    x = X.to(given)
    found = Occlusion(net).attribute(x)
    assert found.dtype == given
    assert torch.equal(found, Occlusion(net).attribute(x.to(weights or torch.float32)).to(given))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits(kind):
    """Rows are made in float32, and cast to the type of the weights when the model is called."""
    seen = set()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(D * T, 2)

        def forward(self, x):
            seen.add(x.dtype)
            return self.head(x.flatten(1))

    net = Net().to(kind)
    x = X.to(kind).float()
    found = Occlusion(net, output="logits").attribute(x)
    assert found.dtype == torch.float32
    assert seen == {kind}
    expected = Occlusion(lambda rows: net(rows.to(kind)).float(), output="logits").attribute(x)
    assert torch.equal(found, expected)
    assert ReX(net, iters=1, output="logits", min_box_size=1).attribute(x).shape == x.shape


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "uint64", ">i4", "bool"])
def test_integers_are_numbers_for_weights(kind):
    whole = np.random.default_rng(1).integers(0, 2 if kind == "bool" else 100, size=(B, D, T)).astype(kind)
    net = GRU(D)
    found = FO(net, num_samples=1, background=None).attribute(whole)
    assert found.dtype == torch.float32
    assert torch.equal(found, FO(net, num_samples=1).attribute(torch.tensor(whole.astype(np.float32))))
    drawn = [AFO(net, num_samples=1, background=of).attribute(X) for of in (whole, whole.astype(float))]
    assert torch.equal(*drawn)


def test_integers_that_weights_cannot_hold():
    whole = np.ones((B, D, T), dtype=np.int64)
    whole[1, 0, 3] = 2**24 + 1
    with pytest.raises(
        ValueError, match=r"X holds integers beyond 16777216, .*float32 .*exactly, first at \(1, 0, 3\)"
    ):
        FO(GRU(D)).attribute(whole)
    assert FO(GRU(D).double()).attribute(whole).shape == X.shape
    whole = whole.astype(np.uint64)
    whole[0, 1, 2] = 2**64 - 1
    with pytest.raises(ValueError, match=r"first at \(0, 1, 2\)"):
        FO(GRU(D).double()).attribute(whole)
