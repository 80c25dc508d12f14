"""captum's perturbation methods, faster: ``from rambit.compat.captum import FeatureAblation`` and nothing else changes.

Each class is a subclass of captum's that overrides ``attribute`` alone, with its arguments and results; random choices
come from torch's generator in captum's order, so that equal seeds give equal numbers. Differences are of rounding. What
is not evaluated here goes to captum's own method: futures, NaN or infinite values (which captum multiplies by 0, and so
keeps), functions that draw random numbers, layers in training mode that do or that learn, data loaders, and whatever
captum refuses. The logger of this module says so, with the reason, at level DEBUG. Tested with captum 0.8 and 0.9.

``perturbations_per_eval`` above 1 says that rows may share a call, and is how many do at most. At 1, captum's default,
the first row and the first perturbation are evaluated alone and in a larger call: where both come out equal, calls are
as large as pays; else each perturbation has a call of its own, as in captum.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor

try:
    import captum
    from captum import attr
except ImportError as error:
    raise ImportError(f'captum cannot be imported ({error}): pip install "rambit[baselines]"') from error

from captum._utils.common import _format_additional_forward_args, _format_feature_mask
from captum._utils.progress import progress
from captum.attr._core import dataloader_attr
from captum.attr._core.feature_permutation import _permute_feature
from captum.attr._core.shapley_value import _all_perm_generator, _perm_generator
from captum.attr._utils.batching import _batch_example_iterator
from captum.attr._utils.common import (
    _format_and_verify_sliding_window_shapes,
    _format_and_verify_strides,
    _format_input_baseline,
)
from captum.log import log_usage

from rambit import rex
from rambit.compat.captum_call import Call, NotServed, check_outputs, keeps_parts, spread
from rambit.game.shapley_values import exact_shapley
from rambit.game.tuple_game import FEW, DrawsError, TupleGame
from rambit.game.tuple_sample import Coded, Groups, Joining, Players, Question, Shuffled, Singles, Whole, WindowPlaces
from rambit.predictors import PredictionError

__all__ = [
    "FeatureAblation",
    "FeaturePermutation",
    "KernelShap",
    "Lime",
    "Occlusion",
    "ReX",
    "ShapleyValueSampling",
    "ShapleyValues",
]

logger = logging.getLogger(__name__)

#: Whether features of one number in several inputs are one feature, as from 0.9 on.
_ACROSS = hasattr(attr.FeatureAblation, "_construct_ablated_input_across_tensors")
#: Players whose coalitions fit a number, so that those that are equal are evaluated once.
_CODED = 62
#: Players for all of whose coalitions there is room; captum's number of permutations ends far below.
_EXACT = 24

if captum.__version__.split(".")[:2] not in (["0", "8"], ["0", "9"]):
    warnings.warn(f"rambit.compat.captum was tested with captum 0.8 and 0.9, got {captum.__version__}", stacklevel=2)


def _or_captum(serve: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
    """What ``serve`` returns; where it does not serve the call, captum's own result, from the same random numbers."""
    state = torch.get_rng_state()
    try:
        return serve()
    except (NotServed, DrawsError, PredictionError) as reason:
        logger.debug("passed on to captum: %s", reason)
        torch.set_rng_state(state)
    return otherwise()


def _evaluate(call: Call, question: Question, show_progress: bool) -> tuple[Tensor, TupleGame]:
    """Outputs (N, K) of a question's rows, and the game that evaluated them."""
    name = call.method.get_name()
    with progress(desc=f"{name} attribution", total=len(question)) if show_progress else nullcontext() as bar:
        game = call.game(bar)
        outputs = game.evaluate(question)
    check_outputs(outputs)
    return outputs, game


