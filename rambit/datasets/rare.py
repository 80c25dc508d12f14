"""Rare-Time and Rare-Feature: noise, and a black box that sees only a few of its cells."""

from __future__ import annotations

import numpy as np
import torch
from scipy import signal
from torch import Tensor, nn

from rambit.checks import flag
from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

AR, MA = (2.0, 0.5, 0.2, 0.1), (2.0,)
#: How the names of series begin whose black box squares the sum of the salient cells.
SQUARE_OF_SUM = "group 1"


class RareModel(nn.Module):
    """The black box of one series: f(x) at step t is the sum of x[d, t]² over the salient cells of that step.

    salient: (D, T) bool, part of the state dict. square_of_sum: the square of the sum of x[d, t] instead. A
    regression: say `output="regression"`.
    """

    salient: Tensor

    def __init__(self, salient: Tensor, square_of_sum: bool = False) -> None:
        super().__init__()
        if salient.dim() != 2 or salient.dtype != torch.bool:
            raise ValueError(f"salient must be bool of shape (D, T), got {salient.dtype} {tuple(salient.shape)}")
        self.register_buffer("salient", salient)
        self.square_of_sum = flag("square_of_sum", square_of_sum)

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        """Values (N,) at the last step of x (N, D, w), or (N, w) at every step; x starts at step 0, and w <= T."""
        D, T = self.salient.shape
        if x.dim() != 3 or x.shape[1] != D or not 1 <= x.shape[2] <= T:
            raise ValueError(f"x must have shape (N, {D}, w) with w in 1..{T}, got {tuple(x.shape)}")
        seen = self.salient[:, : x.shape[2]]
        if not return_all:
            x, seen = x[:, :, -1:], seen[:, -1:]
        values = (x * seen).sum(dim=1).square() if self.square_of_sum else (x.square() * seen).sum(dim=1)
        return values if return_all else values[:, 0]


def rare_time(n: int = 10, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Time: ARMA series (n, D, T); salient are `size` successive steps of the features from D // 4 to 3 D // 4.

    Each series has salient steps of its own, so each has a black box of its own: `rare_model(data, i)`, whose outputs
    are y (n, T). Raises ValueError for n or size < 1, T < size, D < 2, or a negative seed. Source: Crabbé and van der
    Schaar, "Explaining time series predictions with dynamic masks", 2021; the ARMA process is that of time_interpret.
    """
    check_sizes(n, T, D, size, seed, T_at_least=size, D_at_least=2)
    noise, place = streams(seed, 2)
    steps = successive(place, n, T, size)
    return _assemble("rare_time", noise.standard_normal((n, D, T)), middle(D)[:, None] & steps[:, None])


def rare_feature(n: int = 10, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Feature: ARMA series (n, D, T); salient are `size` random features at the steps from T // 4 to 3 T // 4.

    Each series has salient features of its own; see `rare_time`, also for the sources. Raises ValueError for n or
    size < 1, T < 2, D < size, or a negative seed.
    """
    check_sizes(n, T, D, size, seed, T_at_least=2, D_at_least=size)
    noise, place = streams(seed, 2)
    features = chosen(place, n, D, size)
    return _assemble("rare_feature", noise.standard_normal((n, D, T)), features[:, :, None] & middle(T))


def rare_model(data: Dataset, i: int) -> RareModel:
    """The black box of series i. Raises ValueError if the salient cells are not known."""
    if data.salient is None:
        raise ValueError(f"{data.name} has no salient cells")
    squared = bool(data.series_names) and data.series_names[i].startswith(SQUARE_OF_SUM)
    return RareModel(torch.from_numpy(data.salient[i].copy()), squared)


def rare_scores(data: Dataset) -> Array:
    """(n, D, T): ``|x² - mean²|`` at the salient cells, mean over time of the same feature, and 0 elsewhere.

    That is what feature occlusion and Shapley values give, exactly, when the counterfactual is the temporal mean: the
    black box is a sum over cells. Raises ValueError if the salient cells are not known, or if the black box of a series
    is no such sum.
    """
    if data.salient is None:
        raise ValueError(f"{data.name} has no salient cells")
    if any(name.startswith(SQUARE_OF_SUM) for name in data.series_names):
        raise ValueError(f"{data.name} has series whose black box is no sum over cells")
    X = data.X.astype(np.float64)
    return np.asarray(np.abs(X**2 - X.mean(axis=2, keepdims=True) ** 2) * data.salient)


def check_sizes(n: int, T: int, D: int, size: int, seed: int, *, T_at_least: int, D_at_least: int) -> None:
    """Raises ValueError for n or size < 1, too small a T or D, a negative seed, or too many cells."""
    at_least(1, n=n, size=size)
    at_least(T_at_least, T=T)
    at_least(D_at_least, D=D)
    at_least(0, seed=seed)
    fits(n=n, D=D, T=T)


def arma(noise: Array) -> Array:
    """The ARMA series, float32, that the noise drives along its last axis."""
    return np.asarray(signal.lfilter(MA, AR, noise).astype(np.float32))


def middle(size: int) -> Array:
    """(size,) bool, True in the second and the third quarter."""
    index = np.arange(size)
    return np.asarray((index >= size // 4) & (index < 3 * size // 4))


def successive(random: np.random.Generator, n: int, T: int, size: int) -> Array:
    """(n, T) bool, each row with `size` successive True."""
    first = random.integers(0, T - size + 1, (n, 1))
    return np.asarray((np.arange(T) >= first) & (np.arange(T) < first + size))


def chosen(random: np.random.Generator, n: int, D: int, size: int) -> Array:
    """(n, D) bool, each row with `size` random True."""
    rank = random.random((n, D)).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return np.asarray(rank < size)


def _assemble(name: str, noise: Array, salient: Array) -> Dataset:
    X = arma(noise)
    y = (X.astype(np.float64) ** 2 * salient).sum(axis=1).astype(np.float32)
    return Dataset(name, X, y, salient)
