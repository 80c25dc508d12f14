"""ReX's responsibility as scores of series, so that it stands in the same table as attributions."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from rambit.options import option
from rambit.results import Attribution
from rambit.rex import ReX, search
from rambit.rex.settings import SearchSettings


class Responsibility(SearchSettings):
    """Each series' responsibility map, as `ReX` finds it; the options are those of its search.

    A series of which no part passes has no map: all its scores are 0, and settings["unexplained"] counts such series.
    """

    model: Any = option(help="a classifier", recorded=False, kw_only=False)
    mask_value: str = option(default="0", help="what replaces: a number or a name", recorded=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = {one.name: getattr(self, one.name) for one in SearchSettings.options()}
        self.rex = ReX(self.model, mask_value=_number_or_name(self.mask_value), **given)

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
        settings = {
            **self.rex.settings(),
            "layout": "BDT",
            "unexplained": int((~explained).flatten(1).all(dim=1).sum()),
        }
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
