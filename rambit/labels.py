"""What the axes of series are called: features, times, series and outputs."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: The tensor of a saved file that holds the times.
TIMES = "labels.times"
_NAMED = ("features", "series", "outputs")
#: Of more names or times, ``repr`` shows so many from each end.
_ENDS = 3
#: What times are kept as, by the kind of array they come in: that holds each of them exactly.
_KEPT = {"i": "int64", "u": "int64", "f": "float64"}


@dataclass(frozen=True, eq=False)
class Labels:
    """Names for the axes of series (B, D, T) and of a model's outputs (C); None where nobody said.

    features: D names. times: (T,), or (B, T) where series differ, numbers, datetime64[ns] or timedelta64[ns]. unit: of
    times that are numbers, such as "s". series: B names. outputs: C names of classes or outputs.

    Errors: TypeError or ValueError naming the field.
    """

    features: tuple[str, ...] | None = None
    times: NDArray[Any] | None = None
    unit: str | None = None
    series: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in _NAMED:
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        object.__setattr__(self, "times", None if self.times is None else _times(self.times))
        if self.unit is not None and not isinstance(self.unit, str):
            raise TypeError(f"labels.unit must be text, got {self.unit!r}")
        if self.unit is not None and (self.times is None or self.times.dtype.kind in "mM"):
            raise ValueError(f"labels.unit={self.unit!r} is that of times which are numbers, and these are none")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Labels):
            return NotImplemented
        a, b = self.times, other.times
        if a is None or b is None or a.dtype != b.dtype:
            return a is b and self._names() == other._names()
        return self._names() == other._names() and np.array_equal(a, b, equal_nan=True)

    def __hash__(self) -> int:
        return hash(self._names())

    def __repr__(self) -> str:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        said = [f"{name}={_shown(value)}" for name, value in given.items() if value is not None]
        return f"Labels({', '.join(said)})"

    def _names(self) -> tuple[Any, ...]:
        return self.features, self.series, self.outputs, self.unit

    @staticmethod
    def of(value: Labels | Mapping[str, Any] | None) -> Labels:
        """Labels from themselves, from a dictionary of their fields, or none. Errors: TypeError or ValueError."""
        if value is None or isinstance(value, Labels):
            return value or Labels()
        if not isinstance(value, Mapping):
            raise TypeError(f"labels must be a Labels or a dictionary of its fields, got {reprlib.repr(value)}")
        known = [field.name for field in fields(Labels)]
        if unknown := [name for name in value if name not in known]:
            raise ValueError(f"labels must have fields among {', '.join(known)}, got {unknown[0]!r}")
        return Labels(**value)

    def __bool__(self) -> bool:
        """Whether anything has a name."""
        return any(getattr(self, field.name) is not None for field in fields(self))

    def over(self, other: Labels) -> Labels:
        """These, and what ``other`` says where they say nothing."""
        mine = {name: getattr(self, name) for name in _NAMED if getattr(self, name) is not None}
        if self.times is not None:
            mine |= {"times": self.times, "unit": self.unit}
        return replace(other, **mine)

    def check(self, B: int, D: int, T: int) -> None:
        """ValueError naming what does not fit series (B, D, T)."""
        for name, names, size in (("features", self.features, D), ("series", self.series, B)):
            if names is not None and len(names) != size:
                raise ValueError(f"labels.{name} must have {size} names for series {(B, D, T)}, got {len(names)}")
        if self.times is not None and self.times.shape not in ((T,), (B, T)):
            raise ValueError(f"labels.times must have the shape {(T,)} or {(B, T)}, got {self.times.shape}")

    def check_outputs(self, count: int) -> None:
        """ValueError unless there are names for so many outputs, or none."""
        if self.outputs is not None and len(self.outputs) != count:
            raise ValueError(f"labels.outputs must have {count} names, one for each output, got {len(self.outputs)}")

    def take(
        self,
        *,
        series: Sequence[int] | None = None,
        features: Sequence[int] | None = None,
        times: Sequence[int] | None = None,
    ) -> Labels:
        """The labels of some series, features and times, by their indices; None: of all."""
        kept = self.times
        if kept is not None:
            kept = kept if times is None else kept[..., list(times)]
            kept = kept[list(series)] if series is not None and kept.ndim == 2 else kept
        return replace(
            self,
            features=_taken(self.features, features),
            series=_taken(self.series, series),
            times=kept,
        )

    def times_of(self, series: int) -> NDArray[Any] | None:
        """The times (T,) of one series, if there are any."""
        return self.times[series] if self.times is not None and self.times.ndim == 2 else self.times

    def output(self, number: int, otherwise: str) -> str:
        """What an output is called, or what it is called otherwise."""
        return otherwise if self.outputs is None or number >= len(self.outputs) else self.outputs[number]

    # -- files ----------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """The times as a tensor, for a file; datetimes and timedeltas as the whole numbers that they are."""
        if self.times is None:
            return {}
        plain = self.times.view(np.int64) if self.times.dtype.kind in "mM" else self.times
        return {TIMES: torch.from_numpy(plain.copy())}

    def record(self) -> dict[str, Any]:
        """Everything else that is given, as JSON values: names, and the type of the times."""
        named: dict[str, Any] = {name: list(getattr(self, name)) for name in _NAMED if getattr(self, name) is not None}
        if self.unit is not None:
            named["unit"] = self.unit
        return named if self.times is None else {**named, "times": self.times.dtype.name}

    @staticmethod
    def read(tensors: dict[str, Tensor], record: dict[str, Any]) -> Labels:
        """The labels of ``record()`` and ``tensors()``, which are taken out of these. Errors: TypeError, ValueError."""
        if not isinstance(record, dict):
            raise TypeError(f"labels is {record!r}")
        given, times = dict(record), tensors.pop(TIMES, None)
        kind = given.pop("times", None)
        if (kind is None) != (times is None):
            raise ValueError(f"labels.times is {kind!r}, with {'no' if times is None else 'a'} tensor {TIMES}")
        return Labels.of(given if times is None else {**given, "times": typed_times(times, kind)})


def typed_times(tensor: Tensor, kind: Any) -> NDArray[Any]:
    """The times of a file, from their tensor and the name of their type. Errors: TypeError, ValueError."""
    array: NDArray[Any] = tensor.numpy()
    found = np.dtype(kind) if isinstance(kind, str) else None
    if (
        found is None
        or found.kind not in "ifmM"
        or array.dtype != (np.dtype(np.int64) if found.kind in "mM" else found)
    ):
        raise ValueError(f"labels.times is {kind!r}, in a tensor of {tensor.dtype}")
    return array.view(found)


def _names(name: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        raise TypeError(f"labels.{name} must be a list of names, got {reprlib.repr(value)}")
    names = tuple(value)
    for one in names:
        if isinstance(one, bool) or not isinstance(one, (str, Integral)):
            raise TypeError(f"labels.{name} must hold texts or whole numbers, got {reprlib.repr(one)}")
    return tuple(str(one) for one in names)


def _times(value: Any) -> NDArray[Any]:
    """A copy of the times that nobody can write to."""
    array = np.asarray(value.cpu() if isinstance(value, Tensor) else value)
    if array.dtype.kind not in "iufmM" or array.dtype.itemsize > 8:
        raise TypeError(f"labels.times must be numbers, datetime64 or timedelta64, got {array.dtype}")
    if array.ndim not in (1, 2):
        raise ValueError(f"labels.times must be (T,) or (B, T), got the shape {array.shape}")
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"labels.times must lie within 64 bits, got {array.max()}")
    kept = array.astype(_KEPT.get(array.dtype.kind, array.dtype.newbyteorder("=")))
    kept.flags.writeable = False
    return kept


def _shown(value: Any) -> str:
    """Names or times as text, of many the first and the last, as of arrays."""
    if isinstance(value, np.ndarray):
        return " ".join(np.array2string(value, threshold=2 * _ENDS, edgeitems=_ENDS, separator=", ").split())
    if isinstance(value, str) or len(value) <= 2 * _ENDS:
        return repr(value)
    ends = [", ".join(map(repr, part)) for part in (value[:_ENDS], value[-_ENDS:])]
    return f"({ends[0]}, ..., {ends[1]}; {len(value)} names)"


def _taken(names: tuple[str, ...] | None, indices: Sequence[int] | None) -> tuple[str, ...] | None:
    return names if names is None or indices is None else tuple(names[i] for i in indices)
