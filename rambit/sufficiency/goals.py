"""What the arguments of ``explain`` say that a part must keep, and how much of it."""

from __future__ import annotations

import inspect
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rambit import arrays
from rambit.checks import count, number
from rambit.output_names import are_names, numbers_of
from rambit.predictors import Predictor
from rambit.sufficiency.criteria import Criterion, ForClass, OfFunction, WithinTolerance

TOLERANCES = ("rel_tol", "abs_tol", "tolerance")


@dataclass(frozen=True, eq=False)
class Goal:
    """A class (``target``, None: the model's own), a ``function`` of the outputs, or values within a ``tolerance``.

    Once it is ``over`` B samples, targets and tolerances are (B,).
    """

    target: Any
    function: Callable[[Tensor], Any] | None
    rel_tol: Any
    abs_tol: Any
    tolerance: Any

    @staticmethod
    def of(target: Any, criterion: Any, rel_tol: Any, abs_tol: Any, tolerance: Any) -> Goal:
        """Raises TypeError or ValueError for arguments that do not go together."""
        if criterion is not None and not _takes_one(criterion):
            raise TypeError(f"criterion must be a function of the outputs (N, C), got {reprlib.repr(criterion)}")
        for name, given in (("target", target), ("tolerance", tolerance)):
            if criterion is not None and given is not None:
                raise ValueError(f"{name} and criterion exclude each other: the criterion says what is kept")
        if tolerance is not None and abs_tol is not None:
            raise ValueError(
                "abs_tol is for classes and criteria; of regression, tolerance says how far values may move"
            )
        return Goal(target, criterion, rel_tol, abs_tol, tolerance)

    def check(self, predictor: Predictor) -> None:
        """Raise TypeError or ValueError for a model whose outputs are of another kind."""
        regression = predictor.output == "regression"
        if regression and self.function is None and self.tolerance is None:
            raise TypeError(
                "output must not be regression, unless tolerance= says how far values may move, or criterion= what is "
                "kept: a decision for a class is explained"
            )
        if self.tolerance is not None and not regression:
            raise ValueError(f"tolerance is for output='regression', got {predictor.output!r}")

    def over(self, B: int, names: Sequence[str] | None = None) -> Goal:
        """The same for B samples; ``names``: of the outputs. Raises TypeError or ValueError naming the argument."""
        gap = self.function is None
        return replace(
            self,
            target=_classes(numbers_of("target", self.target, names) if are_names(self.target) else self.target, B),
            rel_tol=_for_each("rel_tol", self.rel_tol, B, 1.0),
            abs_tol=None if self.abs_tol is None else _for_each("abs_tol", self.abs_tol, B, 2.0 if gap else torch.inf),
            tolerance=None if self.tolerance is None else _for_each("tolerance", self.tolerance, B, torch.inf),
        )

    def targets(self, whole: Tensor, predictor: Predictor) -> Tensor | None:
        """(B,) int64: the classes, or outputs, that are explained; None where there is no single one."""
        if self.target is not None and bool((self.target >= whole.shape[1]).any()):
            raise ValueError(f"target must lie in 0 … {whole.shape[1] - 1}, got {self.target.tolist()}")
        own_choice = self.target is None and self.function is None and self.tolerance is None
        return predictor.predicted(whole) if own_choice else self.target

    def criterion(self, whole: Tensor, predictor: Predictor) -> Criterion:
        """What is kept of the outputs (B, C) for the whole samples."""
        targets = self.targets(whole, predictor)
        if self.function is not None:
            return OfFunction(self.function)
        if self.tolerance is not None:
            return WithinTolerance(whole, targets, self.tolerance)
        assert targets is not None
        return ForClass(predictor, targets)

    def settings(self, b: int) -> dict[str, Any]:
        """How much of sample b is kept, as JSON."""
        given = {name: getattr(self, name) for name in TOLERANCES}
        found: dict[str, Any] = {name: None if of is None else float(of[b]) for name, of in given.items()}
        if self.function is not None:
            found["criterion"] = getattr(self.function, "__name__", type(self.function).__name__)
        return found


def _takes_one(function: Any) -> bool:
    """Whether something can be called with one argument, as far as its signature says."""
    if isinstance(function, type) or not callable(function):
        return False
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a built-in function may have no signature
        pass
    return True


def _for_each(name: str, given: Any, B: int, high: float) -> Tensor:
    """(B,) float64: a number from 0 to ``high`` for each sample."""
    if arrays.is_array(given) and getattr(given, "ndim", 0) > 0:
        given = arrays.whole(name, given).tolist()
    if not isinstance(given, list | tuple):
        return torch.full((B,), number(name, given, 0.0, high), dtype=torch.float64)
    if len(given) != B:
        raise ValueError(f"{name} must be a number or one for each of {B} samples, got {len(given)}")
    return torch.tensor([number(name, one, 0.0, high) for one in given], dtype=torch.float64)


def _classes(target: Any, B: int) -> Tensor | None:
    """(B,) int64 or None: what was given as the classes that are explained, as far as it can be checked unasked."""
    if target is None:
        return None
    if arrays.is_array(target):
        given = arrays.whole("target", target, holds="classes").cpu()
        if not arrays.holds_integers(given):
            raise TypeError(f"target must be a class or one for each sample, got {given.dtype}")
    elif isinstance(target, (list, tuple)):
        given = torch.tensor([count("target", each, 0) for each in target], dtype=torch.int64)
    else:
        given = torch.tensor(count("target", target, 0))
    if tuple(given.shape) not in ((), (B,)):
        raise ValueError(f"target must be a class or one for each of {B} samples, got {tuple(given.shape)}")
    classes = given.long()
    if bool((classes < 0).any()):
        raise ValueError(f"target must be at least 0, got {given.tolist()}")
    return classes.expand(B)
