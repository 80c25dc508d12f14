"""`rambit plot` draws every kind of saved result as its own `plot` does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rambit import Attribution
from rambit.attribution import Interactions
from rambit.rex import ReX, RexExplanation
from rambit.sufficiency import explain

pytest.importorskip("matplotlib")


def net(x):
    return torch.stack((x.mean(dim=(1, 2)), x[:, 0, 0]), dim=1)


@pytest.fixture
def results(tmp_path, monkeypatch):
    """One saved result of each kind."""
    X = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    scores = Attribution(X.double(), None, 1, 6, 0.5, {"method": "any"}, 0, ids=torch.tensor([4, 7, 9]))
    scores.save(tmp_path / "scores.safetensors")
    ReX(net, iters=2).explain(X[:1]).save(tmp_path / "rex.safetensors")
    explain(net, X[:1]).save(tmp_path / "kept.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were written."""
    figures = []

    def save(figure, path):
        figures.append(figure)
        path.write_text("figure")

    monkeypatch.setattr("rambit.cli.plot.save", save)
    return figures


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("name", ["scores", "rex", "kept"])
def test_every_kind(rambit, results, drawn, name):
    done = rambit("plot", f"{name}.safetensors")
    assert done.code == 0, done.err
    assert f"wrote   {name}.png" in done.out
    from rambit.cli.plot import load

    assert np.array_equal(pixels(drawn[0]), pixels(load(f"{name}.safetensors").plot()))


def test_files_series_and_title(rambit, fails, results, drawn):
    assert rambit("plot", "scores.safetensors", "--series", "9,4", "--title", "mine", "--out", "a.svg").code == 0
    assert drawn[0].get_suptitle() == "mine"
    expected = Attribution.load("scores.safetensors").plot(series=[2, 0])
    expected.suptitle("mine")
    assert np.array_equal(pixels(drawn[0]), pixels(expected))
    assert "a.svg exists; --force" in fails("plot", "scores.safetensors", "--out", "a.svg")
    assert rambit("plot", "scores.safetensors", "--out", "a.svg", "--force").code == 0


def test_kinds_scale_and_top(rambit, fails, results, drawn):
    for file, flags, how in (
        ("scores", ("--scale", "shared", "--top", "1"), {"scale": "shared", "top": 1}),
        ("scores", ("--kind", "features", "--top", "1"), {"kind": "features", "top": 1}),
        ("scores", ("--kind", "times", "--series", "7"), {"kind": "times", "series": [1]}),
        ("rex", ("--kind", "map"), {"kind": "map"}),
    ):
        done = rambit("plot", f"{file}.safetensors", *flags, "--force")
        assert done.code == 0, done.err
        kind = Attribution if file == "scores" else RexExplanation
        assert np.array_equal(pixels(drawn[-1]), pixels(kind.load(f"{file}.safetensors").plot(**how)))
    for file, flags, said in (
        ("scores", ("--kind", "map"), "kind must be one of cells, features, times, got 'map'"),
        ("scores", ("--scale", "x"), "scale must be one of series, shared, got 'x'"),
        ("scores", ("--kind", "times", "--scale", "shared"), "--scale is for --kind cells, given --kind times"),
        ("scores", ("--kind", "times", "--top", "2"), "--top is of features, given --kind times"),
        ("rex", ("--top", "2"), "--top is for scores of several series, and this is a RexExplanation"),
        ("kept", ("--kind", "map"), "--kind is for scores"),
    ):
        assert said in fails("plot", f"{file}.safetensors", *flags, "--out", "new.png")


def test_the_file_is_a_picture(rambit, results):
    assert rambit("plot", "kept.safetensors").code == 0
    assert (results / "kept.png").read_bytes().startswith(b"\x89PNG")


