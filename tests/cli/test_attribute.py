"""`rambit attribute` and `cost` give the numbers of the Python calls; an option that does not apply is an error."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT
from rambit.attribution import FIT, FO, Occlusion, SegmentGradients, ShapleySampling, WinIT
from rambit.attribution.rambit import BLOCK_SIZES
from rambit.cli.rambit_options import FLAGS
from rambit.counterfactuals import STRATEGIES, JointGenerator, needs_background, reads_background
from rambit.counterfactuals import resolve as strategy_of
from rambit.datasets import Dataset, load, save_file
from rambit.masks import FAMILIES
from rambit.masks import resolve as family_of
from rambit.models import build_model
from rambit.training import load_checkpoint, save_checkpoint

SMALL = {"L": 4, "num_samples": 2}
#: Each series has one label, for which the command line chooses another anchor than the library.
CELL = ("--anchor", "cell")
END = {"anchor": "end"}


def flags(options):
    return [part for name, value in options.items() for part in ("--" + name.replace("_", "-"), value)]


@pytest.fixture
def explain(rambit, made, tmp_path):
    """Run `attribute` and return the saved result and what was printed."""

    def run(*options, data=made.data, model=made.model):
        out = tmp_path / "result.safetensors"
        options = (*(() if "--anchor" in options else CELL), *options)
        done = rambit("attribute", data, "--model", model, "--out", out, "--force", *options)
        assert done.code == 0, done.err
        return Attribution.load(out), done

    return run


@pytest.fixture
def inputs(made):
    """The model and the series, as a user of the Python calls has them."""
    model, _ = load_checkpoint(made.model)
    return model, torch.from_numpy(made.set.X), torch.from_numpy(made.set.lengths)


@pytest.mark.parametrize(
    "options",
    [
        SMALL | {"background": "file"},
        SMALL | {"background": "file", "counterfactuals": "conditional:history=2,neighbours=2,whole_runs=true"},
        {"L": 3, "counterfactuals": "interpolate", "distance": "kl", "reduce": "max"},
        {"L": 3, "num_samples": 1, "counterfactuals": "gaussian", "anchor": "mask", "normalize": "visible", "seed": 7},
        {"L": 3, "num_samples": 2, "counterfactuals": "uniform", "anchor": "end", "window_size": 2, "Wt_max": 3},
        {"L": 3, "masks": "segments", "Wt_min": 2, "Wt_max": 3, "batch_size": 7, "max_memory": "64M"},
        {"masks": "all_blocks", "Wd_max": 1, "Wt_max": 2, "evaluation": "prefix"},
    ],
)
def test_the_same_numbers_as_in_python(explain, inputs, rambit, made, options):
    model, X, lengths = inputs
    given = {name: made.data if value == "file" else value for name, value in options.items()}
    found, done = explain(*flags(given))
    python = dict(options)
    if "counterfactuals" in python and "background" in python:
        python["background"] = {"X": X, "lengths": lengths}
    elif "background" in python:  # the steps that count, as one long series
        python["background"] = torch.cat([x[:, :n] for x, n in zip(X, lengths, strict=True)], dim=1)[None]
    if "max_memory" in python:
        python["max_memory"] = 64 << 20
    if python.get("counterfactuals", "zero") in ("zero", "interpolate") and "background" not in python:
        python["num_samples"] = 1
    method = RaMbIT(model, **python)
    expected = method.explain(X, lengths=lengths)
    assert torch.equal(found.values, expected.values)
    assert (found.stderr is None) == (expected.stderr is None)
    assert found.stderr is None or torch.equal(found.stderr, expected.stderr)
    assert found.settings == expected.settings
    assert (found.rows, found.row_steps, found.mode, found.seed) == (
        expected.rows, expected.row_steps, expected.mode, expected.seed,
    )  # fmt: skip
    assert f"\nrows       {expected.rows}\nrow-steps  {expected.row_steps}\n" in done.out

    said = rambit("cost", made.data, "--model", made.model, *CELL, *flags(given))
    cost = method.cost(X, lengths=lengths)
    assert said.code == 0
    assert f"\nmode       {cost.mode}\nrows       {cost.rows}\nrow-steps  {cost.row_steps}\n" in said.out
    assert said.err == ""


def test_cost_does_not_ask(rambit, made, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the model was evaluated")

    monkeypatch.setattr("rambit.models.recurrent.RecurrentClassifier._walk", never)
    assert rambit("cost", made.data, "--model", made.model).code == 0


def test_the_summary(explain, made):
    found, done = explain("--L", 4, "--limit", 5)
    lines = done.out.splitlines()
    assert lines[0] == f"series     5 of {made.data}: 2 features, 9 steps"
    assert lines[1] == "mode       causal"
    best = found.top(1)[0]
    assert f"top cells  series {best.series}, feature {best.feature}, step {best.time}: {best.score:.4g}" in lines
    assert lines[-1].startswith("wrote      ")
    assert done.err == ""


def test_some_series_get_the_scores_that_they_get_among_all(explain, made):
    options = [*flags(SMALL), "--background", made.data]
    everything, _ = explain(*options)
    few, _ = explain(*options, "--series", "9,2-4")
    assert few.ids.tolist() == [9, 2, 3, 4]
    torch.testing.assert_close(few.values, everything.values[[9, 2, 3, 4]], atol=1e-6, rtol=1e-5)
    first, _ = explain(*options, "--limit", 2)
    torch.testing.assert_close(first.values, everything.values[:2], atol=1e-6, rtol=1e-5)


def test_parts_of_a_data_set(explain, made, tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, build_model({"model": "LSTMClassifier", "num_features": 3, "hidden_size": 3}, seed=0))
    name, model = "spike:n=20,T=12", load_checkpoint(path)[0]
    for part, options in (("test", []), ("train", ["--split", "train"]), (None, ["--split", "all"])):
        found, done = explain("--L", 2, "--num-samples", 1, "--background", "train", *options, data=name, model=path)
        background = torch.from_numpy(load(name, "train").X)
        X = torch.from_numpy(load(name, part).X)
        assert torch.equal(found.values, RaMbIT(model, L=2, num_samples=1, background=background).attribute(X))
        assert f"{len(X)} of {name} ({part or 'all'})" in done.out


def test_no_labels_are_needed(explain, made, tmp_path):
    np.savez(tmp_path / "bare.npz", other=made.set.X.transpose(0, 2, 1), lengths=made.set.lengths)
    found, _ = explain("--L", 2, "--x", "other", "--layout", "BTD", data=tmp_path / "bare.npz")
    assert torch.equal(found.values, explain("--L", 2)[0].values)


def test_missing_values_are_not_replaced(fails, made, tmp_path):
    """A recurrent network can't answer for NaN, and says so."""
    X = made.set.X.copy()
    X[1, 0, 2] = np.nan
    save_file(tmp_path / "gap.npz", Dataset("gap", X, made.set.y))
    said = fails("attribute", tmp_path / "gap.npz", "--model", made.model, "--out", tmp_path / "r.safetensors")
    assert "series id 1" in said


