"""Parts of a result by number, by name and by time; several targets; cells with names."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from rambit.labels import Labels
from rambit.results import Attribution, Cell
from tests.results.made import NAMES, at, cells, result

LAYOUTS = pytest.mark.parametrize("layout", ["BDT", "BTD"])


@LAYOUTS
@pytest.mark.parametrize("targets", [None, [1, 0]])
@pytest.mark.parametrize(
    ("series", "feature", "time"),
    [(1, 2, 0), (slice(None), [2, 0], slice(1, 4)), ([1, 0], slice(1, None), [0, 3]), (-1, None, -1), (None, 1, None)],
)
def test_isel_holds_the_same_cells(layout: str, targets: Any, series: Any, feature: Any, time: Any) -> None:
    windows = torch.randn(*result(targets, layout).values.shape, 2)
    a = result(targets, layout, windows=windows)
    part = a.isel(series=series, feature=feature, time=time)
    wanted = ((2, series), (3, feature), (5, time))
    b, d, t = (np.atleast_1d(np.arange(size)[slice(None) if w is None else w]).tolist() for size, w in wanted)
    assert a.lengths is not None
    assert part.lengths is not None
    assert part.lengths.tolist() == [sum(j < int(a.lengths[i]) for j in t) for i in b]
    for i, x in enumerate(b):
        assert int(part.ids[i]) == int(a.ids[x])  # type: ignore[index]
        assert torch.equal(part.outputs[i], a.outputs[x])  # type: ignore[index]
        for j, y in enumerate(d):
            for l, z in enumerate(t):
                assert at(part.X, part, i, None, j, l) == at(a.X, a, x, None, y, z)  # type: ignore[arg-type]
                assert at(part.evaluated, part, i, None, j, l) == at(a.evaluated, a, x, None, y, z)  # type: ignore[arg-type]
                for k in [None] if targets is None else range(2):
                    for name in ("values", "stderr"):
                        assert at(getattr(part, name), part, i, k, j, l) == at(getattr(a, name), a, x, k, y, z)
                    last = at(part.windows[..., 1], part, i, k, j, l)  # type: ignore[index]
                    assert last == at(windows[..., 1], a, x, k, y, z)
    assert part.labels == NAMES.take(series=b, features=d, times=t)
    assert (part.targets, part.model, part.rows) == (a.targets, a.model, a.rows)


@LAYOUTS
def test_one_target_is_a_result_of_one_target(layout: str) -> None:
    a = result([1, 0], layout)
    for found in (a.isel(target=1), a.sel(target="well"), a.sel(target=0)):
        assert found.targets is None
        assert found.target is not None
        assert found.target.tolist() == [0, 0]
        assert torch.equal(found.values, a.values[:, 1])
        assert torch.equal(found.stderr, a.stderr[:, 1])  # type: ignore[index, arg-type]
        assert found.evaluated is a.evaluated
    assert a.isel(target=[1]).targets == [0]
    assert a.sel(target=["well", "ill"]).targets == [0, 1]
    assert torch.equal(a.sel(target=["well", "ill"]).values, a.values.flip(1))


def test_pairs_are_targets() -> None:
    outputs = torch.rand(2, 2, 3)
    names = Labels(outputs=[f"step {h}, {q}" for h in range(2) for q in (10, 50, 90)])  # type: ignore[arg-type]
    a = result([(0, 1), [1, 2]], labels=names, outputs=outputs)
    assert a.targets == [[0, 1], [1, 2]]
    assert a.sel(target=(1, 2)).target.tolist() == [[1, 2], [1, 2]]  # type: ignore[union-attr]
    assert torch.equal(a.sel(target="step 0, 50").values, a.values[:, 0])
    assert "targets step 0, 50, step 1, 90" in repr(a)
    assert "targets (0, 1), (1, 2)" in repr(dataclasses.replace(a, labels=Labels()))


def test_sel_by_name_and_time() -> None:
    a = result()
    assert torch.equal(a.sel(feature="bp").values, a.values[:, 1:2])
    assert torch.equal(a.sel(feature=["t", "hr"]).values, a.values[:, [2, 0]])
    assert torch.equal(a.sel(feature=slice("bp", None)).values, a.values[:, 1:])
    assert torch.equal(a.sel(series="Bob", feature=slice("hr", "bp")).values, a.values[1:, :2])
    assert torch.equal(a.sel(time="2024-03-01").values, a.values[..., :4]), "a date means all of it"
    assert torch.equal(a.sel(time=slice("2024-03-01T06", "2024-03-01T12")).values, a.values[..., 1:3])
    assert torch.equal(a.sel(time=slice(None, datetime.datetime(2024, 3, 1, 6))).values, a.values[..., :2])
    assert torch.equal(a.sel(time=slice(datetime.date(2024, 3, 2), None)).values, a.values[..., 4:])
    times = NAMES.times
    assert times is not None
    assert torch.equal(a.sel(time=times[2]).values, a.values[..., 2:3])
    assert torch.equal(a.sel(time=[times[3], times[0]]).values, a.values[..., [0, 3]]), "in order"
    unnamed = result(labels=Labels())
    assert torch.equal(unnamed.sel(series=3).values, unnamed.values[1:]), "series go by their ids"
    assert torch.equal(unnamed.sel(feature=2, time=slice(1, 3)).values, unnamed.values[:, 2:, 1:3])


def test_sel_by_other_times() -> None:
    pandas = pytest.importorskip("pandas")
    a = result()
    assert torch.equal(a.sel(time=pandas.Timestamp("2024-03-01T06")).values, a.values[..., 1:2])
    waits = result(labels=Labels(times=np.arange(5) * np.timedelta64(30, "s")))
    half = datetime.timedelta(seconds=60)
    assert torch.equal(waits.sel(time=slice(half, None)).values, waits.values[..., 2:])
    assert torch.equal(waits.sel(time=pandas.Timedelta("30s")).values, waits.values[..., 1:2])
    apart = result(labels=Labels(times=np.array([[0, 1, 2, 3, 4], [0, 2, 4, 6, 8]]), unit="h"), lengths=None)
    with pytest.raises(ValueError, match="means other steps in other series"):
        apart.sel(time=slice(2, 4))
    assert torch.equal(apart.sel(series=3, time=slice(2, 4)).values, apart.values[1:, :, 1:3])
    padded = Labels(times=np.array([[0, 1, 2, 3, 4], [0, 1, 2, np.nan, np.nan]]))
    assert result(labels=padded).sel(series=3, time=slice(1, None)).values.shape == (1, 3, 2)
    early = Labels(times=np.array(["1969-12-30", "1969-12-31", "1970-01-01", "1970-01-02", "1970-01-03"], "M8[ns]"))
    assert result(labels=early).sel(time="1969").values.shape[2] == 2, "before 1970 too"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"feature": "pulse"}, ValueError, "feature must be among bp, hr, t; given 'pulse'"),
        ({"series": ["Ann", "Eve"]}, ValueError, "series must be among Ann, Bob; given 'Eve'"),
        ({"feature": slice("bp", "hr")}, ValueError, "means none of 0 to 2"),
        ({"feature": slice("hr", "t", 2)}, ValueError, "no step"),
        ({"time": "2025"}, ValueError, "time must be among 2024-03-01.* given '2025'"),
        ({"time": slice("2025", None)}, ValueError, "means none of"),
        ({"time": 3}, TypeError, "time must be given as dates"),
        (
            {"time": datetime.datetime(2024, 3, 1, tzinfo=datetime.timezone.utc)},
            TypeError,
            "time has no time zone here",
        ),
        ({"target": "ill"}, ValueError, "target applies to results with targets"),
    ],
)
def test_sel_names_what_is_not_there(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        result().sel(**call)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"feature": 3}, ValueError, "feature must be -3 to 2, given 3"),
        ({"feature": "hr"}, TypeError, "feature must be integers or a slice"),
        ({"series": True}, TypeError, "series must be integers, given True"),
        ({"series": []}, ValueError, "series must mean at least one"),
        ({"time": slice(4, 2)}, ValueError, "means none of"),
        ({"time": [2, 1]}, ValueError, "time must be in order"),
        ({"time": [1, 1]}, ValueError, "time must be in order"),
        ({"target": 0}, ValueError, "target applies to results with targets"),
    ],
)
def test_isel_names_what_is_not_there(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        result().isel(**call)


def test_cells_are_tuples_of_four_with_names_beside() -> None:
    a = result()
    found = a.top(3)
    for cell in found:
        series, feature, time, score = cell
        assert cell == (series, feature, time, score) == Cell(*cell)
        assert NAMES.series is not None
        assert NAMES.features is not None
        assert NAMES.times is not None
        assert (cell.series_name, cell.feature_name) == (NAMES.series[series], NAMES.features[feature])
        assert cell.time_label == NAMES.times[time]
        for again in (copy.copy(cell), pickle.loads(pickle.dumps(cell))):
            assert again == cell
            assert again.feature_name == cell.feature_name
    assert f"feature_name={found[0].feature_name!r}" in repr(found[0])
    bare = result(labels=Labels()).top(1)[0]
    assert bare.feature_name is bare.series_name is bare.time_label is None
    assert repr(bare).startswith("Cell(series=")
    assert repr(Cell(1, 2, 3, 0.5)) == "Cell(series=1, feature=2, time=3, score=0.5)"


def test_cells_are_short_in_a_notebook() -> None:
    pretty = pytest.importorskip("IPython.lib.pretty").pretty
    found = result().top(1)
    assert pretty(found).startswith(f"[{found[0].feature_name} at 2024-03-0")
    assert pretty(Cell(1, 2, 3, 0.5)) == "feature 2 at 3 of series 1: 0.5"
    times = ("2024-03-01", "2024-03-01T06:00", "2024-03-01T06:00:00.5", "NaT")
    for text, short in zip(times, ("2024-03-01", "2024-03-01 06:00", "2024-03-01 06:00:00.500", "NaT"), strict=True):
        cell = Cell(0, 0, 0, 1 / 3).named(series="Ann", feature="hr", time=np.datetime64(text, "ns"))
        assert pretty(cell) == f"hr at {short} of Ann: 0.3333"


def test_several_targets_are_told_apart() -> None:
    a = result([1, 0])
    with pytest.raises(ValueError, match="target must say which of ill, well"):
        a.top(3)
    with pytest.raises(ValueError, match="target must be among ill, well; given 'cold'"):
        a.top(3, target="cold")
    with pytest.raises(ValueError, match="target must be one of ill, well"):
        a.top(3, target=["ill", "well"])
    scores = sorted((at(a.values, a, b, k, d, t) for b, k, d, t in cells(a) if k == 1), reverse=True)
    assert [cell.score for cell in a.top(4, target="well")] == scores[:4]
    assert result([1]).top(1) == result([1]).top(1, target="ill")
    with pytest.raises(ValueError, match="target applies to results with targets"):
        result().top(1, target=0)


@LAYOUTS
def test_several_targets_compare_as_so_many_series(layout: str) -> None:
    a = result([1, 0], layout)
    b = dataclasses.replace(
        a, values=a.values + torch.randn(a.values.shape, generator=torch.Generator().manual_seed(1))
    )
    flat = [
        Attribution(
            one.values.flatten(0, 1), None, 0, 0, 0.0, one.settings, 0, "",
            one.lengths.repeat_interleave(2),  # type: ignore[union-attr]
            evaluated=one.evaluated.repeat_interleave(2, dim=0),  # type: ignore[union-attr]
        )
        for one in (a, b)
    ]  # fmt: skip
    assert a.compare(b, k=3) == flat[0].compare(flat[1], k=3)
    with pytest.raises(ValueError, match=r"other must be of the targets \[1, 0\], given \[0, 1\]"):
        a.compare(result([0, 1], layout))


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"targets": [0]}, ValueError, r"values must be \(B, 1, D, T\)"),
        ({"targets": "all"}, TypeError, "targets must be a list"),
        ({"targets": []}, ValueError, "targets must name at least one"),
        ({"targets": [0, (1, 2, 3)]}, ValueError, r"targets\[1\] must be an integer or a pair"),
        ({"targets": [0, -1]}, ValueError, r"targets\[1\] must be at least 0"),
        ({"targets": [0, "a"]}, TypeError, r"targets\[1\] must be an integer"),
        ({"target": torch.zeros(3, dtype=torch.int64)}, ValueError, "target must hold one number for each of 2"),
        ({"target": torch.zeros(2)}, TypeError, "target must hold integers"),
        ({"outputs": torch.zeros(3, 2)}, ValueError, r"outputs must be \(2, C\)"),
        ({"outputs": torch.zeros(2, 2, dtype=torch.int64)}, TypeError, "outputs must be a tensor"),
        ({"X": torch.zeros(2, 5, 3)}, ValueError, r"X must have the shape \(2, 3, 5\)"),
        ({"X": "text"}, TypeError, "X must be a tensor"),
        ({"model": "name"}, ValueError, "model must be the hexadecimal text of a hash"),
        ({"model": 3}, TypeError, "model must be the text of a hash"),
        ({"labels": {"features": ["a"]}}, ValueError, "labels.features must have 3 names"),
        ({"labels": {"outputs": ["a"]}}, ValueError, "labels.outputs must have 2 names"),
        ({"labels": 3}, TypeError, "labels must be a Labels"),
    ],
)
def test_parts_that_do_not_fit(parts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(result(labels=Labels()), **parts)


def test_labels_are_of_series() -> None:
    with pytest.raises(ValueError, match="labels are for time series"):
        Attribution(torch.zeros(2, 3, 4, 5), None, 0, 0, 0.0, {}, 0, labels=NAMES)