def test_what_can_not_be_drawn(fails, results):
    for series in ("5", "4-9", "0-99999999999999"):
        said = fails("plot", "scores.safetensors", "--series", series)
        assert f"--series {series}: the result holds series 4, 7, 9" in said
    assert "names a series twice" in fails("plot", "scores.safetensors", "--series", "4,4")
    assert "--series is for scores of several series" in fails("plot", "rex.safetensors", "--series", "0")
    assert "--out must end in one of" in fails("plot", "rex.safetensors", "--out", "a.doc")
    assert "none.safetensors: No such file" in fails("plot", "none.safetensors")
    assert "is a folder: name one result file" in fails("plot", ".", "--out", "a.png")
    save_file({"a": torch.zeros(2)}, "tensors.safetensors")
    assert "not a saved result of rambit" in fails("plot", "tensors.safetensors")
    (results / "text.safetensors").write_text("text")
    assert "text.safetensors" in fails("plot", "text.safetensors")
    broken = (results / "rex.safetensors").read_bytes()[:-8]
    (results / "broken.safetensors").write_bytes(broken)
    assert "broken.safetensors" in fails("plot", "broken.safetensors")
    assert list(results.glob("*.png")) == []


@pytest.mark.parametrize("command", ["plot", "report", "export"])
def test_what_is_no_result_and_how_one_is_made(fails, made, results, command):
    (results / "sensors.csv").write_text("time,heart\n0,1\n")
    np.save("series.npy", np.zeros((2, 3, 4)))
    out = ("--out", "x.parquet") if command == "export" else ()
    for path, what, way in (
        ("sensors.csv", "a table of data", "rambit attribute sensors.csv --model MODEL"),
        ("series.npy", "an array of NumPy", "rambit attribute series.npy --model MODEL"),
        (made.data, "arrays of NumPy", f"rambit attribute {made.data} --model MODEL"),
        (made.model, "a model", f"rambit attribute DATA --model {made.model}"),
    ):
        said = fails(command, path, *out)
        assert f"{path} is {what}, not a saved result; this makes one: {way} --out" in said
    assert "none.csv: No such file" in fails(command, "none.csv", *out)
    (results / "net.py").write_text("net = None\n")
    assert "net.py is not a saved result, which is a safetensors file" in fails(command, "net.py", *out)


def test_a_result_whose_name_has_no_ending(rambit, results, drawn):
    (results / "scores.safetensors").rename("scores")
    assert rambit("plot", "scores").code == 0


def test_a_result_is_no_model(fails, made, results):
    said = fails("cost", made.data, "--model", "scores.safetensors")
    assert "--model scores.safetensors is a saved result, not a model" in said


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_the_series_of_a_result_without_them(rambit, fails, made, tmp_path, monkeypatch, layout):
    monkeypatch.chdir(tmp_path)
    X = torch.from_numpy(made.set.X)[[5, 2]]
    X = X if layout == "BDT" else X.mT
    scores = Attribution(torch.randn(X.shape), None, 1, 6, 0.5, {"layout": layout}, 0, ids=torch.tensor([5, 2]))
    scores.save("bare.safetensors")
    scores.report("expected.html", X=X)
    done = rambit("report", "bare.safetensors")
    assert "note    drawn without the series, of which the result holds no copy: --data reads them" in done.out
    done = rambit("report", "bare.safetensors", "--data", made.data, "--out", "with.html")
    assert done.code == 0, done.err
    assert "note" not in done.out
    assert (tmp_path / "with.html").read_text() == (tmp_path / "expected.html").read_text()
    assert rambit("plot", "bare.safetensors", "--data", made.data).code == 0
    assert "--x says how --data is read" in fails("report", "bare.safetensors", "--x", "Z", "--out", "a.html")
    np.savez("few.npz", X=np.zeros((5, 2, 9)))
    said = fails("report", "bare.safetensors", "--data", "few.npz", "--out", "a.html")
    assert "few.npz has 5 series, but the result is of series 5 too" in said
    np.savez("few.npz", X=np.zeros((6, 2, 8)))
    assert "X must have the shape" in fails("report", "bare.safetensors", "--data", "few.npz", "--out", "a.html")


def test_interactions(rambit, fails, results, drawn):
    X = torch.randn(3, 2, 6, generator=torch.Generator().manual_seed(0))
    pairs = Interactions(net, lags=1, anchor="end").explain(X)
    pairs.save("pairs.safetensors")
    for kind in ("lag", "time", "histogram"):
        done = rambit("plot", "pairs.safetensors", "--kind", kind, "--force")
        assert done.code == 0, done.err
        assert np.array_equal(pixels(drawn[-1]), pixels(pairs.plot(of=kind)))
    assert rambit("plot", "pairs.safetensors", "--out", "lags.png").code == 0
    assert "a PairAttribution has no page: rambit plot draws it" in fails("report", "pairs.safetensors")
