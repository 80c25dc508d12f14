"""Files read piece by piece give what the loader of whole files gives; what is broken or foreign is refused."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.attribution import Occlusion
from rambit.datasets import Columns, load_file, table_rows
from rambit.distributed import DataFile, attribute_many, data_file

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import csv as pyarrow_csv  # noqa: E402
from pyarrow import parquet  # noqa: E402


def series(rng, n=9, lengths=False, missing=False):
    X = rng.normal(size=(n, 2, 5)).astype(np.float32)
    found = {"X": X}
    if missing:
        X[rng.random(X.shape) < 0.2] = np.nan
    if lengths:
        found["lengths"] = rng.integers(1, 3, n)
    return found


def whole(file):
    """All batches as one."""
    batches = list(file)
    assert len({tuple(batch["X"].shape[1:]) for batch in batches}) == 1
    X = torch.cat([batch["X"] for batch in batches])
    for batch in batches:
        assert ("observed" in batch) == bool(batch["X"].isnan().any())
        assert "observed" not in batch or torch.equal(batch["observed"], ~batch["X"].isnan())
    lengths = [batch["lengths"] for batch in batches if "lengths" in batch]
    assert len(lengths) in (0, len(batches))
    return X.numpy(), torch.cat(lengths).numpy() if lengths else None, len(batches)


def compare(path, **options):
    """With the reader of whole files; returns the number of batches."""
    expected = load_file(path, y=None, **options)
    X, lengths, count = whole(DataFile(path, **options))
    np.testing.assert_array_equal(X, expected.X)
    assert X.dtype == expected.X.dtype
    assert (lengths is None) == (expected.lengths is None)
    if lengths is not None:
        np.testing.assert_array_equal(lengths, expected.lengths)
    return count


@pytest.fixture(params=[1, 90, 10**6])
def block(request, monkeypatch):
    """One series a batch, a few, and all."""
    monkeypatch.setattr(data_file, "BLOCK", request.param)
    return request.param


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_inputs_beside_the_series(tmp_path, block, suffix):
    """They come with the batches, and make the scores of a call with them."""
    rng, path = np.random.default_rng(0), tmp_path / f"a{suffix}"
    arrays = {**series(rng), "extra.scale": rng.random((9, 2)).astype("f4"), "extra.kind": rng.integers(0, 3, 9)}
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        safetensors.numpy.save_file(arrays, path)

    def model(x, scale, kind):
        return x.mean(2)[:, :2] * scale + kind[:, None]

    method = Occlusion(model, output="regression", model_id="scaled")
    results = attribute_many(method, path, tmp_path / "scores")
    extra = {name: arrays[f"extra.{name}"] for name in ("scale", "kind")}
    expected = method.attribute(torch.from_numpy(arrays["X"]).float(), extra=extra)
    np.testing.assert_allclose(results.to_numpy(), expected.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("lengths", [False, True])
def test_npz(tmp_path, block, save, lengths):
    path = tmp_path / "a.npz"
    save(path, y=np.arange(9), **series(np.random.default_rng(0), lengths=lengths, missing=True))
    count = compare(path)
    assert count == {1: 9, 90: 5, 10**6: 1}[block]
    assert compare(path, layout="BTD") == count


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i1", ">i4", "u2", "i8"])
def test_npy_and_npz_of_every_number(tmp_path, dtype):
    X = np.random.default_rng(0).integers(0, 99, (4, 2, 3)).astype(dtype)
    np.savez(tmp_path / "a.npz", inputs=X)
    np.save(tmp_path / "a.npy", X)
    compare(tmp_path / "a.npz", x="inputs")
    np.testing.assert_array_equal(whole(DataFile(tmp_path / "a.npy"))[0], X.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "uint8"])
def test_safetensors(tmp_path, block, dtype):
    X = (torch.rand(9, 2, 5, generator=torch.Generator().manual_seed(0)) * 50).to(getattr(torch, dtype))
    path = tmp_path / "a.safetensors"
    safetensors.torch.save_file({"b": torch.ones(3), "X": X, "lengths": torch.arange(9) % 2 + 1}, path, {"k": "v"})
    compare(path)
    compare(path, layout="BTD")


@st.composite
def long_tables(draw):
    """Columns of a table whose series are in order; times within them are not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    ids = np.cumsum(rng.integers(1, 4, len(sizes)))
    names = [f"s{i:03}" for i in ids] if draw(st.booleans()) else ids
    columns = {
        "series": np.repeat(names, sizes),
        "time": np.concatenate([rng.permutation(99)[:size] / 2 for size in sizes]),
        "a": rng.normal(size=sum(sizes)),
        "b": rng.integers(0, 9, sum(sizes)).astype(np.float32),
    }
    columns["a"][rng.random(sum(sizes)) < draw(st.sampled_from((0.0, 0.3)))] = np.nan
    if draw(st.booleans()):
        columns["label"] = np.ones(sum(sizes))
    return columns, draw(st.integers(1, 5)), draw(st.integers(1, 7)), draw(st.sampled_from((1, 60, 10**6)))


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@given(case=long_tables())
def test_tables(tmp_path_factory, suffix, case):
    columns, group, rows, block = case
    path = tmp_path_factory.mktemp("tables") / f"a{suffix}"
    if suffix == ".csv":
        pyarrow_csv.write_csv(pyarrow.table(columns), path)
    else:
        parquet.write_table(pyarrow.table(columns), path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "ROWS", rows)
        patch.setattr(data_file, "BLOCK", block)
        compare(path)


