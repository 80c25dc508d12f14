"""Labels: what they refuse, and that files bring them back exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rambit.labels import Labels

DAYS = np.array(["2024-03-01", "2024-03-02", "NaT"], dtype="datetime64[ns]")
ODD = np.array([1, 2**62 + 1, -(2**62) - 1])  # float64 holds neither of the large ones
TIMES = [
    DAYS,
    DAYS[None].repeat(2, axis=0),
    ODD.view("datetime64[ns]"),
    ODD.view("timedelta64[ns]"),
    DAYS.astype("datetime64[D]"),
    ODD,
    np.array([0.1, np.nan, np.inf]),
    np.array([0.1, 0.2, 0.3], dtype=np.float32),
    np.array([1, 2, 2**63 - 1], dtype=np.uint64),
    ODD.astype(">i8"),
]


@pytest.mark.parametrize("times", TIMES, ids=str)
def test_times_survive_exactly(times: Any) -> None:
    before = Labels(times=times)
    tensors = {**before.tensors(), "values": torch.zeros(1)}
    after = Labels.read(tensors, before.record())
    assert after == before
    assert np.array_equal(after.times, times, equal_nan=True)
    assert after.times is not None
    assert after.times.dtype.kind == {"u": "i"}.get(times.dtype.kind, times.dtype.kind)
    assert list(tensors) == ["values"], "the times are taken out"


names = st.none() | st.lists(st.text(), max_size=3)


@given(names, names, names, st.sampled_from([None, "s"]))
def test_names_survive(features: Any, series: Any, outputs: Any, unit: Any) -> None:
    times = None if unit is None else [1, 2]
    before = Labels(features=features, times=times, unit=unit, series=series, outputs=outputs)  # type: ignore[arg-type]
    assert Labels.read(before.tensors(), before.record()) == before
    assert bool(before) == any(given is not None for given in (features, series, outputs, unit))
    assert before.features == (None if features is None else tuple(features))


def test_what_is_given_is_copied() -> None:
    times = np.arange(3.0)
    labels = Labels(times=times)
    times[0] = 9
    assert labels.times is not None
    assert labels.times[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        labels.times[0] = 9


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"features": "hr"}, TypeError, "labels.features must be a list"),
        ({"features": [1.5]}, TypeError, "labels.features must hold texts"),
        ({"series": [True]}, TypeError, "labels.series must hold texts"),
        ({"outputs": 3}, TypeError, "labels.outputs must be a list"),
        ({"times": ["a", "b"]}, TypeError, "labels.times must be numbers"),
        ({"times": [True, False]}, TypeError, "labels.times must be numbers"),
        ({"times": 3}, ValueError, r"labels.times must be \(T,\)"),
        ({"times": np.array([2**64 - 1], dtype=np.uint64)}, ValueError, "64 bits"),
        ({"times": [1], "unit": 3}, TypeError, "labels.unit must be text"),
        ({"unit": "s"}, ValueError, "labels.unit='s' is that of times"),
        ({"times": DAYS, "unit": "s"}, ValueError, "labels.unit='s' is that of times"),
        ({"feature": ["a"]}, ValueError, "labels must have fields among features, .* got 'feature'"),
    ],
)
def test_what_does_not_fit_is_named(fields: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Labels.of(fields)


def test_sizes_are_checked() -> None:
    with pytest.raises(TypeError, match="labels must be a Labels or a dictionary"):
        Labels.of(["a"])  # type: ignore[arg-type]
    for fields, message in (
        ({"features": ["a"]}, r"labels.features must have 3 names for series \(2, 3, 4\), got 1"),
        ({"series": ["a"]}, "labels.series must have 2 names"),
        ({"times": [1, 2, 3]}, r"labels.times must have the shape \(4,\) or \(2, 4\), got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Labels.of(fields).check(2, 3, 4)
    with pytest.raises(ValueError, match=r"labels\.outputs must have 2 names, one for each output, got 1"):
        Labels(outputs=("a",)).check_outputs(2)


def test_parts_and_what_comes_first() -> None:
    labels = Labels(("a", "b"), np.arange(6).reshape(2, 3), "s", ("x", "y"), ("no", "yes"))
    part = labels.take(series=[1], features=[1, 0], times=[0, 2])
    assert part == Labels(("b", "a"), np.array([[3, 5]]), "s", ("y",), ("no", "yes"))
    assert Labels(features=("c", "d")).over(labels) == Labels(("c", "d"), labels.times, "s", ("x", "y"), ("no", "yes"))
    assert Labels(times=DAYS).over(labels).unit is None, "the unit goes with the times"
    assert labels.times_of(1).tolist() == [3, 4, 5]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("tensors", "record"),
    [
        ({}, {"times": "int64"}),
        ({"labels.times": torch.arange(2)}, {}),
        ({"labels.times": torch.arange(2)}, {"times": "float64"}),
        ({"labels.times": torch.arange(2)}, {"times": "object"}),
        ({"labels.times": torch.zeros(2)}, {"times": "datetime64[ns]"}),
        ({"labels.times": torch.arange(2)}, {"times": "sundial"}),
        ({"labels.times": torch.arange(2)}, {"times": 3}),
        ({}, []),
        ({}, {"colours": ["red"]}),
    ],
)
def test_files_that_hold_no_labels(tensors: Any, record: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Labels.read(dict(tensors), record)


def test_a_long_axis_is_shown_by_its_ends() -> None:
    short = Labels(features=["a", "b"], times=[0.5, 1.5], unit="s")
    assert repr(short) == "Labels(features=('a', 'b'), times=[0.5, 1.5], unit='s')"
    assert repr(Labels()) == "Labels()"
    days = np.datetime64("2024-01-01", "ns") + np.arange(1000) * np.timedelta64(1, "D")
    text = repr(Labels(series=map(str, range(500)), times=days[None].repeat(500, axis=0)))  # type: ignore[arg-type]
    assert "series=('0', '1', '2', ..., '497', '498', '499'; 500 names)" in text
    assert "2024-01-01" in text
    assert len(text) < 1500
    assert "\n" not in text
