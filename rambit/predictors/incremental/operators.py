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
    *("exp2", "erfc", "tan", "asin", "acos", "asinh", "acosh", "atanh", "trunc", "frac", "sinc", "xlogy", "isinf"),
    *("isfinite", "logical_xor", "bitwise_not", "bitwise_and", "bitwise_or", "atan2", "hypot", "fmod", "remainder"),
    *("floor_divide", "lerp", "addcmul", "addcdiv"),
    *("clone", "alias", "detach", "dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"),
    *("contiguous", "_to_copy", "to", "type_as"),
)
_OVERLOADS = (
    *("default", "Tensor", "Scalar", "Tensor_Scalar", "Tensor_Tensor", "Scalar_Tensor", "self", "ScalarSelf"),
    *("ScalarOther", "Tensor_mode", "Scalar_mode", "dtype", "dtype_layout", "device", "other"),
)


def _named(names: tuple[str, ...]) -> frozenset[Any]:
    packets = [getattr(aten, name) for name in names if hasattr(aten, name)]
    found = [getattr(packet, each) for packet in packets for each in _OVERLOADS if each in packet.overloads()]
    return frozenset(operator for operator in found if _makes_one_of_tensors(operator._schema))


def _makes_one_of_tensors(schema: Any) -> bool:
    """Operators of numbers have the same names, and ``where`` of one argument gives places."""
    return [str(one.type) for one in schema.returns] == ["Tensor"] and "Tensor" in str(schema).partition("->")[0]


POINTWISE = _named(_NAMES)
#: Products with weights.
PRODUCTS: tuple[Any, ...] = (aten.linear.default, aten.addmm.default, aten.matmul.default, aten.mm.default)
#: Whose rules read no reference value of their only input.
LOCAL = POINTWISE | _named(("batch_norm", "layer_norm", "_softmax", "t"))
#: What reads the shape and type of its argument, and no value.
SHAPED = _named(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"))
