"""A user's recurrent network and head as a stateful model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rambit.predictors.fused import Steps, StepsWalk, pays
from rambit.predictors.holding import move
from rambit.predictors.predictor import Layout, Output, Predictor, State, Walk


class Recurrent(Predictor):
    """``nn.GRU``, ``nn.LSTM`` or ``nn.RNN`` (any ``num_layers``, ``batch_first`` as it says) and a head on its output.

    ``head`` maps (…, hidden) to (…, C). Series are read as (N, D, w), whatever the module's own order. Raises TypeError
    for another module and for a bidirectional one, whose outputs at a step depend on the future.
    """

    modes = frozenset({"causal", "stateful"})
    features_last = True

    def __init__(
        self,
        rnn: nn.GRU | nn.LSTM | nn.RNN,
        head: Callable[[Tensor], Tensor],
        *,
        output: Output = "logits",
        layout: Layout = "BDT",
        device: torch.device | str | None = None,
        model_id: str | None = None,
        threshold: float = 0.5,
    ) -> None:
        if not isinstance(rnn, (nn.GRU, nn.LSTM, nn.RNN)):
            raise TypeError(f"rnn must be nn.GRU, nn.LSTM or nn.RNN, got {type(rnn).__name__}")
        if rnn.bidirectional:
            raise TypeError(
                "rnn is bidirectional: its output at a step depends on later steps, so it has no state to advance"
            )
        if not callable(head):
            raise TypeError(f"head must be callable, got {type(head).__name__}")
        super().__init__(
            output=output,
            layout=layout,
            device=device or next(rnn.parameters()).device,
            model_id=model_id,
            threshold=threshold,
        )
        self.rnn, self.head = rnn, head
        self.module = nn.ModuleList([m for m in (rnn, head) if isinstance(m, nn.Module)])
        move(self.module, self.device)

    def call_advance(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        hidden, after = along(self.rnn, self._series(x), state)
        return self.head(hidden).transpose(1, 2), after

    def walk(self, like: Tensor) -> Walk:
        steps = Steps.of(self.rnn, like.transpose(1, 2))
        return super().walk(like) if steps is None else StepsWalk(self, steps, _time_second, self.head)

    def call_steps(self, x: Tensor, **extra: Tensor) -> Tensor:
        hidden, _ = _called(self.rnn, self._series(x), None)
        return self.head(hidden).transpose(1, 2)

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        return self.call_steps(x)[:, :, -1]

    def _series(self, x: Tensor) -> Tensor:
        """(N, w, D) from what the layout gives."""
        return x if self.layout == "BTD" else x.transpose(1, 2)

    def fingerprint(self) -> dict[str, Any]:
        if self.model_id is None and not isinstance(self.head, nn.Module):
            raise ValueError("checkpoint= needs model_id=, since a head that is no module cannot be told from another")
        return super().fingerprint()


def _time_second(x: Tensor) -> Tensor:
    return x.transpose(1, 2)


def along(rnn: nn.RNNBase, series: Tensor, state: State | None) -> tuple[Tensor, State]:
    """Hidden features (N, w, H) along ``series`` (N, w, D) and the state after it, rows first: by our own steps where
    they pay."""
    steps = Steps.of(rnn, series) if pays(series) else None
    return _called(rnn, series, state) if steps is None else steps.along(series, state)


def _called(rnn: nn.RNNBase, series: Tensor, state: State | None) -> tuple[Tensor, State]:
    """The same by the module's own way."""
    hidden, after = rnn(series if rnn.batch_first else series.transpose(0, 1), _rows_second(state))
    return hidden if rnn.batch_first else hidden.transpose(0, 1), rows_first(after)


def _rows_second(state: State | None) -> State | None:
    if state is None or isinstance(state, Tensor):
        return None if state is None else state.transpose(0, 1).contiguous()
    return tuple(s.transpose(0, 1).contiguous() for s in state)


def rows_first(state: State) -> State:
    """A module's state (layers, N, H), or a tuple of such, as (N, layers, H)."""
    return state.transpose(0, 1) if isinstance(state, Tensor) else tuple(s.transpose(0, 1) for s in state)
