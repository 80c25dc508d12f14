"""`rambit train` gives what the Python calls give, and says what is wrong with data and options."""

from __future__ import annotations

import numpy as np
import pytest

from rambit.cli.train import NAMES
from rambit.datasets import Dataset, load, save_file
from rambit.models import build_model
from rambit.training import evaluate, fit, load_checkpoint

SHORT = ["--hidden", "4", "--epochs", "2", "--batch-size", "8"]


def same_weights(a, b):
    return all((p == q).all() for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture
def table(tmp_path):
    """A small set of the user's own, as CSV: text labels, of which each file numbers only those that it holds."""

    def write(name, labels, seed=0):
        rng = np.random.default_rng(seed)
        lines = ["series,time,label,speed,heat"]
        lines += [
            f"{i},{t},{label},{rng.normal():.4f},{rng.normal():.4f}" for i, label in enumerate(labels) for t in range(5)
        ]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write


def test_a_data_set_with_a_test_part(rambit, tmp_path):
    out = tmp_path / "model.safetensors"
    done = rambit("train", "spike:n=40,T=20", "--model", "lstm", "--out", out, *SHORT, "--layers", 2, "--seed", 3)
    assert done.code == 0, done.err
    assert done.err == ""
    lines = done.out.splitlines()
    assert lines[0] == "data            spike:n=40,T=20: 32 series, 3 features, 20 steps, 2 classes"
    assert lines[1].startswith("model           lstm, ")
    assert lines[2].startswith("training        2 epochs in ")
    assert lines[-1] == f"wrote           {out}, {tmp_path / 'model.json'}"

    model, document = load_checkpoint(out)
    train, test = (load("spike:n=40,T=20", part) for part in ("train", "test"))
    config = {"model": "LSTMClassifier", "num_features": 3, "hidden_size": 4, "num_layers": 2}
    twin = build_model(config, seed=3)
    fit(twin, train.X, train.y, per_step=True, epochs=2, batch_size=8, seed=3)
    assert same_weights(model, twin)
    accuracy = {
        name: evaluate(twin, d.X, d.y, per_step=True)["accuracy"] for name, d in (("train", train), ("test", test))
    }
    assert document["extra"]["accuracy"] == accuracy
    assert lines[3] == f"train accuracy  {accuracy['train']:.4f}"
    assert lines[4] == f"test accuracy   {accuracy['test']:.4f}"
    assert document["extra"]["class_names"] == ["before the spike", "after the spike"]


def test_a_file_with_every_option(rambit, made, tmp_path):
    out = tmp_path / "model.safetensors"
    network = ["--dropout", 0.2, "--head", "batchnorm", "--standardize"]
    how = ["--lr", 0.01, "--weight-decay", 0, "--valid", 0.25, "--patience", 1, "--per-step", "--device", "cpu"]
    done = rambit("train", made.data, "--model", "gru", "--out", out, *SHORT, *network, *how)
    assert done.code == 0, done.err
    assert "validation loss" in done.out
    assert "test accuracy" not in done.out
    model, _ = load_checkpoint(out)
    config = {"model": "GRUClassifier", "num_features": 2, "hidden_size": 4, "dropout": 0.2, "standardize": True}
    twin = build_model(config | {"head": "batchnorm"}, seed=0)
    fit(
        twin,
        made.set.X,
        made.set.y,
        valid=0.25,
        epochs=2,
        batch_size=8,
        lr=0.01,
        weight_decay=0.0,
        patience=1,
        lengths=made.set.lengths,
        per_step=True,
        standardize=True,
    )
    assert same_weights(model, twin)


def test_test_data_are_numbered_by_name(rambit, table, tmp_path):
    """The second file lacks the class "a": its own numbers would be off by one."""
    data, other = table("data.csv", "abcabc"), table("other.csv", "bcbc", seed=1)
    out = tmp_path / "model.safetensors"
    done = rambit("train", data, "--test-data", other, "--model", "gru", "--out", out, *SHORT)
    assert done.code == 0, done.err
    model, document = load_checkpoint(out)
    assert document["extra"]["feature_names"] == ["speed", "heat"]
    X, y = load(other).X, np.array([1, 2, 1, 2])
    assert document["extra"]["accuracy"]["test"] == evaluate(model, X, y)["accuracy"]


def test_other_names_and_layout(rambit, made, tmp_path):
    np.savez(tmp_path / "mine.npz", series=made.set.X.transpose(0, 2, 1), truth=made.set.y)
    out = tmp_path / "model.safetensors"
    names = ["--x", "series", "--y", "truth", "--layout", "BTD"]
    done = rambit("train", tmp_path / "mine.npz", *names, "--model", "gru", "--out", out, *SHORT)
    assert done.code == 0, done.err
    assert load_checkpoint(out)[0].num_features == 2


@pytest.mark.parametrize("name", NAMES)
def test_every_model_with_its_own_sizes(rambit, made, tmp_path, name):
    out = tmp_path / "model.safetensors"
    done = rambit("train", made.data, "--model", name, "--out", out, "--epochs", 1, "--dropout", 0.1)
    assert done.code == 0, done.err
    twin = build_model({"model": NAMES[name], "num_features": 2, "dropout": 0.1})
    assert load_checkpoint(out)[0].config() == twin.config()


def test_nothing_is_overwritten(fails, rambit, made, tmp_path):
    out, beside = tmp_path / "model.safetensors", tmp_path / "model.json"
    command = ["train", made.data, "--model", "gru", "--out", out, *SHORT]
    beside.write_text("mine")
    assert "model.json exists; --force overwrites it" in fails(*command)
    assert beside.read_text() == "mine"
    assert rambit(*command, "--force").code == 0
    assert beside.read_text() != "mine"


def test_wrong_data(fails, made, table, tmp_path):
    out = ["--model", "gru", "--out", tmp_path / "model.safetensors", *SHORT]
    save_file(tmp_path / "real.npz", Dataset("real", made.set.X, np.ones(12, dtype=np.float32)))
    np.savez(tmp_path / "bare.npz", X=made.set.X)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no more")
    assert "classes" in fails("train", tmp_path / "real.npz", *out)
    assert "there is no 'y'" in fails("train", tmp_path / "bare.npz", *out)
    assert "broken.npz" in fails("train", tmp_path / "broken.npz", *out)
    assert "none.npz: No such file" in fails("train", tmp_path / "none.npz", *out)
    assert "must end in one of" in fails("train", tmp_path / "data.xlsx", *out)
    assert "dealy=2" in fails("train", "spike:dealy=2", *out)
    one = table("one.csv", "aaa")
    assert "num_classes" in fails("train", one, *out)
    two = table("two.csv", "abab")
    assert "lacks: c" in fails("train", two, "--test-data", table("odd.csv", "abc"), *out)
    save_file(tmp_path / "wide.npz", Dataset("wide", np.zeros((2, 3, 4), dtype=np.float32), np.array([0, 1])))
    assert "has 3 features" in fails("train", made.data, "--test-data", tmp_path / "wide.npz", *out)
    assert "classes" in fails("train", made.data, "--test-data", tmp_path / "real.npz", *out)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "model.pt"], ".safetensors"),
        (["--out", "none/model.safetensors"], "no folder"),
        (["--model", "cnn"], "--model"),
        (["--epochs", "0"], "epochs"),
        (["--epochs", "many"], "--epochs"),
        (["--hidden", "0"], "hidden_size"),
        (["--dropout", "1"], "dropout"),
        (["--head", "deep"], "--head"),
        (["--model", "tcn", "--head", "linear"], "head"),
        (["--valid", "2"], "valid"),
        (["--lr", "0"], "lr"),
        (["--device", "tpu"], "--device"),
        (["--device", "cuda:99"], "--device"),
        (["--test-data", "BasicMotions"], "--test-data"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_options(fails, made, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert said in fails("train", made.data, "--model", "gru", "--out", "m.safetensors", *SHORT, *options)


@pytest.mark.parametrize("option", [["--x", "a"], ["--y", "a"], ["--layout", "BTD"], ["--test-data", "a.npz"]])
def test_options_for_files_only(fails, tmp_path, option):
    out = tmp_path / "model.safetensors"
    assert "spike is a data set" in fails("train", "spike", "--model", "gru", "--out", out, *option)


def test_a_diverging_loss_is_one_line(fails, made, tmp_path):
    out = tmp_path / "model.safetensors"
    assert "loss became" in fails("train", made.data, "--model", "gru", "--out", out, "--lr", "1e30", "--epochs", 9)
