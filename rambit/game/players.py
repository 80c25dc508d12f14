"""Which cells of a series go together, as one player of a game."""

from __future__ import annotations

import torch
from torch import Tensor

PLAYERS = ("cells", "features", "timestamps", "segments")


def group_cells(players: str | Tensor, D: int, T: int, segment: int) -> Tensor:
    """(D * T,) int64: the player that each cell belongs to. Raises ValueError or TypeError naming ``players``."""
    if isinstance(players, Tensor):
        if players.shape != (D, T) or players.is_floating_point() or players.dtype == torch.bool:
            raise ValueError(
                f"players must be an integer tensor ({D}, {T}), got {players.dtype} {tuple(players.shape)}"
            )
        return players.flatten().unique(return_inverse=True)[1]  # type: ignore[no-untyped-call,no-any-return]
    d, t = torch.arange(D)[:, None].expand(D, T), torch.arange(T).expand(D, T)
    groups = {"cells": d * T + t, "features": d, "timestamps": t, "segments": d * -(-T // segment) + t // segment}
    if players not in groups:
        raise ValueError(f"players must be one of {', '.join(PLAYERS)}, or a tensor (D, T), got {players!r}")
    return groups[players].flatten()
