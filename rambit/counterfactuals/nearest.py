"""Which windows of reference data are nearest to the steps before a time of a series: exact, in bounded memory.

Products of matrices give all distances roughly; those that may be among the least are computed in float64, in one
order of cells. So neither blocks nor the number of threads change what is found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from rambit.jit import compiled

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

#: Windows of the data and series' times that are compared in one product, at most, and numbers in their cells.
WINDOWS, QUERIES, CELLS = 4096, 256, 1 << 22
#: Rough distances that are passed over at once where all are too large.
STRIDE = 64
#: Beyond it squares may leave the range of float32, in which the rough distances are.
LARGEST = 1e15


class ReferenceWindows:
    """Windows of ``data`` (N, D, T), NaN where a value is missing, whose features count in their deviations over it.

    ``categorical`` features have no distance: their values are equal or differ.
    """

    def __init__(self, data: npt.NDArray[np.floating], categorical: Sequence[int] = ()) -> None:
        self.data = data
        D = data.shape[1]
        self.categorical = np.isin(np.arange(D), categorical)
        self.mean, self.inverse = np.zeros(D), np.ones(D)
        for d in np.flatnonzero(~self.categorical):
            values = data[:, d].astype(np.float64).ravel()
            values = values[~np.isnan(values)]
            deviation = values.std()
            self.mean[d] = values.mean()
            self.inverse[d] = 1 / deviation if deviation > 0 and np.isfinite(deviation) else 1.0
        self.missing = bool(np.isnan(data).any())

    def nearest(
        self, x: Float64, times: range, steps: int, between: range, count: int, allowed: Bool | None = None
    ) -> Int64:
        """Places n * T + t (B, K, count) of the windows most like the ``steps`` before ``times`` (K) of x (B, D, ·).

        Windows are those before the times t of the data in ``between`` at which ``allowed`` (N, T), None: all. Only
        those that differ in the fewest categories are taken, nearest first, of equally near ones the earlier place. The
        distance is the sum of squares over the cells that both have, times the share of all cells that they are, to the
        power -1; a window that shares none is no neighbour. -1 stands where there is none.
        """
        N, _, T = self.data.shape
        series, time = np.repeat(np.arange(len(x)), len(times)), np.tile(np.array(times), len(x))
        shape = (len(series), count)
        differing, distance = np.full(shape, np.iinfo(np.int64).max), np.full(shape, np.inf)
        place = np.full(shape, -1)
        queries = self._windows(x[:, :, times[0] - steps : times[-1]], steps)
        rough = RoughDistances(queries, self.missing or bool(np.isnan(queries).any()), self._largest(x))
        size = max(1, min(WINDOWS, CELLS // max(1, len(queries))))
        length = min(size, len(between))
        room = np.empty(min(QUERIES, len(series)) * size, np.float32)
        # Places are looked at in their order: of equally near ones the first is found first, and stays.
        for n in range(0, N, size // length):
            for t in range(between.start, between.stop, length):
                end = min(t + length, between.stop)
                block = self.data[n : n + size // length, :, t - steps : end - 1].astype(np.float64)
                may = (
                    np.ones((len(block), end - t), np.bool_) if allowed is None else allowed[n : n + len(block), t:end]
                )
                right, slack = rough.of(self._windows(block, steps), self._largest(block))
                for begin in range(0, len(series), QUERIES):
                    part = slice(begin, begin + QUERIES)
                    left = rough.left[part]
                    products = room[: len(left) * right.shape[1]].reshape(len(left), right.shape[1])
                    np.matmul(left, right, out=products)
                    _keep_nearest(
                        products, rough.square[part], slack[part], x, series[part], time[part], steps,
                        block, may, n * T + t, T, self.inverse, self.categorical,
                        differing[part], distance[part], place[part],
                    )  # fmt: skip
        place[differing > differing[:, :1]] = -1
        return place.reshape(len(x), len(times), count)

    def _windows(self, x: Float64, steps: int) -> Float32:
        """All windows of x (B, D, w) in units of deviations, a column each: (cells, B * (w - steps + 1))."""
        numeric = ~self.categorical
        scaled = ((x[:, numeric] - self.mean[numeric, None]) * self.inverse[numeric, None]).astype(np.float32)
        windows = sliding_window_view(scaled, steps, axis=2).transpose(1, 3, 0, 2)
        return windows.reshape(windows.shape[0] * steps, len(x) * windows.shape[3])

    def _largest(self, x: Float64) -> float:
        """The largest value in units of deviations: what float64 rounds differences by."""
        return float((np.nan_to_num(np.abs(x)).max(axis=(0, 2), initial=0.0) * self.inverse).max())


class RoughDistances:
    """Squared distances of windows a (n, Q) from others, but for a ``square`` of theirs: ``left`` @ right.

    Over cells that both have, where some are ``missing``.
    """

    def __init__(self, a: Float32, missing: bool, largest: float) -> None:
        self.missing, self.largest = missing, largest
        with np.errstate(all="ignore"):  # what overflows is compared exactly
            self.norm = np.sqrt(np.nansum(np.square(a), axis=0, dtype=np.float64))
            self.square = np.zeros(a.shape[1]) if missing else self.norm**2
            if missing:
                known = np.where(np.isnan(a), np.float32(0), a)
                left = np.vstack((np.square(known), known, (~np.isnan(a)).astype(np.float32)))
            else:
                left = np.vstack((a, np.ones_like(a, shape=(1, a.shape[1]))))
        self.left = np.ascontiguousarray(left.T)

    def of(self, b: Float32, largest: float) -> tuple[Float32, Float64]:
        """``right`` for windows b (n, C); and by how much they may be wrong, (Q,): a bound on all roundings."""
        with np.errstate(all="ignore"):
            known = np.where(np.isnan(b), np.float32(0), b) if self.missing else b
            square = np.square(known)
            norm = square.sum(axis=0)
            reach = self.norm + np.sqrt(norm.max()) + 2.0**-26 * (self.largest + largest)
            slack = np.where(reach < LARGEST, 4 * (3 * len(b) + 16) * 2.0**-24 * reach**2, np.inf)
            if not self.missing:
                return np.vstack((-2 * b, norm)), slack
            return np.vstack(((~np.isnan(b)).astype(np.float32), -2 * known, square)), slack


@compiled
def _next_near(rough: Float32, limit: np.float32, c: int) -> int:
    """The first of rough distances (C,), from c on, that is not beyond the limit; C if none is."""
    while c + STRIDE <= len(rough):
        part, beyond = rough[c : c + STRIDE], 0
        for k in range(STRIDE):  # no branch, and no index that may be negative: so several are compared at once
            beyond += part[k] > limit
        if beyond < STRIDE:
            break
        c += STRIDE
    while c < len(rough) and rough[c] > limit:
        c += 1
    return c


@compiled
def _keep_nearest(
    rough: Float32,
    square: Float64,
    slack: Float64,
    x: Float64,
    series: Int64,
    time: Int64,
    steps: int,
    block: Float64,
    allowed: Bool,
    first: int,
    row: int,
    inverse: Float64,
    categorical: Bool,
    differing: Int64,
    distance: Float64,
    place: Int64,
) -> None:
    """Put the windows of a block (n, D, steps + length) among the nearest so far (Q, count) of each time of a series.

    ``allowed`` (n, length): which windows may be; ``first``: the place of the first, ``row`` from one series to the
    next. Order: differing categories, distance, place.
    """
    D, length, last = block.shape[1], allowed.shape[1], place.shape[1] - 1
    cells = steps * (D - categorical.sum())
    for q in range(len(series)):
        b, t = series[q], time[q]
        limit = np.float32(distance[q, last] + slack[q] - square[q])
        c = -1
        while True:
            c += 1
            # What has at least as many differing categories as the last, and is surely farther, is out.
            if differing[q, last] == 0:
                c = _next_near(rough[q], limit, c)
            if c >= rough.shape[1]:
                break
            n, s = c // length, c % length
            if not allowed[n, s]:
                continue
            differ, compared, common, total = 0, 0, 0, 0.0
            for i in range(1, steps + 1):
                for d in range(D):
                    own, other = x[b, d, t - i], block[n, d, s + steps - i]
                    if np.isnan(own) or np.isnan(other):
                        continue
                    if categorical[d]:
                        compared += 1
                        differ += own != other
                    else:
                        common += 1
                        part = (own - other) * inverse[d]
                        total += part * part
                if differ > differing[q, last] or (differ == differing[q, last] and total > distance[q, last]):
                    break
            if common > 0:
                total *= cells / common
            elif cells > 0 or compared == 0:
                continue
            k = last
            if not (differ < differing[q, k] or (differ == differing[q, k] and total < distance[q, k])):
                continue
            while k > 0 and (
                differ < differing[q, k - 1] or (differ == differing[q, k - 1] and total < distance[q, k - 1])
            ):
                differing[q, k], distance[q, k], place[q, k] = differing[q, k - 1], distance[q, k - 1], place[q, k - 1]
                k -= 1
            differing[q, k], distance[q, k], place[q, k] = differ, total, first + n * row + s
            limit = np.float32(distance[q, last] + slack[q] - square[q])
