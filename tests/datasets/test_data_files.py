"""The user's own files: what is written comes back, and what is broken says so."""

import io
import json
import os
import pickle
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rambit.datasets import Dataset, load_file, save_file
from rambit.datasets.dataset_files import READERS

ARRAYS = (".npz", ".safetensors", ".pt")
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=5).filter(lambda text: text == text.strip())


@st.composite
def data_sets(draw):
    n, d, t = (draw(st.integers(1, 4)) for _ in range(3))
    shape = draw(st.sampled_from([(n,), (n, t)]))
    labels = {
        "classes": hnp.arrays(np.int64, shape, elements=st.integers(0, 3)),
        "values": hnp.arrays(np.float32, shape, elements=st.floats(-9, 9, width=32)),
        "none": st.none(),
    }
    kind = draw(st.sampled_from(sorted(labels)))
    return Dataset(
        name="file",
        X=draw(hnp.arrays(np.float32, (n, d, t), elements=st.floats(allow_infinity=False, width=32))),
        y=draw(labels[kind]),
        salient=draw(st.none() | hnp.arrays(bool, (n, d, t))),
        lengths=draw(st.none() | hnp.arrays(np.int64, n, elements=st.integers(1, t))),
        feature_names=draw(st.just(()) | st.tuples(*[TEXT] * d)),
        class_names=draw(st.tuples(*[TEXT] * 4)) if kind == "classes" else (),
    )


def same(a, b):
    for name in ("X", "y", "salient", "lengths"):
        one, other = getattr(a, name), getattr(b, name)
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == other.dtype
            assert np.array_equal(one, other, equal_nan=one.dtype == np.float32), name
    assert a.feature_names == b.feature_names
    assert a.class_names == b.class_names


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@given(data=data_sets())
@settings(max_examples=30, deadline=None)
def test_round_trip(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("round") / f"file{suffix}"
    save_file(path, data)
    again = load_file(path, y=None if data.y is None else "y")
    same(again, data)
    assert again.name == "file"


def write(path, **fields):
    tensors = {
        name: torch.as_tensor(np.array(value)) for name, value in fields.items() if np.array(value).dtype.kind != "U"
    }
    if path.suffix == ".npz":
        np.savez(path, **fields)
    elif path.suffix == ".pt":
        torch.save(tensors, path)
    else:
        safetensors.torch.save_file(tensors, path)
    return path


@pytest.mark.parametrize("suffix", ARRAYS)
def test_other_names_types_and_layout(tmp_path, suffix):
    series = np.arange(24).reshape(2, 4, 3)  # (B, T, D), integers
    path = write(tmp_path / f"d{suffix}", series=series, target=np.array([True, False]), salient=series > 5)
    data = load_file(path, x="series", y="target", layout="BTD")
    assert data.X.dtype == np.float32
    assert np.array_equal(data.X, series.transpose(0, 2, 1))
    assert np.array_equal(data.salient, series.transpose(0, 2, 1) > 5)
    assert data.y.tolist() == [1, 0]
    assert load_file(path, x="series", y=None).y is None


def test_text_labels_and_half_floats(tmp_path):
    X = np.zeros((3, 1, 2), np.float16)
    data = load_file(write(tmp_path / "d.npz", X=X, y=np.array(["dog", "cat", "dog"])))
    assert data.class_names == ("cat", "dog")
    assert data.y.tolist() == [1, 0, 1]
    assert load_file(write(tmp_path / "d.npz", X=X, y=np.array(["10", "9", "10"]))).class_names == ("9", "10")
    torch.save({"X": torch.full((1, 1, 2), 0.5, dtype=torch.bfloat16), "y": torch.tensor([0.5])}, tmp_path / "d.pt")
    data = load_file(tmp_path / "d.pt")
    assert data.X.tolist() == [[[0.5, 0.5]]]
    assert data.y.dtype == np.float32


@pytest.mark.parametrize("suffix", ARRAYS)
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"Z": np.zeros(3)}, "there is no 'X'; it holds Z"),
        ({"X": np.zeros((2, 1, 3))}, "there is no 'y'"),
        ({"X": np.zeros((2, 3)), "y": np.zeros(2, int)}, r"'X' must have 3 axes \(BDT\), got shape \(2, 3\)"),
        ({"X": np.zeros((2, 1, 3), np.complex64), "y": np.zeros(2, int)}, "'X' must hold real numbers, got complex"),
        ({"X": np.zeros((2, 1, 3), bool), "y": np.zeros(2, int)}, "'X' must hold real numbers, got bool"),
        ({"X": np.full((2, 1, 3), 1e300), "y": np.zeros(2, int)}, "X holds infinite"),
        ({"X": np.zeros((2, 1, 3)), "y": np.zeros(3, int)}, "y must have shape"),
        ({"X": np.zeros((2, 1, 3)), "y": np.full(2, -1)}, "classes 0, 1"),
        ({"X": np.zeros((0, 1, 3)), "y": np.zeros(0, int)}, "empty axis"),
        ({"X": np.zeros((2, 1, 3)), "y": np.zeros(2, int), "lengths": np.ones(2)}, "'lengths' must hold integers"),
    ],
)
def test_wrong_arrays(tmp_path, suffix, fields, message):
    path = write(tmp_path / f"bad{suffix}", **fields)
    with pytest.raises(ValueError, match=message) as caught:
        load_file(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [*ARRAYS, ".parquet"])
