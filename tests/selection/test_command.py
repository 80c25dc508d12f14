"""`rambit select`, and the selector as a method of `rambit compare`."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from rambit.cli import main
from rambit.compare.selection import Selection
from rambit.datasets import Dataset, save_file
from rambit.models import build_model
from rambit.selection import SelectionAttributor, load_selector

SHORT = ["--epochs", "2", "--warmup", "1", "--hidden", "8", "--heads", "2"]


@pytest.fixture
def rambit(capsys):
    """Run a command line: its exit status, what it printed, and what it said on stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def data(tmp_path):
    """A file of 30 series of 2 features and 9 steps with classes, and one with real labels and lengths."""
    rng = np.random.default_rng(0)
    X = (5 + 3 * rng.normal(size=(30, 2, 9))).astype(np.float32)
    save_file(tmp_path / "classes.npz", Dataset("classes", X, np.arange(30) % 2, class_names=("low", "high")))
    lengths = rng.integers(5, 10, 30)
    save_file(tmp_path / "real.npz", Dataset("real", X, X[:, 0, 2].copy(), lengths=lengths))
    return tmp_path


def test_select(rambit, data):
    out, figure = data / "selector.safetensors", data / "kept.png"
    command = ["select", data / "classes.npz", "--k", 3, "--positions", "--out", out, "--figure", figure, *SHORT]
    code, said, err = rambit(*command)
    assert (code, err) == (0, "")
    lines = said.splitlines()
    assert "30 series, 2 features, 9 steps" in lines[0]
    assert "topk, keeps 3.0 timestamps a series" in lines[1]
    assert "classification, 2 epochs" in lines[2]
    assert lines[-1].endswith(f"{out}, {data / 'selector.json'}, {figure}")
    assert figure.read_bytes().startswith(b"\x89PNG")
    document = json.loads((data / "selector.json").read_text())
    assert document["extra"]["task"] == "classification"

    # The file reads the data's own units, and keeps what was printed.
    selector, extra = load_selector(out)
    assert extra == document["extra"]
    X = torch.from_numpy(np.load(data / "classes.npz")["X"])
    mask, _ = selector(X.transpose(1, 2))
    steps = ", ".join(str(t) for t in mask[0].nonzero()[:, 0].tolist())
    assert any(line.split()[:2] == ["series", "0"] and line.endswith(f"steps {steps}") for line in lines)
    scores = SelectionAttributor(selector).attribute(X)
    best = scores[:, 0].topk(3, dim=1).indices.sort(dim=1).values
    assert (best == mask.topk(3, dim=1).indices.sort(dim=1).values).all()

    code, _, err = rambit(*command)
    assert code == 2
    assert "exists; --force overwrites it" in err
    before = out.read_bytes()
    assert rambit(*command, "--force")[0] == 0
    assert out.read_bytes() == before, "the same command, the same weights"


@pytest.mark.parametrize("method", [["gumbel", "--k", "2"], ["threshold", "--threshold", "0.4"]])
def test_a_regression_on_series_of_different_lengths(rambit, data, method):
    out = data / "selector.safetensors"
    code, said, err = rambit("select", data / "real.npz", "--method", *method, "--out", out, *SHORT)
    assert (code, err) == (0, "")
    assert "mean squared error, kept alone" in said
    assert load_selector(out)[0].selection_method == method[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "k must be given for selection_method='topk'"),
        (["--k", "0"], "k must be at least 1"),
        (["--k", "2", "--epochs", "0"], "epochs must be at least 1"),
        (["--k", "2", "--method", "best"], "--method"),
        (["--k", "2", "--out", "a.pt"], "--out must end in .safetensors"),
        (["--k", "2", "--y", "none"], "there is no 'none'"),
        (["--k", "2", "--figure", "a.docx"], "--figure must end in"),
    ],
)
def test_wrong_options(rambit, data, options, message, monkeypatch):
    monkeypatch.chdir(data)
    code, said, err = rambit("select", "classes.npz", "--out", "s.safetensors", *SHORT, *options)
    assert (code, said) == (2, "")
    assert message in err
    assert not (data / "s.safetensors").exists()


def test_wrong_labels(rambit, data):
    out = ["--k", 2, "--out", data / "s.safetensors"]
    code, _, err = rambit("select", data / "real.npz", "--task", "classification", *out)
    assert code == 2
    assert "are real numbers" in err
    code, _, err = rambit("select", "spike:n=20,T=10", *out)
    assert code == 2
    assert "one for each series" in err


def test_the_selector_as_a_method_to_compare():
    model = build_model({"model": "GRUClassifier", "num_features": 2, "hidden_size": 4}, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    X = torch.randn(12, 2, 8, generator=torch.Generator().manual_seed(0))
    first = Selection(model, background=X, k=2, epochs=2, hidden_dim=8).explain(X[:3])
    again = Selection(model, background=X, k=2, epochs=2, hidden_dim=8).explain(X[:3])
    assert first.values.shape == (3, 2, 8)
    assert torch.equal(first.values, again.values)
    assert not torch.equal(first.values, Selection(model, background=X, k=2, epochs=2, seed=1).explain(X[:3]).values)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.requires_grad for weight in model.parameters())
