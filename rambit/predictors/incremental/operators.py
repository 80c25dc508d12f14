"""Operators that work element by element, so that a window of the result needs the same window of the inputs."""

from __future__ import annotations

from typing import Any

import torch

aten: Any = torch.ops.aten

_NAMES = (
    *("relu", "gelu", "sigmoid", "tanh", "silu", "elu", "leaky_relu", "hardtanh", "relu6", "hardswish", "hardsigmoid"),
    *("mish", "softplus", "selu", "celu", "log_sigmoid", "softshrink", "hardshrink", "tanhshrink", "softsign"),
    *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "square", "abs", "neg", "sign"),
    *("sin", "cos", "erf", "sinh", "cosh", "atan", "floor", "ceil", "round", "nan_to_num", "logical_not", "isnan"),
    *("clamp", "clamp_min", "clamp_max", "minimum", "maximum", "logical_and", "logical_or", "add", "sub", "mul", "div"),
    *("rsub", "pow", "where", "masked_fill", "eq", "ne", "lt", "le", "gt", "ge", "threshold"),
    *("clone", "alias", "detach", "dropout", "feature_dropout", "contiguous", "_to_copy"),
)
_OVERLOADS = ("default", "Tensor", "Scalar", "Tensor_Scalar", "Tensor_Tensor", "self")


def _named(names: tuple[str, ...]) -> frozenset[Any]:
    packets = [getattr(aten, name) for name in names if hasattr(aten, name)]
    return frozenset(getattr(packet, each) for packet in packets for each in _OVERLOADS if each in packet.overloads())


POINTWISE = _named(_NAMES)
#: Products with weights.
PRODUCTS: tuple[Any, ...] = (aten.linear.default, aten.addmm.default, aten.matmul.default, aten.mm.default)
#: Whose rules read no reference value of their only input.
LOCAL = POINTWISE | _named(("batch_norm", "layer_norm", "_softmax", "t"))
