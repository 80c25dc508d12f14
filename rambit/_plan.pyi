"""Types of the row plan (csrc/plan/plan.cpp)."""

import numpy as np
import numpy.typing as npt

ROW_COLUMNS: int

class FlipPlan:
    def __init__(
        self,
        *,
        D: int,
        T: int,
        S: int,
        B: int,
        window: int,
        anchor_cell: bool,
        per_horizon: bool,
        start_rule: int,
        state_rule: int,
        at: int,
        first: npt.NDArray[np.int32],
        h0: npt.NDArray[np.int32],
        h1: npt.NDArray[np.int32],
        low: npt.NDArray[np.int32],
        high: npt.NDArray[np.int32],
        draw_base: npt.NDArray[np.int32],
        target_cell: npt.NDArray[np.int32] | None = None,
        start: npt.NDArray[np.int32] | None = None,
        skip: npt.NDArray[np.uint8] | None = None,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def row_steps(self) -> int: ...
    def next(self, limit: int) -> tuple[npt.NDArray[np.int32], int] | None: ...
