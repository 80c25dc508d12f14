"""What every strategy promises."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rambit import ops
from rambit.registry import Registry


class Counterfactual(ABC):
    """A rule for the values that replace what is not kept. Draws are keyed by (seed, series id, draw, position)."""

    #: How a row is filled; anything but FIXED depends on what the row keeps.
    fill = ops.Fill.FIXED
    #: More draws would only repeat the first.
    single = False
    #: Its values are whole numbers where those of the data, or the given ones, are: it serves categories and tokens.
    serves_categories = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "runs" in vars(cls) and "windows" not in vars(cls):  # the older name, in strategies of users
            warnings.warn(f"{cls.__name__}.runs is called windows now", DeprecationWarning, stacklevel=2)
            cls.windows = cls.runs  # type: ignore[attr-defined, method-assign]

    @property
    def fixed(self) -> bool:
        """Whether the values are the same for every mask (the sweep needs that)."""
        return self.fill == ops.Fill.FIXED

    @property
    def looks_ahead(self) -> bool:
        """Whether a value can depend on what is kept later."""
        return self.fill in (ops.Fill.CARRY_FORWARD, ops.Fill.INTERPOLATE)

    @abstractmethod
    def draws(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, *, seed: int, first: int = 0
    ) -> Tensor:
        """Values (count, B, D, T) for series x (B, D, T) with ids (B,): draws ``first`` … ``first + count - 1``."""

    def windows(
        self, x: Tensor, observed: Tensor | None, ids: Tensor, count: int, window: int, *, seed: int, first: int = 0
    ) -> Tensor | None:
        """Values (count, B, D, T, window) of a replaced window by its start and the steps since; None: by time alone.

        Raises ValueError where a window's values would depend on what comes after it.
        """
        return None

    def check(self, D: int, T: int) -> None:  # noqa: B027  most strategies serve any series
        """Raise ValueError when the strategy cannot serve series of D features and T steps."""

    def within(self, needed: Tensor) -> Counterfactual:
        """The strategy for series whose cells (B, D, T) may be replaced where ``needed`` says so, bool.

        Raises ValueError where its values do not fit them.
        """
        return self

    def for_categories(self, features: Sequence[int]) -> Counterfactual:
        """The strategy for series of which these features hold categories, or tokens."""
        return self

    def given(self, features: Sequence[int]) -> Tensor:
        """All values of these features that it may take from what was given to it, NaN where there is none."""
        return torch.empty(0)

    def extent(self) -> Tensor | None:
        """(D or 1, 2): the least and the greatest value of each feature in any draw for any series; None: not known."""
        return None

    def describe(self) -> dict[str, object]:
        """Name and parameters, for settings and result files."""
        return {
            "name": type(self).__name__,
            **{k: v for k, v in vars(self).items() if isinstance(v, (int, float, str)) and not k.startswith("_")},
        }

    def tensors(self) -> dict[str, Tensor]:
        """The data that the values depend on, for resume keys."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}


#: Strategies by name. One whose constructor takes ``background`` is given it.
STRATEGIES: Registry[type[Counterfactual]] = Registry("strategy")
