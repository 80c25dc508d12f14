"""ReX's responsibility as scores of series, so that it stands in the same table as attributions."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from rambit.results import Attribution
from rambit.rex import ReX, search
from rambit.rex.settings import Search


class Responsibility:
    """Each series' responsibility map, as `ReX` finds it; the options are those of ReX, with its defaults.

    A series of which no part passes has no map: all its scores are 0, and settings["unexplained"] counts such series.
    """

    def __init__(
        self,
        model: Any,
        *,
        iters: int = 20,
        tree_depth: int = 10,
        min_box_size: int = 10,
        queue: str = "area",
        queue_len: int = 1,
        confidence_filter: float = 0.0,
        weighted: bool = False,
        concentrate: bool = False,
        mask_value: str = "0",
        search: Search = "single",
        seed: int = 0,
    ) -> None:
        self.rex = ReX(
            model,
            iters=iters,
            tree_depth=tree_depth,
            min_box_size=min_box_size,
            queue=queue,
            queue_len=queue_len,
            confidence_filter=confidence_filter,
            weighted=weighted,
            concentrate=concentrate,
            mask_value=_number_or_name(mask_value),
            search=search,
            seed=seed,
        )

    def explain(self, X: Tensor) -> Attribution:
        """Scores like X (B, D, T), float32."""
        started = time.perf_counter()
        values, explained, rows = torch.zeros(X.shape), torch.zeros(X.shape, dtype=torch.bool), 0
        for b in range(len(X)):
            decision = self.rex.decision(X[b : b + 1])
            found = search(decision, self.rex).maps.get(decision.target)
            rows += decision.rows
            if found is not None:
                values[b], explained[b] = torch.from_numpy(found).view(X.shape[1:]), True
        settings = {**self.rex.settings(), "unexplained": int((~explained).flatten(1).all(dim=1).sum())}
        return Attribution(
            values,
            None,
            rows,
            rows * X.shape[2],
            time.perf_counter() - started,
            settings,
            self.rex.seed,
            "full",
            evaluated=None if bool(explained.all()) else explained,
        )


def _number_or_name(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
