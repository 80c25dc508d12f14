"""The Spike benchmark: the label turns to 1 at the first spike of feature 0."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import signal

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

# For each of the three features: y[t] = C0 y[t-1] + C2 u[t-2] u[t] + C3, then a trend.
C0 = np.array([0.5, 0.5, 0.3])
C2 = np.array([1.5, 1.5, 1.5])
C3 = np.array([0.5, 0.5, 0.1])
TREND = np.array([0.003, 0.065, 0.0])
SHIFT = np.array([0.0, 0.0, 0.5])
SPIKE = 1.5
CLASSES = ("before the spike", "after the spike")


class Draws(NamedTuple):
    """Every random number of a set; series i is the same however many are drawn."""

    u: Array  # (n, 3, T + 2), uniform on [0, .5); u[..., t] is u at time t - 2
    noise: Array  # (n, 3, T), N(0, .001)
    spiky: Array  # (n, 3) bool
    number: Array  # (n, 3), Poisson(3): how many spikes a spiky feature gets
    times: Array  # (n, 3, T): a random order of the times, of which the first `number` get a spike


def spike(n: int = 3000, T: int = 80, delay: int = 0, seed: int = 0) -> Dataset:
    """Spike: (n, 3, T) smooth series with rare spikes, labels (n, T) that are 1 from the first spike of feature 0 on.

    delay: the label follows `delay` steps after the spike. salient: that first spike, also where the delayed label no
    longer falls inside the series. Another delay changes the labels alone.

    Raises ValueError for n < 1, T < 2, a delay outside 0..T-1, or a negative seed. Source: Tonekaboni et al., "What
    went wrong and when? Instance-wise feature importance for time-series black-box models", 2020; the delay is from
    Leung et al., "Temporal dependencies in feature importance for time series prediction", 2023. As in the published
    generator, the product-sum term of the NARMA process is left out, which with these coefficients would diverge; and
    the process and the low-pass filter start from zero, so that a series climbs to its level in its first steps.
    """
    at_least(1, n=n)
    at_least(2, T=T)
    at_least(0, delay=delay, seed=seed)
    fits(n=n, D=3, T=T)
    if delay >= T:
        raise ValueError(f"delay must be less than T={T}, got {delay}")
    return _assemble(_draw(n, T, seed), delay)


def _draw(n: int, T: int, seed: int) -> Draws:
    u, noise, spiky, number, times = streams(seed, 5)
    return Draws(
        u=u.uniform(0, 0.5, (n, 3, T + 2)),
        noise=noise.normal(0, 0.001, (n, 3, T)),
        spiky=spiky.random((n, 3)) < 0.3,
        number=number.poisson(3, (n, 3)),
        times=times.random((n, 3, T)).argsort(axis=-1, kind="stable"),
    )


def _assemble(draws: Draws, delay: int) -> Dataset:
    _, _, T = draws.noise.shape
    X = smooth_series(draws)
    spikes = spikes_at(draws.times, draws.spiky * draws.number)
    X[spikes] += SPIKE

    y = np.zeros((len(X), T), dtype=np.int64)
    y[:, delay:] = np.maximum.accumulate(spikes[:, 0], axis=-1)[:, : T - delay]
    salient = np.zeros(X.shape, dtype=bool)
    salient[:, 0] = first(spikes[:, 0])
    name = f"spike:delay={delay}" if delay else "spike"
    return Dataset(name, X.astype(np.float32), y, salient, class_names=CLASSES)


def smooth_series(draws: Draws) -> Array:
    """The series (n, 3, T) before any spike."""
    X = narma(draws.u, C0, C2, C3)
    X += draws.noise + TREND[:, None] * np.arange(X.shape[-1])
    X = X / np.ptp(X, axis=-1, keepdims=True) - SHIFT[:, None]
    return np.asarray(signal.lfilter(*signal.butter(6, 6.8, fs=30), X))


def narma(u: Array, c0: Array | float, c2: Array | float, c3: Array | float) -> Array:
    """(n, D, T): y[t] = c0 y[t-1] + c2 u[t-2] u[t] + c3 from u (n, D, T + 2), which starts at time -2."""
    y = np.empty((*u.shape[:2], u.shape[2] - 2))
    value: Array | float = 0.0
    for t in range(y.shape[2]):
        value = c0 * value + c2 * u[..., t] * u[..., t + 2] + c3
        y[..., t] = value
    return y


def spikes_at(times: Array, number: Array) -> Array:
    """Bool, shaped like `times`: True at the first `number` of each random order of times."""
    spikes = np.zeros(times.shape, dtype=bool)
    np.put_along_axis(spikes, times, np.arange(times.shape[-1]) < number[..., None], axis=-1)
    return spikes


def first(spikes: Array) -> Array:
    """Only the first True along the last axis."""
    return np.asarray(spikes & (spikes.cumsum(axis=-1) == 1))
