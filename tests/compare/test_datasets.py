"""Every generated set of classes by its name in `rambit.compare` and in the command; the regressions are refused."""

import numpy as np
import pytest

from rambit.cli import main
from rambit.compare import compare
from rambit.datasets import SYNTHETIC, load

SHORT = {"hidden": 3, "epochs": 2, "series": 6}
#: rare_* have a black box for each series.
CLASSES = [name for name in SYNTHETIC if not name.startswith("rare")]


def test_every_set_of_classes(tmp_path):
    names = [f"{name}:n=60" for name in CLASSES]
    found = compare(names, "random", out=tmp_path / "out", **SHORT)
    assert found.notes == ()
    for name, row in zip(names, found.rows, strict=True):
        assert row["data"] == name
        assert 0 < row["auprc"] < 1
        data = load(name)
        assert data.salient.shape == data.X.shape
        assert data.y.dtype == np.int64
        assert data.salient[48:, :, 1:].any()  # in the test part


def test_the_command(tmp_path):
    options = [f"--{name}={value}" for name, value in SHORT.items()]
    names = "freq_shapes:n=60,noise=0.5,forecast_linear:n=60,horizon=2"
    arguments = ["compare", "--data", names, "--methods", "random", "--out", str(tmp_path / "out"), *options]
    assert main(arguments) == 0
    assert (
        "freq_shapes:n=60,noise=0.5: 6 series of 1 features and 50 steps" in (tmp_path / "out/compare.txt").read_text()
    )


@pytest.mark.parametrize(
    "name", [*(name for name in SYNTHETIC if name not in CLASSES), "forecast_threshold:target=value"]
)
def test_regressions_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="has real numbers for labels, but the model is a classifier"):
        compare(name, "random", out=tmp_path / "out")
