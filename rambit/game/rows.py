"""The row descriptor's columns, as csrc/common/rows.h lays them out (a test compares the two)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt


class Column(IntEnum):
    """One masked input that the model must evaluate, as nine int32."""

    SERIES = 0
    DRAW = 1
    MASK = 2
    CELL = 3
    START = 4
    HORIZON = 5
    NORM = 6
    SLOT = 7
    STATE = 8


class StartRule(IntEnum):
    """Where a row starts: at time 0, at its flipped cell, at a given step, or as a table says."""

    ZERO = 0
    CELL = 1
    AT = 2
    TABLE = 3


class StateRule(IntEnum):
    """Which state a row starts from: none, its base row's, or its own slot of the sweep."""

    NONE = 0
    BASE = 1
    SLOT = 2


NO_CELL = -1


def base_rows(draw_base: npt.NDArray[np.int32], S: int, B: int) -> npt.NDArray[np.int32]:
    """The unflipped row of every (mask, draw, series), in that order: (M * S * B, columns)."""
    M = len(draw_base)
    rows = np.zeros((M, S, B, len(Column)), dtype=np.int32)
    rows[..., Column.SERIES] = np.arange(B)
    rows[..., Column.DRAW] = draw_base[:, None, None] + np.arange(S)[:, None]
    rows[..., Column.MASK] = np.arange(M)[:, None, None]
    rows[..., Column.CELL] = NO_CELL
    return rows.reshape(M * S * B, len(Column))
