"""One labelled set of time series, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rambit import arrays
from rambit.labels import Labels

Array = NDArray[Any]

#: Cells of the largest synthetic set: each takes dozens of bytes while it is made.
MOST_CELLS = 1 << 26


@dataclass(frozen=True, eq=False)
class Dataset:
    """N series of D features and T steps, with what is known about them.

    X: (N, D, T) float32; NaN marks a missing value. y: int64 classes (N,) or, one for each step, (N, T); float32 of
    the same shapes for regression; None where there are no labels. salient: (N, D, T) bool, True where a cell decides
    the label. lengths: (N,) int64 in 1..T, for padded series: what stands beyond them is not looked at. Names that are
    not given are made up, but those of series. times: (T,), or (N, T) where series differ: numbers, datetime64[ns] or
    timedelta64[ns].

    Raises TypeError for a wrong dtype and ValueError for a wrong shape or value, naming the field.
    """

    name: str
    X: Array
    y: Array | None
    salient: Array | None = None
    lengths: Array | None = None
    feature_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    series_names: tuple[str, ...] = ()
    times: Array | None = None

    def __post_init__(self) -> None:
        _check("X", self.X, np.float32)
        if self.X.ndim != 3 or 0 in self.X.shape:
            raise ValueError(f"X must have shape (N, D, T) without an empty axis, got {self.X.shape}")
        n, d, t = self.X.shape
        if self.salient is not None:
            _check("salient", self.salient, np.bool_, (n, d, t))
        if self.lengths is not None:
            _check("lengths", self.lengths, np.int64, (n,))
            if self.lengths.min() < 1 or self.lengths.max() > t:
                raise ValueError(f"lengths must lie in 1..{t}, got {self.lengths.min()}..{self.lengths.max()}")
        if (np.isinf(self.X) & self._counted()[:, None]).any():
            raise ValueError("X holds infinite values")
        if self.y is not None:
            self._check_labels(self.y)
        features = tuple(self.feature_names) or tuple(f"feature {i}" for i in range(d))
        if len(features) != d:
            raise ValueError(f"feature_names must name {d} features, got {len(features)}")
        object.__setattr__(self, "feature_names", features)
        if self.series_names and len(self.series_names) != n:
            raise ValueError(f"series_names must name {n} series, got {len(self.series_names)}")
        if self.times is not None and self.times.shape not in ((t,), (n, t)):
            raise ValueError(f"times must have shape ({t},) or ({n}, {t}), got {self.times.shape}")

    @property
    def labels(self) -> Labels:
        """What features, times, series and classes are called; of the names, those that are made up too."""
        return Labels(self.feature_names, self.times, None, self.series_names or None, self.class_names or None)

    def _counted(self) -> Array:
        """(N, T) bool, False in the padding, where anything may stand."""
        n, _, t = self.X.shape
        ends = np.full(n, t) if self.lengths is None else self.lengths
        return np.asarray(np.arange(t) < ends[:, None])

    def _check_labels(self, y: Array) -> None:
        n, _, t = self.X.shape
        _whole("y", y)
        if y.dtype not in (np.int64, np.float32):
            raise TypeError(f"y must be int64 (classes) or float32 (regression), got {y.dtype}")
        if y.shape not in ((n,), (n, t)):
            raise ValueError(f"y must have shape ({n},) or ({n}, {t}), got {y.shape}")
        y = y[self._counted()] if y.ndim == 2 else y
        if y.dtype == np.float32:
            if self.class_names:
                raise ValueError("class_names need classes, but y holds float32 values")
            if not np.isfinite(y).all():
                raise ValueError("y holds NaN or infinite values")
            return
        if y.min() < 0:
            raise ValueError(f"y must hold classes 0, 1, ..., got {y.min()}")
        names = tuple(self.class_names) or tuple(str(i) for i in range(int(y.max()) + 1))
        if y.max() >= len(names):
            raise ValueError(f"class_names has {len(names)} names, but y holds class {y.max()}")
        object.__setattr__(self, "class_names", names)

    def __len__(self) -> int:
        return int(self.X.shape[0])

    def take(self, indices: Sequence[int] | Array) -> Dataset:
        """The series at `indices`, in that order."""
        chosen = np.asarray(indices)
        if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
            raise TypeError(f"indices must be a list of integers, got {chosen.dtype} {chosen.shape}")

        def pick(part: Array | None) -> Array | None:
            return None if part is None else part[chosen]

        return replace(
            self,
            X=self.X[chosen],
            y=pick(self.y),
            salient=pick(self.salient),
            lengths=pick(self.lengths),
            series_names=tuple(self.series_names[i] for i in chosen) if self.series_names else (),
            times=pick(self.times) if self.times is not None and self.times.ndim == 2 else self.times,
        )

    def split(self, fraction: float, seed: int = 0) -> tuple[Dataset, Dataset]:
        """A random `fraction` of the series, and the others; each in the original order, and neither of them empty."""
        if not 0 < fraction < 1 or len(self) < 2:
            raise ValueError(f"fraction must lie in (0, 1) and there must be 2 series, got {fraction} of {len(self)}")
        first = min(max(round(fraction * len(self)), 1), len(self) - 1)
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[:first])), self.take(np.sort(order[first:]))


def at_least(low: int, **values: int) -> None:
    """Raises ValueError for the first of `values` that is below `low`, naming it."""
    for name, value in values.items():
        if value < low:
            raise ValueError(f"{name} must be at least {low}, got {value}")


def fits(**sizes: int) -> None:
    """Raises ValueError, naming the sizes of a set (n, D, T), if it would have more cells than are made at once."""
    cells = math.prod(map(int, sizes.values()))
    if cells > MOST_CELLS:
        given = " x ".join(f"{name}={size}" for name, size in sizes.items())
        raise ValueError(f"{given} are {cells:,} cells, but at most {MOST_CELLS:,} are made: ask for fewer")


def streams(seed: int, count: int) -> list[np.random.Generator]:
    """One stream for each kind of number in a set, so that a longer set only goes on where a shorter one ends."""
    return [np.random.Generator(np.random.Philox(child)) for child in np.random.SeedSequence(seed).spawn(count)]


def padded(series: Sequence[Array], steps: int | None = None) -> tuple[Array, Array]:
    """Series (D, T_i) of different lengths as one array (N, D, T), zeros after their ends, and their lengths."""
    lengths = np.array([one.shape[1] for one in series], dtype=np.int64)
    X = np.zeros((len(series), series[0].shape[0], steps or int(lengths.max())), dtype=np.float32)
    for row, one in zip(X, series, strict=True):
        row[:, : one.shape[1]] = one
    return X, lengths


def numbered(labels: Sequence[str]) -> tuple[str, ...]:
    """The distinct labels in order: as numbers if all of them are, else alphabetically."""
    distinct = sorted(set(labels))
    try:
        return tuple(sorted(distinct, key=float))
    except ValueError:
        return tuple(distinct)


def _check(name: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...] | None = None) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != dtype:
        found = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name} must be a {np.dtype(dtype)} array, got {found}")
    _whole(name, value)
    if shape is not None and value.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {value.shape}")


def _whole(name: str, value: Any) -> None:
    """Raises ValueError for a masked array: what is masked in it would count as a value."""
    if np.ma.is_masked(value):
        arrays.whole(name, value)
