"""Outputs of rows by what differs from a reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.incremental.rows import Rows
from rambit.predictors.incremental.values import Int64, State, Window
from rambit.predictors.recurrent_op import RECURRENT
from rambit.predictors.trace import Trace

#: Bytes of the largest value of rows that are evaluated together, so that it stays in a cache, and rows at most.
TOGETHER = 1 << 22
MOST_ROWS = 512
FIRST_ROWS = 32


def _recurrent_flops(x: Any, state: Any, weights: Any, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    return sum(2 * x[0] * x[1] * weight[0] * weight[1] for weight in weights if len(weight) == 2)


class Incremental:
    """A traced module with the weights as they are when this is made. ``axis``: which dimension of x is the time."""

    def __init__(self, trace: Trace, axis: int) -> None:
        self.program, self.axis = Program(trace), axis
        self.together = TOGETHER
        self._together: dict[int, int] = {}

    def forget(self) -> None:
        """Read the weights anew."""
        self.program.forget()

    @property
    def reference_bytes(self) -> int:
        """What the reference of one row takes: its values, the same with the time first, and sums or maxima of them.

        And what it takes to make them: running maxima come with their indices.
        """
        return 3 * self.program.reference_bytes + 4 * self.program.largest_bytes

    @property
    def _first_rows(self) -> int:
        """Rows of a width that are evaluated together when nothing is known of it: their values may be whole ones."""
        return max(1, min(FIRST_ROWS, self.together // self.program.largest_bytes))

    def gain(self, x: Tensor) -> float:
        """How many times fewer multiplications a window of one step takes than a whole row like x (1, …)."""
        from torch.utils.flop_counter import FlopCounterMode

        with (
            torch.no_grad(),
            FlopCounterMode(display=False, custom_mapping={RECURRENT.overloadpacket: _recurrent_flops}) as whole,
        ):
            reference, _ = self.reference(x)
        half = x.shape[self.axis] // 2
        window, start = x.narrow(self.axis, half, 1), np.array([half])
        which = torch.zeros(1, dtype=torch.int64, device=x.device)
        with (
            torch.no_grad(),
            FlopCounterMode(display=False, custom_mapping={RECURRENT.overloadpacket: _recurrent_flops}) as part,
        ):
            self.outputs(reference, which, window, start)
        flops = [int(counter.get_total_flops()) for counter in (whole, part)]
        return flops[0] / max(1, flops[1])

    def reference(self, x: Tensor) -> tuple[Reference, Tensor]:
        """The activations of rows x (R, …), as the model reads them, and their raw outputs."""
        return self.program.reference(x)

    def outputs(self, reference: Reference, which: Tensor, windows: Tensor, start: Int64) -> Tensor:
        """Raw outputs (n, …) of rows that are their references but for windows (n, …) along the time from ``start`` on.

        ``which`` (n,) int64: the reference of each row. ``windows`` have the dimensions of x, the time cut to a width.
        """
        n, width = len(windows), windows.shape[self.axis]
        found: list[Tensor] = []
        begin = 0
        while begin < n:
            end = min(n, begin + self._together.get(width, self._first_rows))
            rows = Rows(self.program, reference, which[begin:end])
            state = rows.evaluate(Window.of(windows[begin:end], start[begin:end], 0, self.axis))
            found.append(self._whole(rows, state))
            if width not in self._together:  # by shapes alone: all rows of one width cost the same
                self._together[width] = max(1, min(MOST_ROWS, self.together * (end - begin) // max(1, rows.largest)))
            begin = end
        return found[0] if len(found) == 1 else torch.cat(found)

    def _whole(self, rows: Rows, state: State) -> Tensor:
        output: Tensor = rows.whole(self.program.trace.output)
        return output