def test_broken_files(tmp_path, suffix):
    path, small = tmp_path / f"bad{suffix}", {"X": np.ones((9, 2, 5)), "y": np.arange(9)}
    if suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = {"series": range(9), "time": range(9), "label": range(9), "a": range(9)}
        parquet.write_table(pyarrow.table({name: list(values) for name, values in columns.items()}), path)
    else:
        write(path, **small)
    whole = path.read_bytes()
    load_file(path)
    for broken in (b"", b"x", b"hello, this is no data" * 9, whole[: len(whole) // 2], whole[: len(whole) - 30]):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="bad") as caught:
            load_file(path)
        assert str(path) in str(caught.value)


class Trap:
    def __reduce__(self):
        return print, ("unpickled",)


def test_nothing_is_unpickled(tmp_path, capsys):
    np.savez(tmp_path / "object.npz", X=np.array([Trap()], dtype=object), y=np.zeros(1))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap()))
    torch.save({"X": Trap(), "y": Trap()}, tmp_path / "object.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Trap()))
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 1, 1)))
    (tmp_path / "array.npz").write_bytes(buffer.getvalue())
    torch.save(torch.zeros(1, 1, 1), tmp_path / "tensor.pt")
    torch.save({"X": [1.0], "y": torch.zeros(1)}, tmp_path / "list.pt")
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(ValueError, match=path.name):
            load_file(path)
    assert "unpickled" not in capsys.readouterr().out


def test_safetensors_with_a_huge_header(tmp_path):
    path = tmp_path / "d.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    with pytest.raises(ValueError, match="header"):
        load_file(path)


# --- tables ---


