"""A call of one of captum's methods, read for a game of several inputs."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import torch
from captum import attr
from captum._utils.common import (
    _expand_target,
    _format_additional_forward_args,
    _format_tensor_into_tuples,
    _select_targets,
)
from captum.attr._utils.common import _format_input_baseline
from torch import Tensor, nn

from rambit.game.tuple_game import TupleGame
from rambit.game.tuple_sample import TupleSample
from rambit.predictors.activations import Activations
from rambit.predictors.call import CallPredictor

#: Layers whose calls draw random numbers, or change them, while they train.
_IN_TRAINING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)


class NotServed(Exception):
    """The call is passed on to captum."""


class Target:
    """captum's ``target``, for as many copies of the batch as a call holds."""

    def __init__(self, target: Any) -> None:
        self.target = target
        self.expanded: tuple[int, Any] = (1, target)

    def select(self, output: Any, copies: int) -> Any:
        """What is explained of an output: a number for each example, or whatever else the target leaves."""
        if isinstance(output, torch.futures.Future):
            raise NotServed("the function returned a future")
        if copies == 1:
            return _select_targets(output, self.target)
        if isinstance(self.target, list) and isinstance(self.target[0], tuple):
            return self._select_tuples(output, copies)
        if self.expanded[0] != copies:
            self.expanded = copies, self._of(copies, output.device)
        return _select_targets(output, self.expanded[1])

    def _of(self, copies: int, device: torch.device) -> Any:
        if isinstance(self.target, list):  # as a tensor, which is not made of each element anew
            return torch.tensor(self.target, device=device).repeat(copies)
        return _expand_target(self.target, copies)

    def _select_tuples(self, output: Tensor, copies: int) -> Tensor:
        if not all(isinstance(place, int) for one in self.target for place in one):
            return _select_targets(output, self.target * copies)  # type: ignore[no-any-return]
        places = torch.tensor(self.target, device=output.device).repeat(copies, 1)
        return output[(torch.arange(len(output), device=output.device), *places.unbind(dim=1))]


class Call:
    """What was given to ``attribute``, checked: NotServed where it is nothing that a game evaluates as captum does.

    ``kind``: baselines "replace" elements, which gives rows the type of x + baseline; or elements "join" the baselines,
    or are shuffled ("shuffle"), in rows of the inputs' own types.
    """

    def __init__(
        self,
        method: Any,
        inputs: Any,
        baselines: Any,
        target: Any,
        args: Any,
        together: int,
        *,
        kind: Literal["replace", "join", "shuffle"] = "replace",
    ) -> None:
        if not isinstance(together, int) or together < 1:
            raise NotServed("perturbations_per_eval is refused there")
        if not isinstance(method.forward_func, nn.Module) and not inspect.signature(method.forward_func).parameters:
            raise NotServed("the function takes nothing")
        if isinstance(getattr(method.forward_func, "__self__", None), attr.DataLoaderAttribution):
            raise NotServed("each call reads all of a data loader")
        self.method, self.is_tuple = method, isinstance(inputs, tuple)
        self.tensors, given = _format_input_baseline(inputs, baselines)
        self.device, self.B = self.tensors[0].device, len(self.tensors[0]) if self.tensors[0].ndim else 0
        if len(given) != len(self.tensors) or self.B == 0 or not all(map(self._plain, self.tensors)):
            raise NotServed("inputs are of another kind")
        even = all(len(tensor) == self.B for tensor in self.tensors)
        values = tuple(_value(x, one, kind != "replace") for x, one in zip(self.tensors, given, strict=True))
        turned = any(value.dtype != x.dtype for value, x in zip(values, self.tensors, strict=True))
        self.together = together
        # Inputs that a baseline turns into another type are turned only where they are replaced, so that which ones
        # are depends on what shares a call.
        self.one_by_one = not even or (turned and (len(self.tensors) > 1 or kind == "join"))
        if self.one_by_one and (together > 1 or kind == "join"):
            raise NotServed("inputs have different numbers of rows, or baselines another type")
        places = _format_additional_forward_args(args) or ()
        rows = [isinstance(arg, Tensor) and arg.ndim > 0 and (together > 1 or len(arg) == self.B) for arg in places]
        self.sample = TupleSample(self.tensors, values, tuple(places), tuple(rows))
        self.predictor = CallPredictor(method.forward_func, Target(target).select)
        if self.predictor.module is not None and any(
            part.training and isinstance(part, _IN_TRAINING) for part in self.predictor.module.modules()
        ):
            raise NotServed("layers that draw random numbers or learn are in training mode")

    def _plain(self, tensor: Tensor) -> bool:
        """Whether rows of a tensor can be made by choosing between its elements and others: not where one is NaN or
        infinite, since captum multiplies it by 0."""
        if tensor.layout != torch.strided or tensor.device != self.device or tensor.ndim == 0 or tensor.is_complex():
            return False
        return _finite(tensor)

    def game(self, progress: Any = None) -> TupleGame:
        """The game of this call."""
        known: dict[object, Activations | None] = vars(self.method).setdefault("_rambit_activations", {})
        together = 1 if self.one_by_one else None if self.together == 1 else self.together
        return TupleGame(self.predictor, self.sample, together=together, known=known, progress=progress)

    def masks(self, feature_mask: Any) -> tuple[Tensor, ...]:
        """The number of each element's feature (1 or B, …) for each input."""
        masks = _format_tensor_into_tuples(feature_mask)
        if len(masks) != len(self.tensors):
            raise NotServed("feature_mask is refused there")
        return tuple(map(self._mask, masks, self.tensors))

    def _mask(self, mask: Tensor, x: Tensor) -> Tensor:
        if mask.ndim > x.ndim or mask.is_floating_point() or (0 < mask.ndim < x.ndim and self.together > 1):
            raise NotServed("feature_mask is refused there, or read differently")
        mask = mask.to(self.device, torch.int64)
        mask = mask.view(*[1] * (x.ndim - mask.ndim), *mask.shape)
        if not _broadcasts(mask.shape, x.shape):
            raise NotServed("feature_mask is refused there")
        return mask.expand(-1, *x.shape[1:])

    def result(self, parts: Sequence[Tensor]) -> Any:
        """In the form of the inputs."""
        return tuple(parts) if self.is_tuple else parts[0]


