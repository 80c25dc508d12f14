"""GRU and LSTM classifiers that can stop anywhere and go on from a state."""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

from torch import Tensor, nn

from rambit.checks import count, one_of
from rambit.models.sequence_classifier import LAYERS, MOST, Classifier, at_lengths, dropout_rate

State = Tensor | tuple[Tensor, ...]
Head = Literal["linear", "batchnorm"]
HEADS: tuple[Head, ...] = get_args(Head)


class RecurrentClassifier(Classifier):
    """A recurrent network, dropout on its hidden features, and a linear head.

    head: "batchnorm" puts batch norm and ReLU before the dropout, as the classifiers of FIT (Tonekaboni et al., 2020)
    and WinIT (Leung et al., 2023) do. In training the norm needs at least two outputs in a batch, and padded steps
    count in its statistics.

    `advance` and `forward` take the same way through the network, so they agree to rounding.
    """

    rnn_class: type[nn.GRU] | type[nn.LSTM]

    def __init__(
        self,
        num_features: int,
        hidden_size: int = 200,
        num_classes: int = 2,
        num_layers: int = 1,
        dropout: float = 0.0,
        *,
        head: Head = "linear",
        standardize: bool = False,
    ) -> None:
        super().__init__(num_features, num_classes, standardize=standardize)
        one_of("head", head, HEADS)
        self.hidden_size = count("hidden_size", hidden_size, 1, MOST)
        self.num_layers = count("num_layers", num_layers, 1, LAYERS)
        rate = dropout_rate(dropout)
        self.rnn = self.rnn_class(self.num_features, self.hidden_size, self.num_layers, batch_first=True)
        self.norm = nn.BatchNorm1d(self.hidden_size) if head == "batchnorm" else None
        self.dropout = nn.Dropout(rate)
        self.head = nn.Linear(self.hidden_size, self.num_classes)

    def advance(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Walk over the segment `x` (N, D, w) from `state` (None: the start): logits (N, C, w) and the new state.

        The batch is the first axis of every tensor of a state, so that rows of it can be picked and repeated.
        """
        hidden, new = self._walk(x, state)
        return self.logits(hidden).transpose(1, 2), new

    def forward(self, x: Tensor, return_all: bool = False, lengths: Tensor | None = None) -> Tensor:
        """Logits (B, C) at the last step, or at `lengths - 1`; (B, C, T) at every step with `return_all=True`."""
        hidden, _ = self._walk(x, None)
        if return_all:
            return self.logits(hidden).transpose(1, 2)
        return self.logits(hidden[:, -1] if lengths is None else at_lengths(hidden, lengths))

    def _walk(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Hidden features (N, w, H) at every step, and the state after the last."""
        hidden, new = self.rnn(self.rnn_input(x), None if state is None else _swap(state))
        return hidden, _swap(new)

    # `advance` is `logits` of `rnn` of `rnn_input`: a faster way through the same network needs these three.

    def rnn_input(self, x: Tensor) -> Tensor:
        """What `rnn` reads of `x` (N, D, w): (N, w, D), standardized."""
        # Transposing back the (N, w, D) memory that the engine fills is free; a contiguous copy would not be.
        return self._standardized(x).transpose(1, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (…, C) of hidden features (…, H)."""
        if self.norm is not None:
            # One statistic for all steps, so that the output at a step does not depend on where the walk began.
            hidden = self.norm(hidden.flatten(0, -2)).view(hidden.shape).relu()
        return cast(Tensor, self.head(self.dropout(hidden)))

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON; `rambit.models.build_model` reads it."""
        own = {"hidden_size": self.hidden_size, "num_layers": self.num_layers, "dropout": self.dropout.p}
        return super().config() | own | {"head": HEADS[0] if self.norm is None else HEADS[1]}


class GRUClassifier(RecurrentClassifier):
    """A GRU over (B, D, T) and a head: logits (B, C). State: (N, num_layers, H).

    Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", 2014.
    """

    rnn_class = nn.GRU
    #: Its outputs are ``logits(rnn(rnn_input(x)))``, so that a predictor may take the network's steps by itself.
    walks_as_rnn = True


class LSTMClassifier(RecurrentClassifier):
    """An LSTM over (B, D, T) and a head: logits (B, C). State: hidden and cell, (N, num_layers, H) each.

    Hochreiter and Schmidhuber, "Long short-term memory", 1997.
    """

    rnn_class = nn.LSTM
    walks_as_rnn = True


def _swap(state: State) -> State:
    """Batch first <-> layers first, torch's order. With one layer nothing is copied."""
    if isinstance(state, tuple):
        return tuple(part.transpose(0, 1).contiguous() for part in state)
    return state.transpose(0, 1).contiguous()
