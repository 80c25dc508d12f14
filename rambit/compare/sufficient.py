"""Sufficient masks as scores, so that they stand beside attributions."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from rambit.results import Attribution
from rambit.sufficiency import explain


class Sufficient:
    """Scores 1 for the cells that suffice for the model's output for the whole series (see `explain`), 0 for others."""

    def __init__(
        self,
        model: Any,
        *,
        heuristic: str = "banzhaf",
        search: str = "flat_harr",
        rel_tol: float = 0.9,
        num_samples: int = 200,
        counterfactuals: str = "zero",
        seed: int = 0,
    ) -> None:
        self.model, self.seed = model, seed
        self.options: dict[str, Any] = {
            "heuristic": heuristic,
            "search": search,
            "rel_tol": rel_tol,
            "num_samples": num_samples,
            "counterfactuals": counterfactuals,
        }

    def explain(self, X: Tensor) -> Attribution:
        """Scores like X."""
        begin = time.perf_counter()
        output = explain(self.model, X, seed=self.seed, **self.options)
        found = output if isinstance(output, list) else [output]
        rows = sum(one.rows for one in found)
        return Attribution(
            values=torch.stack([one.mask for one in found]).double(),
            stderr=None,
            rows=rows,
            row_steps=rows * X.shape[2],
            seconds=time.perf_counter() - begin,
            settings={"method": "Sufficient", **self.options},
            seed=self.seed,
            mode="full",
        )
