"""Outputs of rows by what differs from a reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rambit.memory import of_device
from rambit.predictors.incremental.program import Program
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.incremental.rows import Rows
from rambit.predictors.incremental.values import Int64, Window
from rambit.predictors.recurrent_op import RECURRENT
from rambit.predictors.trace import Trace

#: Bytes of the largest value of rows that are evaluated together, by device type: what stays in a cache, or what keeps
#: a GPU busy for longer than it takes to tell it. And rows at most.
TOGETHER = {"cpu": 1 << 22, "cuda": 1 << 28}
MOST_ROWS = {"cpu": 512, "cuda": 1 << 15}
FIRST_ROWS = 32


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up floating-point operations; torch's own counter hooks into modules, which are then not plain any more."""

    def __init__(self) -> None:
        from torch.utils.flop_counter import flop_registry

        super().__init__()  # type: ignore[no-untyped-call]
        self.flops, self._registry = 0, flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func is RECURRENT:
            x, weights = args[0], args[2]
            self.flops += sum(2 * x.shape[0] * x.shape[1] * weight.numel() for weight in weights if weight.ndim == 2)
        elif func.overloadpacket in self._registry:
            self.flops += int(self._registry[func.overloadpacket](*args, **(kwargs or {}), out_val=found))
        return found


def _flops(work: Callable[[], Any]) -> tuple[int, Any]:
    """The floating-point operations of some work, and what it gives."""
    with torch.no_grad(), _Counter() as counter:
        found = work()
    return counter.flops, found


class Incremental:
    """A traced module with the weights as they are when this is made.

    ``axes``: which dimensions of x windows lie along: the time, or height and width.
    """

    def __init__(self, trace: Trace, *axes: int) -> None:
        self.program, self.axes = Program(trace), axes
        device = trace.x.meta["val"].device
        self.together, self.most_rows = of_device(TOGETHER, device), of_device(MOST_ROWS, device)
        self._together: dict[tuple[int, ...], int] = {}

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

    def gain(self, x: Tensor, *widths: int) -> float:
        """How many times fewer multiplications a window of these widths takes than a whole row like x (1, …)."""
        known = self.program.trace.gains  # by shapes alone
        if (self.axes, widths) not in known:
            known[self.axes, widths] = self._gain(x, *widths)
        return known[self.axes, widths]

    def _gain(self, x: Tensor, *widths: int) -> float:
        starts = tuple(np.array([(x.shape[axis] - width) // 2]) for axis, width in zip(self.axes, widths, strict=True))
        window = x
        for axis, start, width in zip(self.axes, starts, widths, strict=True):
            window = window.narrow(axis, int(start[0]), width)
        which = torch.zeros(1, dtype=torch.int64, device=x.device)
        flops, (reference, _) = _flops(lambda: self.reference(x))
        with torch.no_grad():  # what is made of the reference once is not a window's work
            self.outputs(reference, which, window, starts)
        return flops / max(1, _flops(lambda: self.outputs(reference, which, window, starts))[0])

    def reference(self, x: Tensor) -> tuple[Reference, Tensor]:
        """The activations of rows x (R, …), as the model reads them, and their raw outputs."""
        return self.program.reference(x)

    def outputs(
        self, reference: Reference, which: Tensor, windows: Tensor, starts: Int64 | tuple[Int64, ...]
    ) -> Tensor:
        """Raw outputs (n, …) of rows that are their references but for windows (n, …), which begin at ``starts`` (n,).

        ``which`` (n,) int64: the reference of each row. ``windows`` have the dimensions of x, the axes cut to widths;
        two axes have two starts.
        """
        starts = starts if isinstance(starts, tuple) else (starts,)
        n, widths = len(windows), tuple(windows.shape[axis] for axis in self.axes)
        found: list[Tensor] = []
        begin = 0
        while begin < n:
            end = min(n, begin + self._together.get(widths, self._first_rows))
            rows = Rows(self.program, reference, which[begin:end])
            own = tuple(start[begin:end] for start in starts)
            rows.evaluate(Window.of(windows[begin:end], own, 0, self.axes))
            found.append(rows.whole(self.program.trace.output))
            if widths not in self._together:  # by shapes alone: all rows of the same widths cost the same
                fitting = self.together * (end - begin) // max(1, rows.largest)
                self._together[widths] = max(1, min(self.most_rows, fitting))
            begin = end
        return found[0] if len(found) == 1 else torch.cat(found)
