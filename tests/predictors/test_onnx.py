"""A real ONNX model, evaluated through ONNX Runtime (extra ``onnx``), and what a session declares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rambit import PredictionError, Predictor, RaMbIT
from rambit.rex import ReX
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


# -- what a session declares -------------------------------------------------------------------------------------------

#: (D, T, C) for models that tell features from times.
CELLS = np.random.default_rng(1).normal(size=(D, T, C)).astype(np.float32)


def made(nodes, inputs, outputs, **weights):
    """A session of a graph; inputs and outputs are names with types and shapes."""
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(*node, **more) for *node, more in nodes],
        "graph",
        [onnx.helper.make_tensor_value_info(*one) for one in inputs],
        [onnx.helper.make_tensor_value_info(*one) for one in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


FLOAT, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def flat(declared, order=(0, 1, 2)):
    """Logits that read every cell, by axes (D, T) in this order; ``declared``: the input's shape."""
    weight = CELLS.transpose(order).reshape(-1, C)
    return made(
        [("Flatten", ["x"], ["flat"], {"axis": 1}), ("MatMul", ["flat", "weight"], ["y"], {})],
        [("x", FLOAT, declared)],
        [("y", FLOAT, ["N", C])],
        weight=weight,
    )


def cells(x):
    return torch.einsum("ndt,dtc->nc", x, torch.from_numpy(CELLS).to(x.dtype))


@pytest.mark.parametrize(
    ("declared", "order"),
    [
        (["N", D, T], (0, 1, 2)),
        (["N", "D", "T"], (0, 1, 2)),
        (["N", T, D], (1, 0, 2)),
        (["N", "T", D], (1, 0, 2)),
        (["N", T, "D"], (1, 0, 2)),
        ([4, T, D], (1, 0, 2)),
        (["N", D * T], (0, 1, 2)),
    ],
)
def test_the_order_of_a_row_is_what_the_session_declares(declared, order):
    x = torch.randn(3, D, T, generator=rng(2))
    session, options = flat(declared, order), {"L": 3, "num_samples": 1, "anchor": "end"}
    torch.testing.assert_close(Predictor.of(session).whole(x)[:, :, 0], cells(x).softmax(1))
    expected = RaMbIT(cells, **options).attribute(x)
    torch.testing.assert_close(RaMbIT(session, **options).attribute(x), expected, rtol=1e-4, atol=1e-6)
    if len(declared) == 3:  # X in the other layout: the session still reads what it declares
        other = RaMbIT(session, layout="BTD", **options).attribute(x.mT)
        if all(isinstance(size, str) for size in declared[1:]):  # which says nothing, so layout= does
            other = RaMbIT(flat(["N", "T", "D"], (1, 0, 2)), layout="BTD", **options).attribute(x.mT)
        torch.testing.assert_close(other.mT, expected, rtol=1e-4, atol=1e-6)


def test_as_many_steps_as_features_change_nothing():
    """A prefix of D steps fits both orders: what shorter ones told holds."""

    def means(order):  # a mean over time, of series of any length
        axis = order.index("T") + 1
        return made(
            [("ReduceMean", ["x"], ["mean"], {"axes": [axis], "keepdims": 0}), ("MatMul", ["mean", "w"], ["y"], {})],
            [("x", FLOAT, ["N", *order])],
            [("y", FLOAT, ["N", C])],
            w=WEIGHT,
        )

    x = torch.randn(2, D, T, generator=rng(3))
    options = {"L": 3, "num_samples": 1, "window_size": 2}
    expected = RaMbIT(same, **options).attribute(x)
    for session in (means(["D", "T"]), means(["T", D])):
        if session.get_inputs()[0].shape[1] == "T":
            ours = RaMbIT(session, **options).attribute(x)
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)
    square, longer = torch.randn(2, D, D), torch.randn(2, D, T)
    predictor = Predictor.of(means(["T", D]))
    predictor.whole(square)  # nothing tells the order
    with pytest.raises(ValueError, match=r"features first and others last.* got \(3, 5\) after \(3, 3\)"):
        predictor.whole(longer)


@pytest.mark.parametrize(
    ("declared", "shape", "said"),
    [
        (["N", D, T], (2, D, T + 1), r"the ONNX model reads \(N, 3, 5\), got \(N, 3, 6\)"),
        (["N", D, "T"], (2, D + 1, T), r"reads \(N, 3, any\), got \(N, 4, 5\)"),
        (["N", D * T], (2, D, T + 1), r"reads \(N, 15\), got \(N, 18\)"),
        (["N", 1, D, T], (2, D, T), r"reads \(N, 1, 3, 5\), got \(N, 3, 5\)"),
    ],
)
def test_other_sizes_are_refused_before_the_session_runs(declared, shape, said, monkeypatch):
    session = flat(declared)
    predictor = Predictor.of(session)
    monkeypatch.setattr(predictor, "_run", lambda arrays: pytest.fail("it ran"))
    with pytest.raises(ValueError, match=said):
        RaMbIT(predictor, L=2, anchor="end").attribute(torch.zeros(shape))


def test_prefixes_of_a_fixed_length_are_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"first steps of a series \(.*reads \(N, 3, 5\), got.*use anchor='end'"):
        RaMbIT(flat(["N", D, T]), L=2).attribute(torch.zeros(2, D, T))