def test_one_draw_where_all_are_the_same(explain, rambit, made, tmp_path):
    few, done = explain("--L", 2)
    assert done.err == ""
    assert few.settings["num_samples"] == 1
    many, done = explain("--L", 2, "--num-samples", 3)
    assert (
        done.err == "rambit: warning: num_samples=3, but Zero counterfactuals have one value: one draw is evaluated\n"
    )
    assert torch.equal(many.values, few.values)
    assert explain("--L", 2, "--num-samples", 1)[1].err == ""
    assert torch.equal(explain("--L", 2, "--all-zero-cf")[0].values, few.values)


def test_masks_and_draws_of_their_own(explain, inputs, made):
    model, X, lengths = inputs
    found, _ = explain("--L", 2, "--series", 0, "--no-share-masks", "--masks", "upper_triangle")
    python = RaMbIT(model, L=2, num_samples=1, masks="upper_triangle", share_masks=False)
    assert torch.equal(found.values, python.attribute(X[:1], lengths=lengths[:1]))
    found, _ = explain("--L", 2, "--num-samples", 2, "--counterfactuals", "gaussian", "--no-share-draws")
    python = RaMbIT(model, L=2, num_samples=2, counterfactuals="gaussian", share_draws=False)
    assert torch.equal(found.values, python.attribute(X, lengths=lengths))


def test_target_and_tolerance(explain, inputs):
    model, X, lengths = inputs
    found, _ = explain("--distance", "diff", "--target", 1, "--L", 2)
    python = RaMbIT(model, distance="diff", L=2, num_samples=1)
    assert torch.equal(found.values, python.attribute(X, target=1, lengths=lengths))
    assert torch.equal(explain("--target", 1, "--L", 2)[0].values, found.values)  # of a target, its signed change
    found, _ = explain("--tolerance", 0.5, "--max-rows", 5000, "--L", 2)
    python = RaMbIT(model, L=2, num_samples=1)
    assert found.rows == python.explain(X, lengths=lengths, tolerance=0.5, max_rows=5000).rows


