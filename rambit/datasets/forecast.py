"""Forecasts whose lags are known: a linear autoregression and one with a threshold."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from rambit.checks import one_of
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

Target = Literal["sign", "value"]
TARGETS: tuple[Target, ...] = get_args(Target)
CLASSES = ("not positive", "positive")

LAGS = 3
#: x[t] = sum over k of LINEAR[k] @ x[t - 1 - k], and noise: (LAGS, 3, 3).
LINEAR = np.array([
    [[0.0, 0.0, 0.0], [0.0, 0.7, 0.0], [0.0, 0.0, 0.7]],
    [[0.6, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    [[0.0, -0.5, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
])  # fmt: skip
NOISE = np.array([0.3, 1.0, 1.0])  # its standard deviation in each feature
#: Constant and factor in the two regimes, of lag 1 and of lag 2. Without constants, one regime after the other would
#: give the same as the other after the one.
ABOVE, BELOW = (0.5, 0.95), (-0.5, -0.9)
BEFORE = 50  # steps before the first one that is kept, in which the zeros at the start are forgotten
FARTHEST = 8  # horizon of the linear set; that of the other is LAGS, up to where the past says the regime


def forecast_linear(n: int = 2000, T: int = 30, horizon: int = 1, target: Target = "sign", seed: int = 0) -> Dataset:
    """A linear autoregression: (n, 3, T); labels (n,) from the value of feature 0, `horizon` steps after the last.

    x0[t] = .6 x0[t-2] - .5 x1[t-3], x1[t] = .7 x1[t-1] and x2[t] = .7 x2[t-1], each and normal noise. target: the
    label is the class 1 where that value is above 0 ("sign"), or the value, float32 ("value"). salient: the cells that
    the best forecast, the mean given the past, depends on; the same in all series. Neither horizon nor target changes
    the series. Ours: no published numbers.

    Raises ValueError for n < 1, T < 3, a horizon outside 1..8, another target, or a negative seed.
    """
    _check(n, T, horizon, FARTHEST, target, seed)
    return _linear(_noise(n, T, seed), T, horizon, target)


def forecast_threshold(n: int = 2000, T: int = 30, horizon: int = 1, target: Target = "sign", seed: int = 0) -> Dataset:
    """An autoregression with a threshold: as `forecast_linear`, with other lags of feature 0 in each of two regimes.

    x0[t] = .5 + .95 x0[t-1] where x1[t-3] > 0, and -.5 - .9 x0[t-2] elsewhere, and noise; x1 and x2 are noise. salient:
    the cells of x1 that decide the regimes on the way to the horizon, and the one of x0 where the way begins.

    Raises ValueError as `forecast_linear`; the horizon is at most 3, as later regimes are not known from the past.
    """
    _check(n, T, horizon, LAGS, target, seed)
    return _threshold(_noise(n, T, seed), T, horizon, target)


def linear_coefficients(horizon: int) -> Array:
    """(LAGS, 3): what the forecast of feature 0 takes from x[t-1-k] of each feature, t being the first step unseen."""
    coefficients = np.empty((LAGS, 3))
    for k, d in np.ndindex(LAGS, 3):
        path = np.zeros((1, 3, LAGS + horizon))
        path[0, d, LAGS - 1 - k] = 1
        coefficients[k, d] = _continue(path, LAGS)[0, 0, -1]
    return coefficients


def _check(n: int, T: int, horizon: int, farthest: int, target: str, seed: int) -> None:
    at_least(1, n=n, horizon=horizon)
    at_least(LAGS, T=T)
    at_least(0, seed=seed)
    if horizon > farthest:
        raise ValueError(f"horizon must be at most {farthest}, got {horizon}")
    one_of("target", target, TARGETS)
    fits(n=n, D=3, T=T)


def _noise(n: int, T: int, seed: int) -> Array:
    """(n, 3, BEFORE + T + FARTHEST), standard normal."""
    return streams(seed, 1)[0].standard_normal((n, 3, BEFORE + T + FARTHEST))


def _continue(path: Array, start: int) -> Array:
    """The linear process in place of the noise (n, 3, steps) that drives it, from `start` on."""
    for t in range(start, path.shape[2]):
        for k, matrix in enumerate(LINEAR):
            # No matrix product: BLAS may round a row differently among other numbers of rows.
            path[:, :, t] += np.einsum("de,ne->nd", matrix, path[:, :, t - 1 - k])
    return path


def _linear(noise: Array, T: int, horizon: int, target: Target) -> Dataset:
    path = _continue(NOISE[:, None] * noise, LAGS)
    salient = np.zeros((len(noise), 3, T), dtype=bool)
    salient[:, :, T - LAGS :] = linear_coefficients(horizon).T[:, ::-1] != 0
    return _labelled("forecast_linear", path, salient, horizon, target)


def _threshold(noise: Array, T: int, horizon: int, target: Target) -> Dataset:
    path, lag = noise.copy(), np.where(noise[:, 1] > 0, 1, 2)
    for t in range(LAGS, path.shape[2]):
        regime = lag[:, t - LAGS]
        above, below = ABOVE[0] + ABOVE[1] * path[:, 0, t - 1], BELOW[0] + BELOW[1] * path[:, 0, t - 2]
        path[:, 0, t] += np.where(regime == 1, above, below)

    salient = np.zeros((len(noise), 3, T), dtype=bool)
    series = np.arange(len(noise))
    at = np.full(len(noise), T - 1 + horizon)  # from the horizon back to the first step of feature 0 that is seen
    while (ahead := at >= T).any():
        salient[series[ahead], 1, at[ahead] - LAGS] = True
        at = np.where(ahead, at - lag[series, BEFORE + at - LAGS], at)
    salient[series, 0, at] = True
    return _labelled("forecast_threshold", path, salient, horizon, target)


def _labelled(name: str, path: Array, salient: Array, horizon: int, target: Target) -> Dataset:
    T = salient.shape[2]
    X = path[:, :, BEFORE : BEFORE + T].astype(np.float32)
    value, name = path[:, 0, BEFORE + T - 1 + horizon], f"{name}:horizon={horizon}"
    if target == "value":
        return Dataset(f"{name},target=value", X, value.astype(np.float32), salient)
    return Dataset(name, X, (value > 0).astype(np.int64), salient, class_names=CLASSES)
