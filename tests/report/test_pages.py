"""Pages of results: what is in them, read back by a plain reader, and that names from users do nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.attribution import METHODS
from rambit.cli import main
from rambit.labels import Labels
from rambit.report import About, Panel, document_page, gallery_page, image_page, packing, series_page, table_page
from rambit.results import Attribution
from rambit.rex import ReX
from rambit.sufficiency import explain

pytestmark = pytest.mark.wheel  # which must hold what pages are made of
HOSTILE = "</script><img src=x onerror=alert(1)>"
ASSETS = Path(packing.__file__).parent / "assets"


def read(html: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The data of a page and its arrays, NaN where there is none."""
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, flags=re.S)[1])
    arrays = {}
    for name, spec in data["arrays"].items():
        text = re.search(rf'<script type="text/plain" id="array-{name}">(.*?)</script>', html)[1]
        whole = np.frombuffer(base64.b64decode(text), "<" + spec["kind"]).reshape(spec["shape"])
        if "half" in spec:
            most = np.iinfo(whole.dtype).max
            middle, half = (np.reshape(spec[key], (*spec["shape"][:-1], 1)) for key in ("middle", "half"))
            whole = np.where(whole < -most, np.nan, middle + half * whole / most)
        arrays[name] = whole
    return data, arrays


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=shape)
    made[..., 0] = np.nan
    return made


@pytest.mark.parametrize(("kind", "precision"), [("f4", 1e-6), ("i2", 2e-5), ("i1", 4e-3)])
def test_numbers_come_back(kind, precision, monkeypatch):
    scores, values = numbers(2, 3, 4, 9), 1e7 + 1e3 * numbers(2, 4, 9, seed=1)
    monkeypatch.setattr("rambit.report.series.kind_for", lambda *_: kind)
    data, arrays = read(series_page(scores, About("x"), features="abcd", titles="pq", values=values, targets="klm"))
    assert (data["features"], data["targets"]) == (list("abcd"), list("klm"))
    for b in range(2):
        found, largest = arrays[f"score-{b}"], np.nanmax(np.abs(scores[b]), axis=-1, keepdims=True)
        assert (np.isnan(found) == np.isnan(scores[b])).all()
        assert np.nanmax(np.abs(found - scores[b]) / largest) <= precision
        spread = np.nanmax(values[b], axis=-1) - np.nanmin(values[b], axis=-1)
        wrong = np.nanmax(np.abs(arrays[f"value-{b}"] - values[b]), axis=-1)
        assert (wrong <= np.maximum(precision * spread, 1.0)).all()  # float32 knows 1e7 to 1


def test_zero_stays_zero_and_infinite_numbers_are_none():
    packed = packing.Packed("i1")
    packed.add("a", np.array([[0.0, 5.0, 1e-9, np.inf], [0.0, 0.0, 0.0, np.nan]]), signed=True)
    whole = np.frombuffer(base64.b64decode(packed.texts["a"]), np.int8).reshape(2, 4)
    assert whole.tolist() == [[0, 127, 0, -128], [0, 0, 0, -128]]


def test_a_large_page_keeps_its_size_and_says_what_it_left_out(monkeypatch):
    monkeypatch.setattr("rambit.report.series.MOST_BYTES", 440_000)
    room = 40_000 / packing.TEXT
    for count, kind, errors, series in (
        (2, "f4", True, 2),
        (8, "i1", True, 8),
        (15, "i1", False, 15),
        (50, "i1", False, 15),
    ):
        scores = numbers(count, 1, 2, 500)
        html = series_page(
            scores, About("x"), features="ab", titles=[""] * count, values=scores[:, 0], stderr=abs(scores)
        )
        data, arrays = read(html)
        assert (data["arrays"]["score-0"]["kind"], "stderr-0" in arrays, len(data["series"])) == (kind, errors, series)
        assert sum(np.prod(spec["shape"]) * int(spec["kind"][1]) for spec in data["arrays"].values()) <= room
        assert ("standard errors" in " ".join(data["notes"])) == (not errors)
        assert (f"the first 15 of {count} series" in data["notes"]) == (count == 50)


