"""Random results that know everything, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from rambit.labels import Labels
from rambit.results import Attribution

NAMES = Labels(
    features=("hr", "bp", "t"),
    times=np.datetime64("2024-03-01T00:00", "ns") + np.arange(5) * np.timedelta64(6, "h"),
    series=("Ann", "Bob"),
    outputs=("well", "ill"),
)


def result(
    targets: Any = None, layout: str = "BDT", labels: Any = NAMES, lengths: Any = (5, 3), **parts: Any
) -> Attribution:
    """Scores of two series of three features and five times; one cell was not evaluated."""
    rng = torch.Generator().manual_seed(0)
    grid = (3, 5) if layout == "BDT" else (5, 3)
    shape = (2, *grid) if targets is None else (2, len(targets), *grid)
    evaluated = torch.ones(2, *grid, dtype=torch.bool)
    evaluated[(0, 1, 2) if layout == "BDT" else (0, 2, 1)] = False  # bp of Ann at 12:00
    given: dict[str, Any] = {
        "stderr": torch.rand(shape, generator=rng),
        "lengths": None if lengths is None else torch.tensor(lengths),
        "ids": torch.tensor([7, 3]),
        "evaluated": evaluated,
        "labels": labels,
        "targets": targets,
        "outputs": torch.tensor([[0.2, 0.8], [0.75, 0.25]]),
        "X": torch.randn(2, *grid, generator=rng),
        "model": "0123456789abcdef",
    }
    settings = {"layout": layout, "method": "RaMbIT", "output": "logits"}
    values = torch.randn(shape, generator=rng)
    return Attribution(values, rows=10, row_steps=50, seconds=0.5, settings=settings, seed=1, **{**given, **parts})


def at(tensor: torch.Tensor, a: Attribution, b: int, k: int | None, d: int, t: int) -> float:
    """One entry of what is like the values (or, without k, like the input)."""
    place = (b, *([] if k is None else [k]), *((d, t) if a.settings["layout"] == "BDT" else (t, d)))
    return float(tensor[place])


def cells(a: Attribution) -> list[tuple[int, int | None, int, int]]:
    """The indices (b, k, d, t) of all cells that were evaluated, one after another; k None without targets."""
    assert a.evaluated is not None
    ends = [5, 5] if a.lengths is None else a.lengths.tolist()
    targets = [None] if a.targets is None else range(len(a.targets))
    return [
        (b, k, d, t)
        for b in range(len(a.values))
        for k in targets
        for d in range(3)
        for t in range(ends[b])
        if at(a.evaluated, a, b, None, d, t)
    ]
