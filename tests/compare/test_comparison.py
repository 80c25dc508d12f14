"""`rambit.compare.compare`: what the command does, as a call; and what it refuses before any work."""

from __future__ import annotations

import csv
import inspect
import math

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT
from rambit.cli import main
from rambit.compare import Comparison, compare
from rambit.compare.runs import Settings
from rambit.datasets import Dataset
from rambit.predictors import Predictor

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
    assert [path.name for path in named] == [path.name.replace("compare", "table") for path in written]


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
        ({"keep": "all"}, TypeError, "keep must be an integer"),
        ({"cells": "all"}, TypeError, "cells must be a number, got 'all'"),
        ({"cells": 0}, ValueError, "cells must be above 0 and at most 1, got 0"),
        ({"cells": (0.1, 0.1)}, ValueError, "cells must be different shares"),
        ({"cells": ()}, ValueError, "metrics, cells, counterfactuals and order must name at least one each"),
        ({"counterfactuals": "nothing"}, ValueError, "counterfactuals: unknown strategy 'nothing'"),
        ({"counterfactuals": 3}, TypeError, "counterfactuals must be names"),
        ({"order": "best"}, ValueError, "order must be one of most, least"),
        ({"curves": -1}, ValueError, "curves must be at least 0"),
        ({"metrics": "quality"}, ValueError, "metrics: unknown metric 'quality'; known: auprc"),
        ({"metrics": "cpd:labels=3"}, ValueError, "metrics: cpd has no option 'labels=3'; its options"),
        ({"metrics": "cpd", "test": "cpp"}, ValueError, "test: there is no column 'cpp'; the columns: cpd"),
        ({"folds": 0}, ValueError, "folds must be at least 1"),
        ({"folds": 61}, ValueError, "folds must be between 1 and the 60 series"),
        ({"data": (np.zeros((2, 1, 3)),)}, ValueError, r"data must be \(X, y\)"),
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


# -- the model and data of the user -----------------------------------------------------------------------------------


class Mean(torch.nn.Module):
    """Two logits."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))

    def forward(self, x):
        return x.mean(dim=2) @ self.weight


def own(y=True):
    X = np.random.default_rng(0).normal(size=(10, 2, 5)).astype(np.float32)
    return Dataset("own", X, np.arange(10) % 2 if y else None)


def test_a_model_of_ones_own(tmp_path):
    run = {"methods": ("rambit:L=2,S=1,cf=zero", "selection:k=2,epochs=1", "random"), "model": Mean(), "seeds": (0, 1)}
    found = compare(own(), out=tmp_path / "out", **run)
    assert found.notes == ()
    assert [row["method"] for row in found.rows] == list(run["methods"])
    assert "the model that was given: Mean" in found.text
    assert not list((tmp_path / "out" / "models").iterdir())  # nothing is trained
    [path] = [p for p in (tmp_path / "out" / "results").iterdir() if p.name.startswith("rambit")][:1]
    result = Attribution.load(path)
    expected = RaMbIT(Mean(), L=2, num_samples=1, counterfactuals="zero", anchor="end", seed=result.seed)
    assert torch.equal(result.values, expected.attribute(torch.from_numpy(own().X)))
    X = torch.from_numpy(own().X)
    right = (Mean()(X).argmax(dim=1).numpy() == own().y).mean()
    assert found.rows[0]["accuracy"] == pytest.approx(right)
    before = made(tmp_path / "out")
    assert compare(own(), out=tmp_path / "out", **run).rows == found.rows
    assert made(tmp_path / "out") == before
    other = Mean()
    with torch.no_grad():
        other.weight.mul_(2)
    compare(own(), out=tmp_path / "out", **{**run, "model": other})
    assert len(made(tmp_path / "out")) == 2 * len(before)


def test_without_labels_there_is_no_accuracy(tmp_path):
    found = compare(own(y=False), "fo,random", out=tmp_path / "out", model=Mean())
    assert "accuracy" not in found.rows[0]
    assert found.rows[0]["sufficiency"] == pytest.approx(found.lines[0].mean("sufficiency"))


def test_a_set_of_ones_own_is_split_where_a_model_is_trained(tmp_path):
    found = compare(own(), "random", out=tmp_path / "out", hidden=2, epochs=1)
    assert found.text.startswith("own: 2 series of 2 features and 5 steps")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": Mean(), "data": "spike,state"}, "one model reads one data set, got 2"),
        ({"model": Mean(), "hidden": 3}, "hidden must not be given with model"),
        ({"model": lambda x: x.mean(2)}, "a plain function can't be told from another"),
        ({"model": Mean(), "folds": 2}, "folds must not be given with model"),
        ({"model": Predictor.of(Mean()), "methods": "selection"}, "selection needs an nn.Module"),
        ({"data": own(y=False)}, "own has no labels"),
    ],
)
def test_a_model_that_does_not_serve(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        compare(**{"data": own(), "methods": "random", "out": tmp_path / "out", **options})
    assert not (tmp_path / "out" / "results").exists() or not list((tmp_path / "out" / "results").iterdir())
