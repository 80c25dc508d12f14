"""Numbers that would only fill the memory, or never end: refused before any work, with the option and the limit."""

from __future__ import annotations

import pytest

from rambit.cli import common
from rambit.cli import rambit_options as cli_options
from rambit.compare.methods import parse

HUGE = (str(10**30), "9223372036854775808", "-" + "9" * 30)
ABSURD = (*HUGE, "nan", "inf", "1e308", "x", "", "9" * 5000)
#: Command and option -> the largest number that passes.
WHOLE = {
    "train": {
        "--hidden": 8192,
        "--layers": 1000,
        "--epochs": 10**6,
        "--batch-size": 10**6,
        "--patience": 10**6,
        "--seed": 2**63 - 1,
    },
    "attribute": {
        **dict.fromkeys(("--num-samples", "--L", "--window-size", "--Wt-min", "--Wt-max"), 10**6),
        **dict.fromkeys(("--Wd-min", "--Wd-max", "--target"), 10**6),
        **dict.fromkeys(("--seed", "--limit", "--max-rows"), 2**63 - 1),
    },
    "cost": {"--num-samples": 10**6, "--L": 10**6, "--window-size": 10**6, "--seed": 2**63 - 1},
    "rex": {
        "--iters": 10**6,
        "--spotlights": 500,
        **dict.fromkeys(("--tree-depth", "--min-box-size", "--search-limit", "--queue-len"), 2**31 - 1),
        **dict.fromkeys(("--chunk-size", "--initial-radius", "--expansions", "--budget", "--step"), 2**31 - 1),
        "--target": 2**31 - 1,
    },
    "select": {
        **dict.fromkeys(("--k", "--heads", "--epochs", "--warmup", "--batch-size"), 10**6),
        "--hidden": 8192,
        "--seed": 2**63 - 1,
    },
    "suffice": {"--num-samples": 10**6, "--target": 10**6, "--limit": 2**63 - 1, "--seed": 2**63 - 1},
    "compare": {
        **dict.fromkeys(("--epochs", "--batch-size", "--generator-epochs", "--series", "--keep"), 10**6),
        "--hidden": 8192,
    },
}
FIRST = {
    "train": ("data.npz", "--model", "gru", "--out", "x.safetensors"),
    "attribute": ("data.npz", "--model", "m.safetensors", "--out", "x.safetensors"),
    "cost": ("data.npz", "--model", "m.safetensors"),
    "rex": ("a.npy", "--model", "m.safetensors", "--out", "x.safetensors"),
    "select": ("data.npz", "--out", "x.safetensors"),
    "suffice": ("data.npz", "--model", "m.safetensors"),
    "compare": ("--out", "folder"),
}


@pytest.mark.parametrize(("command", "option"), [(c, o) for c, options in WHOLE.items() for o in options])
def test_whole_numbers(fails, monkeypatch, tmp_path, command, option):
    """None of the files is there, so that a number that passes ends with another error; nothing is written."""
    monkeypatch.chdir(tmp_path)
    most = WHOLE[command][option]
    for number in (*HUGE, str(most + 1), str(-most - 1)):
        said = fails(command, *FIRST[command], f"{option}={number}")
        assert f"argument {option}: must be at most {most:,}, got {number}" in said
    for number in set(ABSURD) - set(HUGE):
        if option == "--target" and number and not number.isdigit():
            continue  # it may be a name
        assert option in fails(command, *FIRST[command], f"{option}={number}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["attribute", "cost", "rex", "suffice"])
def test_memory(fails, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for size in ("9" * 400, "9" * 5000 + "T", f"{1 << 60}K", "2000000T", "nan", "-1", "1e9", "infG", ""):
        assert "--max-memory" in fails(command, *FIRST[command], f"--max-memory={size}")
    assert common.memory(str(1 << 60)) == 1 << 60


@pytest.mark.parametrize("size", ["10000000x100", "8193x8192", str(10**30), "9" * 5000, "0x3", "3x-1", "1x2x3", "nan"])
def test_the_size_of_pictures(fails, size):
    assert "argument --size: must be" in fails(
        "rex", "a.png", "--model", "m:f", "--out", "x.safetensors", "--size", size
    )


@pytest.mark.parametrize("name", ["iters", "spotlights", "size", "tree_depth"])
def test_a_settings_file_has_the_same_limits(fails, tmp_path, name):
    (tmp_path / "s.toml").write_text(f"{name} = {10**30}")
    command = ("rex", "a.png", "--model", "m:f", "--out", tmp_path / "x.safetensors", "--settings", tmp_path / "s.toml")
    assert f"s.toml: {name} must be " in fails(*command)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (("--anchor", "cell", "--L"), 18 + 32),
        (("--anchor", "cell", "--no-share-masks", "--L"), 18 * (18 + 32)),
        (("--anchor", "end", "--window-size", "10", "--L"), 10 * (18 + 32)),
        (("--counterfactuals", "uniform", "--num-samples"), 12 * 18),
    ],
)
def test_masks_and_draws_that_do_not_fit(fails, made, tmp_path, monkeypatch, options, size):
    """The limit is of all masks or values together; here of 12 series of 2 features and 9 steps."""
    monkeypatch.setattr(cli_options, "MOST_BYTES", 7 * size)
    for command in (("cost",), ("attribute", "--out", tmp_path / "x.safetensors")):
        said = fails(command[0], made.data, "--model", made.model, *command[1:], *options, 8)
        assert f"{options[-1]} must be at most 7 for" in said
    assert list(tmp_path.iterdir()) == []


def test_rows_in_one_call(fails, made):
    for number in ("-1", "1000001", str(10**30), "9" * 5000, "1.5", "nan", ""):
        assert "--batch-size" in fails("cost", made.data, "--model", made.model, f"--batch-size={number}")


def test_models_that_do_not_fit(fails, made, tmp_path):
    train = ("train", made.data, "--out", tmp_path / "m.safetensors")
    assert "--layers of tcn must be at most 16" in fails(*train, "--model", "tcn", "--layers", 17)
    assert "at most 134,217,728, got 8192² × 3" in fails(*train, "--model", "gru", "--hidden", 8192, "--layers", 3)


@pytest.mark.parametrize(
    "method", ["rambit:L", "winit:W", "fo:S", "dynamask:epochs", "selection:k", "rex:iters", "sufficient:num_samples"]
)
def test_options_of_methods(method):
    for number in (10**6 + 1, 10**30, -(10**30)):
        with pytest.raises(ValueError, match=r"^methods: .* must be at most 1,000,000"):
            parse(f"{method}={number}")
    for number in ("nan", "9" * 5000):
        with pytest.raises(ValueError, match="must be a whole number"):
            parse(f"{method}={number}")
    assert parse(f"{method}=3").options
    with pytest.raises(ValueError, match="must be at most 8,192"):
        parse("selection:hidden_dim=8193")


def test_seeds_and_series(fails, made, tmp_path):
    for seeds in ("9" * 30, "1,1", "1,01", "-1", "", "1,"):
        assert "--seeds must be different whole numbers" in fails("compare", "--out", tmp_path / "c", "--seeds", seeds)
    said = fails("cost", made.data, "--model", made.model, "--series", f"0-{10**30}")
    assert "--series must be numbers and ranges" in said


def test_weights_are_finite(fails, tmp_path):
    for number in ("nan", "inf", "-inf", "1e309", "9" * 5000, "x"):
        command = ("select", "data.npz", "--k", 2, "--out", tmp_path / "s.safetensors", f"--diversity={number}")
        assert "argument --diversity: " in fails(*command)
