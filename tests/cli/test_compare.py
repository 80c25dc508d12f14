"""`rambit compare` makes each result once, and every number of its table can be made from the stored ones again."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from rambit import RaMbIT, attribution, metrics, testing
from rambit.attribution import FO, Attributor, WinIT
from rambit.attribution.attributor import Part
from rambit.compare import methods as known
from rambit.compare.methods import parse, split
from rambit.compare.runs import Case, Data, Settings
from rambit.counterfactuals import STRATEGIES, FeatureGenerator, Zero
from rambit.datasets import load
from rambit.options import option
from rambit.results import Attribution
from rambit.training import load_checkpoint

SPIKE, STATE = "spike:n=60,T=20", "state:n=30,T=15"
SHORT = ["--hidden", 6, "--epochs", 2, "--lr", 0.02, "--generator-epochs", 1, "--series", 6]
SETTINGS = Settings(hidden=6, epochs=2, lr=0.02, generator_epochs=1, series=6)
METHODS = "rambit-cell:L=2,S=2,leave-one-out:S=2,winit:W=3,S=2,fo:S=2,exact-shapley:players=cells,random"


def command(out, *more, data=SPIKE, methods=METHODS):
    return ["compare", "--data", data, "--methods", methods, "--out", out, *SHORT, *more]


def files(folder: Path):
    """All files but tables and figures: their content and when they were written."""
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for d in ("models", "results") for p in (folder / d).iterdir()}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two sets that differ in their truth alone and another one, two seeds, six methods."""
    from rambit.cli import main

    out = tmp_path_factory.mktemp("compared") / "out"
    data = f"{SPIKE},{STATE},truth=change,{STATE},truth=active"
    arguments = command(out, "--seeds", "0,1", data=data)
    assert main([str(a) for a in arguments]) == 0
    return out, arguments


