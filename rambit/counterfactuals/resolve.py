"""The strategy that a user names."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from rambit import arrays
from rambit.counterfactuals.background import declared
from rambit.counterfactuals.counterfactual import STRATEGIES, Counterfactual
from rambit.counterfactuals.generator import GeneratorModel
from rambit.counterfactuals.given_values import Generated, Replay
from rambit.counterfactuals.strategies import Constant

#: What an attributor takes as ``counterfactuals=``: a strategy, its name, a number, values, or a trained generator.
CounterfactualLike = str | float | Tensor | GeneratorModel | Counterfactual


def resolve(counterfactuals: CounterfactualLike | None, background: Tensor | None = None) -> Counterfactual:
    """The strategy that a user named; None means marginal draws if a background is given, else zero.

    A number, and values (D,) or (D, T), are constants; (B, D, T) and (S, B, D, T) are replayed by position in the
    batch. ``background``: what `read_background` gave.
    """
    if isinstance(counterfactuals, Counterfactual):
        return counterfactuals
    if isinstance(counterfactuals, (int, float, np.number)) and not isinstance(counterfactuals, bool):
        return Constant(counterfactuals)
    if isinstance(counterfactuals, Tensor):
        if counterfactuals.ndim < 3:
            return Constant(counterfactuals)
        return Replay(counterfactuals[None] if counterfactuals.ndim == 3 else counterfactuals)
    if isinstance(counterfactuals, GeneratorModel):
        return Generated(counterfactuals)
    if counterfactuals is None:
        counterfactuals = "zero" if background is None else "marginal"
    if not isinstance(counterfactuals, str):
        raise TypeError(
            f"counterfactuals must be a strategy, its name, a number or a tensor, got {type(counterfactuals).__name__}"
            + arrays.hint("counterfactuals", counterfactuals)
        )
    strategy: Counterfactual = STRATEGIES.make_for("counterfactuals", counterfactuals, background=declared(background))
    return strategy


def reads_background(counterfactuals: CounterfactualLike | None) -> bool:
    """Whether what a user named takes reference data."""
    if counterfactuals is None:
        return True
    if not isinstance(counterfactuals, str):
        return False
    name = counterfactuals.partition(":")[0]
    return name not in STRATEGIES or "background" in STRATEGIES.parameters(name)


def needs_background(counterfactuals: str) -> bool:
    """Whether a strategy, by its name, cannot do without reference data."""
    takes = STRATEGIES.parameters(counterfactuals.partition(":")[0])
    return "background" in takes and takes["background"].default is inspect.Parameter.empty


def check_categories(strategy: Counterfactual, features: Sequence[int], what: str) -> None:
    """Raise ValueError for a strategy whose values of these features, ``what``, need not be whole numbers."""
    if not strategy.serves_categories:
        names = ", ".join(name for name in STRATEGIES if STRATEGIES[name].serves_categories)
        raise ValueError(
            f"counterfactuals={type(strategy).__name__} does not serve {what}, whose values must be those of the data "
            f"or given: use {names}, or give values"
        )
    values = strategy.given(features)
    wrong = values[(values != values.round()) & ~values.isnan()]
    if len(wrong):
        raise ValueError(f"counterfactuals of {what} must be whole numbers, got {float(wrong[0]):g}")
