"""A small model and its data, trained once; and a way to run a command in this process."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from rambit.cli import main
from rambit.datasets import Dataset, save_file
from rambit.models import build_model
from rambit.training import save_checkpoint
from tests.cli.networks import Net


@pytest.fixture
def rambit(capsys):
    """Run a command line: its exit status, what it printed, and what it said on stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return SimpleNamespace(code=code, out=out, err=err)

    return run


@pytest.fixture
def fails(rambit):
    """Run a command line that must fail with one line, and return that line."""

    def run(*arguments):
        done = rambit(*arguments)
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith("rambit: error: ")
        assert done.err.count("\n") == 1
        return done.err

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with data.npz (12 series of 2 features and 9 steps, of unequal length), and a model for it."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2, 9)).astype(np.float32)
    lengths = rng.integers(5, 10, 12)
    X[np.arange(9) >= np.broadcast_to(lengths[:, None, None], X.shape)] = 0
    data = Dataset("data", X, np.arange(12) % 2, lengths=lengths, class_names=("low", "high"))
    save_file(folder / "data.npz", data)
    model = build_model({"model": "GRUClassifier", "num_features": 2, "hidden_size": 5}, seed=0)
    save_checkpoint(folder / "model.safetensors", model, {"class_names": ["low", "high"]})
    return SimpleNamespace(folder=folder, data=folder / "data.npz", model=folder / "model.safetensors", set=data)


@pytest.fixture(scope="session")
def exported_file(tmp_path_factory):
    """`Net` as a program of torch.export, for any number of series of 5 steps."""
    return _exported(tmp_path_factory, {"x": {0: torch.export.Dim.DYNAMIC}})


@pytest.fixture(scope="session")
def exported_for_two(tmp_path_factory):
    """The same for exactly two series."""
    return _exported(tmp_path_factory, None)


def _exported(tmp_path_factory, sizes):
    path = tmp_path_factory.mktemp("exported") / "net.pt2"
    torch.export.save(torch.export.export(Net(), (torch.zeros(2, 2, 5),), dynamic_shapes=sizes), path)
    return path


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory):
    """`Net` in ONNX, for any number of series of 5 steps."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kind, helper = onnx.TensorProto.FLOAT, onnx.helper
    weight = onnx.numpy_helper.from_array(Net().weight.detach().numpy(), "w")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[2], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", kind, ["n", 2, 5])]
    outputs = [helper.make_tensor_value_info("y", kind, ["n", 2])]
    graph = helper.make_graph(nodes, "net", inputs, outputs, [weight])
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
