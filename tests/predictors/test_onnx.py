"""A real ONNX model, asked through ONNX Runtime (extra ``onnx``)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import Predictor, RaMbIT
from tests.ops.layouts import rng

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

D, T, C = 3, 5, 2
WEIGHT = np.random.default_rng(0).normal(size=(D, C)).astype(np.float32)


def session(batch):
    """Logits: the mean over time, then a matrix."""
    kind = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("ReduceMean", ["x"], ["mean"], axes=[2], keepdims=0),
            onnx.helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
        ],
        "mean",
        [onnx.helper.make_tensor_value_info("x", kind, [batch, D, "w"])],
        [onnx.helper.make_tensor_value_info("logits", kind, [batch, C])],
        [onnx.numpy_helper.from_array(WEIGHT, "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def same(x):
    return x.mean(2) @ torch.from_numpy(WEIGHT).to(x.dtype)


@pytest.mark.parametrize("batch", ["N", 4])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_answers(batch, n):
    x = torch.randn(n, D, T, generator=rng(0))
    outputs = Predictor.of(session(batch)).whole(x)
    torch.testing.assert_close(outputs[:, :, 0], same(x).softmax(1))


def test_attributions_are_those_of_the_same_model_in_torch():
    x = torch.randn(2, D, T, generator=rng(1))
    settings = {"num_samples": 2, "L": 3, "window_size": 2, "counterfactuals": "gaussian", "seed": 4}
    ours, theirs = (RaMbIT(model, **settings).attribute(x) for model in (session("N"), same))
    assert ours.abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
