"""Memory: where the engine's buffers come from, how much it may take, and how running out of it is told.

It stands below everything else, because models' steps allocate as well as the game that calls them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

V = TypeVar("V")

#: Device types without float64: rows are made and outputs compared on the CPU, only the model is called there.
WITHOUT_FLOAT64 = ("mps",)

#: What the engine may allocate when ``max_memory`` is not given.
DEFAULT_MEMORY = 1 << 30

#: What is said when memory ran out: by the allocators of the CPU and of CUDA, by its libraries, and by C++ itself.
_WORDS = ("not enough memory", "can't allocate memory", "out of memory", "_STATUS_ALLOC_FAILED", "bad_alloc")


def empty(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Uninitialised room of this shape on the device of ``like``, of its dtype unless another is given."""
    return like.new_empty(shape) if dtype is None else like.new_empty(shape, dtype=dtype)


def full(shape: Sequence[int], like: Tensor, value: float, dtype: torch.dtype | None = None) -> Tensor:
    """As ``empty``, with ``value`` everywhere."""
    return empty(shape, like, dtype).fill_(value)


def zeros(shape: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """As ``empty``, with zero everywhere."""
    return empty(shape, like, dtype).zero_()


def of_device(values: Mapping[str, V], device: torch.device) -> V:
    """The value for a device of this type: the CPU's, where nothing was measured."""
    return values.get(device.type, values["cpu"])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
