"""Series as pandas and xarray hold them, which say themselves where features, times and series are; and padding.

Neither library is imported: what is read of theirs is asked of the objects.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit import arrays
from rambit.checks import one_of, warn
from rambit.labels import Labels
from rambit.text import shortened

#: What the axes of a DataArray may be called.
DIMS = {
    "series": ("series", "instance", "sample", "batch"),
    "feature": ("feature", "channel", "variable"),
    "time": ("time", "timestamp", "timepoint", "step"),
}


@dataclass(frozen=True)
class Series:
    """``values`` (B, D, T), 0 behind the end of shorter series, where ``lengths`` (B,) int64 says; and their names."""

    values: Tensor
    lengths: Tensor | None
    labels: Labels

    def in_layout(self, layout: str) -> Tensor:
        """The values as (B, D, T) or (B, T, D)."""
        return self.values if layout == "BDT" else self.values.transpose(1, 2)


def is_frame(value: Any) -> bool:
    """Whether it is a DataFrame of pandas, a list of them, or a DataArray of xarray."""
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(arrays.is_pandas(part) for part in value)
    return arrays.is_pandas(value) or arrays.is_xarray(value)


def read(name: str, value: Any) -> Series:
    """The series of what ``is_frame``; NaN where a value is missing. Numbers come as floats, booleans as they are.

    * A DataFrame: rows are times, columns features. Its index holds the times of one series, or (series, time).
    * A DataFrame whose cells are series themselves: rows are series, columns features (sktime's nested_univ).
    * A list of DataFrames, one a series, with the same columns.
    * A DataArray with a dimension called like a time (DIMS), and others called like series and features, in any order.

    Raises TypeError or ValueError naming the argument, and the columns that hold no numbers.
    """
    if arrays.is_xarray(value):
        return _of_array(name, value)
    if isinstance(value, (list, tuple)):
        return _of_list(name, value)
    if len(value.columns) and _is_nested(value):
        return _of_nested(name, value)
    table, features = _numbers(name, value), _features(name, value.columns)
    levels = getattr(value.index, "nlevels", 1)
    if levels == 1:
        return _series(name, [table], [_times(value.index)], features, None)
    if levels > 2:
        raise ValueError(f"{name} must be indexed by times, or by (series, time), got {levels} levels")
    number, series = value.index.get_level_values(0).factorize()
    if (number < 0).any():
        raise ValueError(f"{name} has rows without a series: the first level of its index is missing there")
    rows = [np.flatnonzero(number == b) for b in range(len(series))]
    times = _times(value.index.get_level_values(1))
    each = [None if times is None else times[of] for of in rows]
    return _series(name, [table[of] for of in rows], each, features, _given(series))


def of_one_length(name: str, value: Any) -> Series:
    """What ``read`` gives. ValueError where the lengths of the series differ."""
    found = read(name, value)
    if found.lengths is not None:
        raise ValueError(f"{name} must hold series of one length, got {sorted(set(found.lengths.tolist()))} steps")
    return found


def with_names(name: str, value: Any, labels: Any) -> tuple[Any, Labels]:
    """A frame as a tensor (see ``of_one_length``), anything else as it is; and ``labels`` beside the frame's own."""
    if not is_frame(value):
        return value, Labels.of(labels)
    found = of_one_length(name, value)
    return found.values, Labels.of(labels).over(found.labels)


def check_like(name: str, series: Series, labels: Labels, lengths: Tensor | None) -> None:
    """ValueError unless a frame has the features, series, lengths and times of X, a frame of these labels."""
    for kind in ("features", "series"):
        mine, its = getattr(series.labels, kind), getattr(labels, kind)
        if mine is not None and its is not None and mine != its:
            mine, its = (shortened(", ".join(names), 120) for names in (mine, its))
            raise ValueError(f"{name} has the {kind} {mine}, but X has {its}")
    mine, its = ((None if of is None else of.tolist()) for of in (series.lengths, lengths))
    if mine != its:
        raise ValueError(f"{name} must have as many times in each series as X")
    mine, its = series.labels.times, labels.times
    if mine is not None and its is not None and not Labels(times=mine) == Labels(times=its):
        raise ValueError(f"{name} must have the times of X")


def features_of(value: Any) -> tuple[str, ...] | None:
    """The names of the features of a frame; None where it says none, and for anything else."""
    if not is_frame(value):
        return None
    if arrays.is_xarray(value):
        return _coordinate(value, _roles("X", value).get("feature"))
    return _features("X", (value[0] if isinstance(value, (list, tuple)) else value).columns)


def pad(series: Sequence[Any], *, layout: str = "BDT") -> tuple[Tensor, Tensor]:
    """Series of different lengths as one tensor (B, D, T), T that of the longest, and their lengths (B,) int64.

    ``series``: B arrays or tensors (D, T_b), or DataFrames (rows are times). With ``layout="BTD"`` arrays are (T_b, D),
    and the result is (B, T, D). What stands behind the end of a series is 0. Types are those of torch's promotion:
    float32 beside float64 becomes float64, whole numbers stay whole.

    >>> import numpy as np
    >>> from rambit import pad
    >>> X, lengths = pad([np.ones((2, 3)), np.ones((2, 5))])
    >>> X.shape, lengths.tolist()
    (torch.Size([2, 2, 5]), [3, 5])

    Raises TypeError or ValueError naming the entry that does not fit.
    """
    one_of("layout", layout, ("BDT", "BTD"))
    if is_frame(series):
        found = read("series", series)
        B, _, T = found.values.shape
        return found.in_layout(layout), torch.full((B,), T) if found.lengths is None else found.lengths
    if isinstance(series, str) or not isinstance(series, Sequence):
        raise TypeError(f"series must be a list of arrays, got {type(series).__name__}")
    if not series:
        raise ValueError("series is empty: there is nothing to pad")
    parts = [arrays.whole(f"series[{b}]", one) for b, one in enumerate(series)]
    axes = "(D, T)" if layout == "BDT" else "(T, D)"
    for b, part in enumerate(parts):
        if part.ndim != 2 or part.numel() == 0:
            raise ValueError(f"series[{b}] must be {axes}, and not empty, got {tuple(part.shape)}")
    values, lengths = _padded("series", parts if layout == "BDT" else [part.T for part in parts])
    return values if layout == "BDT" else values.transpose(1, 2).contiguous(), lengths


# -- the kinds of frames -----------------------------------------------------------------------------------------------


def _of_list(name: str, frames: Sequence[Any]) -> Series:
    columns = list(frames[0].columns)
    for b, frame in enumerate(frames):
        if list(frame.columns) != columns:
            raise ValueError(f"{name}[{b}] has the columns {list(frame.columns)}, but {name}[0] has {columns}")
        if getattr(frame.index, "nlevels", 1) > 1:
            raise ValueError(f"{name}[{b}] must be one series, indexed by its times")
    tables = [_numbers(f"{name}[{b}]", frame) for b, frame in enumerate(frames)]
    times = [_times(frame.index) for frame in frames]
    return _series(name, tables, times, _features(name, frames[0].columns), None)


def _is_nested(frame: Any) -> bool:
    return len(frame) > 0 and all(arrays.is_array(cell) and np.ndim(cell) == 1 for cell in frame.iloc[0])


def _of_nested(name: str, frame: Any) -> Series:
    tables, times = [], []
    for b in range(len(frame)):
        cells = list(frame.iloc[b])
        parts = [_plain(f"{name}, row {b}, column {c}", one) for c, one in zip(frame.columns, cells, strict=True)]
        if len({tuple(part.shape) for part in parts}) > 1:
            shapes = ", ".join(str(tuple(part.shape)) for part in parts)
            raise ValueError(f"{name}, row {b}: its features must have the same times, got {shapes}")
        tables.append(torch.stack(parts, dim=1).numpy())
        times.append(_times(cells[0].index) if hasattr(cells[0], "index") else None)
    return _series(name, tables, times, _features(name, frame.columns), _given(frame.index))


def _of_array(name: str, array: Any) -> Series:
    roles = _roles(name, array)
    order = [roles[role] for role in DIMS if role in roles]
    values = _plain(name, array.transpose(*order).to_numpy())
    for axis, role in enumerate(DIMS):
        values = values if role in roles else values.unsqueeze(axis)
    if values.numel() == 0:
        raise ValueError(f"{name} is empty: {dict(array.sizes)}")
    times, unit = None, None
    if roles["time"] in array.coords:
        coordinate = array.coords[roles["time"]]
        times, unit = _times(coordinate.to_index()), coordinate.attrs.get("units")
        _check_order(name, [times])
    series, features = (_coordinate(array, roles.get(role)) for role in ("series", "feature"))
    unit = unit if isinstance(unit, str) else None
    return Series(values, None, Labels(features=features, times=times, unit=unit, series=series))


def _roles(name: str, array: Any) -> dict[str, str]:
    """The array's dimension for the series, the features and the times."""
    found: dict[str, str] = {}
    for dim in array.dims:
        role = next((role for role, names in DIMS.items() if dim in names), None)
        if role is None or role in found:
            known = "; ".join(f"{role}: {', '.join(names)}" for role, names in DIMS.items())
            raise ValueError(f"{name} must have one dimension of each kind ({known}), got {array.dims}")
        found[role] = dim
    if "time" not in found:
        raise ValueError(f"{name} must have a dimension called {', '.join(DIMS['time'])}, got {array.dims}")
    return found


def _coordinate(array: Any, dim: str | None) -> tuple[str, ...] | None:
    return tuple(map(str, array.coords[dim].to_numpy().tolist())) if dim in array.coords else None


# -- their parts -------------------------------------------------------------------------------------------------------


def _numbers(name: str, frame: Any) -> NDArray[Any]:
    """(rows, columns) in a floating type, NaN where a value is missing; bool where all columns are."""
    kinds = [getattr(kind, "kind", "O") for kind in frame.dtypes]
    columns = zip(frame.columns, frame.dtypes, kinds, strict=True)
    if wrong := [f"{column!r} ({given})" for column, given, kind in columns if kind not in "biuf"]:
        raise TypeError(f"{name} has columns that hold no numbers: {', '.join(wrong)}: leave them out")
    if frame.size == 0:
        raise ValueError(f"{name} is empty: {frame.shape[0]} rows, {frame.shape[1]} columns")
    return np.stack([_column(name, frame.iloc[:, d]) for d in range(frame.shape[1])], axis=1)


def _column(name: str, column: Any) -> NDArray[Any]:
    if isinstance(column.dtype, np.dtype):
        values = column.to_numpy()
    elif column.dtype.kind == "b" and not column.hasnans:
        values = column.to_numpy(dtype=bool)
    else:  # a type of pandas' own, which has missing values
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    return _plain(name, values).numpy()


def _plain(name: str, values: Any) -> Tensor:
    """Numbers in a floating type; booleans as they are."""
    tensor = arrays.whole(name, values)
    return tensor if tensor.dtype == torch.bool else arrays.floating(name, tensor)


def _features(name: str, columns: Any) -> tuple[str, ...] | None:
    names = _given(columns)
    if names is not None and len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise ValueError(f"{name} has more than one column called {twice!r}")
    return names


def _given(index: Any) -> tuple[str, ...] | None:
    """The names in an index; None for one that only counts from 0."""
    names = list(index)
    return None if names == list(range(len(names))) else tuple(map(str, names))


def _times(index: Any) -> NDArray[Any] | None:
    """The times in an index: numbers, or datetimes (of a time zone in UTC), as text too; None for anything else."""
    if hasattr(index, "to_timestamp"):  # periods
        index = index.to_timestamp()
    if getattr(index, "tz", None) is not None:
        if str(index.tz) != "UTC":
            warn(f"times in {index.tz} are read as UTC: results, their parts by time and pictures have them so")
        index = index.tz_convert(None)
    kind = getattr(index.dtype, "kind", "O")
    if kind in "mM":
        return np.asarray(index.to_numpy(), dtype="datetime64[ns]" if kind == "M" else "timedelta64[ns]")
    return np.asarray(index.to_numpy()) if kind in "iuf" else _written_times(list(index))


def _written_times(values: list[Any]) -> NDArray[Any] | None:
    """The times that texts or Python's dates say, as tables do; None where some say none."""
    from rambit.datasets.table_times import read_times  # here, since the data sets behind it take time to import

    if not all(isinstance(value, (str, datetime.date)) for value in values):
        return None
    with suppress(ValueError):
        return read_times([str(value) for value in values])
    return None


def _check_order(name: str, times: Sequence[NDArray[Any] | None]) -> None:
    for b, of in enumerate(times):
        if of is None:
            continue
        if bool((np.isnat(of) if of.dtype.kind in "mM" else np.isnan(of)).any()):
            raise ValueError(f"{name}: series {b} has rows without a time")
        if bool((of[1:] < of[:-1]).any()):
            raise ValueError(f"{name}: the times of series {b} do not ascend; sort its rows by time")


def _series(
    name: str,
    tables: Sequence[NDArray[Any]],
    times: Sequence[NDArray[Any] | None],
    features: tuple[str, ...] | None,
    series: tuple[str, ...] | None,
) -> Series:
    """Series from their tables (T_b, D)."""
    _check_order(name, times)
    values, lengths = _padded(name, [torch.from_numpy(table.T) for table in tables])
    labels = Labels(features=features, times=_together(times), series=series)
    return Series(values, None if bool((lengths == lengths[0]).all()) else lengths, labels)


def _together(times: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Times (T,) if the series have the same as far as they go, else (B, T), NaN or NaT behind the end of a series,
    numbers in float64.

    None where some have none, and where they only count the steps.
    """
    given = [of for of in times if of is not None]
    if len(given) < len(times) or len({of.dtype.kind for of in given}) > 1:
        return None
    longest = max(given, key=len)
    if all(np.array_equal(of, longest[: len(of)]) for of in given):
        counts = longest.dtype.kind in "iu" and np.array_equal(longest, np.arange(len(longest)))
        return None if counts else longest
    kind = longest.dtype if longest.dtype.kind in "mM" else np.dtype(np.float64)
    table = np.full((len(given), len(longest)), "NaT" if kind.kind in "mM" else np.nan, kind)
    for row, of in zip(table, given, strict=True):
        row[: len(of)] = of
    return table


def _padded(name: str, parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """One tensor (B, D, T) of series (D, T_b), and their lengths."""
    D, place, kind = parts[0].shape[0], parts[0].device, parts[0].dtype
    for b, part in enumerate(parts):
        if part.shape[0] != D:
            raise ValueError(f"{name}[{b}] has {part.shape[0]} features, but {name}[0] has {D}")
        if part.device != place:
            raise ValueError(f"{name}[{b}] is on {part.device}, but {name}[0] is on {place}")
        kind = torch.promote_types(kind, part.dtype)
    lengths = torch.tensor([part.shape[1] for part in parts])
    values = torch.zeros(len(parts), D, int(lengths.max()), dtype=kind, device=place)
    for row, part in zip(values, parts, strict=True):
        row[:, : part.shape[1]] = part
    return values, lengths
