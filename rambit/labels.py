"""What the axes of series are called: features, times, series and outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Labels:
    """Names for the axes of series (B, D, T) and of a model's outputs (C); None where nobody said.

    features: D names. times: (T,), or (B, T) where series differ, numbers, datetime64[ns] or timedelta64[ns]. unit: of
    times that are numbers, such as "s". series: B names. outputs: C names of classes or outputs.
    """

    features: tuple[str, ...] | None = None
    times: NDArray[Any] | None = None
    unit: str | None = None
    series: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