def test_what_users_write_is_data():
    scores = numbers(1, 1, 2, 4)
    about = About(HOSTILE, HOSTILE, {HOSTILE: HOSTILE, "settings": {"a": HOSTILE}}, HOSTILE)
    pages = [
        series_page(
            scores, about, features=[HOSTILE, "b"], titles=[HOSTILE], targets=[HOSTILE], score=HOSTILE, unit=HOSTILE
        ),
        image_page(scores[0, 0], about, masks={HOSTILE: scores[0, 0] > 0}),
        document_page({HOSTILE: HOSTILE}, about, whole={HOSTILE: HOSTILE, "b": 1}),
        table_page([{HOSTILE: HOSTILE}], about, figures={HOSTILE: b"png"}),
        gallery_page([Panel(HOSTILE, HOSTILE, scores[0, 0], {HOSTILE: scores[0, 0] > 0})], 1, about),
    ]
    for html in pages:
        assert "<img" not in html.replace('element("img"', "")
        assert html.count("</script>") == html.count("<script")
        assert HOSTILE in json.dumps(read(html)[0])
        assert "default-src 'none'" in html


def test_documents_mark_what_is_kept():
    whole = {"a": 1, "b": [{"c": 2, "d": 3}, {"c": 4}, 5], "e": {"f": None}}
    data, _ = read(document_page({"b": [{"c": 4}], "e": {"f": None}}, About("x"), whole=whole))
    kept = [text for _, text, there in data["whole"] if there]
    assert kept == ["{", '"b": [', "{", '"c": 4', "},", "],", '"e": {', '"f": null', "}", "}"]


def test_a_table_shows_what_is_not_known():
    data, _ = read(table_page([{"a": 1.5, "b": float("nan")}, {"a": None, "c": "x"}], About("x")))
    assert data["columns"] == ["a", "b", "c"]
    assert data["rows"] == [[1.5, None, None], [None, None, "x"]]


@pytest.fixture(scope="module")
def attribution() -> Attribution:
    times = np.datetime64("2024-03-01") + np.arange(8) * np.timedelta64(1, "h")
    labels = Labels(features=["heart", HOSTILE], times=times, outputs=["well", "ill"])
    X = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    method = RaMbIT(lambda x: x[:, :, -2:].mean(2), anchor="end", num_samples=2, L=3, counterfactuals="gaussian")
    return method.explain(X, lengths=[8, 5, 8], labels=labels, targets="all")


