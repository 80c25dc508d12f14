"""The row descriptor has one layout: what csrc/common/rows.h says is what Python reads and writes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from rambit import _plan
from rambit.game.rows import Column, base_rows

HEADER = Path(__file__).parents[2] / "csrc" / "common" / "rows.h"


def test_as_many_columns_as_the_library_has():
    assert len(Column) == _plan.ROW_COLUMNS
    assert list(Column) == list(range(len(Column)))


def test_columns_are_the_fields_in_order():
    if not HEADER.exists():
        pytest.skip("the C++ sources are not here")
    body = re.search(r"struct Row \{(.*?)\};", HEADER.read_text(), re.DOTALL).group(1)
    assert [c.name.lower() for c in Column] == re.findall(r"int32_t (\w+);", body)


def test_base_rows():
    rows = base_rows(np.array([4, 10], dtype=np.int32), S=3, B=2)
    expected = [
        (b, base + s, m, -1, 0, 0, 0, 0, 0) for m, base in enumerate((4, 10)) for s in range(3) for b in range(2)
    ]
    assert rows.dtype == np.int32
    assert rows.tolist() == [list(r) for r in expected]
