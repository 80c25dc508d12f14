"""Pairs of cells, or of sets of cells: given, at a lag from each other, or all of some groups."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rambit import arrays
from rambit.checks import count
from rambit.game.questions import Pairs

#: With which features of a later step a cell is paired.
Features = Literal["same", "next", "all", "strip"]
#: Pairs of a call.
MOST_PAIRS = 1 << 20
#: The latest step, and the greatest lag, that can be named.
LATEST = 2**31 - 1

Int64 = npt.NDArray[np.int64]
Cell = tuple[int, int]
Set = tuple[Cell, ...]


@dataclass(frozen=True)
class CellPairs:
    """Sets of cells, and which two of them make each pair: these share no cell.

    ``cells`` (N, 2): feature and time; set i holds those from ``offsets[i]`` to ``offsets[i + 1]``. ``index`` (P, 2).
    """

    cells: Int64
    offsets: Int64
    index: Int64

    @staticmethod
    def of(pairs: Iterable[tuple[Set, Set]], name: str) -> CellPairs:
        """Equal sets become one. ValueError naming the argument if there are no pairs, or too many."""
        sets: dict[Set, int] = {}
        index = []
        for pair in pairs:
            index.append([sets.setdefault(tuple(sorted(cells)), len(sets)) for cells in pair])
            if len(index) > MOST_PAIRS:
                raise ValueError(f"{name} makes more than {MOST_PAIRS} pairs of this X")
        if not index:
            raise ValueError(f"{name} makes no pair of this X")
        sizes = [len(cells) for cells in sets]
        every = np.array([cell for cells in sets for cell in cells], dtype=np.int64)
        return CellPairs(every, np.cumsum([0, *sizes]), np.array(index, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.index)

    def within(self, length: int) -> Int64:
        """Which pairs have a cell before step ``length`` in both of their sets."""
        return np.flatnonzero((self._sizes(length) > 0)[self.index].all(axis=1))

    def flat(self, length: int, T: int) -> Pairs:
        """These pairs, of the cells before step ``length``, each as d * T + t."""
        size = self._sizes(length)
        feature, time = self.cells[self.cells[:, 1] < length].T
        offsets = np.concatenate(([0], np.cumsum(size[size > 0])))
        number = np.cumsum(size > 0) - 1  # of the sets that are left
        return Pairs(feature * T + time, offsets, number[self.index[self.within(length)]])

    def _sizes(self, length: int) -> Int64:
        """How many cells of each set lie before step ``length``."""
        sizes: Int64 = np.add.reduceat(self.cells[:, 1] < length, self.offsets[:-1], dtype=np.int64)
        return sizes

    def seen(self, cells: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(B, P): whether both sets have one of these cells (B, D, T)."""
        of_sets: npt.NDArray[np.bool_] = np.logical_or.reduceat(
            cells[:, self.cells[:, 0], self.cells[:, 1]], self.offsets[:-1], axis=1
        )
        return np.logical_and(of_sets[:, self.index[:, 0]], of_sets[:, self.index[:, 1]])

    def listed(self) -> tuple[Int64, Int64]:
        """The cells (N', 2) of all pairs, first set before second, and how many each of these has, (P, 2)."""
        sizes = np.diff(self.offsets)[self.index]
        begin, flat = self.offsets[self.index].ravel(), sizes.ravel()
        within = np.arange(flat.sum()) - np.repeat(np.cumsum(flat) - flat, flat)
        return self.cells[np.repeat(begin, flat) + within], sizes


def read_pairs(pairs: Any) -> list[tuple[Set, Set]]:
    """Pairs of cells (d, t), or of lists of cells. Errors: TypeError or ValueError naming what is wrong."""
    if arrays.is_array(pairs):
        pairs = arrays.whole("pairs", pairs, holds="integers").tolist()
    if not isinstance(pairs, Sequence) or isinstance(pairs, str) or not pairs:
        raise TypeError(f"pairs must be a list of pairs of cells (feature, time), got {reprlib.repr(pairs)}")
    found = []
    for i, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise TypeError(f"pairs[{i}] must be two cells (feature, time), or two lists of cells, got {pair!r}")
        first, second = (_read_set(f"pairs[{i}][{k}]", cells) for k, cells in enumerate(pair))
        if shared := set(first) & set(second):
            raise ValueError(f"pairs[{i}] must be two sets that share no cell, got {min(shared)} in both")
        found.append((first, second))
    return found


def _read_set(name: str, cells: Any) -> Set:
    if not isinstance(cells, Sequence) or isinstance(cells, str) or not cells:
        raise TypeError(f"{name} must be a cell (feature, time) or a list of cells, got {cells!r}")
    several = cells if isinstance(cells[0], Sequence) else [cells]
    found = []
    for cell in several:
        if not isinstance(cell, Sequence) or isinstance(cell, str) or len(cell) != 2:
            raise TypeError(f"{name} must be a cell (feature, time) or a list of cells, got {cells!r}")
        found.append((count(name, cell[0], 0, LATEST), count(name, cell[1], 0, LATEST)))
    if len(set(found)) < len(found):
        raise ValueError(f"{name} must name each cell once, got {cells!r}")
    return tuple(found)


def check_pairs(pairs: list[tuple[Set, Set]], D: int, T: int) -> None:
    """ValueError unless their cells are some of X (B, D, T)."""
    for i, (first, second) in enumerate(pairs):
        for d, t in (*first, *second):
            if d >= D or t >= T:
                raise ValueError(f"pairs[{i}] must have cells of {D} features × {T} times, got ({d}, {t})")


def read_lags(lags: Any, features: Features) -> list[int]:
    """One lag or several, in steps, each once, in ascending order. Errors: TypeError or ValueError naming them."""
    if arrays.is_array(lags):
        lags = arrays.whole("lags", lags, holds="integers").tolist()
    several = lags if isinstance(lags, (Sequence, range)) and not isinstance(lags, str) else [lags]
    low = 1 if features == "same" else 0  # a cell is no pair with itself
    found = sorted({count("lags", lag, low, LATEST) for lag in several})
    if not found:
        raise ValueError("lags must name at least one lag")
    return found


def lag_pairs(lags: list[int], features: Features, D: int, T: int) -> Iterator[tuple[Set, Set]]:
    """Every cell with those of a later step, by lag. Pairs that would reach beyond the series are left out."""
    for lag in lags:
        for t in range(T - lag):
            for d in range(D):
                yield from (((((d, t),), later)) for later in _later(d, t + lag, lag, features, D))


def _later(d: int, t: int, lag: int, features: Features, D: int) -> Iterator[Set]:
    others = [e for e in range(D) if lag > 0 or e != d]
    if features == "strip":
        if others:
            yield tuple((e, t) for e in others)
        return
    wanted = {"same": [d], "next": [d + 1], "all": others if lag > 0 else range(d + 1, D)}[features]
    yield from (((e, t),) for e in wanted if e < D)


def group_pairs(groups: Tensor, D: int, T: int) -> Iterator[tuple[Set, Set]]:
    """Every two of the groups (D or 1, T or 1), in the order of their numbers."""
    sets: dict[int, list[Cell]] = {}
    for d, row in enumerate(groups.expand(D, T).tolist()):
        for t, number in enumerate(row):
            sets.setdefault(number, []).append((d, t))
    return combinations((tuple(sets[number]) for number in sorted(sets)), 2)
