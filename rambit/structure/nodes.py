"""The nodes of nested samples: trees whose leaves are columns of values and whose bags hold sets of instances.

Every node holds N observations; those of the root are the samples. A value that is missing, and an instance without
content, is as good as not there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rambit.structure.ragged import offsets_of, owners, segment_any, spread
from rambit.structure.schema import MEMBER, Path
from rambit.structure.strings import StringTable

MISSING = -1

Kept = Callable[[Path], Tensor]
"""The mask of a node's own slots by the node's path."""


class Node(ABC):
    """One node of a batch of nested samples. Its *slots* are what can be removed from it, in a fixed order."""

    @abstractmethod
    def __len__(self) -> int:
        """How many observations there are."""

    @cached_property
    @abstractmethod
    def observation(self) -> Tensor:
        """(slots,) int64: the observation that each slot belongs to; of a bag, the observation that is in the bag."""

    @abstractmethod
    def content(self) -> Tensor:
        """(N,) bool: whether there is anything in each observation."""

    @abstractmethod
    def take(self, index: Tensor) -> Node:
        """The observations ``index`` (M,) int64."""

    @abstractmethod
    def to(self, device: torch.device) -> Node:
        """The same node on another device."""

    @abstractmethod
    def pruned(self, kept: Kept, path: Path) -> Node:
        """Without the slots that are not kept; the observations stay."""

    def children(self) -> dict[str, Node]:
        """The nodes right below, in order."""
        return {}


@dataclass(frozen=True, eq=False)
class Dense(Node):
    """``values`` (N, F) floating; NaN is missing. Slots: the values (observation, feature) that are there."""

    values: Tensor

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.dtype.is_floating_point:
            raise ValueError(f"values must be (N, F) floating, got {self.values.dtype} {tuple(self.values.shape)}")
        if self.values.isinf().any():
            raise ValueError("values must be finite, or NaN where one is missing")

    def __len__(self) -> int:
        return self.values.shape[0]

    @cached_property
    def place(self) -> Tensor:
        """(slots,) int64: observation * F + feature of each slot."""
        return (~self.values.isnan()).flatten().nonzero()[:, 0]

    @cached_property
    def observation(self) -> Tensor:
        return self.place // self.values.shape[1]

    def content(self) -> Tensor:
        return (~self.values.isnan()).any(dim=1)

    def take(self, index: Tensor) -> Dense:
        return Dense(self.values[index])

    def to(self, device: torch.device) -> Dense:
        return Dense(self.values.to(device))

    def pruned(self, kept: Kept, path: Path) -> Dense:
        values = self.values.clone()
        values.view(-1)[self.place[~kept(path)]] = torch.nan
        return Dense(values)


class Ragged(Node):
    """Any number of members in each observation, one observation after another. Slots: the members.

    Member j belongs to observation i if ``offsets[i] <= j < offsets[i + 1]``; ``offsets`` is (N + 1,) int64.
    """

    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def observation(self) -> Tensor:
        return owners(self.offsets)

    def members(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Which members the observations ``index`` (M,) have, and their offsets (M + 1,)."""
        return spread(self.offsets, index)[1], offsets_of(self.offsets.diff()[index])

    def remaining(self, stay: Tensor) -> Tensor:
        """The offsets (N + 1,) of the members for which ``stay`` (slots,) bool holds."""
        return offsets_of(torch.bincount(self.observation[stay], minlength=len(self)))


@dataclass(frozen=True, eq=False)
class Sparse(Ragged):
    """Rows of ``size`` numbers of which few are stored: entry j is ``values[j]``, in column ``columns[j]``."""

    values: Tensor
    columns: Tensor
    offsets: Tensor
    size: int

    def __post_init__(self) -> None:
        _check_offsets(self.offsets, len(self.values))
        _check_codes("columns", self.columns, 0, self.size)
        if self.values.shape != self.columns.shape or not self.values.isfinite().all():
            raise ValueError("values must be finite, one for each of columns")

    def content(self) -> Tensor:
        return self.offsets.diff() > 0

    def take(self, index: Tensor) -> Sparse:
        entry, offsets = self.members(index)
        return Sparse(self.values[entry], self.columns[entry], offsets, self.size)

    def to(self, device: torch.device) -> Sparse:
        return Sparse(self.values.to(device), self.columns.to(device), self.offsets.to(device), self.size)

    def pruned(self, kept: Kept, path: Path) -> Sparse:
        stay = kept(path)
        return Sparse(self.values[stay], self.columns[stay], self.remaining(stay), self.size)


class Coded(Node):
    """One code for each observation, ``MISSING`` where there is none. Slots: the observations with a value."""

    codes: Tensor

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def observation(self) -> Tensor:
        return self.content().nonzero()[:, 0]

    def content(self) -> Tensor:
        return self.codes != MISSING

    def take(self, index: Tensor) -> Coded:
        return self.coded(self.codes[index])

    def pruned(self, kept: Kept, path: Path) -> Coded:
        codes = self.codes.clone()
        codes[self.observation[~kept(path)]] = MISSING
        return self.coded(codes)

    @abstractmethod
    def coded(self, codes: Tensor) -> Coded:
        """The same node with other codes."""