@st.composite
def tables(draw):
    """Rows in random order, and the data set that they mean."""
    n, d = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    per_step = draw(st.booleans())
    rows, steps = [], max(lengths)
    X, y = np.zeros((n, d, steps), np.float32), np.zeros((n, steps), np.int64)
    for i, length in enumerate(lengths):
        start, label = draw(st.integers(-5, 5)), draw(st.integers(0, 2))
        for t in range(length):
            y[i, t] = draw(st.integers(0, 2)) if per_step else label
            X[i, :, t] = [draw(st.floats(-9, 9, width=16)) for _ in range(d)]
            rows.append([f"s{i}", start + 0.5 * t, int(y[i, t]), *map(float, X[i, :, t])])
    order = draw(st.permutations(range(len(rows))))
    seen = list(dict.fromkeys(int(rows[k][0][1:]) for k in order))
    if all(len(set(y[i, : lengths[i]])) == 1 for i in range(n)):
        y = y[:, 0]
    names = tuple(f"f{i}" for i in range(d))
    ragged = np.array(lengths)[seen] if min(lengths) < steps else None
    expected = Dataset("table", X[seen], y[seen], None, ragged, names)
    return ["series", "time", "label", *names], [rows[k] for k in order], expected


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(table=tables())
@settings(max_examples=30, deadline=None)
def test_tables(tmp_path_factory, suffix, table):
    header, rows, expected = table
    path = tmp_path_factory.mktemp("table") / f"table{suffix}"
    if suffix == ".csv":
        path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({name: [row[i] for row in rows] for i, name in enumerate(header)}), path)
    same(load_file(path), expected)


