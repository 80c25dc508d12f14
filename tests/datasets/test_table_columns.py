"""Tables as people have them: columns in any order and under any name, dates, gaps; and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

from rambit.datasets import Columns, Dataset, load_file, save_file
from rambit.datasets.table_times import read_times

RUNS = Columns(id="run", time="stamp", label="class")


def table(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def slow(rows, header):
    """A twin: series by id in order of appearance, their rows sorted by date."""
    series = {}
    for row in rows:
        series.setdefault(row[header.index("run")], []).append(row)
    for found in series.values():
        found.sort(key=lambda row: row[header.index("stamp")])
    return series


@pytest.mark.parametrize("seed", range(5))
def test_columns_and_rows_in_any_order(tmp_path, seed):
    rng = np.random.default_rng(seed)
    header = list(rng.permutation(["run", "stamp", "class", "a", "b"]))
    rows = []
    for i in rng.permutation(4):
        for t in range(rng.integers(1, 4)):
            known = {"run": f"r{i}", "stamp": f"2024-0{t + 1}-01T0{t}:00:00", "class": ["no", "yes"][i % 2]}
            known |= {"a": f"{rng.normal():.3f}", "b": rng.choice(["", "1", "2.5"])}
            rows.append([known[name] for name in header])
    rng.shuffle(rows)
    lines = [header, *rows]
    data = load_file(table(tmp_path, "\n".join(",".join(line) for line in lines)), columns=RUNS)
    series = slow(rows, header)
    assert data.series_names == tuple(series)
    assert data.feature_names == tuple(name for name in header if name in "ab")
    for i, found in enumerate(series.values()):
        length = len(found)
        assert data.lengths is None or data.lengths[i] == length
        for d, name in enumerate(data.feature_names):
            expected = [float(row[header.index(name)] or "nan") for row in found]
            np.testing.assert_array_equal(data.X[i, d, :length], np.array(expected, np.float32))
        assert data.class_names[data.y[i]] == found[0][header.index("class")]
        times = data.times if data.times.ndim == 1 else data.times[i]
        assert times[:length].tolist() == [int(np.datetime64(row[header.index("stamp")], "ns")) for row in found]
        assert np.isnat(times[length:]).all()
    np.testing.assert_array_equal(data.labels.times, data.times)
    some = data.take([2, 0])
    assert some.series_names == (data.series_names[2], data.series_names[0])
    assert some.times.ndim == 1 or np.array_equal(some.times, data.times[[2, 0]], equal_nan=True)


def test_separators_quotes_and_line_ends(tmp_path):
    text = '\ufeffrun,"a, b",stamp\r\n"x ""1""",1,2\r\n"x ""1""",NA,1\r\n'
    data = load_file(table(tmp_path, text), y=None, columns=Columns(id="run", time="stamp"))
    assert data.series_names == ('x "1"',)
    assert data.feature_names == ("a, b",)
    np.testing.assert_array_equal(data.X, [[[np.nan, 1]]])
    assert data.times.tolist() == [1, 2]
    assert load_file(table(tmp_path, "series\ttime\ta\n1\t0\t5\n", "t.tsv"), y=None).X.tolist() == [[[5]]]


def test_without_id_or_time(tmp_path):
    data = load_file(table(tmp_path, "b,a\n3,1\n2,5\n"), y=None, columns=Columns(features=("a", "b")))
    assert data.X.tolist() == [[[1, 5], [3, 2]]]
    assert data.times is None
    assert data.series_names == ()
    data = load_file(table(tmp_path, "series,b\n3,1\n2,5\n3,0\n"), y=None)
    assert data.X.tolist() == [[[1, 0]], [[5, 0]]]
    assert data.lengths.tolist() == [2, 1]