def test_text_ids_of_a_csv_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("run,b,at,a\n9,1,2024-01-02,2\n9,3,2024-01-01,4\n10,5,2024-01-01,6\n")
    [batch] = DataFile(path, columns=Columns(id="run", time="at", features=("a", "b")))
    assert batch["X"].tolist() == [[[4, 2], [3, 1]], [[6, 0], [5, 0]]]
    assert batch["lengths"].tolist() == [2, 1]
    [batch] = DataFile(path, columns=Columns(features=("run",)))  # without ids or times: one series, as it stands
    assert batch["X"].tolist() == [[[9, 9, 10]]]
    for ids, said in (("9 10 9", "increasing order"), ("b a", "increasing order"), ("1 x", "another 'x'")):
        path.write_text("run,a\n" + "".join(f"{one},1\n" for one in ids.split()))
        with pytest.raises(ValueError, match=said):
            list(DataFile(path, columns=Columns(id="run")))


GOOD = {"series": [1, 1, 2], "time": [0, 1, 0], "a": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"series": [2, 2, 1]}, "in increasing order"),
        ({"series": [1, 2, 1]}, "stand together"),
        ({"series": [1, None, 2]}, "series holds an empty value"),
        ({"series": [[1], [1], [2]]}, "series must hold numbers or text"),
        ({"time": [0, None, 0]}, "time holds an empty"),
        ({"time": [1, 1, 0]}, "series 1 has the same time twice"),
        ({"a": ["x", "y", "z"]}, "column 'a' must hold numbers"),
        ({"a": [1e300, 0, 0]}, "infinite"),
        ({"a": None}, "no column is left for the features; the columns: 'series', 'time'"),
        ({name: [] for name in GOOD}, "no rows"),
    ],
)
def test_tables_that_can_not_be_read(tmp_path, change, said):
    path = tmp_path / "a.parquet"
    columns = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    parquet.write_table(pyarrow.table(columns), path)
    with pytest.raises(ValueError, match=rf"a\.parquet: .*{said}"):
        list(DataFile(path))


def npz(path, **arrays):
    np.savez(path, **arrays)


def npy(path, X):
    np.save(path, X)


def raw(path, header, body=b""):
    data = json.dumps(header).encode()
    path.write_bytes(len(data).to_bytes(8, "little") + data + body)


