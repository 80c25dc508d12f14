"""Scores as rows and columns for shap's plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.checks import one_of
from rambit.game.players import PLAYERS, group_cells
from rambit.results.grid import Grid
from rambit.results.names import Names
from rambit.results.tables import library

COLUMNS = ("features", "timestamps", "cells")


def explanation(
    grid: Grid, settings: dict[str, Any], columns: str | None, outputs: Tensor | None, seconds: float
) -> Any:
    """What `Attribution.to_shap` returns, of the result's cells and settings; outputs (B, K): what is explained."""
    D, T = grid.score.shape[2:]
    columns = ("features" if D > 1 else "timestamps") if columns is None else one_of("columns", columns, COLUMNS)
    player = _players(settings, D, T)
    shap = library("shap", "shap")
    names, several = grid.names, grid.names.targets is not None
    score = grid.score.double().masked_fill(~grid.known, 0.0)
    if player is not None:
        score = _shared(score, grid.known, player)
    values = _sum_into(score, columns)
    base = torch.zeros(values.shape[:2], dtype=torch.float64) if outputs is None else outputs - values.sum(dim=2)
    return shap.Explanation(
        values=(values.transpose(1, 2) if several else values[:, 0]).numpy(),
        base_values=(base if several else base[:, 0]).numpy(),
        data=_data(grid, columns),
        feature_names=_names(names, columns, T),
        output_names=names.of_targets() if several else None,
        compute_time=seconds,
    )


def explained_outputs(
    outputs: Tensor | None, targets: Sequence[Any] | None, target: Tensor | None, settings: dict[str, Any]
) -> Tensor | None:
    """Those (B, K) of a result's outputs (B, C) or (B, H, Q) whose changes the scores are; None if they are others."""
    if outputs is None or settings.get("distance") != "diff":
        return None
    outputs = outputs.detach().cpu().double()
    shape, outputs = outputs.shape[1:], outputs.flatten(1)
    if targets is None and target is None:  # of a function of the outputs
        return outputs if outputs.shape[1] == 1 else None
    chosen = [targets] * len(outputs) if targets is not None else torch.as_tensor(target).tolist()
    indices = torch.as_tensor(chosen).view(len(outputs), -1, len(shape))
    flat = indices[..., 0] if len(shape) == 1 else indices[..., 0] * shape[1] + indices[..., 1]
    return outputs.gather(1, flat)


def _players(settings: dict[str, Any], D: int, T: int) -> Tensor | None:
    """Which cells share a score, (D * T,) numbers from 0 on, as a result's settings say; None where none do.

    Errors: ValueError where the settings do not list them, or list those of other series.
    """
    groups = settings.get("groups")
    if groups is None:
        players = settings.get("players", "cells")
        if players == "cells":
            return None
        if players in PLAYERS:
            return group_cells(players, D, T, settings.get("segment", 1))
        groups = players
    if not isinstance(groups, list):
        raise ValueError("settings do not list the groups of cells (there are too many), so scores cannot be summed")
    numbers = torch.tensor(groups)
    if not all(size in (1, whole) for size, whole in zip(numbers.shape, (D, T), strict=True)):
        raise ValueError(f"settings list groups of {tuple(numbers.shape)} cells, and these are {(D, T)}: sum the whole")
    found: Tensor = numbers.expand(D, T).flatten().unique(return_inverse=True)[1]  # type: ignore[no-untyped-call]
    return found


def _shared(score: Tensor, known: Tensor, player: Tensor) -> Tensor:
    """Scores (B, K, D, T) that all cells of a player have, divided among those of them that are known."""
    flat, there = score.flatten(2), known.flatten(2)
    index = player.expand(flat.shape)
    zeros = flat.new_zeros(*flat.shape[:2], int(player.max()) + 1)
    size = zeros.scatter_add(2, index, there.double()).clamp(min=1)
    each = zeros.scatter_add(2, index, flat) / size
    if not torch.allclose(each.gather(2, index)[there], flat[there], rtol=1e-5, atol=0.0, equal_nan=True):
        raise ValueError("cells that settings call one player have different scores: sum a whole result, not its parts")
    return (flat / size.gather(2, index)).view(score.shape)


def _sum_into(score: Tensor, columns: str) -> Tensor:
    """(B, K, n) of (B, K, D, T)."""
    return score.flatten(2) if columns == "cells" else score.sum(dim=-1 if columns == "features" else -2)


def _data(grid: Grid, columns: str) -> Any:
    """The input (B, n), NaN where there is none: of a feature its mean; None for times of several features."""
    if grid.value is None or (columns == "timestamps" and grid.value.shape[2] > 1):
        return None
    value = grid.value[:, 0].double().masked_fill(~grid.known.any(dim=1), torch.nan)
    return (value.nanmean(dim=2) if columns == "features" else value.flatten(1)).numpy()


def _names(names: Names, columns: str, T: int) -> list[str]:
    features = [name if isinstance(name, str) else f"feature {name}" for name in names.of_features()]
    if columns == "features":
        return features
    times = _times(names, T)
    return times if columns == "timestamps" else [f"{feature}, {time}" for feature in features for time in times]


def _times(names: Names, T: int) -> list[str]:
    times, unit = names.labels.times, names.labels.unit
    if times is None or times.ndim == 2:  # those of series differ
        return [f"step {t}" for t in range(T)]
    if times.dtype.kind == "M":
        moments: list[str] = _in_short(times).astype(str).tolist()
        return moments
    if times.dtype.kind == "m":
        times, unit = times / np.timedelta64(1, "s"), "s"
    return [f"{time:g} {unit or ''}".rstrip() for time in times.tolist()]


def _in_short(times: NDArray[Any]) -> NDArray[Any]:
    """Datetimes in the longest unit that loses nothing, such as minutes."""
    for unit in ("D", "m", "s", "ms", "us"):
        rounded = times.astype(f"datetime64[{unit}]")
        if (rounded == times).all():
            return rounded
    return times
