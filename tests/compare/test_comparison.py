"""`rambit.compare.compare`: what the command does, as a call; and what it refuses before any work."""

from __future__ import annotations

import csv
import inspect
import math

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT, attribution, metrics
from rambit.attribution.attributor import Part
from rambit.cli import main
from rambit.compare import Comparison, compare
from rambit.compare.methods import parse
from rambit.compare.pairs import over_runs, over_series
from rambit.compare.runs import Case, Data, Settings
from rambit.counterfactuals import STRATEGIES, Mean, Zero, resolve
from rambit.datasets import Dataset
from rambit.game import Game, TensorSample
from rambit.predictors import Predictor
from tests.report.test_pages import read

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


def test_a_page_of_it(compared, tmp_path):
    compared.report(tmp_path / "compared.html")
    data, _ = read(tmp_path.joinpath("compared.html").read_text(encoding="utf-8"))
    assert [row[data["columns"].index("method")] for row in data["rows"]] == [row["method"] for row in compared.rows]
    assert all(one["source"].startswith("data:image/png;base64,iVBOR") for one in data["figures"])


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


# -- what the table says ----------------------------------------------------------------------------------------------


@pytest.fixture
def registered():
    """A method, a metric of known cells, one of the model, and a strategy, from outside the package."""

    @attribution.METHODS.register("size")
    class Size(attribution.Attributor):
        """The size of each value."""

        def _score(self, call, game, indices):
            return Part(game.sample.x.double().abs(), None)

    @metrics.MEASURES.register("first-hit")
    def first_hit(scores, truth):
        return float(truth.reshape(-1)[np.asarray(scores).argmax()])

    @metrics.FAITHFULNESS.register("moved")
    def moved(game, scores, k=0.2, power=1.0):
        return metrics.average_prediction_difference(game, scores, k) ** power

    @STRATEGIES.register("drawn")
    class Drawn(Mean):
        """The background's mean and a random number."""

        single = False

        def __init__(self, background):
            super().__init__(background)

        def draws(self, x, observed, ids, count, *, seed, first=0):
            drawn = torch.randn(count, *x.shape, generator=torch.Generator().manual_seed(seed + first))
            return super().draws(x, observed, ids, count, seed=seed) + drawn

    yield
    del attribution.METHODS._entries["size"], STRATEGIES._entries["drawn"]
    del metrics.MEASURES._entries["first-hit"], metrics.FAITHFULNESS._entries["moved"]


def test_methods_metrics_and_strategies_from_outside(registered, tmp_path):
    named = {"metrics": "first-hit,moved:power=2", "counterfactuals": ("drawn", "zero"), "cells": "0.1,0.3"}
    found = compare(SPIKE, "size,random", out=tmp_path / "out", test="moved:power=2@0.3 zero", **named, **SHORT)
    columns = ["first-hit", *(f"moved:power=2@{share} {one}" for share in (0.1, 0.3) for one in ("drawn", "zero"))]
    assert [name for name in found.rows[0] if "stderr" not in name][3:] == [*columns, "rows", "row_steps", "seconds"]
    for row in found.rows:
        assert all(math.isfinite(row[name]) for name in columns)
    assert len({found.rows[0][name] for name in columns[1:]}) == 4
    assert [line["metric"] for line in found.tests] == ["moved:power=2@0.3 zero"]
    assert "first-hit" in compare(SPIKE, "size", out=tmp_path / "out", **SHORT).rows[0]
    assert main(["compare", "--data", SPIKE, "--methods", "size,random", "--out", str(tmp_path / "out"),
                 "--metrics", "first-hit,moved", "--test", "moved",
                 *(f"--{name.replace('_', '-')}={value}" for name, value in SHORT.items())]) == 0  # fmt: skip
    assert list(rows_of(tmp_path / "out")[0])[3:7] == ["first-hit", "first-hit_stderr", "moved", "moved_stderr"]


def test_draws_that_fit_the_past_stand_in(tmp_path):
    """By the strategy's name: in a method, and where the judge removes cells."""
    found = compare(SPIKE, "rambit:L=2,cf=conditional", out=tmp_path / "out", counterfactuals="conditional", **SHORT)
    case = Case(Data.read(SPIKE, 6), 0, Settings(**SHORT), tmp_path / "out")
    X, values = torch.from_numpy(case.data.explained.X), resolve("conditional", case.background())
    sample = TensorSample(X, torch.arange(len(X)))
    game = Game(Predictor.of(case.model()), sample, values, draws=5, evaluation="full")
    scores = Attribution.load(case.result_path(parse("rambit:L=2,cf=conditional"))).values
    assert found.rows[0]["comprehensiveness"] == pytest.approx(metrics.comprehensiveness(game, scores, 6))