def test_targets_by_name(explain, fails, made):
    by_number, _ = explain("--target", 1, "--L", 2)
    by_name, done = explain("--target", "high", "--L", 2)
    assert torch.equal(by_name.values, by_number.values)
    assert by_name.target.tolist() == by_number.target.tolist()
    assert "called as" not in done.out, "the checkpoint names its classes"
    both, _ = explain("--targets", "high,low", "--L", 2)
    assert both.targets == [1, 0]
    assert torch.equal(both.sel(target="high").values, by_number.values)
    for option, wrong in (("--target", "hihg"), ("--targets", "low,hihg")):
        said = fails("attribute", made.data, "--model", made.model, option, wrong, "--out", "never.safetensors")
        assert f"{option[2:]} must be one of high, low, got 'hihg'" in said


def test_targets_by_the_names_of_the_data(explain, fails, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = "net.py:net"
    (tmp_path / "net.py").write_text(
        "from rambit.models import build_model\n"
        "net = build_model({'model': 'GRUClassifier', 'num_features': 2, 'hidden_size': 5}, seed=0)\n"
    )
    found, done = explain("--target", "high", "--L", 2, model=model)
    assert torch.equal(found.values, explain("--target", 1, "--L", 2, model=model)[0].values)
    assert f"called as the labels of {made.data}: low, high; the model names none" in done.out
    np.savez("plain.npz", X=made.set.X)
    said = fails("attribute", "plain.npz", "--model", model, "--target", "high", "--out", "never.safetensors")
    assert "--target must be a number: neither net.py:net nor plain.npz names the outputs" in said


def test_several_targets(explain, inputs, rambit, fails, tmp_path):
    model, X, lengths = inputs
    found, done = explain("--targets", "all", "--L", 2)
    expected = RaMbIT(model, L=2, num_samples=1).explain(X, targets="all", lengths=lengths)
    assert torch.equal(found.values, expected.values)
    assert found.targets == [0, 1]
    assert "output 0 low, series" in done.out
    assert "output 1 high, series" in done.out
    assert explain("--targets", "1", "--L", 2)[0].values.shape == (len(X), 1, *X.shape[1:])
    result = tmp_path / "result.safetensors"
    expected.save(result, force=True)
    assert "target must say which of" in fails("plot", result)
    assert rambit("plot", result, "--target", 1).code == 0
    assert "--target is for scores of several outputs" in fails("plot", save_one(expected, tmp_path), "--target", 1)


def save_one(expected, folder):
    """The result of one of its targets, as a file."""
    path = folder / "one.safetensors"
    expected.isel(target=0).save(path)
    return path


def test_checkpoint(rambit, fails, made, tmp_path, monkeypatch):
    saved = tmp_path / "work"
    command = ["attribute", made.data, "--model", made.model, "--L", 4, "--checkpoint", saved]
    assert rambit(*command, "--out", tmp_path / "a.safetensors").code == 0
    again = rambit(*command, "--out", tmp_path / "b.safetensors")
    assert again.code == 0
    first, second = (Attribution.load(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert torch.equal(first.values, second.values)
    assert second.rows < first.rows
    assert "seed" in fails(*command, "--seed", 1, "--out", tmp_path / "c.safetensors")

    def interrupts(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(RaMbIT, "explain", interrupts)
    done = rambit(*command, "--out", tmp_path / "c.safetensors")
    assert done.code == 130
    assert done.err == f"rambit: interrupted; the same command goes on from {saved}\n"


def test_figure(explain, made, tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "heat.png"
    _, done = explain("--L", 2, "--figure", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert f", {path}\n" in done.out


def test_figure_of_a_model_without_names(explain, made, tmp_path):
    pytest.importorskip("matplotlib")
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, load_checkpoint(made.model)[0])
    explain("--L", 2, "--limit", 1, "--figure", tmp_path / "heat.svg", model=other)
    assert b"<svg" in (tmp_path / "heat.svg").read_bytes()


def test_figure_problems_come_before_the_work(fails, made, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(RaMbIT, "explain", lambda *_, **__: pytest.fail("work was done"))
    command = ["attribute", made.data, "--model", made.model, "--out", tmp_path / "r.safetensors", "--figure"]
    assert "--figure must end in one of" in fails(*command, tmp_path / "heat.doc")
    (tmp_path / "heat.png").write_text("mine")
    assert "heat.png exists; --force" in fails(*command, tmp_path / "heat.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "rambit[plots]" in fails(*command, tmp_path / "new.png")


def test_nothing_is_overwritten(fails, rambit, made, tmp_path):
    out = tmp_path / "result.safetensors"
    out.write_text("mine")
    command = ["attribute", made.data, "--model", made.model, "--L", 2, "--out"]
    assert "result.safetensors exists; --force overwrites it" in fails(*command, out)
    assert out.read_text() == "mine"
    assert rambit(*command, out, "--force").code == 0
    assert "is read by this command" in fails(*command, made.model, "--force")
    assert ".safetensors" in fails(*command, tmp_path / "result.pt")


@pytest.mark.parametrize("command", ["attribute", "cost"])
def test_wrong_files(fails, made, tmp_path, command):
    def say(data, model):
        out = ["--out", tmp_path / "r.safetensors"] if command == "attribute" else []
        return fails(command, data, "--model", model, *out)

    assert "none.safetensors: No such file" in say(made.data, tmp_path / "none.safetensors")
    assert "none.npz: No such file" in say(tmp_path / "none.npz", made.model)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(made.model.read_bytes()[:-50])
    assert "broken.safetensors" in say(made.data, broken)
    save_file(tmp_path / "data.safetensors", made.set)
    assert "not a checkpoint" in say(made.data, tmp_path / "data.safetensors")
    assert "reads 2 features, but spike has 3" in say("spike", made.model)
    assert "no data set 'Nix'" in say("Nix", made.model) or "sktime" in say("Nix", made.model)


WRONG = [
    (["--anchor", "middle"], "--anchor"),
    (["--counterfactuals", "median"], "--counterfactuals"),
    (["--masks", "spiral"], "--masks"),
    (["--distance", "abs"], "distance must be one of pd,"),
    (["--L", "0"], "L must"),
    (["--L", "many"], "--L"),
    (["--Wt-min", "20"], "Wt_min"),
    (["--seed", "-1"], "seed"),
    (["--batch-size", "big"], "--batch-size"),
    (["--batch-size", "0"], "batch_size"),
    (["--max-memory", "2X"], "--max-memory"),
    (["--max-memory", "5"], "max_memory"),
    (["--device", "cuda:99"], "--device"),
    (["--evaluation", "full"], "evaluation"),
    (["--series", "12"], "0 to 11"),
    (["--series", "x"], "--series"),
    (["--limit", "0"], "--limit"),
    (["--background", "none.npz"], "none.npz"),
    (["--background", "spike"], "background has 3 features"),
    # What does not apply is not ignored.
    (["--series", "0", "--limit", "1"], "--limit"),
    (["--split", "test"], "is a file"),
    (["--background", "train"], "no train part"),
    (["--counterfactuals", "zero", "--background", "DATA"], "background does not apply to counterfactuals='zero'"),
    (["--all-zero-cf", "--background", "DATA"], "background does not apply to counterfactuals='zero'"),
    (["--all-zero-cf", "--counterfactuals", "uniform"], "all_zero_cf=True contradicts counterfactuals="),
    (["--counterfactuals", "marginal"], "background"),
    (["--counterfactuals", "joint", "--background", "DATA"], "one length"),
    (["--masks", "rows", "--Wt-max", "3"], "Wt_max=3 does not apply to masks='rows'"),
    (["--masks", "columns", "--Wd-max", "3"], "Wd_max=3 does not apply"),
    (["--masks", "bernoulli", "--Wt-min", "3"], "Wt_min=3 does not apply"),
    (["--masks", "all_blocks", "--L", "21"], "L=21 does not apply"),
    (["--masks", "upper_triangle"], "pass share_masks=False"),
    (["--normalize", "visible"], "normalize='visible' applies to anchor='mask' only"),
    (["--anchor", "end", "--reduce", "max"], "reduce='max' does not apply"),
    (["--no-share-draws"], "share_draws=False does not apply"),
]


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_wrong_options(fails, made, tmp_path, options, said):
    options = [made.data if option == "DATA" else option for option in options]
    options += [] if "--anchor" in options else CELL
    assert said in fails("cost", made.data, "--model", made.model, *options)
    out = tmp_path / "r.safetensors"
    assert said in fails("attribute", made.data, "--model", made.model, "--out", out, *options)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--distance", "pd", "--target", "1"], "target applies to distance='diff' only"),
        (["--target", "1:2:3"], "target must be one of"),
        (["--target", ""], "argument --target: must be a number or a name"),
        (["--target", "1", "--targets", "all"], "--targets"),
        (["--targets", "0,x"], "targets must hold names or numbers, not both"),
        (["--targets", "all", "--figure", "f.png"], "--figure is of one output"),
        (["--distance", "diff", "--target", "9"], "target must be below 2"),
        (["--max-rows", "10"], "--max-rows"),
        (["--tolerance", "0"], "tolerance"),
        (["--tolerance", "0.1", "--masks", "all_blocks"], "tolerance"),
        (["--quiet", "--progress"], "--quiet"),
    ],
)
def test_wrong_options_of_attribute(fails, made, tmp_path, options, said):
    out = tmp_path / "r.safetensors"
    assert said in fails("attribute", made.data, "--model", made.model, "--out", out, *options)


@pytest.mark.parametrize("option", ["--out", "--figure", "--checkpoint", "--tolerance", "--target", "--max-rows"])
def test_cost_writes_nothing_and_takes_no_option_for_it(fails, made, option):
    assert option in fails("cost", made.data, "--model", made.model, option, "1")


@pytest.mark.parametrize("option", [["--x", "a"], ["--layout", "BTD"]])
def test_options_for_files_only(fails, made, option):
    assert "spike is a data set" in fails("cost", "spike", "--model", made.model, *option)


def as_flags(options):
    """Options of RaMbIT as they are typed."""
    for name, value in options.items():
        flag = name.replace("_", "-")
        yield from [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]


@pytest.mark.parametrize(
    "options",
    [
        *({"masks": m, size: 3} for m in FAMILIES for size in BLOCK_SIZES if size not in FAMILIES.parameters(m)),
        *({"masks": masks, "L": 3} for masks in FAMILIES if FAMILIES[masks].sized),
        *({"masks": masks} for masks in FAMILIES if FAMILIES[masks].per_cell),
        *({"normalize": "visible", "anchor": anchor} for anchor in ("cell", "end")),
        *({"counterfactuals": name, "share_draws": False} for name in ("zero", "carry_forward", "interpolate")),
        *({"counterfactuals": name} for name in STRATEGIES if needs_background(name)),
        {"anchor": "end", "reduce": "max"},
        {"all_zero_cf": True, "counterfactuals": "uniform"},
        {"distance": "abs"},
        {"L": 0},
        {"Wt_min": 20},
        {"batch_size": 0},
        {"max_memory": 5},
        {"evaluation": "full"},
    ],
    ids=str,
)  # fmt: skip
def test_what_the_library_refuses_the_command_line_refuses_in_its_words(fails, made, inputs, options):
    """The command line has no rules of its own."""
    model, X, lengths = inputs
    options = {"anchor": "cell", **options}
    with pytest.raises(ValueError) as refused:
        RaMbIT(model, **{"num_samples": 1, **options}).cost(X, lengths=lengths)
    assert str(refused.value) in fails("cost", made.data, "--model", made.model, *as_flags(options))


# --- other methods ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("winit:W=3,S=2,cf=uniform", (), (WinIT, {"window_size": 3, "num_samples": 2, "counterfactuals": "uniform"})),
        ("winit", ("--window-size", 3, "--seed", 4), (WinIT, {"window_size": 3, "seed": 4})),
        ("fo:S=2", ("--counterfactuals", "gaussian"), (FO, {"num_samples": 2, "counterfactuals": "gaussian"} | END)),
        ("occlusion:width=2", (), (Occlusion, {"width": 2})),
        ("shapley:num_permutations=3", (), (ShapleySampling, {"num_permutations": 3})),
        ("rambit:L=3,masks=bernoulli,p=0.4", CELL, (RaMbIT, {"L": 3, "masks": "bernoulli:p=0.4", "num_samples": 1})),
        ("segment-gradients", (), (SegmentGradients, END)),
    ],
)
def test_a_method_by_name(rambit, inputs, made, tmp_path, text, options, expected):
    model, X, lengths = inputs
    out = tmp_path / "r.safetensors"
    done = rambit("attribute", made.data, "--model", made.model, "--method", text, *options, "--out", out)
    assert done.code == 0, done.err
    method, given = expected
    found, python = Attribution.load(out), method(model, **given).explain(X, lengths=lengths)
    assert torch.equal(found.values, python.values)
    assert (found.settings, found.seed, found.rows) == (python.settings, python.seed, python.rows)
    assert f"method     {text}" in done.out
    counted = rambit("cost", made.data, "--model", made.model, "--method", text, *options)
    assert counted.code == 0, counted.err
    assert f"rows       {python.rows}\n" in counted.out


def test_a_method_that_draws_from_a_generator(rambit, fails, made, tmp_path):
    X = np.random.default_rng(0).normal(size=(6, 2, 5)).astype(np.float32)
    np.savez(tmp_path / "whole.npz", X=X)
    command = ("attribute", tmp_path / "whole.npz", "--model", made.model, "--method", "fit:S=1")
    assert "fit:S=1 needs --background, on which" in fails(*command, "--out", tmp_path / "r.safetensors")
    assert "series of one length" in fails(*command, "--background", made.data, "--out", tmp_path / "r.safetensors")
    done = rambit(*command, "--background", tmp_path / "whole.npz", "--out", tmp_path / "r.safetensors")
    assert done.code == 0, done.err
    generator = JointGenerator(2, prediction_size=10, seed=0)
    generator.fit(X, seed=0)
    python = FIT(load_checkpoint(made.model)[0], generator=generator, num_samples=1)
    assert torch.equal(Attribution.load(tmp_path / "r.safetensors").values, python.attribute(torch.from_numpy(X)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--method", "winti"], "argument --method: unknown method 'winti'; known: winit, biwinit"),
        (["--method", "winit:width=3"], "winit has no option 'width=3'; its options"),
        (["--method", "random"], "unknown method 'random'; known: rambit"),
        (["--method", "winit", "--L", "3"], "--L does not apply to --method winit"),
        (["--method", "winit", "--anchor", "end"], "--anchor does not apply to --method winit"),
        (["--method", "winit:W=3", "--window-size", "3"], "--window-size and --method winit:W=3 give the same option"),
        (["--method", "winit", "--tolerance", "0.1"], "--tolerance does not apply to --method winit"),
        (["--method", "winit", "--checkpoint", "c"], "--checkpoint does not apply to --method winit"),
    ],
)
def test_a_method_that_does_not_fit(fails, made, tmp_path, options, said):
    out = tmp_path / "r.safetensors"
    assert said in fails("attribute", made.data, "--model", made.model, "--out", out, *options)


# --- what is written down twice agrees --------------------------------------------------------------------------------


def test_every_option_of_rambit_is_a_flag():
    own = {name for name, p in inspect.signature(RaMbIT).parameters.items() if p.kind is p.KEYWORD_ONLY}
    # Five belong to models of other kinds than a checkpoint's; a number for each cell has no short text.
    others = {"output", "layout", "model_id", "categorical", "categorical_name"}
    assert {flag.name for flag in FLAGS} == own - others - {"groups"}


def test_block_sizes_that_a_family_takes_matter():
    for name in FAMILIES:
        plain = family_of(name, (1, 4), (1, 3))
        if not hasattr(plain, "bounds"):
            assert not set(BLOCK_SIZES) & FAMILIES.parameters(name).keys()
            continue
        for i, size in enumerate(BLOCK_SIZES):
            sizes = [1, 4, 1, 3]
            sizes[i] = 2
            other = family_of(name, tuple(sizes[:2]), tuple(sizes[2:]))
            matters = plain.bounds(6, 8) != other.bounds(6, 8)
            assert matters == (size in FAMILIES.parameters(name)), (name, size)


def test_strategies_that_need_a_background():
    background = torch.randn(2, 3, 4)
    for name in STRATEGIES:
        strategy_of(name, background)
        if needs_background(name):
            assert reads_background(name)
            with pytest.raises(ValueError, match="background"):
                strategy_of(name)
        else:
            strategy_of(name)


def test_masks_and_values_with_options_of_their_own(rambit, fails, made, tmp_path):
    def scores(*options):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.safetensors"
        done = rambit("attribute", made.data, "--model", made.model, "--out", out, "--limit", 1, "--L", 2, *options)
        assert done.code == 0, done.err
        return Attribution.load(out)

    found = scores("--masks", "bernoulli:p=0.9", "--counterfactuals", "uniform:lo=-1,hi=1", "--num-samples", 2)
    assert found.settings["masks"] == {"name": "Bernoulli", "p": 0.9}
    assert found.settings["counterfactuals"] == {"name": "Uniform", "lo": -1.0, "hi": 1.0}
    for option, said in (("bernoulli:q=1", "family bernoulli has no option 'q=1'"), ("dice", "unknown family 'dice'")):
        assert said in fails("cost", made.data, "--model", made.model, "--masks", option)