def _finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite: seen from their sum, unless that overflows."""
    if not values.is_floating_point() or math.isfinite(values.detach().sum()):
        return True
    return bool(values.isfinite().all())


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a tensor of one shape can be expanded to another."""
    return len(shape) <= len(to) and all(a in (1, b) for a, b in zip(reversed(shape), reversed(to), strict=False))


def _value(x: Tensor, baseline: Any, keeps_types: bool) -> Tensor:
    """What replaces elements of an input, in the type of its replaced rows."""
    if not isinstance(baseline, Tensor):
        if keeps_types:
            return x.new_full((1,) * x.ndim, baseline)
        one = x.new_ones(1)
        kind = x.dtype if x.is_floating_point() else (one + baseline * one).dtype
        return torch.full((1,) * x.ndim, baseline, dtype=kind, device=x.device)
    if not _broadcasts(baseline.shape, x.shape):
        raise NotServed("a baseline has another shape")
    if keeps_types and (baseline.shape[1:] != x.shape[1:] or len(baseline) not in (1, len(x))):
        raise NotServed("a baseline has another shape")
    if baseline.device != x.device or not _finite(baseline):
        raise NotServed("a baseline holds NaN, is infinite or lies elsewhere")
    value = baseline.view(*[1] * (x.ndim - baseline.ndim), *baseline.shape)
    return value.to(torch.promote_types(value.dtype, x.dtype)) if not keeps_types else value


def spread(values: Tensor, places: Tensor) -> Tensor:
    """Values of features (F, K) at the elements of an input: (K, …), of whose features ``places`` (1 or B, …) tells.

    Where each example has features of its own, K = B or B times as many outputs.
    """
    rows = len(places)
    flat = places.reshape(rows, -1)
    if rows == 1:
        return values.t()[:, flat[0]].view(-1, *places.shape[1:])
    by_row = values.t().view(rows, -1, len(values))
    found = by_row.gather(2, flat[:, None].expand(-1, by_row.shape[1], -1))
    return found.view(-1, *places.shape[1:])


def check_outputs(outputs: Tensor) -> None:
    """NotServed where differences of outputs cannot be multiplied by masks without harm: NaN, infinite or bool."""
    if outputs.dtype == torch.bool or not _finite(outputs):
        raise NotServed("outputs are NaN, infinite or bool")


def keeps_parts(method: Any, base: type) -> bool:
    """Whether the class of a method overrides no private part of the one of captum's that it stands for."""
    kind: Any = type(method)
    return _same_parts(kind, base)


@functools.cache
def _same_parts(kind: Hashable, base: Hashable) -> bool:
    names = [name for name in dir(base) if name.startswith("_") and not name.startswith("__")]
    return all(getattr(kind, name) is getattr(base, name) for name in names if callable(getattr(base, name)))
