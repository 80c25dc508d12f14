"""Pictures of results: a loaded one's is that of a fresh one, and names, classes and times stand where they belong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rambit import RaMbIT, plots
from rambit.labels import Labels
from rambit.results import Attribution
from tests.results.made import NAMES, at, cells, result
from tests.results.test_files import pixels

pytest.importorskip("matplotlib")
LOADED = """
import sys
import numpy as np
from rambit import Attribution
figure = Attribution.load(sys.argv[1]).plot()
figure.canvas.draw()
np.save(sys.argv[2], np.asarray(figure.canvas.buffer_rgba()))
"""


def model(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(2)[:, :2, -1]


def test_a_loaded_result_draws_the_same_in_another_process(tmp_path: Path) -> None:
    X = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    method = RaMbIT(model, L=2, num_samples=1, anchor="end", window_size=1, distance="diff", output="logits")
    fresh = method.explain(X, lengths=[5, 3], labels=NAMES)
    fresh.save(tmp_path / "a.safetensors")
    expected = pixels(fresh.plot())
    paths = [str(tmp_path / "a.safetensors"), str(tmp_path / "a.npy")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", LOADED, *paths], check=True, env=environment)
    assert np.array_equal(np.load(paths[1]), expected)
    assert not np.array_equal(pixels(fresh.plot(X=False)), expected), "the input is drawn"


def shown(figure: Any) -> list[Any]:
    return [axes for axes in figure.axes if axes.get_visible() and axes.images and axes.get_title("left")]


def test_names_classes_and_times_are_shown() -> None:
    figure = result().plot()
    panels = shown(figure)
    assert [axes.get_title("left") for axes in panels] == ["Ann: ill (0.80)", "Bob: well (0.75)"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["hr", "bp", "t"]
    figure.canvas.draw()
    ticks = {label.get_text(): x for x, label in zip(panels[0].get_xticks(), panels[0].get_xticklabels(), strict=True)}
    assert ticks == {"Mar-01": 0, "06:00": 1, "12:00": 2, "18:00": 3, "Mar-02": 4}
    assert figure.get_supxlabel() == "time (2024-03-01 to 2024-03-02)"
    assert all(len(axes.lines) == 3 for axes in panels), "a curve of each feature"
    named = shown(result(target=torch.tensor([1, 0])).plot(feature_names=["a", "b", "c"], series=1))
    assert named[0].get_title("left") == "Bob: well"
    assert [label.get_text() for label in named[0].get_yticklabels()] == ["a", "b", "c"]
    plain = shown(result(labels=Labels(), target=torch.tensor([1, 0])).plot())
    assert [axes.get_title("left") for axes in plain] == ["series 7: output 1", "series 3: output 0"]


def test_series_by_name_and_the_input_as_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    a = result()
    assert [axes.get_title("left") for axes in shown(a.plot(series="Bob"))] == ["Bob: well (0.75)"]
    assert len(shown(a.plot(series=["Bob", 0]))) == 2
    assert a.top(1, "Bob") == a.top(1, 1)
    table = pandas.concat({name: pandas.DataFrame(x.T.numpy()) for name, x in zip(("Ann", "Bob"), a.X, strict=True)})
    for X in (table, a.X.numpy()):
        lines = [shown(one)[0].lines[0].get_ydata() for one in (a.plot(X=X), a.plot())]
        np.testing.assert_allclose(lines[0], lines[1])
    for call in (lambda s: a.plot(series=s), lambda s: a.top(1, s)):
        with pytest.raises(ValueError, match="series must be among Ann, Bob; given 'Eve'"):
            call("Eve")
        with pytest.raises(TypeError, match=r"series must be .*, given 0\.5"):
            call(0.5)
    with pytest.raises(TypeError, match=r"k must be an integer, given 1\.5"):
        a.top(1.5)


def test_one_of_several_targets_is_drawn() -> None:
    a = result([1, 0])
    with pytest.raises(ValueError, match="target must say which of ill, well"):
        a.plot()
    figure = a.plot(target="well")
    assert shown(figure)[0].get_title("left") == "Ann: well"
    assert np.array_equal(pixels(figure), pixels(a.sel(target="well").plot()))
    given = a.plot(target=1, X=torch.zeros(2, 3, 5))
    assert not np.array_equal(pixels(given), pixels(figure))
    with pytest.raises(ValueError, match="X must have the shape of values"):
        a.plot(target=1, X=torch.zeros(2, 5, 3))


def test_times_that_differ_stand_under_each_panel() -> None:
    times = np.array([[0.0, 1, 2, 3, 4], [10, 20, 30, np.nan, np.nan]])
    figure = plots.heatmap(torch.ones(2, 3, 5), times=times, unit="s", lengths=[5, 3])
    figure.canvas.draw()
    labels = [[label.get_text() for label in axes.get_xticklabels()] for axes in shown(figure)]
    assert labels == [["0", "1", "2", "3", "4"], ["10", "15", "20", "25", "30"]]
    assert [axes.get_xlabel() for axes in shown(figure)] == ["time (s)", "time (s)"]
    assert figure.get_supxlabel() == ""


DAY = np.datetime64("2024-03-01", "ns")
STEPS = np.arange(40)


@pytest.mark.parametrize(
    ("times", "labels", "title"),
    [
        (DAY + STEPS * np.timedelta64(30, "s"), ["00:00", "00:05", "00:10", "00:15"], "time (2024-Mar-01)"),
        (DAY + STEPS * np.timedelta64(1, "D"), ["Mar", "15", "Apr"], "time (2024-03-01 to 2024-04-09)"),
        (STEPS * np.timedelta64(90, "s"), ["0", "20", "40"], "time (min)"),
        (STEPS * np.timedelta64(7, "ns"), ["0", "100", "200"], "time (ns)"),
        (STEPS * 0.01 + 100, ["100", "100.1", "100.2", "100.3"], "time (h)"),
        (1_700_000_000 + STEPS * 60, ["1700000000", "1700001000", "1700002000"], "time (h)"),
        (-STEPS, ["0", "-13", "-26", "-39"], "time (h)"),
        (np.where(STEPS == 39, np.nan, STEPS), ["0.0", "13.0", "26.0", "nan"], "time (h)"),
        (np.array(["-5000", "20000"], "M8[Y]"), ["-5000", "20000"], "time"),
        (np.array([2**62, 2**62 + 1]), [str(2**62), str(2**62 + 1)], "time (h)"),
        (np.array([-1e308, 1e308]), ["-1e+308", "1e+308"], "time (h)"),
        (np.array([7]), ["7"], "time (h)"),
    ],
)
def test_ticks_stand_where_round_times_are(times: Any, labels: list[str], title: str) -> None:
    unit = None if times.dtype.kind in "mM" else "h"
    figure = plots.heatmap(torch.ones(3, 1, len(times)), times=times, unit=unit)
    figure.canvas.draw()
    axes = shown(figure)[0]
    found = [label.get_text() for label in axes.get_xticklabels()]
    assert set(labels) <= set(found)
    assert figure.get_supxlabel() == title
    if times.dtype.kind in "if" and len(times) > 2 and times[1] > times[0]:
        where = np.interp([float(text) for text in found if text != "nan"], times, STEPS)
        np.testing.assert_allclose(axes.get_xticks()[: len(where)], where, atol=1e-6)


@pytest.mark.parametrize(
    ("times", "error", "message"),
    [
        (np.arange(3), ValueError, r"times must have the shape \(5,\) or \(2, 5\), given \(3,\)"),
        (["a"] * 5, TypeError, "times must be numbers, datetime64 or timedelta64"),
    ],
)
def test_times_that_do_not_fit_are_named(times: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plots.heatmap(torch.ones(2, 3, 5), times=times)


def test_volumes_have_no_features() -> None:
    with pytest.raises(ValueError, match="feature_names and times are for series"):
        plots.explanation(torch.ones(2, 3, 4), feature_names=["a", "b"])


def test_what_the_scores_are_is_said() -> None:
    def said(settings: Any, **parts: Any) -> str:
        a = result(**parts)
        a.settings = {"layout": "BDT", **settings}
        return a.plot(series=0).axes[-1].get_ylabel().replace("\n", " ")

    ill = torch.tensor([1, 1])
    assert said({"method": "RaMbIT", "distance": "diff"}, target=ill) == "RaMbIT score: change of ill"
    assert said({"distance": "diff"}, target=ill, labels=Labels()) == "score: change of output 1"
    assert said({"distance": "diff"}, target=torch.tensor([0, 1])) == "score: change of each series' output"
    assert said({"distance": "diff"}) == "score: change of the explained output"
    assert said({"distance": "pd"}) == "score: change of all probabilities, summed"
    assert said({"distance": "l2", "output": "regression"}) == "score: Euclidean distance of all outputs"
    assert said({}) == "score"
    assert result().plot(label="mine", series=0).axes[-1].get_ylabel() == "mine"


@pytest.mark.parametrize("layout", ["BDT", "BTD"])
def test_bars_of_a_result(layout: str) -> None:
    """Against loops over the cells that were evaluated."""
    a = result(layout=layout)
    sizes = {"features": np.full((2, 3), np.nan), "times": np.full((2, 5), np.nan)}
    errors = {name: one.copy() for name, one in sizes.items()}
    for name, found in sizes.items():
        for b, i in np.ndindex(found.shape):
            here = [c for c in cells(a) if c[0] == b and c[2 if name == "features" else 3] == i]
            if here:
                found[b, i] = np.mean([abs(at(a.values, a, *c)) for c in here])
                errors[name][b, i] = np.sqrt(sum(at(a.stderr, a, *c) ** 2 for c in here)) / len(here)
    bars = a.plot(kind="features", series="Bob").axes[0]
    names = [label.get_text() for label in bars.get_yticklabels()]
    order = np.argsort(-sizes["features"][1])
    assert names == [NAMES.features[d] for d in order]
    assert bars.get_title("left") == "Bob: well (0.75)"
    assert bars.get_xlabel() == "RaMbIT mean |score|"
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], sizes["features"][1][order])
    halves = [np.ptp(one[:, 0]) / 2 for one in bars.collections[0].get_segments()]
    np.testing.assert_allclose(halves, errors["features"][1][order])
    several = a.plot(kind="times").axes[0]
    assert several.get_title("left") == "mean of 2 series"
    heights = [bar.get_height() for bar in several.patches]
    np.testing.assert_allclose(heights, np.nanmean(sizes["times"], axis=0))
    halves = [np.ptp(one[:, 1]) / 2 for one in several.collections[0].get_segments()[:3]]
    np.testing.assert_allclose(halves, sizes["times"][:, :3].std(axis=0, ddof=1) / np.sqrt(2))
    with pytest.raises(ValueError, match="kind must be one of cells, features, times"):
        a.plot(kind="bars")
    with pytest.raises(ValueError, match="salient is for kind='cells', given kind='times'"):
        a.plot(kind="times", salient=a.evaluated)


def test_salient_cells_in_the_layout_of_the_values() -> None:
    a = result(layout="BTD")
    salient = torch.zeros(2, 5, 3, dtype=torch.bool)
    salient[0, 4, 1] = True
    figure = a.plot(salient=salient, top=3)
    [box] = [path.get_extents().bounds for c in shown(figure)[0].collections[1:] for path in c.get_paths()]
    assert box == (3.5, 0.5, 1, 1)
    with pytest.raises(ValueError, match=r"salient must have the shape of values \(2, 5, 3\)"):
        a.plot(salient=salient.mT)


def test_a_result_of_something_else_has_no_picture() -> None:
    with pytest.raises(ValueError, match="three axes"):
        Attribution(torch.zeros(2, 3, 4, 5), None, 0, 0, 0.0, {}, 0).plot()
