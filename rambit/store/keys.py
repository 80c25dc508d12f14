"""What may be resumed: a key over settings, data and weights."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

_PIECE = 4 << 20  # bytes hashed at a time


def resume_key(**parts: Any) -> str:
    """SHA-256 (hex) of named parts: JSON values, arrays, tensors, state dicts, and dicts, lists and tuples of these.

    Any change of a value, type, dtype, shape or bit changes it; strides, byte order, device, the order of a dict, and
    list against tuple don't; an array and a tensor of the same dtype and data are equal. Memory is constant.
    Errors: TypeError naming the part that is anything else.
    """
    digest = hashlib.sha256(b"rambit-resume-1")
    for piece in _serialise(parts, ""):
        digest.update(piece)
    return digest.hexdigest()


def _serialise(value: Any, path: str) -> Iterator[bytes | memoryview]:
    """A prefix code: a type's letter, a length where the content's is free, the content."""
    if value is None:
        yield b"N"
    elif isinstance(value, bool):
        yield b"B1" if value else b"B0"
    elif isinstance(value, int):
        yield _sized(b"I", hex(value).encode())
    elif isinstance(value, float):
        yield b"F" + struct.pack("<d", value)
    elif isinstance(value, str):
        yield _sized(b"S", value.encode("utf-8", "surrogatepass"))
    elif isinstance(value, list | tuple):
        yield b"L" + _length(len(value))
        for i, item in enumerate(value):
            yield from _serialise(item, f"{path}[{i}]")
    elif isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"resume_key: {path or 'a part'} has the key {name!r}; keys must be strings")
        yield b"D" + _length(len(value))
        for name in sorted(value):
            yield _sized(b"S", name.encode("utf-8", "surrogatepass"))
            yield from _serialise(value[name], f"{path}[{name!r}]" if path else name)
    elif isinstance(value, Tensor):
        if value.layout != torch.strided or value.device.type == "meta" or value.is_quantized:
            raise TypeError(
                f"resume_key: {path} must be a dense tensor with data, not {value.layout} on {value.device}"
            )
        yield from _array_head(str(value.dtype).removeprefix("torch."), tuple(value.shape))
        for block in _blocks(value.detach(), value.element_size()):
            dense = block.resolve_conj().resolve_neg().cpu().contiguous()
            # A contiguous tensor of one element may have any stride, which viewing it as bytes would refuse.
            yield dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).numpy().data
    elif isinstance(value, np.ndarray | np.generic) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value)
        # Extended floats are left out because their padding bytes hold anything.
        if array.dtype.kind not in "biufcSUmM" or array.dtype.char in "gG":
            raise TypeError(f"resume_key: {path} is an array of dtype {array.dtype}, which has no fixed bytes")
        little = array.dtype.newbyteorder("<")
        yield from _array_head(little.name if little.kind in "biufc" else little.str, array.shape)
        for part in _blocks(array, array.itemsize):
            yield np.ascontiguousarray(part, dtype=little).reshape(-1).view(np.uint8).data
    else:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        raise TypeError(
            f"resume_key: {path} is a {kind}; parts are JSON values, arrays, tensors, or dicts, lists, tuples of these"
        )


def _length(n: int) -> bytes:
    return struct.pack("<Q", n)


def _sized(tag: bytes, content: bytes) -> bytes:
    return tag + _length(len(content)) + content


def _array_head(dtype: str, shape: tuple[int, ...]) -> Iterator[bytes]:
    yield _sized(b"A", dtype.encode())
    yield _length(len(shape)) + b"".join(map(_length, shape))


_Array = TypeVar("_Array", Tensor, "np.ndarray[Any, Any]")


def _blocks(array: _Array, itemsize: int) -> Iterator[_Array]:
    """An array in blocks of at most _PIECE bytes that follow each other in C order, whatever its strides."""
    size = itemsize * int(np.prod(array.shape, dtype=object))
    if size == 0:
        return
    if size <= _PIECE:
        yield array
    elif size // array.shape[0] > _PIECE:
        for row in array:
            yield from _blocks(row, itemsize)
    else:
        step = _PIECE // (size // array.shape[0])
        for start in range(0, array.shape[0], step):
            yield array[start : start + step]
