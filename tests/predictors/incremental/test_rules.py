"""Every rule against the dense call, on random shapes, settings and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import getitem
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rambit.predictors.incremental.operators import POINTWISE, SHAPED, aten
from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.rows import RULES, Rows
from rambit.predictors.incremental.values import Window
from tests.predictors.incremental.twins import Case, Function, cases, drawn, random_case, weights

Draw = Callable[[Any], Any]


@dataclass(frozen=True)
class Tried:
    """An operator: what makes a function that calls it, and which values it is called on."""

    make: Callable[[Draw, Case], Function]
    sizes: tuple[int | None, ...] = (3, None)
    options: dict[str, Any] = field(default_factory=dict)
    by_rule: bool = True  # whether narrow windows are never made whole


TRIED: dict[str, Tried] = {}
flag = st.booleans()


def tried(*sizes: int | None, by_rule: bool = True, name: str = "", **options: Any) -> Any:
    """A decorator: the function's operator is tried on rows of these sizes; None stands for the time."""

    def add(make: Callable[[Draw, Case], Function]) -> Any:
        TRIED[f"{name or make.__name__} {sizes}"] = Tried(make, sizes or (3, None), options, by_rule)
        return make

    return add


# -- pointwise ------------------------------------------------------------------------------------------------------

#: Arguments after the first, of operators for which a tensor or 0.5 will not do.
_ARGUMENTS: dict[str, Any] = {"dropout": (0.5, False), "feature_dropout": (0.5, False), "threshold": (0.1, 0.2)}
_ARGUMENTS |= {
    "alpha_dropout": (0.5, False),
    "feature_alpha_dropout": (0.5, False),
    "hardtanh": (-0.5, 0.7),
    "_to_copy": (),
}
_POSITIVE = ("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "div", "xlogy")


def _pointwise(operator: Any, case: Case, other: str) -> Function:
    """A call of an operator, whose other arguments are tensors of some shape or vary as well."""
    name = operator._schema.name.removeprefix("aten::")
    required = [arg for arg in operator._schema.arguments if not arg.has_default_value() and not arg.kwarg_only]
    constant = {"places": (1, case.x.shape[2]), "channels": (3, 1), "one": ()}

    def function(call: Any, x: Any) -> Any:
        def tensor() -> Any:
            if other == "varies":
                return call(aten.mul.Scalar, x, 0.9)
            return weights(case.x, *constant[other]).abs() + 0.1

        if name == "where":
            condition = call(aten.gt.Scalar, x, 0.5)
            return call(operator, condition, *(tensor() if _is_tensor(arg) else 0.5 for arg in required[1:]))
        if name == "masked_fill":
            value = case.x.new_tensor(0.5) if _is_tensor(required[2]) else 0.5
            return call(operator, x, call(aten.gt.Scalar, x, 0.5), value)
        if name.startswith("bitwise"):
            truths = [call(aten.gt.Scalar, x, 0.5), weights(case.x, *constant["places"]) > 0]
            return call(operator, *[truth for truth, arg in zip(truths, required, strict=False) if _is_tensor(arg)])
        if name.startswith("clamp"):
            return call(operator, x, tensor() if "Tensor" in str(operator._schema.arguments[1].type) else 0.5)
        if not _is_tensor(required[0]):
            return call(operator, 0.5, x)
        given = _ARGUMENTS.get(name, [tensor() if _is_tensor(arg) else 0.5 for arg in required[1:]])
        named = {arg.name: "floor" for arg in operator._schema.arguments if arg.name == "rounding_mode"}
        return call(operator, x, *given, **named)

    return function


def _is_tensor(argument: Any) -> bool:
    return str(argument.type) == "Tensor"


#: Needs arguments that only some types and devices have.
_NOT_TRIED = (aten.to.device, aten.to.dtype, aten.to.other, aten.bitwise_and.Scalar, aten.bitwise_or.Scalar)
_TRIED_POINTWISE = sorted(
    (o for o in POINTWISE if (o not in _NOT_TRIED and "Scalar_Tensor" not in str(o)) or "rsub" in str(o)), key=str
)


@pytest.mark.parametrize("operator", _TRIED_POINTWISE, ids=str)
def test_pointwise(operator):
    name = operator._schema.name.removeprefix("aten::")
    for seed, other in enumerate(["places", "channels", "one", "varies"]):
        for widest, by_rule in ((12, False), (2, True)):
            case = random_case(seed, widest=widest, positive=name in _POSITIVE)
            case.check(_pointwise(operator, case, other), by_rule=by_rule)


@tried(3, None)
@tried(None, 3)
def add_of_two_windows(draw: Draw, case: Case) -> Function:
    def function(call: Any, x: Any) -> Any:
        shifted = call(aten.constant_pad_nd.default, x, [1, 0] if case.axis == 2 else [0, 0, 1, 0])
        longer = call(aten.constant_pad_nd.default, x, [0, 1] if case.axis == 2 else [0, 0, 0, 1])
        return call(aten.add.Tensor, shifted, longer, alpha=2)

    return function


@tried(3, None)
@tried(None, 3)
def scale_by_what_is_the_same(draw: Draw, case: Case) -> Function:
    """A value of the reference that is broadcast along the axis, and one that is not."""
    keepdim = draw(flag)

    def function(call: Any, x: Any) -> Any:
        scaled = call(aten.mul.Tensor, x, weights(case.x, *([3, 1] if case.axis == 2 else [1, 3])))
        other = call(aten.mean.dim, x, [3 - case.axis], True)
        return call(aten.mul.Tensor, scaled, other) if keepdim else call(aten.add.Tensor, scaled, x)

    return function


@tried(None)
def broadcast_over_new_dimensions(draw: Draw, case: Case) -> Function:
    def function(call: Any, x: Any) -> Any:
        return call(aten.add.Tensor, call(aten.unsqueeze.default, x, 1), weights(case.x, 4, 1))

    return function


@tried(3, None)
def number_of_another_type(draw: Draw, case: Case) -> Function:
    """A tensor without dimensions does not decide the type of the result."""
    number = torch.tensor(0.7, dtype=draw(st.sampled_from([torch.float32, torch.float64])))
    return lambda call, x: call(aten.mul.Tensor, x, number)


@tried(3, None)
@tried(3, None, 2)
@tried(None, 3)
@tried(None, name="batch_norm of places", by_rule=False)
def batch_norm(draw: Draw, case: Case) -> Function:
    C, like = case.x.shape[1], case.x
    weight, bias = (weights(like, C, seed=k) if draw(flag) else None for k in range(2))
    mean, variance = weights(like, C, seed=2), weights(like, C, seed=3).abs() + 0.1
    return lambda call, x: call(aten.batch_norm.default, x, weight, bias, mean, variance, False, 0.1, 1e-5, True)


@tried(None, 4)
@tried(3, None, 4)
def layer_norm(draw: Draw, case: Case) -> Function:
    weight, bias = (weights(case.x, 4, seed=k) if draw(flag) else None for k in range(2))
    return lambda call, x: call(aten.layer_norm.default, x, [4], weight, bias)


@tried(3, None, by_rule=False)
def layer_norm_over_time(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.layer_norm.default, x, [case.x.shape[2]])


@tried(3, None)
@tried(None, 3)
def softmax_over_features(draw: Draw, case: Case) -> Function:
    operator = draw(st.sampled_from([aten.softmax.int, aten.log_softmax.int]))
    dim = 3 - case.axis - (3 if draw(flag) else 0)
    return lambda call, x: call(operator, x, dim)


@tried(3, None)
def softmax_in_core(draw: Draw, case: Case) -> Function:
    operator = draw(st.sampled_from([aten._softmax.default, aten._log_softmax.default]))
    return lambda call, x: call(operator, x, 1, False)


@tried(3, None)
@tried(3, None, 2)
@tried(None, name="prelu of places")
def prelu(draw: Draw, case: Case) -> Function:
    slope = weights(case.x, draw(st.sampled_from([1, case.x.shape[1]])))
    return lambda call, x: call(aten.prelu.default, x, slope)


@tried(4, None)
@tried(None, 4)
def glu(draw: Draw, case: Case) -> Function:
    if case.axis == 1 and draw(flag):
        return lambda call, x: call(aten.glu.default, x)
    return lambda call, x: call(aten.glu.default, x, 3 - case.axis)


def _shaped(operator: Any) -> Callable[[Draw, Case], Function]:
    def make(draw: Draw, case: Case) -> Function:
        def function(call: Any, x: Any) -> Any:
            sizes = [[call(aten.sym_size.int, x, 0), *case.x.shape[1:]]] if "new_" in str(operator) else []
            return call(aten.add.Tensor, x, call(operator, x, *sizes, *([0.5] if "full" in str(operator) else [])))

        return function

    return make


for _operator in sorted(SHAPED, key=str):
    tried(3, None, name=str(_operator))(_shaped(_operator))


@tried(3, None)
@tried(None, 3)
def change_of_type(draw: Draw, case: Case) -> Function:
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return lambda call, x: call(aten.to.dtype, x, dtype)


# -- convolutions and pools -----------------------------------------------------------------------------------------


@tried(4, None)
@tried(1, None)
def conv1d(draw: Draw, case: Case) -> Function:
    C, T = case.x.shape[1:]
    groups = draw(st.sampled_from([1, C]))
    taps, stride = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    dilation, padding = draw(st.integers(1, 3)), draw(st.integers(0, 6))
    padding = max(padding, (dilation * (taps - 1) + 2 - T) // 2, 0)  # so that there is a result
    weight = weights(case.x, 4, C // groups, taps)
    bias = weights(case.x, 4) if draw(flag) else None
    return lambda call, x: call(aten.conv1d.default, x, weight, bias, [stride], [padding], [dilation], groups)


@tried(4, None)
def conv1d_padded_by_name(draw: Draw, case: Case) -> Function:
    taps, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = "same" if case.x.shape[2] <= dilation * (taps - 1) else draw(st.sampled_from(["same", "valid"]))
    weight = weights(case.x, 5, 4, taps)
    return lambda call, x: call(aten.conv1d.padding, x, weight, None, [1], padding, [dilation])


@tried(2, None, 4)
@tried(2, 4, None)
def conv2d(draw: Draw, case: Case) -> Function:
    taps, stride = [[draw(st.integers(1, 3)) for _ in range(2)] for _ in range(2)]
    padding, dilation = [draw(st.integers(2, 4)) for _ in range(2)], [draw(st.integers(1, 2)) for _ in range(2)]
    weight = weights(case.x, 3, 2, *taps)
    return lambda call, x: call(aten.conv2d.default, x, weight, None, stride, padding, dilation)


@tried(2, None, 4)
@tried(2, 4, None)
def conv2d_padded_by_name(draw: Draw, case: Case) -> Function:
    weight = weights(case.x, 3, 2, *(draw(st.integers(1, 4)) for _ in range(2)))
    return lambda call, x: call(aten.conv2d.padding, x, weight, None, [1, 1], "same")


def _pool_settings(draw: Draw, T: int, spatial: int) -> tuple[list[int], list[int], list[int]]:
    taps = [draw(st.integers(1, min(4, T))) for _ in range(spatial)]
    stride = [draw(st.integers(1, 4)) for _ in range(spatial)] if draw(flag) else []
    return taps, stride, [draw(st.integers(0, count // 2)) for count in taps]


@tried(3, None)
def max_pool1d(draw: Draw, case: Case) -> Function:
    taps, stride, padding = _pool_settings(draw, case.x.shape[2], 1)
    dilation = draw(st.integers(1, 2)) if (taps[0] - 1) * 2 < case.x.shape[2] else 1
    ceil_mode = draw(flag)
    return lambda call, x: call(aten.max_pool1d.default, x, taps, stride, padding, [dilation], ceil_mode)


@tried(3, None, 4)
@tried(3, 4, None)
def max_pool2d(draw: Draw, case: Case) -> Function:
    taps, stride, padding = _pool_settings(draw, min(4, *case.x.shape[2:]), 2)
    return lambda call, x: call(aten.max_pool2d.default, x, taps, stride, padding)


@tried(3, None)
def avg_pool1d(draw: Draw, case: Case) -> Function:
    taps, stride, padding = _pool_settings(draw, case.x.shape[2], 1)
    return lambda call, x: call(aten.avg_pool1d.default, x, taps, stride, padding)


@tried(3, None, by_rule=False)
def avg_pool1d_at_edges(draw: Draw, case: Case) -> Function:
    """Beyond the edge means are of fewer places."""
    taps, stride, padding = _pool_settings(draw, case.x.shape[2], 1)
    ceil_mode, counted = draw(flag), draw(flag)
    return lambda call, x: call(aten.avg_pool1d.default, x, taps, stride, padding, ceil_mode, counted)


@tried(3, None, 4)
@tried(3, 4, None)
def avg_pool2d(draw: Draw, case: Case) -> Function:
    taps, stride, padding = _pool_settings(draw, min(4, *case.x.shape[2:]), 2)
    return lambda call, x: call(aten.avg_pool2d.default, x, taps, stride, padding)


@tried(3, None, 4, by_rule=False)
@tried(3, 4, None, by_rule=False)
def pools2d_at_edges(draw: Draw, case: Case) -> Function:
    taps, stride, padding = _pool_settings(draw, min(4, *case.x.shape[2:]), 2)
    if draw(flag):
        return lambda call, x: call(aten.max_pool2d.default, x, taps, stride, padding, [1, 1], True)
    counted, divisor = draw(flag), draw(st.sampled_from([None, 3]))
    return lambda call, x: call(aten.avg_pool2d.default, x, taps, stride, padding, True, counted, divisor)


# -- products -------------------------------------------------------------------------------------------------------


@tried(None, 3)
@tried(2, None, 3)
@tried(3, None)
@tried(None)
@tried(2, 3, None)
def linear(draw: Draw, case: Case) -> Function:
    weight = weights(case.x, 4, case.x.shape[-1])
    bias = weights(case.x, 4) if draw(flag) else None
    return lambda call, x: call(aten.linear.default, x, weight, bias)


@tried(None, 3)
@tried(3, None)
@tried(2, 3, None)
def matmul(draw: Draw, case: Case) -> Function:
    weight = weights(case.x, 4, case.x.shape[-1]).t().contiguous()
    return lambda call, x: call(aten.matmul.default, x, weight)


@tried(None)
@tried(None, 3, name="flattened")
def products_of_matrices(draw: Draw, case: Case) -> Function:
    """In terms of the core operators."""
    K = case.x.shape[1:].numel()
    weight, bias, added = weights(case.x, 4, K), weights(case.x, 4), draw(flag)

    def function(call: Any, x: Any) -> Any:
        x = call(aten.view.default, x, [-1, K]) if case.x.ndim > 2 else x
        weight_t = call(aten.t.default, weight)
        return call(aten.addmm.default, bias, x, weight_t) if added else call(aten.mm.default, x, weight_t)

    return function


@tried(None, 3)
@tried(3, None)
@tried(2, None, 3)
def flatten_then_linear(draw: Draw, case: Case) -> Function:
    weight, bias = weights(case.x, 4, case.x.shape[1:].numel()), weights(case.x, 4)
    act = draw(flag)

    def function(call: Any, x: Any) -> Any:
        x = call(aten.flatten.using_ints, x, 1)
        return call(aten.linear.default, call(aten.relu.default, x) if act else x, weight, bias)

    return function


# -- shapes ---------------------------------------------------------------------------------------------------------


@tried(None, 3)
@tried(2, 3, None)
def permute(draw: Draw, case: Case) -> Function:
    order = draw(st.permutations(range(case.x.ndim)))
    order = [dim - (case.x.ndim if draw(flag) else 0) for dim in order]
    return lambda call, x: call(aten.permute.default, x, order)


@tried(None, 3)
@tried(2, 3, None)
def transpose(draw: Draw, case: Case) -> Function:
    one, other = (draw(st.integers(-case.x.ndim, case.x.ndim - 1)) for _ in range(2))
    return lambda call, x: call(aten.transpose.int, x, one, other)


@tried(None)
def transpose_of_matrices(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.t.default, x)


@tried(3, None)
def unsqueeze(draw: Draw, case: Case) -> Function:
    dim = draw(st.integers(-4, 3))
    return lambda call, x: call(aten.unsqueeze.default, x, dim)


@tried(1, None, 1)
@tried(3, 1, None)
def squeeze(draw: Draw, case: Case) -> Function:
    dims = st.integers(-4, 3).filter(lambda dim: dim % 4 != case.axis and dim % 4 != 0)
    given = draw(st.sampled_from(["dim", "dims"]))
    dim, one = draw(dims), draw(dims)
    dims_given = [dim] if dim % 4 == one % 4 else [dim, one]
    if given == "dim":
        return lambda call, x: call(aten.squeeze.dim, x, dim)
    return lambda call, x: call(aten.squeeze.dims, x, dims_given)


@tried(1, None, 3, places=(2, 12))
def squeeze_all(draw: Draw, case: Case) -> Function:
    """Of a single row, the rows stay."""
    return lambda call, x: x.squeeze(1) if isinstance(x, torch.Tensor) else call(aten.squeeze.default, x)


@tried(4, None)
@tried(None, 4)
@tried(2, None, 4)
def reshape_beside_the_axis(draw: Draw, case: Case) -> Function:
    T = case.x.shape[case.axis]
    operator = draw(st.sampled_from([aten.view.default, aten.reshape.default, aten._unsafe_view.default]))
    new = {(4, T): [2, 2, T], (T, 4): [T, 2, 2], (2, T, 4): [2, T, 4]}
    sizes = new.get(tuple(case.x.shape[1:]), [*case.x.shape[1:], 1])
    return lambda call, x: call(operator, x, [-1, *sizes])


@tried(2, 3, None)
def flatten_beside_the_axis(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.flatten.using_ints, x, 1, 2)


@tried(6, None)
def unflatten(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.unflatten.int, x, 1, [2, 3])


@tried(4, None, by_rule=False)
@tried(None, 4, by_rule=False)
def reshape_across_the_axis(draw: Draw, case: Case) -> Function:
    """After operators whose windows lie in another order in memory than whole values."""
    T = case.x.shape[case.axis]
    operator = draw(st.sampled_from([aten.view.default, aten.reshape.default]))
    sizes = draw(st.sampled_from([[2, 2 * T], [T * 2, 2], [T * 4], [1, 4 * T]]))

    def function(call: Any, x: Any) -> Any:
        return call(operator, call(aten.mul.Scalar, x, 2.0), [-1, *sizes])

    return function


@tried(3, None, places=(2, 12))
@tried(None, 3, places=(2, 12))
def slice_of_places(draw: Draw, case: Case) -> Function:
    T = case.x.shape[case.axis]
    begin = draw(st.none() | st.integers(-T, T - 1) | st.just(1))
    first = 0 if begin is None else begin % T
    end = draw(st.sampled_from([None, 2**63 - 1, T + 3]) | st.integers(first + 1, T))
    return lambda call, x: call(aten.slice.Tensor, x, case.axis, begin, end)


@tried(5, None)
def slice_of_channels(draw: Draw, case: Case) -> Function:
    begin, step = draw(st.integers(0, 3)), draw(st.integers(1, 2))
    return lambda call, x: call(aten.slice.Tensor, x, -2, begin, 5, step)


@tried(5, None)
def slice_of_all_rows(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.slice.Tensor, x)


@tried(3, None)
@tried(None, 3)
def slice_with_a_step(draw: Draw, case: Case) -> Function:
    step, begin = draw(st.integers(2, 4)), draw(st.integers(0, case.x.shape[case.axis] - 1))
    return lambda call, x: call(aten.slice.Tensor, x, case.axis, begin, None, step)


@tried(3, None)
@tried(None, 3)
def select(draw: Draw, case: Case) -> Function:
    dim = draw(st.sampled_from([1, 2, -1, -2]))
    index = draw(st.integers(-case.x.shape[dim], case.x.shape[dim] - 1) | st.just(-1))
    return lambda call, x: call(aten.select.int, x, dim, index)


@tried(3, None)
@tried(None, 3)
def cat_of_channels(draw: Draw, case: Case) -> Function:
    dim = 3 - case.axis

    def function(call: Any, x: Any) -> Any:
        first = call(aten.constant_pad_nd.default, x, [1, 0] if case.axis == 2 else [0, 0, 1, 0])
        last = call(aten.constant_pad_nd.default, x, [0, 1] if case.axis == 2 else [0, 0, 0, 1])
        return call(aten.cat.default, [first, last, call(aten.neg.default, last)], dim)

    return function


@tried(3, None)
@tried(None, 3)
def cat_of_places(draw: Draw, case: Case) -> Function:
    token = [*case.x.shape[1:]]
    token[case.axis - 1] = 2
    constant, first = weights(case.x, 1, *token), draw(flag)

    def function(call: Any, x: Any) -> Any:
        rows = call(aten.sym_size.int, x, 0)
        tokens = call(aten.expand.default, constant, [rows, *token])
        return call(aten.cat.default, [tokens, x] if first else [x, tokens], case.axis)

    return function


@tried(3, None)
@tried(None, 3)
def cat_of_constant_channels(draw: Draw, case: Case) -> Function:
    constant = weights(case.x, 1, *case.x.shape[1:])

    def function(call: Any, x: Any) -> Any:
        rows = call(aten.sym_size.int, x, 0)
        encoding = call(aten.expand.default, constant, [rows, *case.x.shape[1:]])
        return call(aten.cat.default, [x, encoding], 3 - case.axis)

    return function


@tried(3, None)
@tried(None, 3)
def stack(draw: Draw, case: Case) -> Function:
    dim = draw(st.integers(-4, 3))
    return lambda call, x: call(aten.stack.default, [x, call(aten.neg.default, x)], dim)


@tried(1, None)
@tried(None, 1)
def expand(draw: Draw, case: Case) -> Function:
    sizes = [4, case.x.shape[2]] if case.axis == 2 else [case.x.shape[1], 4]
    added = draw(st.sampled_from([[], [2]]))
    return lambda call, x: call(aten.expand.default, x, [*added, call(aten.sym_size.int, x, 0), *sizes])


@tried(1, None, by_rule=False, places=(1, 1))
def expand_of_the_axis(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.expand.default, x, [-1, 2, 5])


@tried(3, None, by_rule=False, places=(1, 1))
def broadcast_of_the_axis(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.mul.Tensor, x, weights(case.x, 3, 5))


@tried(3, None, by_rule=False)
def cat_of_windows_in_time(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.cat.default, [x, x], 2)


@tried(3, None)
@tried(None, 3)
def pad(draw: Draw, case: Case) -> Function:
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    value = draw(st.sampled_from([None, 1.5]))
    if draw(flag):
        return lambda call, x: call(aten.constant_pad_nd.default, x, pads, value or 0.0)
    return lambda call, x: call(aten.pad.default, x, pads, "constant", value)


@tried(3, None, by_rule=False, places=(4, 12))
def pad_in_other_ways(draw: Draw, case: Case) -> Function:
    pads, mode = [draw(st.integers(-1, 3)) for _ in range(2)], draw(st.sampled_from(["constant", "reflect"]))
    pads = pads if mode == "constant" else [abs(each) for each in pads]
    return lambda call, x: call(aten.pad.default, x, pads, mode)


@tried(6, None)
@tried(None, 6)
def split(draw: Draw, case: Case) -> Function:
    operator, given = draw(
        st.sampled_from([(aten.chunk.default, 3), (aten.split.Tensor, 4), (aten.split_with_sizes.default, [1, 3, 2])])
    )
    item = draw(st.integers(0, 1))

    def function(call: Any, x: Any) -> Any:
        return call(getitem, call(operator, x, given, 3 - case.axis), item)

    return function


@tried(3, None)
@tried(None, 3)
def unbind(draw: Draw, case: Case) -> Function:
    item = draw(st.integers(0, 2))
    return lambda call, x: call(getitem, call(aten.unbind.int, x, 3 - case.axis), item)


# -- totals ---------------------------------------------------------------------------------------------------------


def _dims(draw: Draw, case: Case) -> list[int]:
    dims = draw(st.lists(st.integers(1, case.x.ndim - 1), min_size=1, unique=True))
    return [dim - (case.x.ndim if draw(flag) else 0) for dim in dims]


@tried(3, None)
@tried(2, None, 3)
@tried(None)
def sum_and_mean(draw: Draw, case: Case) -> Function:
    operator, dims, keepdim = (
        draw(st.sampled_from([aten.sum.dim_IntList, aten.mean.dim])),
        _dims(draw, case),
        draw(flag),
    )
    return lambda call, x: call(operator, x, dims, keepdim)


@tried(3, None, by_rule=False)
def sum_of_booleans(draw: Draw, case: Case) -> Function:
    dim = draw(st.integers(1, 2))
    return lambda call, x: call(aten.sum.dim_IntList, call(aten.gt.Scalar, x, 0.0), [dim])


@tried(3, None, by_rule=False)
def sum_of_another_type(draw: Draw, case: Case) -> Function:
    dim = draw(st.integers(1, 2))
    return lambda call, x: call(aten.sum.dim_IntList, x, [dim], dtype=torch.float64)


@tried(3, None, by_rule=False)
def sum_of_infinite_values(draw: Draw, case: Case) -> Function:
    """Where the reference is infinite, changes are no numbers."""
    dims = draw(st.sampled_from([[1], [2], [1, 2]]))

    def function(call: Any, x: Any) -> Any:
        masked = call(aten.masked_fill.Scalar, x, call(aten.gt.Scalar, x, 1.0), float("-inf"))
        return call(aten.sum.dim_IntList, masked, dims)

    return function


@tried(3, None)
@tried(2, None, 3)
@tried(None)
def amax_and_amin(draw: Draw, case: Case) -> Function:
    operator, dims, keepdim = (
        draw(st.sampled_from([aten.amax.default, aten.amin.default])),
        _dims(draw, case),
        draw(flag),
    )
    return lambda call, x: call(operator, x, dims, keepdim)


@tried(3, None)
@tried(2, None, 3)
def max_and_min_of_one_dimension(draw: Draw, case: Case) -> Function:
    operator = draw(st.sampled_from([aten.max.dim, aten.min.dim]))
    dim, keepdim = draw(st.integers(-2, -1)), draw(flag)
    return lambda call, x: call(getitem, call(operator, x, dim, keepdim), 0)


_REDUCTIONS: list[tuple[Any, Callable[[int, bool], tuple[list[Any], dict[str, Any]]]]] = [
    (aten.var.correction, lambda dim, keepdim: ([[dim]], {"correction": 1, "keepdim": keepdim})),
    (aten.std.correction, lambda dim, keepdim: ([[dim - 3]], {"correction": 0, "keepdim": keepdim})),
    (aten.std.dim, lambda dim, keepdim: ([[dim], True, keepdim], {})),
    (aten.var.dim, lambda dim, keepdim: ([[dim], False, keepdim], {})),
    (aten.logsumexp.default, lambda dim, keepdim: ([[dim], keepdim], {})),
    (aten.prod.dim_int, lambda dim, keepdim: ([dim, keepdim], {})),
    (aten.linalg_vector_norm.default, lambda dim, keepdim: ([2, [dim], keepdim], {})),
    (aten.norm.ScalarOpt_dim, lambda dim, keepdim: ([1, [dim], keepdim], {})),
    (aten.argmax.default, lambda dim, keepdim: ([dim, keepdim], {})),
    (aten.argmin.default, lambda dim, keepdim: ([dim - 3, keepdim], {})),
]


def _reduction(operator: Any, arguments: Any) -> Callable[[Draw, Case], Function]:
    def make(draw: Draw, case: Case) -> Function:
        given, named = arguments(3 - case.axis, draw(flag))
        return lambda call, x: call(operator, x, *given, **named)

    return make


for _operator, _arguments in _REDUCTIONS:
    for _sizes in ((3, None), (None, 3)):
        tried(*_sizes, name=f"{_operator} of features")(_reduction(_operator, _arguments))


@tried(3, None, by_rule=False, places=(2, 12))
def reductions_over_time(draw: Draw, case: Case) -> Function:
    dims = draw(st.sampled_from([[2], [1, 2], [-1]]))
    operator = draw(st.sampled_from([aten.var.correction, aten.std.correction, aten.logsumexp.default]))
    return lambda call, x: call(operator, x, dims)


@tried(3, None, by_rule=False)
def place_of_the_max(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(getitem, call(aten.max.dim, x, 2), 1)


@tried(3, None)
def adaptive_pool1d(draw: Draw, case: Case) -> Function:
    if draw(flag):
        return lambda call, x: call(aten.adaptive_avg_pool1d.default, x, [1])
    return lambda call, x: call(getitem, call(aten.adaptive_max_pool1d.default, x, [1]), 0)


@tried(3, None, by_rule=False)
def adaptive_pool1d_to_several(draw: Draw, case: Case) -> Function:
    return lambda call, x: call(aten.adaptive_avg_pool1d.default, x, [2])


@tried(3, None, 2)
@tried(3, 2, None)
def adaptive_pool2d(draw: Draw, case: Case) -> Function:
    if draw(flag):
        return lambda call, x: call(getitem, call(aten.adaptive_max_pool2d.default, x, [1, 1]), 0)
    return lambda call, x: call(aten.adaptive_avg_pool2d.default, x, [1, 1])


# -- tests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRIED)
def test_equals_the_dense_call(name):
    one = TRIED[name]
    options = {"places": (1, 12), **one.options}

    @settings(max_examples=8)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(cases(sizes=one.sizes, **options))
        case.check(one.make(data.draw, case))

    check()


@pytest.mark.parametrize("name", [name for name, one in TRIED.items() if one.by_rule])
def test_narrow_windows_are_never_made_whole(name):
    one = TRIED[name]

    @settings(max_examples=5)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        case = data.draw(cases(sizes=one.sizes, **{**one.options, "places": (50, 60), "widest": 2}))
        case.check(one.make(data.draw, case), by_rule=True)

    check()


def test_every_rule_is_tried():
    """Each operator that has a rule, but for recurrent layers, stands in a graph that is tried."""
    met = {aten.squeeze.default, torch.ops.rambit.recurrent.default}

    def note(operator: Any, *args: Any, **kwargs: Any) -> Any:
        met.add(operator)
        return operator(*args, **kwargs)

    @settings(max_examples=12)
    @given(st.data())
    def call_all(data: st.DataObject) -> None:
        for one in {one.make: one for one in TRIED.values()}.values():
            case = data.draw(cases(sizes=one.sizes, **{"places": (3, 5), **one.options}))
            one.make(data.draw, case)(note, case.x)

    call_all()
    assert set(RULES) - met - set(POINTWISE) == set()
    assert set(SHAPED) <= met


def test_a_total_of_many_places_is_exact():
    """What they add up to is so much larger than a change that a sum in float32 would lose it."""
    case = random_case(0, places=5000, widest=3)
    signs = torch.ones(5000)
    signs[1::2] = -1.0
    case.x += 1e6 * signs
    program = Program(drawn(lambda call, x: call(aten.sum.dim_IntList, x, [2]), case.x))
    rows = Rows(program, program.reference(case.x)[0], case.which)
    found = rows.evaluate(Window.of(case.windows, case.start, 0, 2))
    torch.testing.assert_close(found, case.rows.double().sum(2).float(), rtol=1e-6, atol=0.0)