class FeatureAblation(attr.FeatureAblation):  # type: ignore[misc]
    """captum's FeatureAblation."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """See captum."""
        given = (inputs, baselines, target, additional_forward_args)

        def serve() -> Any:
            if not keeps_parts(self, attr.FeatureAblation):
                raise NotServed("a subclass makes its perturbations itself")
            return _ablate(Call(self, *given, perturbations_per_eval), feature_mask, show_progress)

        return _or_captum(
            serve,
            lambda: super(FeatureAblation, self).attribute(
                *given, feature_mask, perturbations_per_eval, show_progress, **kwargs
            ),
        )


dataloader_attr.SUPPORTED_METHODS.add(FeatureAblation)  # which compares types


def _ablate(call: Call, feature_mask: Any, show_progress: bool, *, shuffled: bool = False) -> Any:
    """Changes of the outputs where features are replaced, or ``shuffled`` among the examples."""
    least = getattr(call.method, "_min_examples_per_batch_grouped", None) or 0
    left_out = not all(len(tensor) >= least and tensor.numel() for tensor in call.tensors)
    ids, order = None, None
    question: Question = Singles(call.tensors)
    if feature_mask is not None or left_out or shuffled:
        if left_out and (call.together > 1 or not _ACROSS):
            raise NotServed("inputs are empty, or have few examples")
        ids = call.masks(_format_feature_mask(feature_mask, call.tensors))
        ids = ids if _ACROSS else _apart(ids)
        order = _features(call, ids, left_out)
        question = Shuffled(call.tensors, ids, order, _permutation) if shuffled else Groups(ids, order)
    outputs, _ = _evaluate(call, question, show_progress)
    changes = outputs[:1] - outputs[1:]
    if call.method.use_weights:
        if left_out:
            raise NotServed("features without weight")
        changes = changes.float()
    if ids is None or order is None:
        sizes = [tensor[0].numel() for tensor in call.tensors]
        parts = zip(torch.split(changes, sizes), call.tensors, strict=True)
        return call.result([part.t().reshape(-1, *tensor.shape[1:]) for part, tensor in parts])
    if any(len(one) not in (1, changes.shape[1]) for one in ids):
        raise NotServed("masks of each example, of a function that has not one output for each")
    return call.result([spread(*_places(order, changes, one)) for one in ids])


def _apart(ids: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Numbers of features that no two inputs share."""
    found, begin = [], 0
    for one in ids:
        found.append(one - one.min() + begin)
        begin = int(found[-1].max()) + 1
    return tuple(found)


def _features(call: Call, ids: tuple[Tensor, ...], left_out: bool) -> Tensor:
    """The features in captum's order: those of the first input, then further ones of the next."""
    of_inputs = [torch.unique(one).tolist() for one in ids]
    features = list(dict.fromkeys(chain(*of_inputs)))
    if left_out:
        skips = call.method._should_skip_inputs_and_warn
        tensors_of = {one: [index for index, known in enumerate(of_inputs) if one in known] for one in features}
        features = [one for one in features if not skips([one], tensors_of, call.tensors)]
    if not features:
        raise NotServed("there are no features")
    return torch.tensor(features, device=call.device)