def csv_file(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    return path


def test_csv_labels_and_missing_values(tmp_path):
    path = csv_file(tmp_path, '\ufeffseries,time,label,"a, b",c\n1,0,yes,1,\n1,1,yes,2,5\n\n0,0,no,3,4\n')
    data = load_file(path)
    assert data.feature_names == ("a, b", "c")
    assert data.class_names == ("no", "yes")
    assert data.y.tolist() == [1, 0]
    assert np.array_equal(data.X, np.array([[[1, 2], [np.nan, 5]], [[3, 0], [4, 0]]]), equal_nan=True)
    assert data.lengths.tolist() == [2, 1]
    data = load_file(csv_file(tmp_path, "series,time,label,a\n0,0,0.5,1\n0,1,1,2\n"))
    assert data.y.tolist() == [[0.5, 1.0]]
    assert data.y.dtype == np.float32
    assert load_file(csv_file(tmp_path, "series,time,a\n0,0,1\n"), y=None).y is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty: the first line must name the columns"),
        ("series,time,a\n0,0,1\n", "there is no column 'label', and none is named; it holds series, time, a"),
        ("series,time,label\n0,0,1\n", "no column is left for the features"),
        ("series,time,label,a\n", "no rows"),
        ("series,time,label,a\n0,0,1\n", "row 1 has 3 values, the header 4"),
        ("series,time,label,a,a\n0,0,1,1,1\n", "the same name"),
        ("series,time,label,a\n0,0,1,one\n", r"column 'a' must hold numbers, got 'one'; .* 'a' \(text such as 'one'\)"),
        ("series,time,label,a\n0,,1,1\n", "time holds an empty"),
        ("series,time,label,a\n0,monday,1,1\n", "time holds 'monday', which is neither a number nor a date"),
        ("series,time,label,a\n0,0,,1\n", "label holds an empty"),
        ("series,time,label,a\n0,0,1,1\n0,0,1,2\n", "series '0' has the same time twice"),
        ("series,time,label,a\n0,0,1,1e99\n", "X holds infinite"),
        ('series,time,label,a\n0,0,1,"1', "unexpected end of data"),
    ],
)
def test_wrong_csv(tmp_path, text, message):
    path = csv_file(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        load_file(path)
    assert str(path) in str(caught.value)


def test_parquet_labels_are_not_cut(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for labels, expected in (([0.5, 1.0], np.float32), ([True, False], np.int64), (["b", "a"], np.int64)):
        table = pyarrow.table({"series": [0, 1], "time": [0, 0], "label": labels, "a": [1.0, None]})
        parquet.write_table(table, tmp_path / "d.parquet")
        data = load_file(tmp_path / "d.parquet")
        assert data.y.dtype == expected
        assert np.isnan(data.X[1, 0, 0])
    assert data.y.tolist() == [1, 0]


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(ImportError, match=r"pip install rambit\[tables\]"):
        load_file(tmp_path / "d.parquet")


def test_wrong_calls(tmp_path):
    data = Dataset("d", np.zeros((1, 1, 1), np.float32), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match=r"d\.csv: the name must end in \.npz or \.safetensors"):
        save_file(tmp_path / "d.csv", data)
    save_file(tmp_path / "d.npz", data)
    with pytest.raises(ValueError, match="layout must be"):
        load_file(tmp_path / "d.npz", layout="TBD")
    with pytest.raises(ValueError, match=r"must end in one of \.npz"):
        load_file(tmp_path / "d.mat")
    for arguments in ({"x": "a"}, {"y": "target"}, {"layout": "BTD"}):
        with pytest.raises(ValueError, match="are for arrays"):
            load_file(tmp_path / "d.csv", **arguments)
    with pytest.raises(FileNotFoundError):
        load_file(tmp_path / "missing.csv")


def test_foreign_metadata(tmp_path):
    tensors = {"X": torch.zeros(1, 1, 1), "y": torch.zeros(1, dtype=torch.int64)}
    safetensors.torch.save_file(tensors, tmp_path / "d.safetensors", {"format": "pt"})
    assert load_file(tmp_path / "d.safetensors").feature_names == ("feature 0",)
    safetensors.torch.save_file(tensors, tmp_path / "d.safetensors", {"class_names": "{"})
    with pytest.raises(ValueError, match=r"d\.safetensors"):
        load_file(tmp_path / "d.safetensors")
    names = json.dumps(["only"])
    safetensors.torch.save_file(tensors, tmp_path / "d.safetensors", {"feature_names": names})
    assert load_file(tmp_path / "d.safetensors").feature_names == ("only",)


def test_an_array_that_is_not_asked_for_is_not_read(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, X=np.ones((1, 1, 1)), y=np.zeros(1, int), zz=np.arange(50))
    data = path.read_bytes()
    assert data.count(b"(50,)") == 1
    path.write_bytes(data.replace(b"(50,)", b"(99,)"))  # neither its size nor its check sum holds any more
    assert load_file(path).X.tolist() == [[[1.0]]]
    with pytest.raises(ValueError, match=r"d\.npz"):
        load_file(path, y="zz")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    path = tmp_path / "d.pt"
    for shape in ((10, 300, 400), (40_000, 1000, 1000)):
        torch.save({"X": torch.zeros(1).expand(shape), "y": torch.zeros(shape[0])}, path)
        with pytest.raises(ValueError, match=r"d\.pt: 'X' claims the shape"):
            load_file(path)


def test_a_header_that_is_too_long_is_not_parsed(tmp_path):
    path = tmp_path / "d.safetensors"
    path.write_bytes((20_000_000).to_bytes(8, "little") + b" " * 20_000_000)
    with pytest.raises(ValueError, match=r"d\.safetensors: .* a header of 20000000 bytes"):
        load_file(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".csv", ".parquet"])
def test_a_pipe_is_refused_without_waiting(tmp_path, suffix):
    os.mkfifo(tmp_path / f"d{suffix}")
    with pytest.raises(ValueError, match=rf"d\{suffix} is not a regular file"):
        load_file(tmp_path / f"d{suffix}")


def test_a_reason_without_words_is_named(tmp_path, monkeypatch):
    def fails(data):
        raise MemoryError

    monkeypatch.setitem(READERS, ".npz", fails)
    (tmp_path / "d.npz").touch()
    with pytest.raises(ValueError, match=r"d\.npz: MemoryError"):
        load_file(tmp_path / "d.npz")


def test_series_without_a_name(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"series": pyarrow.nulls(2), "time": [0, 1], "a": [1, 2]}), tmp_path / "d.parquet"
    )
    for path in (tmp_path / "d.parquet", csv_file(tmp_path, "series,time,a\n0,0,1\n,1,2\n")):
        with pytest.raises(ValueError, match="series holds an empty value"):
            load_file(path, y=None)
