"""Whatever a model comes as, the commands explain it; a file of another kind is named; code that fails is one line."""

from __future__ import annotations

import json
import pickle
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

from rambit import Attribution, RaMbIT
from rambit.cli.file_kinds import file_kind
from rambit.predictors import Predictor
from rambit.rex import ReX, RexExplanation
from rambit.sufficiency import SufficientExplanation, explain
from tests.cli.networks import Net

QUICK = ("--L", 2, "--window-size", 1)
CODE = '''
import sys
from pathlib import Path
import torch
from torch import nn
import beside

class Net(nn.Module):
    """Reads (B, D, T), answers two logits."""
    def __init__(self, scale=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0, -1.0], [0.5, 2.0]]) * scale)
    def forward(self, x):
        return x.mean(dim=2) @ self.weight

def net():
    return Net(beside.SCALE)

def doubled(scale=2.0):
    return Net(scale)

def plain(x):
    return x.mean(dim=2) @ torch.tensor([[1.0, -1.0], [0.5, 2.0]])

def time_first():
    inner = Net()
    return Lambda(lambda x: inner(x.transpose(1, 2)))

class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
    def forward(self, x):
        return self.function(x)

def several():
    inner = Net()
    return Lambda(lambda x: {"other": x.mean(dim=2), "answer": inner(x)})

def one():
    return Lambda(lambda x: x.mean(dim=(1, 2)))

made = Net()

def nothing():
    pass

def weights():
    return Net().state_dict()

def number():
    return 3

def fails():
    raise KeyError("no such\\nweights")

class Late(nn.Module):
    def forward(self, x):
        raise RuntimeError("bad row")

def leaves():
    sys.exit(3)

three = 3
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with my.py and series."""
    (tmp_path / "my.py").write_text(CODE)
    (tmp_path / "beside.py").write_text("SCALE = 1.0\n")
    np.savez(tmp_path / "data.npz", X=np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("my", "beside", "rambit_model_my"):
        sys.modules.pop(name, None)


@pytest.fixture
def scores(rambit, here):
    """Run `attribute` with a model, and return the scores."""

    def run(model, *options):
        done = rambit(
            "attribute", "data.npz", "--model", model, "--anchor", "end", *QUICK, "--out", "r.safetensors", "--force",
            *options,
        )  # fmt: skip
        assert done.code == 0, done.err
        return Attribution.load("r.safetensors").values

    return run


def series():
    return torch.from_numpy(np.load("data.npz")["X"])


def expected(model=None, **options):
    return RaMbIT(model or Net(), anchor="end", L=2, window_size=1, num_samples=1, **options).attribute(series())


# -- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["my.py:net", "my.py:plain", "my.py:made", "my.py:Net", "my:net", "./my.py:net"])
def test_code(scores, name):
    assert torch.allclose(scores(name), expected())
    assert "" not in sys.path[:1]


def test_how_the_model_is_evaluated(scores, here):
    assert torch.allclose(scores("my.py:doubled"), expected(Net(2.0)))
    assert torch.allclose(scores("my.py:time_first", "--model-layout", "BTD"), expected())
    assert torch.allclose(scores("my.py:several", "--select", "answer"), expected())
    assert torch.allclose(scores("my.py:several", "--select", "1"), expected())
    found = scores("my.py:plain", "--output", "regression", "--distance", "l2")
    assert torch.allclose(found, expected(output="regression", distance="l2"))
    found = scores("my.py:one", "--output", "logits")
    assert torch.allclose(found, expected(lambda x: x.mean(dim=(1, 2)), output="logits"))


def test_from_another_folder(rambit, here, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    done = rambit("cost", here / "data.npz", "--model", f"{here}/my.py:net")
    assert done.code == 0, done.err


def test_a_path_with_a_colon(rambit, here):
    (here / "a:b").mkdir()
    (here / "a:b" / "other.py").write_text("def net(x):\n    return x.mean(2)\n")
    assert rambit("cost", "data.npz", "--model", "a:b/other.py:net").code == 0


@pytest.mark.parametrize("file", ["onnx_file", "exported_file", "exported_for_two"])
def test_files(scores, request, file):
    assert torch.allclose(scores(request.getfixturevalue(file)), expected(), atol=1e-6)


def test_a_program_demands_its_sizes(fails, here, exported_file, exported_for_two):
    run = ("attribute", "data.npz", "--model", exported_for_two, "--out", "r.safetensors", *QUICK)
    assert "takes (2, 2, 5), and was called with" in fails(*run, "--anchor", "cell")
    np.savez("data.npz", X=np.zeros((3, 4, 5), np.float32))
    assert "takes (2, 2, 5), and was called with" in fails(*run, "--anchor", "end")
    assert Predictor.of(torch.export.load(exported_file)).whole(torch.zeros(7, 2, 5)).shape == (7, 2, 1)


class Pickled:
    """An estimator."""

    def predict_proba(self, x):
        score = 1 / (1 + np.exp(-x.mean((1, 2))))
        return np.stack([1 - score, score], axis=1)


@pytest.mark.parametrize("suffix", [".joblib", ".pkl", ".pt"])
def test_pickles_by_request(scores, fails, here, suffix):
    joblib = pytest.importorskip("joblib")
    path = f"model{suffix}"
    if suffix == ".pt":
        torch.save(Net(), path)
    else:
        joblib.dump(Pickled(), path) if suffix == ".joblib" else (here / path).write_bytes(pickle.dumps(Pickled()))
    said = fails("cost", "data.npz", "--model", path)
    assert "reading it can run any code" in said
    assert "--unsafe-load" in said
    model = Net() if suffix == ".pt" else Pickled()
    assert torch.allclose(scores(path, "--unsafe-load"), expected(model))


def test_every_command(rambit, here):
    model = ("--model", "my.py:net")
    done = rambit("suffice", "data.npz", *model, "--out", "kept", "--series", 1)
    assert done.code == 0, done.err
    assert torch.equal(SufficientExplanation.load("kept/1.safetensors").mask, explain(Net(), series()[1:2]).mask)
    done = rambit("rex", "data.npz", *model, "--series", 1, "--iters", 2, "--out", "rex.safetensors")
    assert done.code == 0, done.err
    found = ReX(Net(), iters=2).explain(series()[1:2])
    assert torch.equal(RexExplanation.load("rex.safetensors").responsibility, found.responsibility)
    done = rambit("attribute", "data.npz", *model, "--anchor", "end", *QUICK, "--store", "store")
    assert done.code == 0, done.err
    assert rambit("cost", "data.npz", *model).code == 0


def test_a_checkpoint_of_the_library_keeps_its_names(rambit, made, tmp_path):
    pytest.importorskip("matplotlib")
    done = rambit(
        "attribute", made.data, "--model", made.model, *QUICK, "--limit", 2, "--out", tmp_path / "r.safetensors",
        "--figure", tmp_path / "f.svg",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "predicted" in (tmp_path / "f.svg").read_text()


def test_resuming_a_function_takes_a_name(rambit, fails, here):
    run = ("attribute", "data.npz", "--model", "my.py:plain", *QUICK, "--anchor", "end", "--checkpoint", "work")
    assert "model_id" in fails(*run, "--out", "a.safetensors")
    assert rambit(*run, "--out", "a.safetensors", "--model-id", "plain").code == 0


# -- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("my.py:nothing", "my.py:nothing returned None: it must return the model"),
        ("my.py:weights", "my.py:weights is a state_dict (weights by name), not a model: write a function"),
        ("my.py:number", "my.py:number is a int, not a model"),
        ("my.py:three", "my.py:three is a int, not a model"),
        ("my.py:nett", "my.py has no nett; it has net, Net, "),
        ("my.py:mad", "my.py has no mad; it has made, "),
        ("my:plian", "my has no plian; it has plain, "),
        ("my.py:fails", "KeyError: 'no such\\nweights' (my.py, line 55, in fails)"),
        ("my.py:leaves", "SystemExit: 3 (my.py, line 62, in leaves)"),
        (
            "my.py",
            "my.py:NAME; it has Net, net, doubled, plain, time_first, Lambda, several, one, made, nothing, weights",
        ),
        ("no.py:net", "no.py: No such file"),
        ("no_such_module:net", "No module named 'no_such_module'"),
        ("broken.py:net", "invalid syntax"),
        ("raises.py:net", "ZeroDivisionError: division by zero (raises.py, line 2, in <module>)"),
        ("imports.py:net", "No module named 'not_there' (imports.py, line 1, in <module>)"),
        ("a:b:c", "--model must be a checkpoint (.safetensors), a file in .onnx .pt2"),
        ("nothing", "--model must be a checkpoint"),
        (":", "--model must be a checkpoint"),
        ("", "--model must be a checkpoint"),
        ("none.pt", "none.pt: No such file"),
        ("none.pt2", "none.pt2: No such file"),
        (".", ". is a folder, not a model"),
    ],
)
def test_code_that_is_no_model(fails, here, model, said):
    (here / "broken.py").write_text("def net(:\n")
    (here / "raises.py").write_text("zero = 0\n1 / zero\n")
    (here / "imports.py").write_text("import not_there\n")
    assert said in fails("cost", "data.npz", "--model", model)
    assert "rambit_model_raises" not in sys.modules


def test_a_model_that_fails_says_where(fails, here):
    said = fails("attribute", "data.npz", "--model", "my.py:Late", "--out", "r.safetensors", *QUICK)
    assert "bad row (my.py, line 59, in forward)" in said


def test_files_of_other_kinds(fails, here):
    torch.save(Net().state_dict(), "weights.pt")
    torch.save({"epoch": 3, "net": Net().state_dict()}, "state.pth")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Net()), "script.pt")
    (here / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30))
    (here / "empty.pt").touch()
    (here / "wrong.onnx").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30))
    (here / "wrong.pt2").write_bytes(b"PK\3\4")
    with zipfile.ZipFile("net.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"")
    (here / "saved").mkdir()
    (here / "saved" / "saved_model.pb").touch()
    (here / "net.json").write_text(json.dumps({}))
    kinds = {
        "weights.pt": "a state_dict (weights by name), not a model",
        "state.pth": "a dictionary of epoch, net, not a model",
        "script.pt": "TorchScript: reading it can run any code",
        "net.h5": "Keras HDF5, not a model that can be read: write a function",
        "empty.pt": "an empty file",
        "wrong.onnx": "wrong.onnx is Keras HDF5 and can't be read as an ONNX model",
        "wrong.pt2": "wrong.pt2 is a broken archive and can't be read as a program of torch.export",
        "net.keras": "a Keras model",
        "saved": "a folder with a TensorFlow SavedModel",
        "net.json": "a JSON file",
        "data.npz": "arrays of NumPy",
    }
    for name, said in kinds.items():
        assert said in fails("cost", "data.npz", "--model", name)
    np.save("a.npy", np.zeros(3))
    assert file_kind("a.npy") == "an array of NumPy"
    assert file_kind("my.py") == ""


def test_weights_in_safetensors(fails, here):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, "weights.safetensors")
    assert "weights alone say no architecture: write a function" in fails(
        "cost", "data.npz", "--model", "weights.safetensors"
    )


def test_nothing_runs_without_being_asked(fails, here, capsys):
    class Trap:
        def __reduce__(self):
            return print, ("unpickled",)

    for name in ("trap.pt", "trap.pkl", "trap.joblib"):
        (here / name).write_bytes(pickle.dumps(Trap()))
        assert "--unsafe-load" in fails("cost", "data.npz", "--model", name)
    torch.save(Trap(), "trap.pth")
    assert "--unsafe-load" in fails("cost", "data.npz", "--model", "trap.pth")