def test_labels_that_are_not_needed(tmp_path):
    assert load_file(table(tmp_path, "series,time,a\n0,0,1\n"), need_labels=False).y is None
    assert load_file(table(tmp_path, "series,time,a,label\n0,0,1,0\n"), need_labels=False).y.tolist() == [0]
    with pytest.warns(UserWarning, match=r"t\.csv: its labels are not read: label holds an empty value"):
        assert load_file(table(tmp_path, "series,time,a,label\n0,0,1,0\n1,0,1,\n"), need_labels=False).y is None
    np.savez(tmp_path / "t.npz", X=np.zeros((2, 1, 3)), y=np.array([-1, 1]))
    with pytest.warns(UserWarning, match="y must hold classes 0, 1"):
        assert load_file(tmp_path / "t.npz", need_labels=False).y is None
    np.savez(tmp_path / "t.npz", X=np.zeros((2, 1)), y=np.zeros(2))
    with pytest.raises(ValueError, match="must have 3 axes"):
        load_file(tmp_path / "t.npz", need_labels=False)


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("run,a\n1,1\n", Columns(id="Run"), "there is no column 'Run'; the columns: 'run', 'a'"),
        ("run,a\n1,1\n", Columns(id="run", time="run"), "column 'run' is named twice"),
        ("run,a\n1,1\n", Columns(id="run", features=("run",)), "column 'run' is named twice"),
        ("run,a\n1,1\n", Columns(features=()), "no column is left"),
        ("a,a\n1,1\n", Columns(), "two columns have the same name, 'a'"),
        (",a\n0,1\n", Columns(), r"column 1 has no name .*index=False"),
        ("a;b\n0;1\n", Columns(), "the values are separated by ';'"),
        ("run,time,a\nx,0,1\n", Columns(), r"column 'run' must hold numbers, got 'x'; .* 'a' \(whole numbers\)"),
        ("day,a\n2024-01-01,1\n", Columns(), r"column 'day' must hold numbers, got '2024-01-01'; .*'day' \(dates\)"),
        (
            "time,a\n3,1\n2,1\n3,2\n2,2\n",
            Columns(),
            r"the same time twice: 2, and 1 more .*that tells them apart as id",
        ),
        ("run,time,a\nx,3,1\nx,3,1\n", Columns(id="run"), "series 'x' has the same time twice: 3"),
        ("series,a\n,1\n", Columns(), "series holds an empty value"),
        ("a,b\n1\n", Columns(), "row 1 has 1 values, the header 2"),
        ("a,b\n", Columns(), "no rows"),
        ("\n\n", Columns(), "it is empty"),
        ("a\n" + "1" * 200_000, Columns(), "field larger than field limit"),
        ("a\n\x00\xff", Columns(), "column 'a' must hold numbers, got"),
    ],
)
def test_what_is_wrong(tmp_path, text, columns, said):
    path = table(tmp_path, text)
    with pytest.raises(ValueError, match=said) as caught:
        load_file(path, y=None, columns=columns)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_wrong_calls(tmp_path):
    with pytest.raises(TypeError, match="features must be a list"):
        Columns(features="ab")
    np.savez(tmp_path / "t.npz", X=np.zeros((2, 1, 3)))
    with pytest.raises(ValueError, match="columns are for tables"):
        load_file(tmp_path / "t.npz", columns=Columns())
    path = tmp_path / "t.csv"
    path.write_bytes(b"a\n\xff\xfe\n")
    with pytest.raises(ValueError, match=r"t\.csv: 'utf-8' codec"):
        load_file(path, y=None)


@pytest.mark.parametrize(
    ("values", "dtype", "numbers"),
    [
        (["3", "-1"], "int64", [3, -1]),
        (["1700000000000000001", "1700000000000000002"], "int64", [1700000000000000001, 1700000000000000002]),
        (["3", "0.5"], "float64", [3, 0.5]),
        (["1970-01-02", "1970-01-01 00:00:01"], "datetime64[ns]", [86400 * 10**9, 10**9]),
        (["1970-01-01T02:00:00+02:00", "1970-01-01 00:00:01.5Z"], "datetime64[ns]", [0, 1500000000]),
        (np.array([3, 1], np.uint8), "int64", [3, 1]),
        (np.array(["1970-01-02"], "datetime64[D]"), "datetime64[ns]", [86400 * 10**9]),
        (np.array([5], "timedelta64[us]"), "timedelta64[ns]", [5000]),
        (np.array(["1970-01-01"], object), "datetime64[ns]", [0]),
    ],
)
def test_times(values, dtype, numbers):
    found = read_times(values)
    assert found.dtype == dtype
    assert (found.view(np.int64) if found.dtype.kind in "mM" else found).tolist() == numbers


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (["monday"], "'monday', which is neither a number nor a date"),
        (["now"], "neither"),
        (["2024-01-01", ""], "empty"),
        (["2024-01-01", "3"], "neither"),
        (["2024-01-01T00:00Z", "2024-01-01T00:00"], "with a zone and dates without"),
        (["2024-01-01T00:00Zx"], "neither"),
        (["2024-13-01"], "'2024-13-01', which is neither"),
        (["1066-10-14"], "before 1678"),
        (["nan"], "empty or infinite"),
        ([None, "3"], "empty"),
        (np.array([True]), "must hold numbers or dates, got bool"),
    ],
)
def test_no_times(values, said):
    with pytest.raises(ValueError, match=said):
        read_times(values)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", ["dates", "numbers", "none"])
def test_names_and_times_are_saved(tmp_path, suffix, kind):
    times = {"dates": np.array(["2024-01-01", "NaT", "2024-01-03"], "datetime64[ns]"), "numbers": np.array([0, 1.5, 2])}
    data = Dataset("d", np.zeros((2, 1, 3), np.float32), None, series_names=("x", "y"), times=times.get(kind))
    save_file(tmp_path / f"d{suffix}", data)
    found = load_file(tmp_path / f"d{suffix}", y=None)
    assert found.series_names == ("x", "y")
    assert (found.times is None) == (kind == "none")
    if kind != "none":
        assert found.times.dtype == data.times.dtype
        np.testing.assert_array_equal(found.times, data.times)
