"""Recurrent steps on the CPU: torch's matrix products, and the rest of a step in one native pass.

torch's modules spend most of a short step on checks, on a kernel for each of the gates' operations, or (``nn.LSTM``) on
rearranging the weights for a primitive that pays over long series, and the engine takes many short steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from rambit import memory, ops
from rambit.predictors.predictor import Predictor, State, Walk

#: Rows that step together: their gates stay in the cache between the products and the step.
BLOCK = 512
#: Below so many rows, the module's own loop over several steps costs less than Python's.
FEW = 32

Parts = tuple[Tensor, ...]


class Steps(ABC):
    """Steps of a recurrent module, with its weights as they are when this is made. Not for several threads at once.

    A state is what the module hands over, rows first: (N, layers, H), or a tuple of such where it has several parts.
    """

    #: Products with the weights for each hidden unit.
    gates: ClassVar[int]
    #: Parts of the state.
    parts: ClassVar[int] = 1

    def __init__(self, rnn: nn.RNNBase, weights: Sequence[Tensor]) -> None:
        per_layer = 4 if rnn.bias else 2
        zeros = weights[0].new_zeros(self.gates * rnn.hidden_size)
        self.layers = [
            (weights[k].t(), weights[k + 1].t(), *(weights[k + 2 : k + 4] if rnn.bias else (zeros, zeros)))
            for k in range(0, len(weights), per_layer)
        ]
        self.rnn, self.hidden_size = rnn, rnn.hidden_size
        self.sums = weights[0].new_empty(2, 0, self.gates * rnn.hidden_size)

    @staticmethod
    def of(rnn: nn.Module, like: Tensor) -> Steps | None:
        """For series (N, w, D) like this one. None where the module has to be called itself: where a call may be more
        than the arithmetic of plain parameters, or needs gradients, or another device."""
        kind = KINDS.get(type(rnn))
        if kind is None or not isinstance(rnn, nn.RNNBase) or not _is_plain(rnn):
            return None
        weights = [rnn._parameters.get(name) for name in rnn._flat_weights_names]
        return kind(rnn, weights) if _fits(rnn, weights, like) else None  # type: ignore[arg-type]

    @abstractmethod
    def _unit(self, out: Parts, sums: Tensor, biases: tuple[Tensor, Tensor], before: Parts) -> None:
        """Write a layer's state (n, H) after a step, from the products (2, n, gates · H) with its weights."""

    def along(self, series: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Hidden features (N, w, H) along ``series`` (N, w, D), and the state after it."""
        parts: Parts | None = None if state is None else state if isinstance(state, tuple) else (state,)
        hidden: list[Tensor] = []
        for x in series.unbind(1):
            parts = self.step(x, parts)
            hidden.append(parts[0][:, -1:])
        assert parts is not None
        features = hidden[0] if len(hidden) == 1 else torch.cat(hidden, dim=1)
        return features, parts if self.parts > 1 else parts[0]

    def step(self, x: Tensor, state: Parts | None) -> Parts:
        """The parts of the state, each (N, layers, H), after x (N, D)."""
        N, shape = len(x), (len(x), len(self.layers), self.hidden_size)
        after = tuple(memory.empty(shape, x) for _ in range(self.parts))
        if state is None:
            state = tuple(memory.zeros(shape, x) for _ in range(self.parts))
        if self.sums.shape[1] < min(N, BLOCK):
            self.sums = memory.empty((2, min(N, BLOCK), self.gates * self.hidden_size), x)
        if N <= BLOCK:
            self._step_rows(x, state, after)
        else:
            for begin in range(0, N, BLOCK):
                rows = slice(begin, begin + BLOCK)
                self._step_rows(x[rows], tuple(part[rows] for part in state), tuple(part[rows] for part in after))
        return after

    def _step_rows(self, x: Tensor, state: Parts, after: Parts) -> None:
        sums = self.sums[:, : len(x)]
        for layer, (input_weight, hidden_weight, *biases) in enumerate(self.layers):
            before, out = tuple(part[:, layer] for part in state), tuple(part[:, layer] for part in after)
            torch.mm(x, input_weight, out=sums[0])
            torch.mm(before[0], hidden_weight, out=sums[1])
            self._unit(out, sums, (biases[0], biases[1]), before)
            x = out[0]


class GruSteps(Steps):
    """Of an ``nn.GRU``."""

    gates = 3

    def _unit(self, out: Parts, sums: Tensor, biases: tuple[Tensor, Tensor], before: Parts) -> None:
        ops.gru_step(out[0], sums[0], sums[1], *biases, before[0])


class LstmSteps(Steps):
    """Of an ``nn.LSTM``: a state is (hidden, cell)."""

    gates, parts = 4, 2

    def _unit(self, out: Parts, sums: Tensor, biases: tuple[Tensor, Tensor], before: Parts) -> None:
        ops.lstm_step(out[0], out[1], sums[0], sums[1], *biases, before[1])


class RnnSteps(Steps):
    """Of a plain ``nn.RNN``."""

    gates = 1

    def _unit(self, out: Parts, sums: Tensor, biases: tuple[Tensor, Tensor], before: Parts) -> None:
        relu = getattr(self.rnn, "nonlinearity", "tanh") == "relu"
        ops.rnn_step(out[0], sums[0], sums[1], *biases, ops.Activation.RELU if relu else ops.Activation.TANH)


KINDS: dict[type[nn.Module], type[Steps]] = {nn.GRU: GruSteps, nn.LSTM: LstmSteps, nn.RNN: RnnSteps}


def pays(series: Tensor) -> bool:
    """Whether walking along series (N, w, D) here takes less time than a call of the module."""
    return series.shape[1] == 1 or len(series) >= FEW


class StepsWalk(Walk):
    """A walk of a recurrent module and a head: ``hidden`` is what the head reads, called only where outputs count."""

    spares_state = True

    def __init__(
        self,
        predictor: Predictor,
        steps: Steps,
        series: Callable[[Tensor], Tensor],
        head: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(predictor)
        self.steps, self.series, self.head = steps, series, head

    def step(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        return self.steps.along(self.series(x), state)

    def trace(self, x: Tensor) -> Iterator[tuple[Tensor, State]]:
        series, rnn = self.series(x), self.steps.rnn
        if rnn.num_layers > 1 or self.steps.parts > 1 or pays(series):
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


def _is_plain(rnn: nn.RNNBase) -> bool:
    """Whether a call would be the arithmetic of its parameters, and nothing else."""
    return not (
        rnn.bidirectional
        or rnn.proj_size
        or (rnn.training and rnn.dropout)
        or is_wrapped(rnn)
        or torch.is_grad_enabled()
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
    )


def _fits(rnn: nn.RNNBase, weights: Sequence[Any], series: Tensor) -> bool:
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
