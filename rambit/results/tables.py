"""A result as a table, one row a cell: for CSV, pandas and xarray, which are imported when they are used."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Rows that are made text at a time.
_ROWS = 1 << 14


def library(name: str, extra: str = "frames") -> Any:
    """pandas, xarray or shap. Errors: ImportError that says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name}: pip install 'rambit[{extra}]'") from error


def csv_bytes(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Columns of one length as CSV in UTF-8, with their names in the first line.

    Numbers have as many digits as tell them apart; datetimes are ISO 8601, timedeltas seconds.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    length = len(next(iter(columns.values())))
    for begin in range(0, length, _ROWS):
        parts = [_text(column[begin : begin + _ROWS]) for column in columns.values()]
        writer.writerows(zip(*parts, strict=True))
    return text.getvalue().encode()


def _text(column: NDArray[Any]) -> list[str]:
    if column.dtype.kind == "M":
        column = np.datetime_as_string(column)
    elif column.dtype.kind == "m":
        column = column / np.timedelta64(1, "s")
    # NumPy's own text has the digits of the column's type: 0.1 in float32 is not 0.10000000149011612.
    return [str(one) for one in column.astype(str)]
