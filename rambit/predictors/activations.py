"""What a row costs a model in activations, read from the shapes that pass through one call."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_one_stance = threading.RLock()


@dataclass(frozen=True)
class Activations:
    """What one call makes: of each row, bytes ``held`` at most at a time, and ``made`` in all.

    Whatever the number of rows: so many ``ops``, which read so many bytes of weights, each as often as it is read.
    """

    held: int
    made: int
    ops: int
    weights: int


def read_activations(call: Callable[[], Tensor], *rows: Tensor) -> Activations | None:
    """What ``call`` makes of ``rows`` (n, …), one tensor or several; None where torch does not see how its outputs come
    of them, or it fails.

    What does not depend on the rows, such as weights in another type, is not counted as made. torch's random state
    is kept.
    """
    seen = _Made(rows)
    device, n = rows[0].device, len(rows[0])
    devices = [device] if device.type == "cuda" else []
    try:
        with _uncompiled(), torch.random.fork_rng(devices), seen:
            outputs = call()
        if not seen.holds(outputs):
            return None
    except Exception:  # a model that cannot be evaluated says so itself, when it is
        return None
    return Activations(seen.most // n, seen.total // n, seen.ops, seen.weights)


@contextmanager
def _uncompiled() -> Iterator[None]:
    """In which a compiled model is called as it was written: of what the compiler makes of it nothing is seen."""
    if "torch._dynamo" not in sys.modules:  # then nothing was compiled
        yield
        return
    # One thread at a time: each gives back the stance that it found, which must not be another's.
    with _one_stance, torch.compiler.set_stance("force_eager"):
        yield


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the memory that ops take for what they make of some rows, and of what came of them."""

    def __init__(self, rows: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = self.total = self.ops = self.weights = 0
        self._alive: dict[int, Any] = {tensor.untyped_storage()._cdata: None for tensor in rows}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # a mode that is to be skipped makes torch import its compiler, which takes a second

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory that came of the rows."""
        return tensor.untyped_storage()._cdata in self._alive

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = list(_tensors((*args, *kwargs.values())))
        others = [tensor for tensor in given if not self.holds(tensor)]
        if len(others) < len(given):
            written = [args[k] for k in _written(func) if k < len(args)]
            if sum(map(self._add, _tensors((result, written)))):
                self.ops += 1
                self.weights += sum(tensor.nbytes for tensor in others if not self.holds(tensor))  # but for outputs
                self.most = max(self.most, self.now + _within(func, args))
        return result

    def _add(self, tensor: Tensor) -> bool:
        """Count the memory of a tensor until it is freed; whether it is new."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return False

        def freed(_: object) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, freed)
        self.now += size
        self.total += size
        return True


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among values, and in lists of these."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


@functools.cache
def _written(op: Any) -> tuple[int, ...]:
    """Which of its arguments an op writes into."""
    arguments = op._schema.arguments
    return tuple(k for k, one in enumerate(arguments) if one.alias_info is not None and one.alias_info.is_write)


def _within(op: Any, args: Any) -> int:
    """Bytes that one op for a whole layer holds at its peak, beside what it returns."""
    if op.overloadpacket is not torch.ops.aten._transformer_encoder_layer_fwd:
        return 0
    x, heads, hidden = args[0], args[2], len(args[14])
    (N, T, d), attention = x.shape, heads * x.shape[1]
    # Queries, keys and values twice, as they are projected and by head, with all weights of attention; or one layer of
    # the feed-forward part.
    return int(N * T * x.element_size() * max(6 * d + attention, hidden + d))