X = np.zeros((2, 1, 3), np.float32)
BROKEN = {
    "no array": ("a.npz", lambda p: npz(p, Z=X), "there is no 'X'; it holds Z"),
    "two axes": ("a.npz", lambda p: npz(p, X=X[0]), "must have 3 axes"),
    "no series": ("a.npz", lambda p: npz(p, X=X[:0]), "is empty"),
    "text": ("a.npz", lambda p: npz(p, X=np.full((2, 1, 3), "a")), "must hold real numbers"),
    "objects": ("a.npz", lambda p: npz(p, X=np.full((2, 1, 3), None)), "must hold real numbers"),
    "complex": ("a.npz", lambda p: npz(p, X=X.astype(complex)), "must hold real numbers"),
    "infinite": ("a.npz", lambda p: npz(p, X=X + np.inf), "infinite"),
    "extra": ("a.npz", lambda p: npz(p, X=X, **{"extra.s": np.ones(3)}), "extra.s must have one entry for each"),
    "lengths": ("a.npz", lambda p: npz(p, X=X, lengths=np.ones(3, int)), "lengths must have shape"),
    "fortran": ("a.npy", lambda p: npy(p, np.asfortranarray(np.ones((2, 2, 3), np.float32))), "innermost"),
    "no zip": ("a.npz", lambda p: p.write_bytes(b"PK\3\4" + b"\0" * 50), r"a\.npz"),
    "no npy": ("a.npy", lambda p: p.write_bytes(b"\x93NUMPY"), r"a\.npy"),
    "empty npy": ("a.npy", lambda p: p.write_bytes(b""), r"a\.npy"),
    "no safetensors": ("a.safetensors", lambda p: p.write_bytes(b"\xff" * 40), r"a\.safetensors"),
    "huge header": ("a.safetensors", lambda p: p.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"), r"a\.saf"),
    "short tensor": (
        "a.safetensors",
        lambda p: raw(p, {"X": {"dtype": "F32", "shape": [2, 1, 3], "data_offsets": [0, 24]}}, b"\0" * 20),
        r"a\.safetensors",
    ),
    "bools": (
        "a.safetensors",
        lambda p: raw(p, {"X": {"dtype": "BOOL", "shape": [2, 1, 3], "data_offsets": [0, 6]}}, b"\0" * 6),
        "must hold real numbers",
    ),
    "no parquet": ("a.parquet", lambda p: p.write_bytes(b"PAR1" + b"\0" * 40), r"a\.parquet"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(tmp_path, case):
    name, write, said = BROKEN[case]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=said) as caught:
        list(DataFile(tmp_path / name))
    assert name in str(caught.value)


def test_an_array_that_claims_to_be_larger_than_its_file(tmp_path):
    np.save(tmp_path / "a.npy", X)
    data = (tmp_path / "a.npy").read_bytes().replace(b"(2, 1, 3)", b"(2, 1, 9)")
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match="truncated"):
        list(DataFile(tmp_path / "a.npy"))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", data)
    with pytest.raises(ValueError, match="truncated"):
        list(DataFile(tmp_path / "a.npz"))


def test_a_flipped_bit_in_an_archive_is_noticed(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.random.default_rng(0).normal(size=(50, 2, 9)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.npz: .*CRC"):
        list(DataFile(tmp_path / "a.npz"))


def test_names_and_options(tmp_path):
    for name in ("a.json", "a.pt", "a"):
        with pytest.raises(ValueError, match="to be read piece by piece"):
            DataFile(tmp_path / name)
    with pytest.raises(ValueError, match="layout must be"):
        DataFile("a.npz", layout="TBD")
    with pytest.raises(ValueError, match="x and layout are for arrays"):
        DataFile("a.parquet", x="Z")
    with pytest.raises(ValueError, match="columns are for tables"):
        DataFile("a.npz", columns=Columns(id="run"))
    with pytest.raises(FileNotFoundError):
        list(DataFile(tmp_path / "none.npz"))
    np.save(tmp_path / "a.npy", np.zeros((3, 4, 5)))
    assert DataFile(tmp_path / "a.npy").features() == 4
    assert DataFile(tmp_path / "a.npy", layout="BTD").features() == 5


def claiming(path, shape, size=None):
    """A .npy or .npz whose array has 24 bytes and says that it has this shape, the archive this size."""
    np.save(path.with_suffix(".npy"), X)
    data = path.with_suffix(".npy").read_bytes()
    claim = f"{shape}, }}".encode()
    start = data.index(b"(2, 1, 3), }")
    data = data[:start] + claim.ljust(data.index(b"\n") - start) + data[data.index(b"\n") :]
    path.with_suffix(".npy").write_bytes(data)
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.writestr("X.npy", data)
    archive = bytearray(path.with_suffix(".npz").read_bytes())
    if size is not None:
        at = archive.rfind(b"PK\1\2") + 24  # of the uncompressed size, in the directory of the archive
        archive[at : at + 4] = size.to_bytes(4, "little")
    path.with_suffix(".npz").write_bytes(archive)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("shape", [(-2, 1, 3), (-2, -1, 3), (2, -1, 3), (True, 1, 3), (0, 1, 3)])
def test_axes_that_are_no_sizes(tmp_path, suffix, shape):
    claiming(tmp_path / "a", shape)
    file = DataFile(tmp_path / f"a{suffix}")
    for read in (list, DataFile.features):
        with pytest.raises(ValueError, match=rf"a\{suffix}: 'X' is empty"):
            read(file)


def test_an_archive_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    claiming(tmp_path / "a", (1, 1, 1 << 28), size=(1 << 30) + 128)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.npz: "):
        list(DataFile(tmp_path / "a.npz"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_header_that_is_too_long_is_not_parsed(tmp_path):
    (tmp_path / "a.safetensors").write_bytes((20_000_000).to_bytes(8, "little") + b" " * 20_000_000)
    with pytest.raises(ValueError, match=r"a\.safetensors: .* a header of 20000000 bytes"):
        list(DataFile(tmp_path / "a.safetensors"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
@pytest.mark.parametrize("suffix", data_file.READERS)
def test_a_pipe_is_refused_without_waiting(tmp_path, suffix):
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match="is not a regular file"):
        list(DataFile(tmp_path / f"a{suffix}"))