def rows(out, name="compare"):
    with (out / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_number_comes_from_a_stored_result(compared):
    out, _ = compared
    for row in rows(out):
        truth = load(row["data"], "test").salient[:6]
        data, method = Data.read(row["data"], 6), parse(row["method"])
        if row["method"] == "exact-shapley:players=cells":
            assert row["seeds"] == "0"
            assert row["auprc"] == ""
            continue
        results = [Attribution.load(Case(data, seed, SETTINGS, out).result_path(method)) for seed in (0, 1)]
        assert row["seeds"] == "2"
        assert {result.settings["text"] for result in results} == {row["method"]}
        numbers = {name: [float(getattr(r, name)) for r in results] for name in ("rows", "row_steps", "seconds")}
        for name in ("auprc", "auroc", "mean_rank", "mean_rank_min", "iou", "aup", "aur", "information", "entropy"):
            numbers[name] = [getattr(metrics, name)(r.values, truth, skip_first=True) for r in results]
        for name, (a, b) in numbers.items():
            assert float(row[name]) == pytest.approx((a + b) / 2)
            assert float(row[f"{name}_stderr"]) == pytest.approx(abs(a - b) / 2)
    assert list(rows(out)[0])[3:7] == ["auprc", "auprc_stderr", "auroc", "auroc_stderr"]


def test_results_are_those_of_the_python_calls(compared):
    out, _ = compared
    data = Data.read(SPIKE, 6)
    case = Case(data, 1, SETTINGS, out)
    model, document = load_checkpoint(case.model_path())
    assert document["extra"]["training"] == {
        "hidden": 6,
        "head": "batchnorm",
        "epochs": 2,
        "batch_size": 100,
        "lr": 0.02,
        "weight_decay": 1e-3,
        "dropout": 0.5,
    }
    X, background = case.background()[:0], case.background()
    X = X.new_tensor(data.explained.X)
    generator = FeatureGenerator(3, prediction_size=10, seed=1)
    generator.fit(data.train.X, epochs=1, seed=1)
    twins = {
        "rambit-cell:L=2,S=2": RaMbIT(model, background=background, L=2, num_samples=2, seed=1),
        "leave-one-out:S=2": RaMbIT(model, background=background, masks=(X[:1] == X[:1]), num_samples=2, seed=1),
        "winit:W=3,S=2": WinIT(model, counterfactuals=generator, window_size=3, num_samples=2, seed=1),
        "fo:S=2": FO(model, num_samples=2, seed=1),
    }
    for text, twin in twins.items():
        stored = Attribution.load(case.result_path(parse(text)))
        assert (stored.values == twin.attribute(X)).all(), text


def test_the_same_command_again_does_nothing(compared, rambit):
    out, arguments = compared
    before = files(out)
    tables = {name: (out / name).read_bytes() for name in ("compare.csv", "compare.txt", "settings.json")}
    # Two seeds of two models and generators: the truths of State share theirs; one method serves no set.
    assert len(before) == 2 * 2 * (2 + 2) + 2 * 2 * 5
    done = rambit(*arguments)
    assert done.code == 0, done.err
    assert files(out) == before
    assert {name: (out / name).read_bytes() for name in tables} == tables
    assert (out / "compare.png").stat().st_size > 1000
    assert done.out.startswith((out / "compare.txt").read_text())


def test_what_is_missing_is_made_and_no_more(compared, rambit):
    out, arguments = compared
    before = files(out)
    lost = next(p for p in before if p.name.startswith("winit"))
    lost.unlink()
    assert rambit(*arguments).code == 0
    after = files(out)
    assert after.keys() == before.keys()
    assert {p for p in before if before[p] != after[p]} == {lost}
    again, first = Attribution.load(lost), before[lost][0]
    lost.write_bytes(first)
    assert (Attribution.load(lost).values == again.values).all()


def test_the_printed_table(compared):
    out, _ = compared
    text = (out / "compare.txt").read_text()
    assert text.splitlines()[0] == f"{SPIKE}: 6 series of 3 features and 20 steps; seeds [0, 1]"
    assert text.splitlines()[1].startswith("GRU of 6 units; test accuracy 0.")
    assert text.splitlines()[2].split()[:3] == ["method", "AUPRC", "AUROC"]
    # Each truth of State has a table of its own.
    assert text.count("\n\nstate:") == 2
    shapley = next(line for line in text.splitlines() if line.startswith("exact-shapley"))
    assert set(shapley.split()[1:]) == {"–"}
    assert f"– exact-shapley:players=cells on {SPIKE}: players: 60 are too many" in text
    rambit = next(row for row in rows(out) if row["method"].startswith("rambit"))
    assert f"{float(rambit['auprc']):.3f} ± {float(rambit['auprc_stderr']):.3f}" in text


def test_a_corrupt_result_is_an_error(rambit, fails, tmp_path):
    out = tmp_path / "out"
    assert rambit(*command(out, methods="random")).code == 0
    path = next((out / "results").iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    assert path.name in fails(*command(out, methods="random"))


def test_a_folder_of_something_else_is_refused(rambit, fails, tmp_path):
    out = tmp_path / "out"
    assert rambit(*command(out, methods="random")).code == 0
    assert json.loads((out / "settings.json").read_text())["hidden"] == 6
    message = fails(*command(out, "--hidden", 7, methods="random"))
    assert "was made with hidden 6, not 7: name another --out" in message
    assert rambit(*command(out, "--hidden", 7, "--force", methods="random")).code == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert "holds something else" in fails(*command(other))
    (tmp_path / "file").write_text("")
    assert "is not a folder" in fails(*command(tmp_path / "file"))


@pytest.mark.parametrize(
    ("methods", "data", "message"),
    [
        ("winti", SPIKE, "unknown method 'winti'; known: winit, biwinit,"),
        ("rambit:height=2", SPIKE, "rambit has no option 'height=2'; its options"),
        ("rambit-cell:anchor=mask", SPIKE, "rambit-cell has no option 'anchor=mask'"),
        ("rambit:L=many", SPIKE, "'L=many' must be a whole number"),
        ("rambit:L=0", SPIKE, "--methods rambit:L=0: L must be at least 1"),
        ("rambit:anchor=middle", SPIKE, "anchor must be one of"),
        ("rambit:masks=none,L=3", SPIKE, "L=3 does not apply: the masks given say themselves how many"),
        ("rambit:p=0.1", SPIKE, "masks: family block has no option 'p=0.1'"),
        ("rambit:share_masks=maybe", SPIKE, "must be true or false"),
        ("fo:seed=3", SPIKE, "fo has no option 'seed=3'"),
        ("random,random", SPIKE, "names something twice"),
        ("random", "", "must name at least one"),
        ("random", "nothing", "unknown data set 'nothing'"),
        ("random", "spike:size=3", "spike: the options and their defaults"),
        ("random", "rare_time", "real numbers for labels"),
        ("random", "spike:n=5", "no salient cell in the 1 test series"),
    ],
)
def test_errors_before_any_work(fails, tmp_path, methods, data, message):
    assert message in fails(*command(tmp_path / "out", data=data, methods=methods))
    assert not (tmp_path / "out").exists()


def test_wrong_settings(fails, tmp_path):
    assert "--seeds must be different whole numbers" in fails(*command(tmp_path / "out", "--seeds", "1,1"))
    assert "--series must be at least 1" in fails(*command(tmp_path / "out", "--series", 0))


def test_lists_of_items_with_options():
    assert split("spike,spike:delay=2,n=500,state:truth=change") == [
        "spike",
        "spike:delay=2,n=500",
        "state:truth=change",
    ]
    assert split("winit,W=3, fo") == ["winit:W=3", "fo"]


def test_all_methods_serve_a_small_set(rambit, tmp_path):
    small = {"rambit": ":L=2", "shapley": ":num_permutations=2", "banzhaf": ":num_masks=5"}
    small |= dict.fromkeys(("dynamask", "extremal-mask"), ":epochs=2,lr=0.1") | {"tint-fit": ":epochs=1,draws=1"}
    needs = dict.fromkeys(("gradients", "ig", "gradient-shap", "deep-lift", "feature-ablation"), "captum")
    needs |= dict.fromkeys(("dynamask", "extremal-mask", "temporal-occlusion", "tint-fit"), "tint")
    names = [name for name in known.names() if name not in needs or find_spec(needs[name])]
    methods = ",".join(name + small.get(name, "") for name in names)
    done = rambit(*command(tmp_path / "out", methods=methods))
    assert done.code == 0, done.err
    found = rows(tmp_path / "out")
    assert len(found) == len(names)
    assert all(row["seeds"] == "1" and row["auprc_stderr"] == "" for row in found)
    assert all(np.isfinite(float(row["auroc"])) for row in found)


@pytest.fixture
def registered():
    """A method and a strategy from outside the package."""

    @attribution.METHODS.register("magnitude")
    class Magnitude(Attributor):
        """The size of each value; asks its model nothing."""

        power: float = option(default=1.0, help="of the size")

        def _score(self, call, game, indices):
            return Part(game.sample.x.double().abs() ** self.power, None)

    @STRATEGIES.register("sevens")
    class Sevens(Zero):
        """Seven everywhere."""

        def draws(self, x, observed, ids, count, *, seed, first=0):
            return torch.full((count, *x.shape), 7.0, dtype=x.dtype)

    yield
    del attribution.METHODS._entries["magnitude"], STRATEGIES._entries["sevens"]


def test_methods_and_strategies_from_outside(registered, rambit, fails, tmp_path):
    testing.check_attributor(lambda model, **options: attribution.METHODS["magnitude"](model, **options))
    methods = "magnitude:power=2.0,rambit:cf=sevens,L=2"
    done = rambit(*command(tmp_path / "out", methods=methods))
    assert done.code == 0, done.err
    assert [row["method"] for row in rows(tmp_path / "out")] == ["magnitude:power=2.0", "rambit:cf=sevens,L=2"]
    assert "magnitude has no option 'exponent=2'" in fails(*command(tmp_path / "b", methods="magnitude:exponent=2"))
    assert "known: " in (said := fails(*command(tmp_path / "b", methods="nothing")))
    assert "magnitude" in said
    assert "known: carry_forward" in (said := fails(*command(tmp_path / "b", methods="rambit:cf=eights")))
    assert "sevens" in said


def test_help_names_the_defaults(rambit):
    done = rambit("compare", "--help")
    assert done.code == 0
    assert "(50)" in done.out


def test_errors_name_options(fails, tmp_path):
    assert "--batch-size must be at least 1, got 0" in fails(*command(tmp_path / "out", "--batch-size", 0))
    assert "error: --data and --methods must name at least one each" in fails(*command(tmp_path / "out", data=""))
    assert "error: --keep must be between 1 and the 20 timestamps" in fails(*command(tmp_path / "out", "--keep", 21))
    assert "error: --cells must be above 0" in fails(*command(tmp_path / "out", "--cells", "nan"))
    assert "error: --data: unknown data set 'nothing'" in fails(*command(tmp_path / "out", data="nothing"))
    assert "error: --methods fo:S=0: " in fails(*command(tmp_path / "out", methods="fo:S=0"))
    other = tmp_path / "data"  # a folder's name is no option's
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    message = fails(*command(other))
    assert f"error: {other} holds something else; name another --out, or --force writes there" in message
