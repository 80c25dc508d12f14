"""What is explained, under its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from rambit.labels import Labels


@dataclass(frozen=True)
class Input:
    """One input as the model reads it, (1, C, H, W), (1, C, Z, H, W) or (1, D, T), and as pictures show it.

    shown: makes the second of the first, of any values that the model may read.
    """

    x: Tensor
    picture: Tensor
    shown: Callable[[Tensor], Tensor] = lambda x: x


@dataclass(frozen=True)
class Source:
    """An input that is there, under a name; images are decoded when they are needed."""

    name: str
    read: Callable[[], Input]
    labels: Labels = field(default_factory=Labels)