def test_every_number_is_that_of_the_metric(tmp_path):
    """Most and least important, removed and kept, of zeros and the train part's mean; and the curves."""
    shown = "cpd,sufficiency,auc_drop:extent=std,log_odds:per=all,cpp:k=2"
    chosen = {"metrics": shown, "order": "most,least", "counterfactuals": "zero,mean"}
    found = compare(SPIKE, "random", out=tmp_path / "out", curves=4, **chosen, **SHORT)
    [case] = [Case(Data.read(SPIKE, 6), 0, Settings(**SHORT), tmp_path / "out")]
    X, background = torch.from_numpy(case.data.explained.X), case.background()
    scores = Attribution.load(case.result_path(parse("random"))).values
    [row], [line] = found.rows, found.lines
    for text, strategy in (("zero", Zero()), ("mean", Mean(background))):
        game = Game(Predictor.of(case.model()), TensorSample(X, torch.arange(len(X))), strategy, evaluation="full")
        for order, ordered in (("most", scores), ("least", -scores)):
            assert row[f"cpd@{text} {order}"] == pytest.approx(metrics.cpd(game, ordered, 6))
            assert row[f"sufficiency@{text} {order}"] == pytest.approx(metrics.sufficiency(game, ordered, 6))
            assert row[f"log_odds:per=all@{text} {order}"] == pytest.approx(
                metrics.log_odds(game, ordered, 0.1, per="all")
            )
            assert row[f"cpp:k=2@{text} {order}"] == pytest.approx(metrics.cpp(game, ordered, 2))
            labels = case.data.explained.y[:, -1]
            expected = metrics.auc_drop(game, ordered, labels, 6, extent="std")
            assert row[f"auc_drop:extent=std@{text} {order}"] == pytest.approx(expected)
            removed, kept = (line.curves[f"{order} important {kind}, {text}"][0, 0] for kind in ("removed", "kept"))
            assert removed == pytest.approx(metrics.deletion_curve(game, ordered, steps=4))
            assert kept == pytest.approx(metrics.insertion_curve(game, ordered, steps=4))
    assert "@ mean least" in found.text
    names = [path.name for path in found.save()]
    assert {"compare-curves.csv", "compare-curves.png"} <= set(names)
    lines = (tmp_path / "out" / "compare-curves.csv").read_text().splitlines()
    assert len(lines) == 1 + 8 * 5


def test_folds(tmp_path):
    """Each part of the series is once the test part; models are trained on the others."""
    found = compare(SPIKE, "fo:S=1,random", out=tmp_path / "out", folds=3, seeds=(0, 1), metrics="auprc", **SHORT)
    assert [row["seeds"] for row in found.rows] == [6, 6]
    assert "seeds [0, 1]; 3 folds" in found.text
    assert len(list((tmp_path / "out" / "models").glob("gru-*.safetensors"))) == 6
    parts = Data.folds(SPIKE, 60, 3)
    assert sum(len(part.test) for part in parts) == 60
    assert all(len(part.train) + len(part.test) == 60 for part in parts)
    assert not any((a == b).all() for part in parts for a in part.test.X[:3] for b in part.train.X)
    [test] = found.tests
    assert test["runs"] == 6
    values = [np.array(list(line.values["auprc"].values())) for line in found.lines]
    assert test["p_runs"] == over_runs(*values, 3)
    assert test["difference"] == pytest.approx(found.rows[0]["auprc"] - found.rows[1]["auprc"])


def test_series_are_paired_by_their_own_score(tmp_path):
    found = compare(SPIKE, "fo:S=1,random", out=tmp_path / "out", seeds=(0, 1), metrics="auprc", **SHORT)
    data = Data.read(SPIKE, 6).explained
    alone = []
    for method in ("fo:S=1", "random"):
        cases = [Case(Data.read(SPIKE, 6), seed, Settings(**SHORT), tmp_path / "out") for seed in (0, 1)]
        scores = [Attribution.load(case.result_path(parse(method))).values[..., 1:] for case in cases]
        known = [b for b in range(6) if data.salient[b, :, 1:].any()]
        truth = data.salient[..., 1:]
        alone.append([np.mean([metrics.auprc(s[b][None], truth[b][None]) for s in scores]) for b in known])
    [test] = found.tests
    assert test["series"] == len(alone[0])
    assert test["p_series"] == pytest.approx(over_series(*map(np.array, alone)), nan_ok=True)
    assert "auprc: " in found.text


def test_a_metric_that_does_not_serve_is_noted(tmp_path):
    X, y = np.random.default_rng(0).normal(size=(6, 2, 5)), np.zeros(6, dtype=int)
    found = compare((X, y), "random", out=tmp_path / "out", model=Averages(), metrics="auc_drop,cpd")
    assert found.notes == ("auc_drop on data: labels must hold at least two classes: AUROC compares them",)
    assert "auc_drop" not in found.rows[0]


