"""`rambit compare` where no salient cells are known: scores are judged by the model, each number asked again here."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.compare.judging import JUDGED, Judging
from rambit.compare.methods import parse
from rambit.compare.runs import Case, Data, Settings
from rambit.results import Attribution
from rambit.training import load_checkpoint

pytest.importorskip("sktime")
MOTIONS, SPIKE = "BasicMotions", "spike:n=60,T=20"
SHORT = ["--hidden", 6, "--head", "linear", "--epochs", 2, "--lr", 0.02, "--generator-epochs", 1, "--series", 4]
SETTINGS = Settings(hidden=6, head="linear", epochs=2, lr=0.02, generator_epochs=1, series=4)
METHODS = "rambit:L=2,S=2,winit:W=3,S=2,sufficient:num_samples=5,random"
KEEP, CELLS = 7, 0.15


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    from rambit.cli import main

    out = tmp_path_factory.mktemp("faithful") / "out"
    arguments = ["compare", "--data", f"{MOTIONS},{SPIKE}", "--methods", METHODS, "--out", out, *SHORT]
    arguments += ["--keep", KEEP, "--cells", CELLS]
    assert main([str(a) for a in arguments]) == 0
    return out, arguments


def rows(out):
    with (out / "compare.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def kept_alone(X, kept):
    return torch.where(kept, X, torch.zeros_like(X))


def judged(model, X, y, scores):
    """JUDGED, one series after another."""
    k = round(CELLS * X[0].numel())
    right, right_kept, sufficiency, comprehensiveness = [], [], [], []
    for x, label, score in zip(X, y, scores, strict=True):
        output = model.predict(x[None])[0]
        c = int(output.argmax())
        steps = sorted(range(x.shape[1]), key=lambda t: (-float(score[:, t].double().sum()), t))[:KEEP]
        kept = torch.zeros_like(x, dtype=torch.bool)
        kept[:, steps] = True
        right.append(c == label)
        right_kept.append(int(model.predict(kept_alone(x, kept)[None])[0].argmax()) == label)
        top = torch.zeros(x.numel(), dtype=torch.bool)
        top[np.argsort(-score.flatten().double().numpy(), kind="stable")[:k]] = True
        top = top.view_as(x)
        sufficiency.append(float(output[c] - model.predict(kept_alone(x, top)[None])[0, c]))
        comprehensiveness.append(float(output[c] - model.predict(kept_alone(x, ~top)[None])[0, c]))
    return [np.mean(values) for values in (right, right_kept, sufficiency, comprehensiveness)]


@pytest.mark.parametrize("name", [MOTIONS, SPIKE])
def test_every_number_is_what_the_stored_model_says_of_the_stored_scores(compared, name):
    out, _ = compared
    data = Data.read(name, 4)
    case = Case(data, 0, SETTINGS, out)
    model, X = load_checkpoint(case.model_path())[0], torch.from_numpy(data.explained.X)
    y = data.explained.y if name == MOTIONS else data.explained.y[:, -1]
    found = [row for row in rows(out) if row["data"] == name]
    assert len(found) == 4
    for row in found:
        scores = Attribution.load(case.result_path(parse(row["method"]))).values
        with torch.no_grad():
            expected = judged(model, X, y, scores)
        assert [float(row[measure]) for measure in JUDGED] == pytest.approx(expected, abs=1e-6)


def test_truth_columns_stand_where_the_truth_is_known(compared):
    out, _ = compared
    assert {(row["data"], row["auprc"] == "") for row in rows(out)} == {(MOTIONS, True), (SPIKE, False)}
    motions, spike, foot = (out / "compare.txt").read_text().split("\n\n")
    names = ["acc.", "acc.", "kept", "suffic.", "compreh.", "rows", "row-steps", "seconds"]
    assert motions.splitlines()[2].split() == ["method", *names]
    assert spike.splitlines()[2].split()[1] == "AUPRC"
    assert spike.splitlines()[2].split()[-8:] == names
    assert f"alone stay ({KEEP} of them)" in foot
    assert "the best 15 % alone stay" in foot


def test_other_sizes_make_no_result_anew(compared, rambit):
    out, arguments = compared
    made = {path: path.stat().st_mtime_ns for part in ("models", "results") for path in (out / part).iterdir()}
    before = (out / "compare.csv").read_bytes()
    assert rambit(*arguments, "--keep", 100, "--data", MOTIONS).code == 0
    assert [row["accuracy_kept"] for row in rows(out)] == [row["accuracy"] for row in rows(out)]
    assert rambit(*arguments).code == 0
    assert (out / "compare.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for part in ("models", "results") for path in (out / part).iterdir()} == made


def test_one_label_a_series_is_explained_at_the_end(compared):
    out, _ = compared
    data = Data.read(MOTIONS, 4)
    case = Case(data, 0, SETTINGS, out)
    stored = Attribution.load(case.result_path(parse("rambit:L=2,S=2")))
    twin = RaMbIT(case.model(), background=case.background(), L=2, num_samples=2, anchor="end", seed=0)
    assert torch.equal(stored.values, twin.attribute(torch.from_numpy(data.explained.X)))
    assert parse("rambit:anchor=cell").options_for("end")["anchor"] == "cell"
    assert "anchor" not in parse("rambit").options_for("cell")
    assert "anchor" not in parse("winit").options_for("end")
    assert parse("ig").options_for("cell")["anchor"] == "cell"
    assert "anchor" not in parse("ig").options_for(None)
    # The archive's series are sorted by class: those explained are of every class.
    assert sorted(data.explained.y) == [0, 1, 2, 3]


def test_sizes_by_default():
    assert [Judging().timestamps(steps) for steps in (100, 5)] == [10, 1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--keep", 21], "--keep must be between 1 and the 20 timestamps of spike"),
        (["--keep", 0], "--keep must be at least 1, got 0"),
        (["--cells", 0], "--cells must be above 0 and at most 1, got 0"),
        (["--cells", 1.5], "--cells must be above 0 and at most 1, got 1.5"),
        (["--data", "JapaneseVowels"], "JapaneseVowels has series of several lengths"),
    ],
)
def test_errors_before_any_work(fails, tmp_path, more, message):
    out = tmp_path / "out"
    assert message in fails("compare", "--data", SPIKE, "--methods", "random", "--out", out, *SHORT, *more)
    assert not out.exists()
