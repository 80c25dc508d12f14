"""Rare-Time and Rare-Feature: noise, and a black box that sees only a few of its cells."""

from __future__ import annotations

import numpy as np
import torch
from scipy import signal
from torch import Tensor, nn

from rambit.datasets.dataset import Array, Dataset, at_least, fits, streams

AR, MA = (2.0, 0.5, 0.2, 0.1), (2.0,)


class RareModel(nn.Module):
    """The black box of one series: f(x) at step t is the sum of x[d, t]² over the salient cells of that step.

    salient: (D, T) bool, part of the state dict. A regression: say `output="regression"`.
    """

    salient: Tensor

    def __init__(self, salient: Tensor) -> None:
        super().__init__()
        if salient.dim() != 2 or salient.dtype != torch.bool:
            raise ValueError(f"salient must be bool of shape (D, T), got {salient.dtype} {tuple(salient.shape)}")
        self.register_buffer("salient", salient)

    def forward(self, x: Tensor, return_all: bool = False) -> Tensor:
        """Values (N,) at the last step of x (N, D, w), or (N, w) at every step; x starts at step 0, and w <= T."""
        D, T = self.salient.shape
        if x.dim() != 3 or x.shape[1] != D or not 1 <= x.shape[2] <= T:
            raise ValueError(f"x must have shape (N, {D}, w) with w in 1..{T}, got {tuple(x.shape)}")
        seen = self.salient[:, : x.shape[2]]
        if not return_all:
            x, seen = x[:, :, -1:], seen[:, -1:]
        values = (x.square() * seen).sum(dim=1)
        return values if return_all else values[:, 0]


def rare_time(n: int = 10, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Time: ARMA series (n, D, T); salient are `size` successive steps of the features from D // 4 to 3 D // 4.

    Each series has salient steps of its own, so each has a black box of its own: `rare_model(data, i)`, whose outputs
    are y (n, T). Raises ValueError for n or size < 1, T < size, D < 2, or a negative seed. Source: Crabbé and van der
    Schaar, "Explaining time series predictions with dynamic masks", 2021; the ARMA process is that of time_interpret.
    """
    at_least(1, n=n, size=size)
    at_least(size, T=T)
    at_least(2, D=D)
    at_least(0, seed=seed)
    fits(n=n, D=D, T=T)
    noise, place = streams(seed, 2)
    first = place.integers(0, T - size + 1, n)
    steps = (np.arange(T) >= first[:, None]) & (np.arange(T) < first[:, None] + size)
    return _assemble("rare_time", noise.standard_normal((n, D, T)), _middle(D)[:, None] & steps[:, None])


def rare_feature(n: int = 10, T: int = 50, D: int = 50, size: int = 5, seed: int = 0) -> Dataset:
    """Rare-Feature: ARMA series (n, D, T); salient are `size` random features at the steps from T // 4 to 3 T // 4.

    Each series has salient features of its own; see `rare_time`, also for the sources. Raises ValueError for n or
    size < 1, T < 2, D < size, or a negative seed.
    """
    at_least(1, n=n, size=size)
    at_least(2, T=T)
    at_least(size, D=D)
    at_least(0, seed=seed)
    fits(n=n, D=D, T=T)
    noise, place = streams(seed, 2)
    rank = place.random((n, D)).argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return _assemble("rare_feature", noise.standard_normal((n, D, T)), (rank < size)[:, :, None] & _middle(T))


def rare_model(data: Dataset, i: int) -> RareModel:
    """The black box of series i. Raises ValueError if the salient cells are not known."""
    if data.salient is None:
        raise ValueError(f"{data.name} has no salient cells")
    return RareModel(torch.from_numpy(data.salient[i].copy()))


def rare_scores(data: Dataset) -> Array:
    """(n, D, T): ``|x² - mean²|`` at the salient cells, mean over time of the same feature, and 0 elsewhere.

    That is what feature occlusion and Shapley values give, exactly, when the counterfactual is the temporal mean: the
    black box is a sum over cells. Raises ValueError if the salient cells are not known.
    """
    if data.salient is None:
        raise ValueError(f"{data.name} has no salient cells")
    X = data.X.astype(np.float64)
    return np.asarray(np.abs(X**2 - X.mean(axis=2, keepdims=True) ** 2) * data.salient)


def _middle(size: int) -> Array:
    index = np.arange(size)
    return (index >= size // 4) & (index < 3 * size // 4)


def _assemble(name: str, noise: Array, salient: Array) -> Dataset:
    X = signal.lfilter(MA, AR, noise).astype(np.float32)
    y = (X.astype(np.float64) ** 2 * salient).sum(axis=1).astype(np.float32)
    return Dataset(name, X, y, salient)
