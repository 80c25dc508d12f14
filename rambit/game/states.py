"""Model states: a tensor, or a tuple, list or dict of tensors, with the row as first dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from rambit import memory

State = Any


def apply(function: Callable[[Tensor], Tensor], state: State) -> State:
    """The same structure with ``function`` applied to every tensor."""
    if isinstance(state, Tensor):
        return function(state)
    if isinstance(state, dict):
        return {key: apply(function, value) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(apply(function, value) for value in state)
    raise TypeError(f"a state must be a tensor or a tuple, list or dict of tensors, got {type(state).__name__}")


def table(state: State, rows: int) -> State:
    """Uninitialised room for ``rows`` states like this one."""
    return apply(lambda s: memory.empty((rows, *s.shape[1:]), s), state)


def take(state: State, index: Tensor) -> State:
    """The states at the given rows (a copy)."""
    return apply(lambda s: s.index_select(0, index), state)


def part(state: State, begin: int, end: int) -> State:
    """The states of rows begin … end-1 (a view)."""
    return apply(lambda s: s[begin:end], state)


def copy(state: State, begin: int, end: int) -> State:
    """The states of rows begin … end-1 (a copy)."""
    return apply(lambda s: s[begin:end].clone(), state)


def put(target: State, index: Tensor | slice, source: State) -> None:
    """Write ``source`` into rows of ``target``."""
    if isinstance(target, Tensor):
        target[index] = source
    elif isinstance(target, dict):
        for key, value in target.items():
            put(value, index, source[key])
    else:
        for value, new in zip(target, source, strict=True):
            put(value, index, new)


def row_bytes(state: State) -> int:
    """Bytes of one row's state."""
    if isinstance(state, Tensor):
        return state[:1].numel() * state.element_size()
    return sum(row_bytes(s) for s in (state.values() if isinstance(state, dict) else state))
