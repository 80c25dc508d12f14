"""Tables of a result: a row for each cell that was evaluated, for pandas, xarray, CSV and HTML."""

from __future__ import annotations

import csv
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rambit.labels import Labels
from rambit.results import Attribution
from tests.results.made import NAMES, at, cells, result

CASES = [
    {},
    {"layout": "BTD"},
    {"targets": [1, 0]},
    {"targets": [1, 0], "layout": "BTD"},
    {"labels": Labels(), "lengths": None},
    {"labels": Labels(times=np.arange(10.0).reshape(2, 5), unit="s")},
    {"X": None, "stderr": None},
]


def expected(a: Attribution) -> list[dict[str, Any]]:
    """The rows of the table, one after another."""
    labels, rows = a.labels, []
    for b, k, d, t in cells(a):
        times = labels.times_of(b)
        row: dict[str, Any] = {"series": a.ids[b].item() if labels.series is None else labels.series[b]}  # type: ignore[index, union-attr]
        if k is not None:
            assert labels.outputs is not None
            assert a.targets is not None
            row["target"] = labels.outputs[a.targets[k]]
        row["feature"] = d if labels.features is None else labels.features[d]
        row["time"] = t if times is None else times[t]
        row["score"] = at(a.values, a, b, k, d, t)
        if a.stderr is not None:
            row["stderr"] = at(a.stderr, a, b, k, d, t)
        if a.X is not None:
            row["value"] = at(a.X, a, b, None, d, t)
        rows.append(row)
    return rows


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_frame(case: Any) -> None:
    pytest.importorskip("pandas")
    a = result(**case)
    frame, rows = a.to_frame(), expected(a)
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows)
    for name in frame.columns:
        column = frame[name].to_numpy()
        assert list(column) == [row[name] for row in rows], name
    assert frame["score"].dtype == np.float32


@pytest.mark.parametrize("case", CASES, ids=str)
def test_csv_needs_no_pandas_and_holds_the_same(case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    a, path = result(**case), tmp_path / "a.csv"
    a.to_csv(path)
    with open(path, encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    rows = expected(a)
    assert len(found) == len(rows)
    for mine, theirs in zip(found, rows, strict=True):
        assert list(mine) == list(theirs)
        for name, text in mine.items():
            value = theirs[name]
            if isinstance(value, np.datetime64):
                assert np.datetime64(text) == value
            elif isinstance(value, float):
                assert float(np.float32(text)) == value, "as many digits as tell the numbers apart"
            else:
                assert text == str(value)


def test_csv_of_names_that_need_quotes_and_of_timedeltas(tmp_path: Path) -> None:
    names = ('a,b "c"', "ä\nb", "=1")
    times = np.arange(5).astype("timedelta64[ms]") * 500
    a = result(labels=Labels(features=names, times=times))
    a.to_csv(tmp_path / "a")
    with open(tmp_path / "a", encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["feature"] for row in found] == [names[d] for _, _, d, _ in cells(a)]
    assert [float(row["time"]) for row in found] == [t / 2 for *_, t in cells(a)]


def test_csv_is_not_written_over_and_has_its_own_ending(tmp_path: Path) -> None:
    a, path = result(), tmp_path / "a.csv"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="force=True"):
        a.to_csv(path)
    assert path.read_text() == "mine"
    a.to_csv(path, force=True)
    assert path.read_text().startswith("series,feature,time,score,stderr,value\nAnn,hr,2024-03-01T00:00")
    with pytest.raises(ValueError, match=r"path must end in \.csv"):
        a.to_csv(tmp_path / "a.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_xarray(case: Any) -> None:
    pytest.importorskip("xarray")
    a = result(**case)
    data = a.to_xarray()
    axes = ("series", "feature", "time") if a.targets is None else ("series", "target", "feature", "time")
    assert data["score"].dims == axes
    assert ("value" in data, "stderr" in data) == (a.X is not None, a.stderr is not None)
    known = np.zeros(data["score"].shape, dtype=bool)
    for b, k, d, t in cells(a):
        place = (b, d, t) if k is None else (b, k, d, t)
        known[place] = True
        assert data["score"].values[place] == np.float32(at(a.values, a, b, k, d, t))
        if a.X is not None:
            assert data["value"].values[b, d, t] == np.float32(at(a.X, a, b, None, d, t))
    assert np.isnan(data["score"].values[~known]).all()
    assert data["outputs"].dims == ("series", "output")
    if a.labels is NAMES:
        assert data["feature"].values.tolist() == list(NAMES.features or ())
        assert data.sel(series="Bob", output="ill")["outputs"] == np.float32(0.25)
        assert (data["time"].values == NAMES.times).all()
    assert data.attrs["model"] == a.model


@pytest.mark.parametrize("name", ["pandas", "xarray"])
def test_what_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"needs \w+: pip install 'rambit\[frames\]'"):
        result().to_frame() if name == "pandas" else result().to_xarray()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_by_feature_and_by_time(case: Any) -> None:
    a = result(**case)
    found = {"feature": a.by_feature(), "time": a.by_time()}
    for b in range(2):
        for k in [None] if a.targets is None else range(2):
            for name, size in (("feature", 3), ("time", 5)):
                for i in range(size):
                    here = [c for c in cells(a) if c[:2] == (b, k) and c[2 if name == "feature" else 3] == i]
                    mean = np.mean([abs(at(a.values, a, *c)) for c in here]) if here else np.nan
                    place = (b, i) if k is None else (b, k, i)
                    np.testing.assert_allclose(found[name][place].item(), mean, rtol=1e-12)


class Page(HTMLParser):
    """The tags of a page and what it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(a: Attribution) -> Page:
    found = Page()
    found.feed(a._repr_html_())
    found.close()
    assert found.open == []
    return found


def test_html_is_small_and_shows_names_as_they_are() -> None:
    hostile = "<script>alert(1)</script>' onload='x"
    found = page(result(labels=Labels(features=("hr", hostile, "&amp;"), series=("<b>", '"'))))
    assert set(found.tags) == {"div", "table", "tr", "th", "td"}
    assert found.attributes == {"style", "colspan"}
    text = " ".join(found.text)
    for name in (hostile, "&amp;", "<b>", '"'):
        assert name in text
    assert text.startswith("Attribution(2 x 3 x 5; BDT")


def test_html_of_much_and_of_little() -> None:
    values = torch.randn(40, 30, 500, generator=torch.Generator().manual_seed(1))
    a = Attribution(values, None, 1, 1, 0.0, {}, 0)
    found = page(a)
    assert len(a._repr_html_()) < 120_000
    assert "and 36 more; plot() draws them" in found.text
    assert any("the 10 of 30 features" in text for text in found.text)
    assert "table" in page(Attribution(torch.zeros(0, 3, 4), None, 1, 1, 0.0, {}, 0)).tags
    assert "table" in page(Attribution(torch.zeros(2, 3), None, 1, 1, 0.0, {}, 0)).tags
    assert "series 7: ill" in " ".join(page(result(labels=Labels(outputs=("well", "ill")), targets=None)).text)


def test_html_colours_tell_sign_and_size() -> None:
    a = Attribution(torch.tensor([[[1.0, -1.0, 0.0, torch.nan]]]), None, 1, 1, 0.0, {}, 0)
    assert "#b2182b 0% 25%,#2166ac 25% 50%,#ffffff 50% 75%,#ececec 75% 100%" in a._repr_html_()
