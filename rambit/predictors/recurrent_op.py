"""Recurrent layers as one operator of a graph, ``rambit::recurrent``, of shapes that are known without its steps."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rambit.predictors.fused import is_wrapped

_library = torch.library.Library("rambit", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "recurrent(Tensor x, Tensor[] state, Tensor[] weights, str kind, bool bias, int layers, bool bidirectional, "
    "bool batch_first) -> Tensor[]"
)
#: Of each exact type: how torch calls it; plain ones are ``rnn_tanh`` or ``rnn_relu``.
KINDS: dict[type[nn.Module], str] = {nn.GRU: "gru", nn.LSTM: "lstm", nn.RNN: "rnn"}


def recurrent(
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    kind: str,
    bias: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> list[Tensor]:
    """Hidden features along x and the parts of the state after it, as the module of this kind gives them."""
    first: Any = tuple(state) if kind == "lstm" else state[0]
    function: Any = getattr(torch, kind)
    return list(function(x, first, weights, bias, layers, 0.0, False, bidirectional, batch_first))


def _shapes(
    x: Tensor,
    state: Sequence[Tensor],
    weights: Sequence[Tensor],
    kind: str,
    bias: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> list[Tensor]:
    features = state[0].shape[2] * (2 if bidirectional else 1)
    return [x.new_empty(*x.shape[:2], features), *(torch.empty_like(part) for part in state)]


_library.impl("recurrent", recurrent, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("rambit::recurrent", _shapes, lib=_library)
RECURRENT: Any = torch.ops.rambit.recurrent.default


def as_one_operator(module: nn.Module) -> None:
    """Let this ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN`` call the operator; other modules stay as they are."""
    if type(module) in KINDS and not is_wrapped(module) and not getattr(module, "proj_size", 0):
        module.forward = types.MethodType(_forward, module)


def _forward(rnn: Any, x: Any, state: Any = None) -> Any:
    """What stands in for ``forward``."""
    if isinstance(x, PackedSequence) or x.ndim != 3 or (rnn.training and rnn.dropout):
        return type(rnn).forward(rnn, x, state)
    lstm, batch = isinstance(rnn, nn.LSTM), x.shape[0 if rnn.batch_first else 1]
    if state is None:
        rows = rnn.num_layers * (2 if rnn.bidirectional else 1)
        zeros = torch.zeros(rows, batch, rnn.hidden_size, dtype=x.dtype, device=x.device)
        state = (zeros, zeros) if lstm else zeros
    kind = KINDS[type(rnn)]
    if kind == "rnn":
        kind = f"rnn_{rnn.nonlinearity}"
    weights = [getattr(rnn, name) for name in rnn._flat_weights_names]
    given = list(state) if lstm else [state]
    hidden, *after = RECURRENT(x, given, weights, kind, rnn.bias, rnn.num_layers, rnn.bidirectional, rnn.batch_first)
    return hidden, (tuple(after) if lstm else after[0])


def sharing(kind: str, weights: Sequence[Tensor], *, layers: int, bias: bool) -> nn.RNNBase:
    """A module of one direction that reads (N, w, D), of the operator's kind, with these tensors as its weights."""
    features, hidden = weights[0].shape[1], weights[1].shape[1]
    plain = kind.startswith("rnn_")
    more = {"nonlinearity": kind.removeprefix("rnn_")} if plain else {}
    module: Any = nn.RNN if plain else {"gru": nn.GRU, "lstm": nn.LSTM}[kind]
    made: nn.RNNBase = module(features, hidden, layers, bias=bias, batch_first=True, device="meta", **more)
    for name, weight in zip(list(made._flat_weights_names), weights, strict=True):
        setattr(made, name, nn.Parameter(weight, requires_grad=False))
    return made.eval()
