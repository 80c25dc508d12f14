"""`rambit plot` draws every kind of saved result as its own `plot` does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rambit import Attribution
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
