"""What stands where a part of the input is not kept: ReX's mask values as counterfactuals."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import arrays
from rambit.checks import number
from rambit.counterfactuals import STRATEGIES, Counterfactual, Interpolate, Replay, Uniform
from rambit.game import TensorSample

#: The mask values with a name. "linear" and "spectral" fill the gaps of series and spectra.
NAMES = ("min", "mean", "random", "linear", "spectral")
#: The standard deviation of "spectral", in the input's units (that of ReX).
SPECTRAL_NOISE = 0.02

MaskValue = float | str | Tensor | Counterfactual


def mask_values(value: MaskValue, sample: TensorSample) -> Counterfactual:
    """The values that replace what is not kept of the sample, an image, a volume, a spectrum or a series.

    value: a number; "min" or "mean" of the whole input; "random", uniform between the input's least and greatest
    value, drawn by the game's seed; "linear", a straight line between the kept neighbours of every gap, and
    "spectral", the same with normal noise of deviation 0.02, for spectra and series (along time, of each feature); a
    context, a tensor or array of the input's shape; or any strategy of `rambit.counterfactuals`, itself or by its name
    and options ("gaussian:std=0.5") unless it draws from reference data.

    Errors: TypeError or ValueError naming mask_value.
    """
    check_mask_value(value)
    x = sample.x
    if isinstance(value, str) and value not in NAMES:
        value = STRATEGIES.make(value)
    if isinstance(value, Counterfactual):
        return _along_time(value, sample)
    if is_context(value):
        return Replay(_context(_of_numbers(value), sample)[None])
    if value == "linear":
        return _along_time(Interpolate(), sample)
    if value == "spectral":
        return _along_time(Interpolate(noise=SPECTRAL_NOISE), sample)
    if value == "random":
        low, high = float(x.min()), float(x.max())
        # An input of one value everywhere has no range to draw from.
        return Uniform(low, high) if low < high else _constant(low, x)
    if value == "min":
        return _constant(float(x.min()), x)
    if value == "mean":
        return _constant(float(x.double().mean()), x)
    return _constant(number("mask_value", value), x)


def check_mask_value(value: MaskValue) -> None:
    """Raise TypeError or ValueError, naming mask_value, for what can't be one, whatever the input."""
    if isinstance(value, Counterfactual):
        return
    if isinstance(value, str):
        named = strategies()
        if value.partition(":")[0] in named and value not in NAMES:
            STRATEGIES.make_for("mask_value", value)
        elif value not in NAMES:
            known = ", ".join((*NAMES, *(name for name in named if name not in NAMES)))
            raise ValueError(f"mask_value must be a number or one of {known}, given {value!r}")
    elif is_context(value):
        _of_numbers(value)
    elif isinstance(value, (int, float, np.number)):
        number("mask_value", value)
    else:
        raise TypeError(f"mask_value must be a number, a name, a tensor or a strategy, given {type(value).__name__}")


def strategies() -> tuple[str, ...]:
    """The names of strategies that need no more than a name: no reference data, no values."""
    empty = inspect.Parameter.empty
    return tuple(n for n in STRATEGIES if all(one.default is not empty for one in STRATEGIES.parameters(n).values()))


def is_context(value: Any) -> bool:
    """Whether it holds values like the input's; NumPy's own scalars are numbers."""
    return arrays.is_array(value) and not isinstance(value, np.generic)


def _of_numbers(value: Any) -> Tensor:
    tensor = arrays.whole("mask_value", value)
    if not (tensor.is_floating_point() and bool(torch.isfinite(tensor).all())):
        raise ValueError(f"mask_value must be a floating tensor of finite values, given {tensor.dtype}")
    return tensor


def _constant(value: float, x: Tensor) -> Replay:
    if abs(value) > torch.finfo(x.dtype).max:
        raise ValueError(f"mask_value {value:g} is beyond {x.dtype}, the type of the input")
    return Replay(torch.full_like(x, value)[None])


def _context(context: Tensor, sample: TensorSample) -> Tensor:
    """The context as the sample holds its own values, (1, C, positions) or (1, D, T)."""
    shape = tuple(sample.x.shape[1:]) if sample.shape is None else sample.shape
    if tuple(context.shape) not in (shape, (1, *shape)):
        raise ValueError(f"mask_value must have the input's shape {(1, *shape)}, given {tuple(context.shape)}")
    values = context.to(sample.x.device, sample.x.dtype).reshape(sample.x.shape)
    if not bool(values.isfinite().all()):
        raise ValueError(f"mask_value holds values beyond {values.dtype}, the type of the input")
    return values


def _along_time(strategy: Counterfactual, sample: TensorSample) -> Counterfactual:
    if not strategy.fixed and sample.shape is not None:
        raise ValueError(
            f"mask_value: {type(strategy).__name__} fills gaps along time, so it is for spectra and series, "
            f"not for an input of the shape {(1, *sample.shape)}"
        )
    return strategy
