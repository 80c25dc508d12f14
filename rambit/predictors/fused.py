"""GRU steps on the CPU: torch's matrix products, and the rest of a step in one native pass.

``nn.GRU`` spends most of a short step on checks and on a kernel for each of the gates' operations, and the engine takes
many short steps. (``nn.LSTM`` needs none of this: it is one oneDNN primitive already.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from rambit import memory, ops
from rambit.predictors.predictor import Predictor, State, Walk

#: Rows that step together: their gates stay in the cache between the products and the step.
BLOCK = 512
#: Below so many rows, the module's own loop over several steps costs less than Python's.
FEW = 32


class GruSteps:
    """Steps of an ``nn.GRU``, with its weights as they are when this is made. Not for several threads at once."""

    def __init__(self, rnn: nn.GRU, weights: Sequence[Tensor]) -> None:
        per_layer = 4 if rnn.bias else 2
        zeros = weights[0].new_zeros(3 * rnn.hidden_size)
        self.layers = [
            (weights[k].t(), weights[k + 1].t(), *(weights[k + 2 : k + 4] if rnn.bias else (zeros, zeros)))
            for k in range(0, len(weights), per_layer)
        ]
        self.rnn, self.hidden_size = rnn, rnn.hidden_size
        self.gates = weights[0].new_empty(2, 0, 3 * rnn.hidden_size)

    @classmethod
    def of(cls, rnn: nn.Module, like: Tensor) -> GruSteps | None:
        """For series (N, w, D) like this one. None where the module has to be called itself: where a call may be more
        than the arithmetic of plain parameters, or needs gradients, or another device."""
        if type(rnn) is not nn.GRU or not _is_plain(rnn):
            return None
        weights = [rnn._parameters.get(name) for name in rnn._flat_weights_names]
        return cls(rnn, weights) if _fits(rnn, weights, like) else None  # type: ignore[arg-type]

    def along(self, series: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Hidden features (N, w, H) along ``series`` (N, w, D), and the state (N, layers, H) after it."""
        if series.shape[1] == 1:
            state = self.step(series[:, 0], state)
            return state[:, -1:], state
        hidden: list[Tensor] = []
        for x in series.unbind(1):
            state = self.step(x, state)
            hidden.append(state[:, -1:])
        assert state is not None
        return torch.cat(hidden, dim=1), state

    def step(self, x: Tensor, state: Tensor | None) -> Tensor:
        """The state (N, layers, H) after x (N, D)."""
        N, shape = len(x), (len(x), len(self.layers), self.hidden_size)
        after = memory.empty(shape, x)
        if state is None:
            state = memory.zeros(shape, x)
        if self.gates.shape[1] < min(N, BLOCK):
            self.gates = memory.empty((2, min(N, BLOCK), 3 * self.hidden_size), x)
        if N <= BLOCK:
            self._step_rows(x, state, after)
        else:
            for begin in range(0, N, BLOCK):
                rows = slice(begin, begin + BLOCK)
                self._step_rows(x[rows], state[rows], after[rows])
        return after

    def _step_rows(self, x: Tensor, state: Tensor, after: Tensor) -> None:
        input_gates, hidden_gates = self.gates[0, : len(x)], self.gates[1, : len(x)]
        for layer, (input_weight, hidden_weight, input_bias, hidden_bias) in enumerate(self.layers):
            before, out = state[:, layer], after[:, layer]
            torch.mm(x, input_weight, out=input_gates)
            torch.mm(before, hidden_weight, out=hidden_gates)
            x = ops.gru_step(out, input_gates, hidden_gates, input_bias, hidden_bias, before)


def pays(series: Tensor) -> bool:
    """Whether walking along series (N, w, D) here takes less time than a call of the module."""
    return series.shape[1] == 1 or len(series) >= FEW


class GruWalk(Walk):
    """A walk of a GRU and a head: ``hidden`` is what the head reads, so that it is called only where outputs count."""

    def __init__(
        self,
        predictor: Predictor,
        steps: GruSteps,
        series: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(predictor)
        self.steps, self.series, self.head = steps, series, head

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self.steps.along(self.series(x), state)

    def trace(self, x: Tensor) -> Iterator[tuple[Tensor, State]]:
        series, rnn = self.series(x), self.steps.rnn
        if rnn.num_layers > 1 or pays(series):
            yield from super().trace(x)
        else:  # the hidden features of a single layer are its states
            hidden = rnn(series)[0] if rnn.batch_first else rnn(series.transpose(0, 1))[0].transpose(0, 1)
            yield from ((step, step) for step in hidden.split(1, dim=1))

    def outputs(self, hidden: Tensor) -> Tensor:
        return self.predictor.finish(self.head(hidden).transpose(1, 2))


def is_wrapped(module: nn.Module) -> bool:
    """Whether a call of the module is more than its class's ``forward``."""
    return bool(
        "forward" in vars(module)
        or module._forward_pre_hooks
        or module._forward_hooks
        or module._backward_pre_hooks
        or module._backward_hooks
        or _has_any_global_hook()  # type: ignore[no-untyped-call]
    )


def _is_plain(rnn: nn.GRU) -> bool:
    """Whether a call would be the arithmetic of its parameters, and nothing else."""
    return not (
        rnn.bidirectional
        or (rnn.training and rnn.dropout)
        or is_wrapped(rnn)
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    )


def _fits(rnn: nn.GRU, weights: Sequence[Any], series: Tensor) -> bool:
    """Whether the weights are plain parameters, and they and the series CPU tensors that belong together."""
    dtype = series.dtype
    return (
        series.ndim == 3
        and series.shape[1] > 0
        and series.shape[2] == rnn.input_size
        and dtype in (torch.float32, torch.float64)
        and all(type(weight) is nn.Parameter for weight in weights)
        and all(t.dtype == dtype and t.is_cpu and t.layout == torch.strided for t in (series, *weights))
    )
