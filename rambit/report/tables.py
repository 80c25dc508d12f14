"""A table, such as that of a comparison, whose columns can be sorted, and figures below it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rambit.report.packing import Packed
from rambit.report.page import About, page


def table_page(rows: Sequence[Mapping[str, Any]], about: About, *, figures: Mapping[str, bytes] | None = None) -> str:
    """A page of rows, whose keys are columns, and of ``figures``, PNG by title."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    data = {
        "columns": columns,
        "rows": [[_plain(row.get(name)) for name in columns] for row in rows],
        "figures": [
            {"title": title, "source": "data:image/png;base64," + base64.b64encode(png).decode("ascii")}
            for title, png in (figures or {}).items()
        ],
    }
    return page("table", about, data, Packed("f4"))


def _plain(value: Any) -> Any:
    """A number or text; none for what is not known."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, (str, int, float)) else str(value)
