"""`rambit attribute --store`: a file piece by piece, and again where it stopped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import RaMbIT
from rambit.cli import main
from rambit.distributed import Attributions
from rambit.models import build_model
from rambit.training import save_checkpoint


@pytest.fixture
def files(tmp_path):
    """A model and data of unequal length, with a missing value."""
    model = build_model({"model": "GRUClassifier", "num_features": 2, "hidden_size": 4}, seed=0)
    save_checkpoint(tmp_path / "model.safetensors", model, {})
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", X=rng.normal(size=(9, 2, 6)).astype(np.float32), lengths=rng.integers(3, 7, 9))
    return tmp_path, model


def command(folder, *options):
    data = ["attribute", folder / "x.npz", "--model", folder / "model.safetensors"]
    return main([str(part) for part in [*data, "--store", folder / "s", "--L", "2", *options]])


def test_the_numbers_of_python(files, capsys):
    folder, model = files
    with np.load(folder / "x.npz") as data:
        X, lengths = torch.from_numpy(data["X"]), torch.from_numpy(data["lengths"])
    expected = RaMbIT(model, L=2, num_samples=1).explain(X, lengths=lengths)
    assert command(folder) == 0
    out = capsys.readouterr().out
    assert f"rows       {expected.rows}\nrow-steps  {expected.row_steps}\n" in out
    results = Attributions(folder / "s")
    assert torch.equal(results[:].values, expected.values)
    assert results[:].settings == expected.settings
    before = {path: path.stat().st_mtime_ns for path in (folder / "s").iterdir()}
    assert command(folder) == 0
    assert {path: path.stat().st_mtime_ns for path in (folder / "s").iterdir()} == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "r.safetensors"], "not allowed with argument"),
        (["--figure", "f.png"], "--figure does not apply with --store"),
        (["--checkpoint", "c"], "--checkpoint does not apply"),
        (["--tolerance", "0.1"], "--tolerance does not apply"),
        (["--targets", "all"], "--targets does not apply"),
        (["--series", "0"], "--series does not apply"),
        (["--limit", "2"], "--limit does not apply"),
        (["--split", "test"], "--split does not apply"),
        (["--force"], "--force does not apply"),
        (["--x", "Z"], "there is no 'Z'"),
        (["--layout", "BTD"], "reads 2 features"),
    ],
)
def test_what_does_not_apply(files, capsys, options, said):
    assert command(files[0], *options) == 2
    assert said in capsys.readouterr().err
    assert not (files[0] / "s").exists()


def test_other_settings_and_other_data(files, capsys):
    folder, _ = files
    assert command(folder) == 0
    assert command(folder, "--seed", "3") == 2
    assert "seed is 0 there and 3 here" in capsys.readouterr().err
    model = str(folder / "model.safetensors")
    assert main(["attribute", "spike", "--model", model, "--store", str(folder / "t")]) == 2
    assert "--store is for files, but spike is a data set" in capsys.readouterr().err
