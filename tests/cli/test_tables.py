"""A table as people have it, explained with a model as people have it: every command reads the same series."""

from __future__ import annotations

import csv
import datetime
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT
from rambit.cli import main
from rambit.datasets import Columns, load_file
from rambit.distributed import Attributions
from rambit.rex import ReX, RexExplanation
from rambit.store import Store
from rambit.sufficiency import SufficientExplanation, explain
from tests.cli.networks import Net

COLUMNS = ("--id", "run", "--time", "stamp", "--label", "class")
QUICK = ("--L", 2, "--window-size", 1)
CODE = """
def net(x):
    import torch
    return x.mean(dim=2) @ torch.tensor([[1.0, -1.0], [0.5, 2.0]])
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """runs.csv: 3 series of 5 steps and 2 features, columns and steps in any order; and my.py."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3, 2, 5)).astype(np.float32)
    rows = []
    for i in range(3):
        for t in rng.permutation(5):
            told = {"class": ["cat", "dog"][i % 2], "stamp": f"2024-03-0{t + 1}T12:00", "run": f"r{i}"}
            rows.append({"b": X[i, 1, t], **told, "a": X[i, 0, t]})
    with open(tmp_path / "runs.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    (tmp_path / "my.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    yield torch.from_numpy(X)
    sys.modules.pop("rambit_model_my", None)


@pytest.mark.parametrize("kind", ["code", "onnx", "exported"])
def test_attribute(rambit, here, request, kind):
    model = "my.py:net" if kind == "code" else request.getfixturevalue(f"{kind}_file")
    run = ("attribute", "runs.csv", "--model", model, *COLUMNS, "--features", "a,b", *QUICK)
    done = rambit(*run, "--out", "r.safetensors")
    assert done.code == 0, done.err
    assert done.err == ""
    expected = RaMbIT(Net(), anchor="end", L=2, window_size=1, num_samples=1).explain(here)
    found = Attribution.load("r.safetensors")
    assert torch.allclose(found.values, expected.values, atol=1e-6)
    assert found.settings["anchor"] == "end"  # each series has one label
    assert "\nanchor     end, since each series has one label; --anchor says otherwise\n" in done.out
    best = expected.top(1)[0]
    time = f"step {best.time} (2024-03-0{best.time + 1}T12:00)"
    assert f"top cells  series r{best.series}, {'ab'[best.feature]}, {time}: " in done.out


def test_the_order_of_features(rambit, here):
    run = ("attribute", "runs.csv", "--model", "my.py:net", *COLUMNS, *QUICK, "--force", "--out", "r.safetensors")
    assert rambit(*run).code == 0  # as the columns stand: b, a
    expected = RaMbIT(Net(), anchor="end", L=2, window_size=1, num_samples=1).attribute(here.flip(1))
    assert torch.allclose(Attribution.load("r.safetensors").values, expected, atol=1e-6)


def test_every_command_reads_the_same(rambit, here):
    run = ("--model", "my.py:net", *COLUMNS, "--features", "a,b")
    done = rambit("attribute", "runs.csv", *run, *QUICK, "--store", "store", "--model-id", "n")
    assert done.code == 0, done.err
    assert "\nanchor     end, since" in done.out
    expected = RaMbIT(Net(), anchor="end", L=2, window_size=1, num_samples=1).attribute(here)
    assert torch.allclose(Attributions("store")[:].values, expected, atol=1e-6)
    assert "\nanchor     end, since" in rambit("cost", "runs.csv", *run).out
    done = rambit("suffice", "runs.csv", *run, "--limit", 1, "--out", "kept")
    assert done.out.startswith("series r0: ")
    kept = SufficientExplanation.load("kept/0.safetensors")
    assert torch.equal(kept.mask, explain(Net(), here[:1]).mask)
    assert rambit("rex", "runs.csv", *run, "--series", 1, "--iters", 2, "--out", "x.safetensors").code == 0
    part = RexExplanation.load("x.safetensors")
    assert torch.equal(part.mask, ReX(Net(), iters=2).explain(here[1:2]).mask)
    assert rambit("rex", "runs.csv", *run, "--iters", 2, "--out", "parts", "--model-id", "n").code == 0
    with Store("parts", read_only=True) as store:
        tensors, record = store.get("1")
    for names, series in ((kept, "r0"), (part, "r1"), (RexExplanation.of(tensors, record), "r1")):
        assert (names.labels.features, names.labels.series) == (("a", "b"), (series,))
        assert names.labels.times.astype("datetime64[D]").tolist()[0] == datetime.date(2024, 3, 1)
    done = rambit(
        "train", "runs.csv", *COLUMNS, "--model", "gru", "--hidden", 2, "--epochs", 1, "--out", "m.safetensors"
    )
    assert done.code == 0, done.err
    assert "3 series, 2 features, 5 steps, 2 classes" in done.out


def test_an_anchor_that_is_named_wins(rambit, fails, here):
    model = ("--model", "my.py:net", *COLUMNS)
    assert "anchor" not in rambit("cost", "runs.csv", *model, "--anchor", "cell").out
    said = fails("cost", "runs.csv", *model, "--reduce", "max")
    assert "(anchor is end, since each series has one label; --anchor says otherwise)" in said
    done = rambit("cost", "runs.csv", "--model", "my.py:net", "--id", "run", "--time", "stamp", "--features", "a,b")
    assert "anchor" not in done.out  # no labels


def test_labels_of_each_step_keep_the_default(rambit, here):
    text = "series,time,label,a,b\n0,0,0,1,2\n0,1,1,3,4\n"
    with open("steps.csv", "w", encoding="utf-8") as file:
        file.write(text)
    assert "anchor" not in rambit("cost", "steps.csv", "--model", "my.py:net").out
    assert (
        rambit("attribute", "steps.csv", "--model", "my.py:net", "--L", 1, "--store", "s", "--model-id", "n").code == 0
    )
    assert Attributions("s")[:].settings["anchor"] == "cell"


def test_unequal_lengths_and_gaps(rambit, here):
    with open("gaps.csv", "w", encoding="utf-8") as file:
        file.write("run,b,a\nx,1,2\nx,,4\ny,5,6\n")
    Path("nan.py").write_text("def net(x):\n    return x.nan_to_num(0).mean(2)\n")
    run = ("attribute", "gaps.csv", "--model", "nan.py:net", "--id", "run", "--anchor", "end", *QUICK)
    done = rambit(*run, "--out", "r.safetensors")
    assert done.code == 0, done.err
    data = load_file("gaps.csv", y=None, columns=Columns(id="run"))
    X = torch.from_numpy(data.X)
    expected = RaMbIT(lambda x: x.nan_to_num(0).mean(2), anchor="end", L=2, window_size=1, num_samples=1).explain(
        X, observed=~X.isnan(), lengths=data.lengths
    )
    found = Attribution.load("r.safetensors")
    assert torch.equal(found.values, expected.values)
    assert found.lengths.tolist() == [2, 1]
    assert torch.equal(found.evaluated, expected.evaluated)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("", (), "t.csv: it is empty: the first line must name the columns"),
        ("a,b\n", (), "t.csv: the table has no rows"),
        ("a,b\n1\n", (), "t.csv: row 1 has 1 values, the header 2"),
        ("a,a\n1,2\n", (), "two columns have the same name, 'a'"),
        ("a,b\n1,x\n", (), "column 'b' must hold numbers, got 'x'"),
        ("a,b\n1," + "x" * 200_000, (), "field larger than field limit"),
        ("time,a\n1,1\n1,1\n", (), "the same time twice: 1; if it holds several series, name the column"),
        ("run,a\n1,1\n", ("--id", "Run"), "there is no column 'Run'; the columns: 'run', 'a'"),
        ("run,a\n1,1\n", ("--features", "a,,b"), "argument --features: must be names with commas between"),
        ('"a\n', (), "unexpected end of data"),
        ("day,a\nmonday,1\n", ("--time", "day"), "day holds 'monday', which is neither a number nor a date"),
    ],
)
def test_tables_that_are_none(fails, here, text, options, said):
    with open("t.csv", "w", encoding="utf-8") as file:
        file.write(text)
    assert said in fails("cost", "t.csv", "--model", "my.py:net", *options)