@pytest.mark.parametrize("declared", [["N", 1, 6, 8], ["N", 6, 8, 1], ["N", 3, 6, 8], ["N", 6, 8, 3]])
def test_channels_first_or_last(declared):
    channels = min(size for size in declared[1:])
    weight = np.random.default_rng(4).normal(size=(channels, 48, C)).astype(np.float32)
    last = declared[-1] == channels
    session = made(
        [("Flatten", ["x"], ["flat"], {"axis": 1}), ("MatMul", ["flat", "w"], ["y"], {})],
        [("x", FLOAT, declared)],
        [("y", FLOAT, ["N", C])],
        w=(weight.transpose(1, 0, 2) if last else weight).reshape(-1, C),
    )
    image = torch.rand(1, channels, 6, 8, generator=rng(5))

    def twin(x):
        return torch.einsum("nkp,kpc->nc", x.flatten(2), torch.from_numpy(weight))

    ours, theirs = (ReX(model, iters=3, min_box_size=2).explain(image) for model in (session, twin))
    assert ours.target == theirs.target
    torch.testing.assert_close(ours.responsibility, theirs.responsibility, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"reads \(N, .*\), got \(N, .*, 5, 8\)"):
        ReX(session, iters=2).explain(image[:, :, :5])


# -- several inputs ----------------------------------------------------------------------------------------------------


def several(batch="N"):
    """Logits from the mean over time, times ``scale`` (N, 1) plus a row of a table by ``kind`` (N,) int64."""
    return made(
        [
            ("ReduceMean", ["x"], ["mean"], {"axes": [2], "keepdims": 0}),
            ("MatMul", ["mean", "w"], ["z"], {}),
            ("Mul", ["z", "scale"], ["scaled"], {}),
            ("Gather", ["table", "kind"], ["shift"], {}),
            ("Add", ["scaled", "shift"], ["y"], {}),
        ],
        [("scale", FLOAT, [batch, 1]), ("kind", INT, [batch]), ("x", FLOAT, [batch, D, "T"])],
        [("y", FLOAT, ["N", C])],
        w=WEIGHT,
        table=np.arange(2.0 * C, dtype=np.float32).reshape(2, C),
    )


@pytest.mark.parametrize("batch", ["N", 4])
@pytest.mark.parametrize("name", [None, "x"])
def test_other_inputs_go_with_each_series(batch, name):
    x, beside = torch.randn(3, D, T, generator=rng(6)), {"scale": torch.tensor([[1.0], [2.0], [-3.0]])}
    beside["kind"] = torch.tensor([0, 1, 1], dtype=torch.int32)
    predictor = Predictor.of(several(batch=batch), input_name=name)

    def twin(x, scale, kind):
        return same(x) * scale + torch.arange(2.0 * C).view(2, C)[kind.long()]

    options = {"L": 3, "num_samples": 1, "window_size": 2}
    ours, theirs = (RaMbIT(model, **options).attribute(x, extra=beside) for model in (predictor, twin))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert predictor.options() == ({} if name is None else {"input_name": "x"})
    with pytest.raises(ValueError, match="needs as extra kind, scale, got scale; its inputs are scale: tensor"):
        RaMbIT(predictor, **options).attribute(x, extra={"scale": beside["scale"]})
    with pytest.raises(ValueError, match="needs as extra kind, scale, got nothing"):
        RaMbIT(predictor, **options).attribute(x)
    with pytest.raises(TypeError, match="input kind reads int64, got float32"):
        RaMbIT(predictor, **options).attribute(x, extra={**beside, "kind": beside["kind"].float()})


def test_which_input_is_meant():
    with pytest.raises(ValueError, match="input_name='series', but the ONNX model's inputs are scale: tensor"):
        Predictor.of(several(), input_name="series")
    same_rank = made([("Add", ["a", "b"], ["y"], {})], [(n, FLOAT, ["N", D, T]) for n in "ab"], [("y", FLOAT, None)])
    with pytest.raises(TypeError, match="or input_name= must say which of them holds the series: this one has a: "):
        Predictor.of(same_rank)


def test_tokens_are_no_fractions():
    table = np.random.default_rng(7).normal(size=(9, C)).astype(np.float32)
    session = made(
        [
            ("Gather", ["table", "ids"], ["each"], {}),
            ("ReduceMean", ["each"], ["y"], {"axes": [1, 2], "keepdims": 0}),
        ],
        [("ids", INT, ["N", 1, "T"])],
        [("y", FLOAT, ["N", C])],
        table=table,
    )
    ids = torch.randint(0, 9, (3, 1, T), generator=rng(8))
    found = Predictor.of(session).whole(ids)[:, :, 0]
    torch.testing.assert_close(found, torch.from_numpy(table)[ids[:, 0]].mean(1).softmax(1))
    with pytest.raises(TypeError, match="input ids reads int64, got float32"):
        Predictor.of(session).whole(ids.float())


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "said"),
    [
        (("MatMul", ["x", "w"], ["y"], {}), "Compute MatMul dimension mismatch"),
        (("Reshape", ["x", "shape"], ["y"], {}), "The input tensor cannot be reshaped to the requested shape"),
        (("Gather", ["x", "nine"], ["y"], {"axis": 2}), "indices element out of data bounds, idx=9"),
    ],
)
def test_what_fails_within_is_one_sentence(node, said, capfd):
    weights = {"w": np.zeros((7, 2), np.float32), "shape": np.array([-1, 7]), "nine": np.array(9)}
    weights = {name: value for name, value in weights.items() if name in node[1]}
    session = made([node], [("x", FLOAT, ["N", D, "T"])], [("y", FLOAT, ["N", C])], **weights)
    capfd.readouterr()  # what it says of the graph
    with pytest.raises(PredictionError, match=said) as caught:
        RaMbIT(session, L=2, anchor="end").attribute(torch.randn(2, D, T))
    message = str(caught.value)
    assert message.startswith("ONNX Runtime cannot evaluate the model on x (4, 3, 5): ")
    assert "\n" not in message
    assert not any(noise in message for noise in ("onnxruntime::", ".h:", ".cc:", "ONNXRuntimeError", "Status"))
    assert capfd.readouterr().err == ""