@dataclass(frozen=True, eq=False)
class Categorical(Coded):
    """``codes`` (N,) int64: in 0 … ``size`` - 1, or from ``size`` on for a category that is not known.

    ``unknown`` names the categories that codes from ``size`` on stand for; a model sees them all as one.
    """

    codes: Tensor
    size: int
    unknown: tuple[str | bool, ...] = ()

    def __post_init__(self) -> None:
        _check_codes("codes", self.codes, MISSING, self.size + max(1, len(self.unknown)))

    def coded(self, codes: Tensor) -> Categorical:
        return Categorical(codes, self.size, self.unknown)

    def to(self, device: torch.device) -> Categorical:
        return self.coded(self.codes.to(device))


@dataclass(frozen=True, eq=False)
class Text(Coded):
    """Strings: ``codes`` (N,) int64 are rows of ``table``."""

    codes: Tensor
    table: StringTable

    def __post_init__(self) -> None:
        _check_codes("codes", self.codes, MISSING, len(self.table))

    def coded(self, codes: Tensor) -> Text:
        return Text(codes, self.table)

    def to(self, device: torch.device) -> Text:
        return Text(self.codes.to(device), self.table.to(device))


@dataclass(frozen=True, eq=False)
class Bag(Ragged):
    """Each observation is a set of observations of ``child``, its instances."""

    child: Node
    offsets: Tensor

    def __post_init__(self) -> None:
        _check_offsets(self.offsets, len(self.child))

    @cached_property
    def _content(self) -> Tensor:
        return segment_any(self.child.content(), self.observation, len(self))

    def content(self) -> Tensor:
        return self._content

    def take(self, index: Tensor) -> Bag:
        instance, offsets = self.members(index)
        return Bag(self.child.take(instance), offsets)

    def to(self, device: torch.device) -> Bag:
        return Bag(self.child.to(device), self.offsets.to(device))

    def pruned(self, kept: Kept, path: Path) -> Bag:
        child = self.child.pruned(kept, (*path, MEMBER))
        return Bag(child, self.offsets).only(kept(path) & child.content())

    def only(self, stay: Tensor) -> Bag:
        """With the instances for which ``stay`` (slots,) bool holds."""
        if bool(stay.all()):  # nothing to copy, level by level
            return self
        return Bag(self.child.take(stay.nonzero()[:, 0]), self.remaining(stay))

    def children(self) -> dict[str, Node]:
        return {MEMBER: self.child}


@dataclass(frozen=True, eq=False)
class Product(Node):
    """Observations with several ``parts``: nodes of N observations each, in the order of their names. No slots."""

    parts: Mapping[str, Node]

    def __post_init__(self) -> None:
        sizes = {name: len(part) for name, part in self.parts.items()}
        if len(set(sizes.values())) != 1:
            raise ValueError(f"parts must have equally many observations, and there must be one part, got {sizes}")
        object.__setattr__(self, "parts", {name: self.parts[name] for name in sorted(self.parts)})

    def __len__(self) -> int:
        return len(next(iter(self.parts.values())))

    @cached_property
    def observation(self) -> Tensor:
        return next(iter(self.parts.values())).observation[:0]

    def content(self) -> Tensor:
        return torch.stack([part.content() for part in self.parts.values()]).any(dim=0)

    def take(self, index: Tensor) -> Product:
        return Product({name: part.take(index) for name, part in self.parts.items()})

    def to(self, device: torch.device) -> Product:
        return Product({name: part.to(device) for name, part in self.parts.items()})

    def pruned(self, kept: Kept, path: Path) -> Product:
        return Product({name: part.pruned(kept, (*path, name)) for name, part in self.parts.items()})

    def children(self) -> dict[str, Node]:
        return dict(self.parts)


@dataclass(frozen=True, eq=False)
class Skip(Node):
    """``child`` as it is: nothing of it is ever removed by itself. No slots, and none below."""

    child: Node

    def __len__(self) -> int:
        return len(self.child)

    @cached_property
    def observation(self) -> Tensor:
        return self.child.observation[:0]

    def content(self) -> Tensor:
        return self.child.content()

    def take(self, index: Tensor) -> Skip:
        return Skip(self.child.take(index))

    def to(self, device: torch.device) -> Skip:
        return Skip(self.child.to(device))

    def pruned(self, kept: Kept, path: Path) -> Skip:
        return self


def _check_offsets(offsets: Tensor, members: int) -> None:
    if offsets.ndim != 1 or offsets.dtype != torch.int64 or len(offsets) == 0:
        raise ValueError(f"offsets must be (N + 1,) int64, got {offsets.dtype} {tuple(offsets.shape)}")
    if offsets[0] != 0 or offsets[-1] != members or (offsets.diff() < 0).any():
        raise ValueError(f"offsets must rise from 0 to {members}, the number of members")


def _check_codes(name: str, codes: Tensor, low: int, end: int) -> None:
    if codes.ndim != 1 or codes.dtype != torch.int64:
        raise ValueError(f"{name} must be one axis of int64, got {codes.dtype} {tuple(codes.shape)}")
    if len(codes) and (codes.min() < low or codes.max() >= end):
        raise ValueError(f"{name} must lie in {low}..{end - 1}, got {int(codes.min())}..{int(codes.max())}")