# -- the model and data of the user -----------------------------------------------------------------------------------


class Averages(torch.nn.Module):
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
    run = {
        "methods": ("rambit:L=2,S=1,cf=zero", "selection:k=2,epochs=1", "random"),
        "model": Averages(),
        "seeds": (0, 1),
    }
    found = compare(own(), out=tmp_path / "out", **run)
    assert found.notes == ()
    assert [row["method"] for row in found.rows] == list(run["methods"])
    assert "the model that was given: Averages" in found.text
    assert not list((tmp_path / "out" / "models").iterdir())  # nothing is trained
    [path] = [p for p in (tmp_path / "out" / "results").iterdir() if p.name.startswith("rambit")][:1]
    result = Attribution.load(path)
    expected = RaMbIT(Averages(), L=2, num_samples=1, counterfactuals="zero", anchor="end", seed=result.seed)
    assert torch.equal(result.values, expected.attribute(torch.from_numpy(own().X)))
    X = torch.from_numpy(own().X)
    right = (Averages()(X).argmax(dim=1).numpy() == own().y).mean()
    assert found.rows[0]["accuracy"] == pytest.approx(right)
    before = made(tmp_path / "out")
    assert compare(own(), out=tmp_path / "out", **run).rows == found.rows
    assert made(tmp_path / "out") == before
    other = Averages()
    with torch.no_grad():
        other.weight.mul_(2)
    compare(own(), out=tmp_path / "out", **{**run, "model": other})
    assert len(made(tmp_path / "out")) == 2 * len(before)


def test_arrays_of_ones_own(tmp_path):
    data = own()
    salient = np.random.default_rng(1).random(data.X.shape) < 0.3
    given = (torch.from_numpy(data.X).double(), data.y.tolist(), salient)
    found = compare(given, "fo,random", out=tmp_path / "out", model=Averages())
    whole = Dataset("data", data.X, data.y, salient)
    expected = compare(whole, "fo,random", out=tmp_path / "out", model=Averages())
    assert found.rows == expected.rows
    assert math.isfinite(found.rows[0]["auprc"])
    assert "auprc" not in compare((data.X, None), "fo", out=tmp_path / "out", model=Averages()).rows[0]


def test_a_regression(tmp_path):
    data = Dataset("own", own().X, np.linspace(0, 1, 10, dtype=np.float32))
    model = Predictor.of(Averages(), output="regression")
    found = compare(data, "fo,random", out=tmp_path / "out", model=model)
    assert found.notes == ()
    X = torch.from_numpy(data.X)
    game = Game(model, TensorSample(X, torch.arange(10)), Zero(), evaluation="full")
    scores = next(Attribution.load(path).values for path in (tmp_path / "out" / "results").glob("fo-*"))
    expected = metrics.average_prediction_difference(game, scores, 1)
    assert found.rows[0]["average_prediction_difference"] == pytest.approx(expected)
    assert {line["metric"] for line in found.tests} == {"average_prediction_difference"}
    assert "accuracy" not in found.rows[0]


def test_without_labels_there_is_no_accuracy(tmp_path):
    found = compare(own(y=False), "fo,random", out=tmp_path / "out", model=Averages())
    assert "accuracy" not in found.rows[0]
    assert found.rows[0]["sufficiency"] == pytest.approx(found.lines[0].mean("sufficiency"))


def test_a_set_of_ones_own_is_split_where_a_model_is_trained(tmp_path):
    found = compare(own(), "random", out=tmp_path / "out", hidden=2, epochs=1)
    assert found.text.startswith("own: 2 series of 2 features and 5 steps")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": Averages(), "data": "spike,state"}, "one model reads one data set, got 2"),
        ({"model": Averages(), "hidden": 3}, "hidden must not be given with model"),
        ({"model": lambda x: x.mean(2)}, "a plain function can't be told from another"),
        ({"model": Averages(), "folds": 2}, "folds must not be given with model"),
        ({"model": Predictor.of(Averages(), output="regression"), "curves": 3}, "curves must be 0 for a regression"),
        ({"model": Predictor.of(Averages()), "methods": "selection"}, "selection needs an nn.Module"),
        ({"data": own(y=False)}, "own has no labels"),
    ],
)
def test_a_model_that_does_not_serve(tmp_path, options, said):
    with pytest.raises(ValueError, match=said):
        compare(**{"data": own(), "methods": "random", "out": tmp_path / "out", **options})
    assert not (tmp_path / "out" / "results").exists() or not list((tmp_path / "out" / "results").iterdir())
