"""Series of pandas and xarray, and lists of different lengths, as tensors with their names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import rambit
from rambit import frames

pandas = pytest.importorskip("pandas")

B, D, T = 3, 2, 5
ARRAY = np.random.default_rng(0).normal(size=(B, D, T))
NAMES = ["heart", "lung"]
DAYS = pandas.date_range("2024-03-01", periods=T)
ENDS = [5, 2, 4]


def wide(b=0, end=T, times=DAYS):
    return pandas.DataFrame(ARRAY[b, :, :end].T, columns=NAMES, index=times[:end])


def long(ends=ENDS):
    return pandas.concat({f"p{b}": wide(b, end) for b, end in enumerate(ends)})


def same(values, b, end=T):
    assert np.array_equal(values[b, :, :end].numpy(), ARRAY[b, :, :end])
    assert bool((values[b, :, end:] == 0).all())


def test_a_wide_frame_is_one_series():
    found = frames.read("X", wide())
    assert found.values.shape == (1, D, T)
    assert found.lengths is None
    same(found.values, 0)
    assert (found.labels.features, found.labels.series) == (tuple(NAMES), None)
    assert found.labels.times.dtype == np.dtype("datetime64[ns]")
    assert np.array_equal(found.labels.times, DAYS.to_numpy())
    assert torch.equal(found.in_layout("BTD"), found.values.transpose(1, 2))


@pytest.mark.parametrize("kind", ["long", "shuffled", "list", "nested"])
@pytest.mark.parametrize("ends", [[T] * B, ENDS])
def test_many_series(kind, ends):
    frame = long(ends)
    if kind == "shuffled":  # whose rows stand between those of others
        frame = frame.sort_index(level=1, kind="stable", sort_remaining=False)
    if kind == "list":
        frame = [wide(b, end) for b, end in enumerate(ends)]
    if kind == "nested":
        rows = [[pandas.Series(ARRAY[b, d, :end], DAYS[:end]) for d in range(D)] for b, end in enumerate(ends)]
        frame = pandas.DataFrame(rows, columns=NAMES, index=[f"p{b}" for b in range(B)])
    assert frames.is_frame(frame)
    found = frames.read("X", frame)
    assert found.values.shape == (B, D, T)
    for b, end in enumerate(ends):
        same(found.values, b, end)
    assert (found.lengths is None) == (min(ends) == T)
    assert found.lengths is None or found.lengths.tolist() == ends
    assert found.labels.features == frames.features_of(frame) == tuple(NAMES)
    assert found.labels.series == (None if kind == "list" else ("p0", "p1", "p2"))
    assert np.array_equal(found.labels.times, DAYS.to_numpy())


def test_times_of_each_series():
    later = [wide(b, end, DAYS + pandas.Timedelta(b, "h")) for b, end in enumerate(ENDS)]
    times = frames.read("X", later).labels.times
    assert times.shape == (B, T)
    for b, end in enumerate(ENDS):
        assert np.array_equal(times[b, :end], (DAYS[:end] + pandas.Timedelta(b, "h")).to_numpy())
        assert np.isnat(times[b, end:]).all()
    numbers = [wide(b, end, pandas.Index(np.arange(T) + b)) for b, end in enumerate(ENDS)]
    times = frames.read("X", numbers).labels.times
    assert np.array_equal(times[1], [1, 2, math.nan, math.nan, math.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pandas.RangeIndex(T), None),
        (pandas.Index([0.5, 1, 2, 3, 9]), [0.5, 1, 2, 3, 9]),
        (pandas.RangeIndex(3, 3 + T), [3, 4, 5, 6, 7]),
        (pandas.Index(list("abcde")), None),
        (pandas.Index([f"2024-03-0{day}" for day in range(1, 1 + T)]), DAYS.to_numpy()),
        (pandas.Index([f"2024-03-0{day} 09:00+09:00" for day in range(1, 1 + T)]), DAYS.to_numpy()),
        (pandas.Index([day.date() for day in DAYS], dtype=object), DAYS.to_numpy()),
        (pandas.period_range("2024-03-01", periods=T, freq="D"), DAYS.to_numpy()),
        (DAYS.tz_localize("UTC"), DAYS.to_numpy()),
        (DAYS - DAYS[0], DAYS.to_numpy() - DAYS.to_numpy()[0]),
    ],
)
def test_kinds_of_times(index, expected):
    found = frames.read("X", wide(times=index)).labels.times
    assert (found is None) if expected is None else np.array_equal(found, expected)


def test_times_of_a_zone_become_those_of_utc():
    with pytest.warns(UserWarning, match="times in Asia/Tokyo are read as UTC"):
        found = frames.read("X", wide(times=DAYS.tz_localize("Asia/Tokyo"))).labels.times
    assert np.array_equal(found, DAYS.to_numpy() - np.timedelta64(9, "h"))


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (DAYS.delete(2).insert(2, pandas.NaT), "series 0 has rows without a time"),
        (pandas.Index([0.5, 1, math.nan, 3, 9]), "series 0 has rows without a time"),
        (DAYS[::-1], "the times of series 0 do not ascend"),
        (pandas.Index([f"2024-03-0{day}" for day in range(T, 0, -1)]), "the times of series 0 do not ascend"),
    ],
)
def test_times_that_say_no_order(index, words):
    for frame in (wide(times=index), pandas.concat({"p0": wide(times=index)})):
        with pytest.raises(ValueError, match=words):
            frames.read("X", frame)


def test_types_of_columns():
    frame = pandas.DataFrame(
        {
            "int": [1, 2, 3],
            "float": pandas.array([0.5, None, 2.5], dtype="Float64"),
            "short": np.array([1, 2, 3], dtype=np.float16),
            "bool": [True, False, True],
            "whole": pandas.array([1, 2, None], dtype="Int64"),
        }
    )
    found = frames.read("X", frame).values
    expected = [[1, 2, 3], [0.5, math.nan, 2.5], [1, 2, 3], [1, 0, 1], [1, 2, math.nan]]
    torch.testing.assert_close(found[0], torch.tensor(expected).double(), equal_nan=True)
    assert frames.read("X", frame[["short"]]).values.dtype == torch.float16
    assert frames.read("X", frame[["bool"]]).values.dtype == torch.bool
    assert frames.read("X", pandas.DataFrame(ARRAY[0].T)).labels.features is None


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (wide().assign(who="me", when=DAYS), r"X has columns that hold no numbers: 'who' \(.*\), 'when' \(datetime"),
        (wide().iloc[:0], "X is empty: 0 rows"),
        (wide()[[]], "X is empty: 5 rows, 0 columns"),
        (wide().iloc[::-1], "X: the times of series 0 do not ascend"),
        (long().iloc[::-1], "the times of series 0 do not ascend"),
        (pandas.concat({"a": long()}), r"X must be indexed by times, or by \(series, time\), got 3 levels"),
        (wide().rename(columns={"lung": "heart"}), "X has more than one column called 'heart'"),
        ([wide(), wide().rename(columns={"lung": "liver"})], r"X\[1\] has the columns .*liver.*, but X\[0\] has"),
        ([wide(), long()], r"X\[1\] must be one series"),
        (pandas.DataFrame({"a": [2**60]}), "X holds integers beyond"),
        (
            pandas.DataFrame({"a": [pandas.Series([1.0, 2.0])], "b": [pandas.Series([1.0])]}),
            r"X, row 0: its features must have the same times, got \(2,\), \(1,\)",
        ),
    ],
)
def test_what_is_no_frame_of_series(frame, words):
    with pytest.raises((TypeError, ValueError), match=words):
        frames.read("X", frame)


def test_rows_without_a_series():
    index = pandas.MultiIndex.from_arrays([["a", None, "b"], [0, 1, 2]])
    with pytest.raises(ValueError, match="X has rows without a series"):
        frames.read("X", pandas.DataFrame({"v": [1.0, 2.0, 3.0]}, index=index))


@pytest.mark.parametrize("dims", [("series", "feature", "time"), ("time", "instance", "channel"), ("feature", "time")])
def test_arrays_of_xarray(dims):
    xarray = pytest.importorskip("xarray")
    roles = {"instance": "series", "channel": "feature"}
    order = [["series", "feature", "time"].index(roles.get(dim, dim)) for dim in dims]
    data = ARRAY if len(dims) == 3 else ARRAY[0]
    whole = ARRAY if len(dims) == 3 else ARRAY[:1]
    values = data.transpose(order if len(dims) == 3 else (0, 1))
    names = {"series": ["x", "y", "z"], "feature": NAMES, "time": [0.0, 0.5, 1.0, 1.5, 2.5]}
    coords = {dim: names[roles.get(dim, dim)] for dim in dims}
    array = xarray.DataArray(values, dims=dims, coords=coords)
    array.coords["time"].attrs["units"] = "s"
    found = frames.read("X", array)
    assert np.array_equal(found.values.numpy(), whole)
    assert found.labels.features == frames.features_of(array) == tuple(NAMES)
    assert found.labels.series == (("x", "y", "z") if len(dims) == 3 else None)
    assert (found.labels.times.tolist(), found.labels.unit) == (names["time"], "s")
    assert frames.read("X", array > 0).values.dtype == torch.bool


def test_other_arrays_of_xarray():
    xarray = pytest.importorskip("xarray")
    assert frames.read("X", xarray.DataArray(ARRAY[0, 0], dims=["time"])).values.shape == (1, 1, T)
    for dims, words in (
        (("series", "depth", "time"), "X must have one dimension of each kind .*got"),
        (("instance", "sample", "time"), "X must have one dimension of each kind"),
        (("series", "feature", "x"), "one dimension of each kind"),
    ):
        with pytest.raises(ValueError, match=words):
            frames.read("X", xarray.DataArray(ARRAY, dims=dims))
    with pytest.raises(ValueError, match="X must have a dimension called time"):
        frames.read("X", xarray.DataArray(ARRAY[0], dims=["series", "feature"]))
    with pytest.raises(TypeError, match=r"masks must be an array, got a DataArray: write masks.to_numpy"):
        rambit.RaMbIT(lambda x: x[:, :, -1], masks=xarray.DataArray(ARRAY > 0, dims=["series", "feature", "time"]))


# -- padding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
@pytest.mark.parametrize("kind", [np.array, torch.tensor, np.ndarray.tolist, lambda a: a.astype(">f4")])
def test_pad(layout, kind):
    cut = [ARRAY[b, :, :end] for b, end in enumerate(ENDS)]
    values, lengths = rambit.pad([kind(a if layout == "BDT" else a.T) for a in cut], layout=layout)
    values = values if layout == "BDT" else values.transpose(1, 2)
    assert (values.shape, lengths.tolist()) == ((B, D, T), ENDS)
    expected = torch.zeros(B, D, T).to(values.dtype)
    for b, end in enumerate(ENDS):
        expected[b, :, :end] = torch.tensor(cut[b]).to(values.dtype)
    assert torch.equal(values, expected)


def test_pad_types_and_frames():
    assert rambit.pad([ARRAY[0].astype(np.float32), ARRAY[1]])[0].dtype == torch.float64
    assert rambit.pad([np.ones((2, 1), int), np.ones((2, 2), int)])[0].dtype == torch.int64
    values, lengths = rambit.pad([wide(b, end) for b, end in enumerate(ENDS)], layout="BTD")
    assert (values.shape, lengths.tolist()) == ((B, T, D), ENDS)
    assert rambit.pad([wide(0), wide(1)])[1].tolist() == [T, T]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "series is empty"),
        ("abc", "series must be a list of arrays, got str"),
        (ARRAY, "series must be a list of arrays, got ndarray"),
        ([ARRAY[0], ARRAY[1, :1]], r"series\[1\] has 1 features, but series\[0\] has 2"),
        ([ARRAY[0], ARRAY[1, :, :0]], r"series\[1\] must be \(D, T\), and not empty, got \(2, 0\)"),
        ([ARRAY[0, 0]], r"series\[0\] must be \(D, T\)"),
        ([ARRAY[0], ["a"]], r"series\[1\] must hold numbers"),
        ([ARRAY[0], torch.ones(2, 3, device="meta")], r"series\[1\] is on the device 'meta'"),
    ],
)
def test_what_cannot_be_padded(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        rambit.pad(given)
    with pytest.raises(ValueError, match="layout must be one of BDT, BTD"):
        rambit.pad([ARRAY[0]], layout="DT")
