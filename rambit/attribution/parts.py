"""The scores of the series of one length, and those of a whole batch, put together from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Part:
    """Scores (K, b, D, T) float64 of the series of one length, with their standard error where there is one, and its
    degrees of freedom.

    K outputs are explained, one unless several targets were given: then scores may be (b, D, T). ``windows``:
    (K, b, D, T, W). ``evaluated``: which cells have a score, bool; None: all that are observed.
    """

    values: Tensor
    stderr: Tensor | None
    windows: Tensor | None = None
    evaluated: Tensor | None = None
    freedom: Tensor | None = None

    def __post_init__(self) -> None:
        if self.values.ndim == 3:
            self.values = self.values[None]
            self.stderr = None if self.stderr is None else self.stderr[None]
            self.freedom = None if self.freedom is None else self.freedom[None]
            self.windows = None if self.windows is None else self.windows[None]


class Gathered:
    """Scores (K, B, D, T) of all series, their standard errors and windows where every part has them.

    ``outputs`` (B, C): what the model gives for the series as they are.
    """

    def __init__(self, shape: torch.Size, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.evaluated = torch.ones(shape, dtype=torch.bool, device=device)
        self.outputs = torch.empty(0)
        self._tables: dict[str, Tensor] | None = None

    def add(self, part: Part, indices: Tensor) -> None:
        """The scores of the series at these indices (b,), whose steps may be fewer."""
        given = {"values": part.values, "stderr": part.stderr, "freedom": part.freedom, "windows": part.windows}
        found = {name: table for name, table in given.items() if table is not None}
        if self._tables is None:  # the first says how many outputs are explained
            self._tables = {n: t.new_zeros(len(t), *self.shape, *t.shape[4:]) for n, t in found.items()}
        self._tables = {name: table for name, table in self._tables.items() if name in found}
        here, steps = indices.to(self.device), part.values.shape[3]
        for name, table in self._tables.items():
            table[:, here, :, :steps] = found[name]
        if part.evaluated is not None:
            self.evaluated[here, :, :steps] = part.evaluated

    def note(self, outputs: Tensor, indices: Tensor) -> None:
        """The outputs (b, C) for the series at these indices (b,)."""
        if not len(self.outputs):
            self.outputs = outputs.new_zeros(self.shape[0], outputs.shape[1])
        self.outputs[indices.to(outputs.device)] = outputs

    def get(self, name: str) -> Tensor | None:
        """A table, with 0 where nothing was evaluated: missing values, padding, and what no mask saw."""
        return None if self._tables is None else self._tables.get(name)

    def clear(self, where: Tensor) -> None:
        """Score 0 at these cells (B, D, T): the one place for what is missing, padding, or seen by no mask."""
        for name, table in (self._tables or {}).items():
            if name != "windows":
                table[:, where] = 0.0
