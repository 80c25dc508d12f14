"""A model through ``torch.compile``, for an engine that calls it with batches of every size and keeps the outputs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

#: torch's modes; "reduce-overhead" and "max-autotune" record CUDA graphs on a GPU.
Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
MODES: tuple[Mode, ...] = get_args(Mode)

_LOCK = threading.Lock()  # the compiler is imported by one thread, since its modules import each other


class Compiled:
    """``model`` as a function of x (N, …) and more; what needs gradients goes to the model itself.

    It is compiled at its first call, and again in every process that it is sent to. ``mode`` is one of MODES.
    """

    def __init__(self, model: Callable[..., Any], mode: str) -> None:
        self.model, self.mode = model, mode
        self._compiled: Callable[..., Any] | None = None

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        if torch.is_grad_enabled():
            return self.model(*inputs, **more)
        with _LOCK:
            if self._compiled is None:
                self._compiled = torch.compile(self.model, mode=self.mode)
        # Each way in which inputs differ is compiled for, and after a few of them torch compiles no more. So the rows
        # are said to vary before they do, and what need not vary is made alike. Lengths vary once they are seen to.
        inputs = tuple(map(_alike, inputs))
        more = {name: _alike(given) for name, given in more.items()}
        for given in (*inputs, *more.values()):
            if isinstance(given, Tensor):
                torch._dynamo.maybe_mark_dynamic(given, 0)
        # A CUDA graph writes into the same memory every time: it may do so now, because earlier outputs are copies.
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        output = self._compiled(*inputs, **more)
        return output.clone() if isinstance(output, Tensor) else output

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compiled": None}


def _alike(x: Any) -> Any:
    """A tensor like the engine's own rows: dense, in the same memory order, and made outside of inference mode."""
    if not isinstance(x, Tensor):
        return x
    dense = x.is_contiguous() or (x.ndim == 3 and x.transpose(1, 2).is_contiguous())
    return x if dense and not x.is_inference() else x.clone()
