"""What `rambit rex` stored of many inputs, as a page and as pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rambit.cli.rex.stored import stored
from rambit.rex import ReX
from rambit.store import Store
from tests.cli.test_rex import bright, folder, photo, zoo  # noqa: F401
from tests.report.test_pages import read


@pytest.fixture
def done(rambit, folder, zoo):  # noqa: F811
    assert rambit(*folder).code == 0
    return zoo


def test_a_page_of_images(rambit, done):
    ran = rambit("report", "results", "--title", "mine")
    assert ran.code == 0, ran.err
    assert ran.out.splitlines() == ["result  3 explanations", "wrote   results.html"]
    data, arrays = read((done / "results.html").read_text(encoding="utf-8"))
    assert (data["kind"], data["title"], data["line"]) == ("gallery", "mine", "3 explanations")
    for n, section in enumerate(data["sections"]):
        x = photo(done / "again.png", seed=n)
        found = ReX(bright, iters=2, min_box_size=4).explain(x)
        assert section["title"] == f"{n}.png"
        assert section["line"] == f"class 1, {found.area:.2%} kept: confidence {found.confidence:.4f}"
        assert (arrays[f"mask-{n}-0"].reshape(16, 16) > 0).tolist() == found.mask.tolist()
        np.testing.assert_allclose(arrays[f"picture-{n}"].reshape(3, 16, 16), x[0], atol=6e-3)
        np.testing.assert_allclose(arrays[f"score-{n}"].reshape(16, 16), found.responsibility, atol=5e-3)


def test_one_of_a_folder(rambit, fails, done):
    pytest.importorskip("matplotlib")
    said = fails("plot", "results")
    assert "results holds 3 results (0.png, 1.png, 2.png): --input NAME draws one" in said
    assert "`rambit report results` makes a page of all" in said
    ran = rambit("plot", "results", "--input", "1.png", "--out", "one.png")
    assert ran.code == 0, ran.err
    found = ReX(bright, iters=2, min_box_size=4).explain(photo(done / "again.png", seed=1))
    replace(found, x=(found.x * 255).round() / 255).plot(done / "twin.png")
    assert (done / "one.png").read_bytes() == (done / "twin.png").read_bytes()
    assert rambit("report", "results", "--input", "1.png", "--out", "one.html").code == 0
    assert read((done / "one.html").read_text(encoding="utf-8"))[0]["kind"] == "image"
    for command, out in (("plot", "new.png"), ("report", "new.html")):
        said = fails(command, "results", "--input", "4.png", "--out", out)
        assert "--input 4.png: " in said
        assert "holds 0.png, 1.png, 2.png" in said
    assert "--series is for scores" in fails("report", "results", "--series", "0", "--out", "new.html")
    assert "and none is none" in fails("plot", "none", "--input", "a", "--out", "new.png")
    (done / "results" / "manifest.json").write_text("{}")
    assert "manifest.json is corrupt" in fails("report", "results", "--out", "new.html")


def test_results_that_hold_no_picture_and_stores_of_others(rambit, fails, done):
    with Store("results", read_only=True) as store:
        key, entries = store.key, {name: store.get(name) for name in store.names()}
    with Store("results", key=key) as store:
        for name, (tensors, record) in entries.items():
            del tensors["picture"]
            store.put(name, tensors, record)
    with stored("results") as found:
        assert found["1.png"].x is None
    assert rambit("report", "results").code == 0
    assert "picture-0" not in read((done / "results.html").read_text(encoding="utf-8"))[1]
    with Store("others", key="k") as store:
        store.put("sums", {"sum": torch.zeros(3)})
    assert "'sums' is no explanation of `rambit rex`" in fails("report", "others")
    with Store("empty", key="k"):
        pass
    assert "empty holds no results" in fails("report", "empty")


def test_a_page_of_series(rambit, tmp_path, made):
    X = np.random.default_rng(0).normal(size=(3, 2, 9)).astype(np.float32)
    np.save(tmp_path / "a.npy", X)
    run = ("rex", tmp_path / "a.npy", "--model", made.model, "--out", tmp_path / "results", "--min-box-size", 1)
    assert rambit(*run, "--iters", 2).code == 0
    assert rambit("report", tmp_path / "results").code == 0
    data, arrays = read((tmp_path / "results.html").read_text(encoding="utf-8"))
    assert (data["kind"], [one["steps"] for one in data["series"]]) == ("series", [9, 9, 9])
    assert data["series"][2]["title"].startswith(("2: high, ", "2: low, "))
    np.testing.assert_allclose(arrays["value-1"], X[1], atol=1e-6)
    with stored(tmp_path / "results") as found:
        np.testing.assert_allclose(arrays["score-2"][0], found["2"].responsibility, atol=1e-6)
