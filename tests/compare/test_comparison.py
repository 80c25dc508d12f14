"""`rambit.compare.compare`: what the command does, as a call; and what it refuses before any work."""

from __future__ import annotations

import csv
import inspect
import math

import pytest

from rambit.cli import main
from rambit.compare import Comparison, compare
from rambit.compare.runs import Settings

SPIKE = "spike:n=60,T=20"
METHODS = ("leave-one-out:S=2", "exact-shapley:players=cells", "random")
SHORT = {"hidden": 6, "epochs": 2, "lr": 0.02, "generator_epochs": 1, "series": 6}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    return compare(SPIKE, METHODS, seeds=(0, 1), out=tmp_path_factory.mktemp("compared") / "out", **SHORT)


def rows_of(folder):
    """What compare.csv holds, without the seconds."""
    with (folder / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if not name.startswith("seconds")} for row in rows]


def made(folder):
    """When each model and result was written."""
    return {path: path.stat().st_mtime_ns for part in ("models", "results") for path in (folder / part).iterdir()}


def test_the_files_are_those_of_the_command(compared, tmp_path):
    written = compared.save()
    assert [path.name for path in written][:2] == ["compare.csv", "compare.txt"]
    assert {path.parent for path in written} == {compared.folder}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items()]
    arguments = [
        "--data",
        SPIKE,
        "--methods",
        ",".join(METHODS),
        "--seeds",
        "0,1",
        "--out",
        str(tmp_path / "out"),
        *options,
    ]
    assert main(["compare", *arguments]) == 0
    assert rows_of(compared.folder) == rows_of(tmp_path / "out")
    named = compared.save(tmp_path, "table")
    assert (tmp_path / "table.csv").read_bytes() == written[0].read_bytes()
    assert [path.stem for path in named] == ["table"] * len(written)


def test_rows_are_the_table(compared):
    assert isinstance(compared, Comparison)
    written = compared.save()[0]
    assert [(row["data"], row["method"], row["seeds"]) for row in compared.rows] == [
        (SPIKE, METHODS[0], 2),
        (SPIKE, METHODS[1], 0),
        (SPIKE, METHODS[2], 2),
    ]
    with written.open(newline="") as file:
        for row, line in zip(compared.rows, csv.DictReader(file), strict=True):
            assert list(row) == list(line)
            for name in list(row)[2:]:
                assert line[name] == ("" if math.isnan(row[name]) else str(row[name]))
    assert len(compared.notes) == 1
    assert "60 are too many" in compared.notes[0]
    assert str(compared) == compared.text
    assert compared.text.startswith(f"{SPIKE}: 6 series of 3 features and 20 steps; seeds [0, 1]")


def test_a_frame_has_the_rows(compared):
    pytest.importorskip("pandas")
    frame = compared.to_frame()
    assert list(frame.columns) == list(compared.rows[0])
    assert frame["method"].tolist() == list(METHODS)
    assert frame["auprc"].isna().tolist() == [False, True, False]


def test_the_same_call_again_makes_nothing_anew(compared):
    before = made(compared.folder)
    again = compare([SPIKE], ",".join(METHODS), seeds="0,1", out=compared.folder, **SHORT)
    assert again == compared
    assert again.text == compared.text
    assert made(compared.folder) == before


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"data": 3}, TypeError, "data must be names"),
        ({"data": []}, ValueError, "data and methods must name at least one each"),
        ({"data": "nothing"}, ValueError, "data: unknown data set 'nothing'"),
        ({"methods": [3]}, TypeError, "methods must be names"),
        ({"methods": ["random", "random"]}, ValueError, "names something twice"),
        ({"methods": "fo:S=0"}, ValueError, "methods fo:S=0: num_samples must be at least 1"),
        ({"seeds": 3}, TypeError, "seeds must be whole numbers"),
        ({"seeds": ()}, ValueError, "seeds must be different whole numbers"),
        ({"seeds": (1, 1)}, ValueError, "seeds must be different whole numbers such as 0,1,2, got '1,1'"),
        ({"seeds": (0.5,)}, ValueError, "seeds must be different whole numbers"),
        ({"keep": 21}, ValueError, "keep must be between 1 and the 20 timestamps"),
        ({"keep": "all"}, ValueError, "keep must be between 1 and the 20 timestamps"),
        ({"cells": "all"}, ValueError, "cells must be a share"),
        ({"cells": 0}, ValueError, "cells must be a share"),
        ({"force": 1}, TypeError, "force must be True or False"),
        ({"show_progress": None}, TypeError, "show_progress must be True or False"),
        ({"hidden": 8193}, ValueError, "hidden must be at most 8192"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"batch_size": "many"}, TypeError, "batch_size must be an integer"),
        ({"lr": 0}, ValueError, "lr must be above 0"),
        ({"dropout": 1.0}, ValueError, r"dropout must lie in \[0, 1\)"),
        ({"head": "tail"}, ValueError, "head must be one of"),
        ({"size": 3}, TypeError, "there is no setting 'size'; the settings: hidden, head"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        compare(**{"data": SPIKE, "methods": "random", "out": tmp_path / "out", **SHORT, **arguments})
    assert list(tmp_path.iterdir()) == []


def test_the_docstring_names_every_argument_and_setting():
    words = inspect.getdoc(compare)
    names = [*inspect.signature(compare).parameters, *vars(Settings())]
    assert [name for name in names if name not in words] == []