def test_an_attribution(attribution, tmp_path, capsys):
    attribution.report(tmp_path / "a.html", title="why")
    data, arrays = read((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert (data["title"], data["features"], data["targets"]) == ("why", ["heart", HOSTILE], ["well", "ill"])
    assert [one["steps"] for one in data["series"]] == [8, 5, 8]
    np.testing.assert_allclose(arrays["score-0"], attribution.values[0], rtol=1e-6)
    np.testing.assert_allclose(arrays["stderr-2"], attribution.stderr[2], rtol=1e-6)
    np.testing.assert_allclose(arrays["value-0"], attribution.X[0], rtol=1e-6)
    assert np.isnan(arrays["score-1"][..., 5:]).all()
    assert arrays["times"][1] - arrays["times"][0] == 3600
    assert data["facts"]["rows"] == f"{attribution.rows:,}"
    with pytest.raises(FileExistsError):
        attribution.report(tmp_path / "a.html")
    with pytest.raises(ValueError, match="html"):
        attribution.report(tmp_path / "a.txt")
    attribution.save(tmp_path / "a.safetensors")
    assert main(["report", str(tmp_path / "a.safetensors"), "--series", "2", "--out", str(tmp_path / "b.html")]) == 0
    data, arrays = read((tmp_path / "b.html").read_text(encoding="utf-8"))
    assert len(data["series"]) == 1
    np.testing.assert_allclose(arrays["score-0"], attribution.values[2], rtol=1e-6)
    assert main(["report", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "b.txt")]) == 2
    assert "--out must end in .html" in capsys.readouterr().err


def test_the_call_repeats_it(attribution, tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    X = torch.randn(2, 2, 8)
    result = RaMbIT(model, anchor="end", num_samples=2, L=3, counterfactuals="gaussian", seed=5, window_size=2).explain(
        X
    )
    result.report(tmp_path / "a.html")
    data, _ = read((tmp_path / "a.html").read_text(encoding="utf-8"))
    names = {"RaMbIT": METHODS["rambit"], "model": model, "X": X, "background": torch.randn(30, 2, 8)}
    assert torch.equal(eval(data["call"], names).values, result.values)


@pytest.mark.parametrize("asked", [{"target": 1}, {"targets": "all"}, {"targets": [1]}])
def test_the_call_repeats_what_was_asked(asked, tmp_path):
    names = {
        "RaMbIT": METHODS["rambit"],
        "model": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2)),
        "X": torch.randn(2, 2, 8),
        "background": torch.randn(30, 2, 8),
    }
    options = {"masks": "bernoulli:p=0.3", "counterfactuals": "conditional:history=2", "num_samples": 2, "L": 3}
    method = RaMbIT(names["model"], anchor="end", background=names["background"], **options)
    result = method.explain(names["X"], **asked)
    result.report(tmp_path / "a.html")
    data, _ = read((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert torch.equal(eval(data["call"], names).values, result.values)


def test_rex_and_sufficient_explanations(tmp_path):
    def model(x: torch.Tensor) -> torch.Tensor:
        bright = 8 * (x[:, :, 2:6, 3:7].mean((1, 2, 3)) - 0.5)
        return torch.stack([torch.zeros_like(bright), bright], dim=1)

    x = torch.zeros(1, 3, 9, 12)
    x[:, :, 2:6, 3:7] = 1
    found = ReX(model, iters=3, min_box_size=4).explain(x)
    found.report(tmp_path / "rex.html")
    data, arrays = read((tmp_path / "rex.html").read_text(encoding="utf-8"))
    assert (data["grid"], data["masks"], data["channels"]) == ([1, 9, 12], ["sufficient"], 3)
    np.testing.assert_array_equal(arrays["mask-0"].reshape(9, 12) > 0.5, found.mask)
    np.testing.assert_allclose(arrays["picture"].reshape(3, 9, 12), x[0], atol=1e-2)
    series = ReX(lambda x: x[:, 0, :2], iters=2, min_box_size=2).explain(torch.rand(1, 1, 16))
    series.report(tmp_path / "series.html")
    assert read((tmp_path / "series.html").read_text(encoding="utf-8"))[0]["kind"] == "series"

    for sample, kind in ((torch.randn(1, 2, 5), "series"), (torch.randn(1, 6), "table"), (x, "image")):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(sample[0].numel(), 2))
        kept = explain(network, sample, search="flat_hadd", num_samples=8)
        kept.report(tmp_path / f"{kind}.html", force=True)
        assert read((tmp_path / f"{kind}.html").read_text(encoding="utf-8"))[0]["kind"] == kind


def panels(count: int, height: int, width: int) -> list[Panel]:
    rng = np.random.default_rng(0)
    return [
        Panel(
            f"{n}.png",
            HOSTILE,
            rng.random((height, width)),
            {"sufficient": rng.random((height, width)) > 0.9},
            rng.random((3, height, width)),
        )
        for n in range(count)
    ]


def test_a_gallery_is_as_small_as_it_must_be(monkeypatch):
    given = panels(9, 50, 70)
    data, arrays = read(gallery_page(iter(given), 9, About("many")))
    for n, (section, panel) in enumerate(zip(data["sections"], given, strict=True)):
        assert (section["title"], section["line"], section["masks"]) == (panel.title, HOSTILE, ["sufficient"])
        np.testing.assert_allclose(arrays[f"score-{n}"].reshape(50, 70), panel.score, atol=5e-3)
        np.testing.assert_allclose(arrays[f"picture-{n}"].reshape(3, 50, 70), panel.picture, atol=5e-3)
        assert ((arrays[f"mask-{n}-0"].reshape(50, 70) > 0) == panel.masks["sufficient"]).all()

    given, most = panels(30, 210, 300), 200_000 + 20 * 25_500
    monkeypatch.setattr("rambit.report.gallery.MOST_BYTES", most)
    html = gallery_page(iter(given), 30, About("many"))
    data, arrays = read(html)
    assert len(html.encode()) < most
    assert (len(data["sections"]), data["notes"]) == (20, ["the first 20 of 30 inputs"])
    assert data["sections"][0]["line"] == f"{HOSTILE}; shown at 1/5 of its size"
    assert (data["sections"][0]["height"], data["sections"][0]["width"]) == (42, 60)
    squares = given[0].score.reshape(42, 5, 60, 5)
    np.testing.assert_allclose(arrays["score-0"].reshape(42, 60), squares.mean((1, 3)), atol=5e-3)
    kept = given[0].masks["sufficient"].reshape(42, 5, 60, 5).any((1, 3))
    assert ((arrays["mask-0-0"].reshape(42, 60) > 0) == kept).all()


def test_the_plotting_library_is_the_one_that_was_looked_at():
    """uPlot 1.6.32, from its package: dist/ and LICENSE."""
    sums = {
        "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
        "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    }
    for name, expected in sums.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == expected
    assert "MIT License" in (ASSETS / "uPlot.LICENSE").read_text(encoding="utf-8")