def _places(order: Tensor, changes: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Changes (F + 1, K) of the features in ``order``, then 0 for others, and which of them each element is of."""
    known, rank = order.sort()
    place = torch.searchsorted(known, ids.contiguous()).clamp(max=len(order) - 1)
    place = torch.where(known[place] == ids, rank[place], len(order))
    return torch.cat((changes, changes.new_zeros(1, changes.shape[1]))), place


class FeaturePermutation(attr.FeaturePermutation, FeatureAblation):  # type: ignore[misc]
    """captum's FeaturePermutation; with a ``perm_func`` of one's own it is captum's."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Any:
        """See captum."""

        def serve() -> Any:
            if self.perm_func is not _permute_feature or not keeps_parts(self, attr.FeaturePermutation):
                raise NotServed("a subclass makes its perturbations itself")
            call = Call(self, inputs, None, target, additional_forward_args, perturbations_per_eval, kind="shuffle")
            if (len(call.tensors) > 1 and perturbations_per_eval > 1) or not _ACROSS:
                raise NotServed("permutations are drawn in another order")
            return _ablate(call, feature_mask, show_progress, shuffled=True)

        return _or_captum(
            serve,
            lambda: super(FeaturePermutation, self).attribute(
                inputs, target, additional_forward_args, feature_mask, perturbations_per_eval, show_progress, **kwargs
            ),
        )


def _permutation(n: int) -> Tensor:
    """A random order of n examples that is another than theirs, drawn as captum does."""
    if n < 2:
        raise NotServed("one example has no other order")
    found = torch.randperm(n)
    while torch.equal(found, torch.arange(n)):
        found = torch.randperm(n)
    return found


class Occlusion(attr.Occlusion, FeatureAblation):  # type: ignore[misc]
    """captum's Occlusion."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        sliding_window_shapes: Any,
        strides: Any = None,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """See captum."""
        given = (baselines, target, additional_forward_args, perturbations_per_eval)

        def serve() -> Any:
            if not keeps_parts(self, attr.Occlusion) or not self.use_weights:
                raise NotServed("a subclass makes its perturbations itself")
            return _occlude(Call(self, inputs, *given), sliding_window_shapes, strides, show_progress)

        return _or_captum(
            serve,
            lambda: super(Occlusion, self).attribute(inputs, sliding_window_shapes, strides, *given, show_progress),
        )


def _occlude(call: Call, windows: Any, strides: Any, show_progress: bool) -> Any:
    strides = _format_and_verify_strides(strides, call.tensors)
    windows = _format_and_verify_sliding_window_shapes(windows, call.tensors)
    each = [
        (one,) * (tensor.ndim - 1) if isinstance(one, int) else one
        for one, tensor in zip(strides, call.tensors, strict=True)
    ]
    for tensor, window, stride in zip(call.tensors, windows, each, strict=True):
        axes = list(zip(tensor.shape[1:], window, stride, strict=True))
        if not axes or not all(0 < w <= size and s > 0 and (w == size or s <= w) for size, w, s in axes):
            raise NotServed("windows or strides are refused there")
    question = WindowPlaces(call.tensors, windows, each)
    outputs, _ = _evaluate(call, question, show_progress)
    changes = outputs[:1] - outputs[1:]
    parts = []
    for index, (begin, end) in enumerate(zip(question.first, question.first[1:], strict=False)):
        total, number = question.sums(index, changes[begin - 1 : end - 1])
        parts.append(total.float() / number)
    return call.result(parts)


class ShapleyValueSampling(attr.ShapleyValueSampling):  # type: ignore[misc]
    """captum's ShapleyValueSampling."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """See captum."""
        given = (inputs, baselines, target, additional_forward_args)

        def serve() -> Any:
            kept = keeps_parts(self, attr.ShapleyValueSampling)
            if not kept or n_samples < 1 or isinstance(self, attr.ShapleyValues):
                raise NotServed("a subclass makes its perturbations itself")
            call = Call(self, *given, perturbations_per_eval, kind="join")
            return _shapley(call, feature_mask, n_samples, show_progress)

        return _or_captum(
            serve,
            lambda: super(ShapleyValueSampling, self).attribute(
                *given, feature_mask, n_samples, perturbations_per_eval, show_progress
            ),
        )


class ShapleyValues(attr.ShapleyValues, ShapleyValueSampling):  # type: ignore[misc]
    """captum's ShapleyValues, from the 2^n coalitions of n features: each is evaluated once."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
    ) -> Any:
        """See captum."""
        given = (inputs, baselines, target, additional_forward_args)

        def serve() -> Any:
            if not keeps_parts(self, attr.ShapleyValues):
                raise NotServed("a subclass makes its perturbations itself")
            return _shapley(Call(self, *given, perturbations_per_eval, kind="join"), feature_mask, 0, show_progress)

        return _or_captum(
            serve,
            lambda: super(ShapleyValues, self).attribute(*given, feature_mask, perturbations_per_eval, show_progress),
        )


def _shapley(call: Call, feature_mask: Any, n_samples: int, show_progress: bool) -> Any:
    """Shapley values from ``n_samples`` random orders; 0: exact ones."""
    ids = None if feature_mask is None else call.masks(feature_mask)
    players = Players(call.tensors, ids)
    n = players.first[-1] if ids is None else max(int(one.max()) for one in ids) + 1
    if ids is not None:
        numbers = torch.cat([torch.unique(one) for one in ids])
        numbers = torch.unique(numbers)
        if int(numbers[0]) < 0:
            raise NotServed("feature_mask holds negative numbers")
        if len(numbers) < n:
            warnings.warn(
                "feature_mask leaves out some numbers between 0 and its greatest: they are evaluated in vain",
                stacklevel=5,
            )
    generator = call.method.permutation_generator
    if generator is _all_perm_generator and n <= _EXACT:
        question: Question = Coded(torch.arange(1 << n, device=call.device), n, players)
        outputs, game = _evaluate(call, question, show_progress)
        values = exact_shapley(outputs.double())
    elif generator is _perm_generator and n > 0 and n_samples > 0:
        order = torch.stack([torch.randperm(n) for _ in range(n_samples)]).to(call.device)
        payoffs, game = _payoffs(call, order, players, show_progress)
        gained = (payoffs[:, 1:] - payoffs[:, :-1]).double()
        values = gained.new_zeros(n, gained.shape[2]).index_add_(0, order.flatten(), gained.flatten(0, 1)) / n_samples
    else:
        raise NotServed("permutations are made otherwise, or there are too many")
    assert game.shape is not None
    shape = game.shape or torch.Size([1])
    _check_shape(call, shape, ids)
    parts = []
    for index, tensor in enumerate(call.tensors):
        if ids is None:
            part = values[players.first[index] : players.first[index + 1]].t()
        else:
            part = spread(values, ids[index])
        parts.append(part.reshape(*shape, *tensor.shape[1:]).float())
    return call.result(parts)


def _check_shape(call: Call, shape: torch.Size, ids: tuple[Tensor, ...] | None) -> None:
    """NotServed for outputs of a shape that captum refuses, or combines with masks in a way of its own."""
    several = shape.numel() > 1 and not _ACROSS
    of_each = ids is not None and any(len(one) > 1 for one in ids)
    if (call.together > 1 or of_each or several) and shape[0] != call.B:
        raise NotServed("the function has not one output for each example")


def _payoffs(call: Call, order: Tensor, players: Players, show_progress: bool) -> tuple[Tensor, TupleGame]:
    """Outputs (R, n + 1, K) along orders (R, n) of players that join."""
    R, n = order.shape
    if n <= _CODED:
        codes, rows = torch.unique((torch.ones_like(order) << order).cumsum(dim=1), return_inverse=True)
        question: Question = Coded(torch.cat((codes.new_zeros(1), codes)), n, players)
        outputs, game = _evaluate(call, question, show_progress)
        return outputs[torch.cat((rows.new_zeros(R, 1), rows + 1), dim=1)], game
    outputs, game = _evaluate(call, Joining(order, players), show_progress)
    first, last = (outputs[row].expand(R, 1, -1) for row in (0, -1))
    return torch.cat((first, outputs[1:-1].view(R, n - 1, -1), last), dim=1), game


class Lime(attr.Lime):  # type: ignore[misc]
    """captum's Lime, whose samples share calls of the function."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """See captum."""
        given = (inputs, baselines, target, additional_forward_args)
        together = _samples_together(self, *given, n_samples, perturbations_per_eval)
        return super().attribute(*given, feature_mask, n_samples, together, return_input_shape, show_progress)


class KernelShap(attr.KernelShap, Lime):  # type: ignore[misc]
    """captum's KernelShap, whose samples share calls of the function."""

    @log_usage()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Any,
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        feature_mask: Any = None,
        n_samples: int = 25,
        perturbations_per_eval: int = 1,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:
        """See captum."""
        given = (inputs, baselines, target, additional_forward_args)
        together = _samples_together(self, *given, n_samples, perturbations_per_eval)
        return super().attribute(*given, feature_mask, n_samples, together, return_input_shape, show_progress)


def _samples_together(
    method: Any, inputs: Any, baselines: Any, target: Any, args: Any, n_samples: int, together: int
) -> int:
    """How many of LIME's samples share a call: as many as pay, where captum's default leaves it open.

    captum fits a model to each example by itself: those of one share calls.
    """
    if together != 1 or n_samples <= FEW:
        return together

    def found() -> int:
        call = Call(method, inputs, baselines, target, args, 1)
        if call.B > 1:
            if call.game().evaluate(Whole()).shape[1] != call.B:
                return 1
            first = next(_batch_example_iterator(call.B, call.tensors, target, args, call.sample.values, None))
            call = Call(method, first[0], first[3], first[1], first[2], 1)
        nothing_kept = [torch.zeros_like(tensor, dtype=torch.int64) for tensor in call.tensors]
        question = Groups(nothing_kept, torch.zeros(1, dtype=torch.int64, device=call.device))
        return call.game().shares(question, n_samples)

    return int(_or_captum(found, lambda: 1))


class ReX(attr.PerturbationAttribution):  # type: ignore[misc]
    """``rambit.rex.ReX`` in captum's form: how responsible each position is for the class that the model decides for.

    ``settings``: those of ``rambit.rex.ReX``, but for ``mask_value``, which is ``baselines`` here.
    """

    def __init__(self, forward_func: Callable[..., Any], **settings: Any) -> None:
        super().__init__(forward_func)
        if "mask_value" in settings:
            raise ValueError("mask_value is given to attribute, as baselines")
        self.settings = settings
        rex.ReX(forward_func, **settings)  # which refuses what is wrong before anything is explained

    def attribute(
        self, inputs: Any, baselines: Any = None, target: Any = None, additional_forward_args: Any = None
    ) -> Any:
        """Responsibility, float32, in the shape of ``inputs``: all channels of a position have the same.

        ``inputs``: a tensor (B, C, H, W), (B, C, Z, H, W) or (B, D, T), or a tuple of one. ``baselines``: a number, or
        a tensor that broadcasts to it; default 0. ``target``: None, a class, or one for each example, as a list or
        tensor; it must be the class that the model gives to the example, which is what ReX explains.
        ``additional_forward_args``: a tensor (B, …) or a tuple of these. Raises TypeError or ValueError naming the
        argument, and NoExplanationError where nothing passes.
        """
        tensors, given = _format_input_baseline(inputs, 0 if baselines is None else baselines)
        if len(tensors) != 1 or len(given) != 1:
            raise ValueError(f"inputs and baselines must be one tensor each, got {len(tensors)} and {len(given)}")
        x, baseline, B = tensors[0], given[0], len(tensors[0])
        classes = _classes(target, B)
        extra = _format_additional_forward_args(additional_forward_args)
        several = isinstance(baseline, Tensor) and baseline.ndim == x.ndim and len(baseline) > 1
        parts = []
        for rows in [slice(b, b + 1) for b in range(B)] if several else [slice(0, B)]:
            value = baseline
            if isinstance(baseline, Tensor):
                value = (baseline[rows] if several else baseline).expand(1, *x.shape[1:]).to(x.dtype)
            method = rex.ReX(self.forward_func, mask_value=value, **self.settings)
            beside = None if extra is None else tuple(one[rows] for one in extra)
            wanted = None if classes is None else classes[rows]
            parts.append(method.attribute(x[rows], target=wanted, extra=beside))
        found = torch.cat(parts)
        found = found if x.ndim == 3 else found[:, None].expand(x.shape).contiguous()
        return (found,) if isinstance(inputs, tuple) else found


def _classes(target: Any, B: int) -> list[int] | None:
    """The class of each of B examples."""
    if target is None:
        return None
    found = target.tolist() if isinstance(target, Tensor) else target
    classes = [found] * B if isinstance(found, int) else found
    if not isinstance(classes, list) or len(classes) not in (1, B):
        raise ValueError(f"target must be None, a class, or {B} classes, one for each example, got {target!r}")
    return classes * B if len(classes) < B else classes
