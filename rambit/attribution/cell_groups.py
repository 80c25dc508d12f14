"""Cells that are replaced together: the option ``groups`` of the methods that have it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import arrays
from rambit.attribution.attributor import Call, RemovalAttributor
from rambit.counterfactuals import CounterfactualLike
from rambit.game.engine import Engine
from rambit.options import option
from rambit.store import resume_key

#: Groups of more cells are named by their digest in settings.
MOST_LISTED = 4096


class GroupedAttributor(RemovalAttributor):
    """A method whose unit is a cell, or a group of cells, each of which has its group's score."""

    groups: Any = option(
        default=None,
        help="integers (D, T), or (D, 1) or (1, T) for whole features or steps: cells of one number are replaced "
        "together, and each scores what its group does",
        recorded=False,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups is not None:
            self.groups = read_groups(self.groups, self.layout)

    def settings(self) -> dict[str, Any]:
        """Everything that the scores depend on, as JSON-able values; ``groups``, if given, as lists or a digest."""
        if self.groups is None:
            return super().settings()
        listed = self.groups.numel() <= MOST_LISTED
        groups = self.groups.tolist() if listed else {"digest": resume_key(groups=self.groups)}
        return {**super().settings(), "groups": groups}

    def _call(self, X: Any, counterfactuals: CounterfactualLike | None, *, quiet: bool = False, **series: Any) -> Call:
        call = super()._call(X, counterfactuals, quiet=quiet, **series)
        if self.groups is not None:
            check_groups(self.groups, call.batch.x.shape, self.layout)
        return call

    def _groups(self, game: Engine) -> npt.NDArray[np.int64] | None:
        """(D, T) numbers 0 … n-1 for the series of one game."""
        if self.groups is None:
            return None
        D, T = game.sample.x.shape[1:]
        numbers: Tensor = self.groups[:, :T].expand(D, T).unique(return_inverse=True)[1]
        return numbers.numpy()


def read_groups(groups: Any, layout: str) -> Tensor:
    """Integers (D or 1, T or 1) int64 from a tensor, array or lists in this layout; TypeError or ValueError if none."""
    try:
        numbers = arrays.whole("groups", groups, holds="integers")
    except (OverflowError, RuntimeError):
        raise ValueError("groups must hold integers of at most 64 bits") from None
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"groups must hold integers, got {numbers.dtype}")
    if numbers.ndim != 2 or numbers.numel() == 0:
        raise ValueError(f"groups must be {_axes(layout)}, got {tuple(numbers.shape)}")
    # A copy: what the caller does with them later changes nothing.
    numbers = numbers.to("cpu", torch.int64, copy=True)
    return numbers.T.contiguous() if layout == "BTD" else numbers


def check_groups(groups: Tensor, shape: torch.Size, layout: str) -> None:
    """ValueError if groups (D or 1, T or 1) are not those of series of this shape (B, D, T)."""
    (features, steps), (D, T) = groups.shape, shape[1:]
    if features not in (1, D) or steps not in (1, T):
        expected, given = ((D, T), (features, steps)) if layout == "BDT" else ((T, D), (steps, features))
        raise ValueError(f"groups must be {_axes(layout)}, here {expected}, with 1 for what all share, got {given}")


def _axes(layout: str) -> str:
    return "(D, T)" if layout == "BDT" else "(T, D)"