def test_columns_are_for_tables(fails, here):
    np.savez("t.npz", X=np.zeros((1, 2, 3)))
    for data in ("t.npz", "spike"):
        said = fails("cost", data, "--model", "my.py:net", "--id", "run")
        assert f"--id is for tables (.parquet .csv .tsv), but {data} is none" in said
    assert "--id does not apply to t.npz" in fails(
        "rex", "t.npz", "--model", "my.py:net", "--id", "run", "--out", "r.safetensors"
    )
    assert "x, y and layout are for arrays" in fails("cost", "runs.csv", "--model", "my.py:net", "--x", "a")


def test_names_reach_the_terminal_as_text(here, capsys):
    with open("odd.csv", "w", encoding="utf-8") as file:
        file.write('run,"a\x1b[31m",b\n"r\x1b]0;x",1,2\n')
    command = ["attribute", "odd.csv", "--id", "run", "--model", "my.py:net", "--L", "1", "--window-size", "1"]
    assert main([*command, "--anchor", "end", "--out", "r.safetensors"]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_compare_with_a_model_and_a_table_of_ones_own(rambit, fails, here):
    run = (
        "compare",
        "--data",
        "runs.csv",
        *COLUMNS,
        "--features",
        "a,b",
        "--model",
        "my.py:net",
        "--methods",
        "random",
    )
    assert "--model-id" in fails(*run, "--out", "c")
    done = rambit(*run, "--model-id", "net", "--out", "c")
    assert done.code == 0, done.err
    assert done.out.startswith("runs: 3 series of 2 features and 5 steps")
    assert "--hidden must not be given with model" in fails(*run, "--model-id", "net", "--hidden", 3, "--out", "c")
    assert "--select applies with --model only" in fails("compare", "--select", "a", "--out", "d")
    assert "--id is for tables" in fails("compare", "--id", "run", "--out", "d")
