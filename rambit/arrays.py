"""Numbers that a user hands in, as tensors: converted, or refused by name with what to write instead."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Types of floating numbers that series, values and scores may have; nothing can be computed with those of 8 bits.
NARROW = (torch.float16, torch.bfloat16)
FLOATS = (*NARROW, torch.float32, torch.float64)


def is_array(value: Any) -> bool:
    """Whether it holds numbers at once: a tensor, or anything that NumPy reads as an array; no list."""
    return isinstance(value, Tensor) or hasattr(value, "__array__")


def is_pandas(value: Any) -> bool:
    """Whether it is a DataFrame of pandas."""
    return all(hasattr(value, part) for part in ("columns", "index", "iloc"))


def is_xarray(value: Any) -> bool:
    """Whether it is a DataArray of xarray."""
    return hasattr(value, "dims") and hasattr(value, "coords") and not hasattr(value, "data_vars")


def hint(name: str, value: Any) -> str:
    """What to write instead, where only a tensor will do."""
    if np.ma.is_masked(value):
        return f": write torch.tensor({name}.filled(...)) with what shall stand where it is masked"
    return f": write torch.tensor({name})" if is_array(value) or isinstance(value, (list, tuple)) else ""


def read(name: str, value: Any, *, holds: str = "numbers") -> tuple[Tensor, Tensor | None]:
    """A dense tensor with the values of a tensor, an array or lists of them, and where it is masked (bool), or None.

    Arrays of any byte order, strides and rights are read; what needs no conversion keeps its memory, and is only read.
    TypeError or ValueError naming the argument for what has no values, or not all of them, and for a data frame.
    """
    if isinstance(value, Tensor):
        return _dense(name, value), None
    if hasattr(value, "data_vars"):
        raise TypeError(f"{name} is a Dataset of xarray, of several arrays: write {name}.to_dataarray('feature')")
    if hasattr(value, "columns") or is_xarray(value):  # whose axes would be guessed
        raise TypeError(f"{name} must be an array, got a {type(value).__name__}: write {name}.to_numpy()")
    if isinstance(value, (list, tuple, range)):
        if any(isinstance(part, (list, tuple)) or is_array(part) for part in value):
            return _stacked(name, value, holds)
        array = np.asarray(value)
    elif is_array(value):
        array = value if isinstance(value, np.ma.MaskedArray) else np.asarray(value)
    else:
        raise TypeError(f"{name} must hold {holds}, got {reprlib.repr(value)}")
    if array.dtype == object and is_array(value) and array.ndim:
        tensor = read(name, np.ma.getdata(array).tolist(), holds=holds)[0]
        return tensor, torch.from_numpy(np.ma.getmaskarray(array)) if np.ma.is_masked(array) else None
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name} must hold {holds}, got {reprlib.repr(value)}")
    tensor = torch.from_numpy(_plain(np.ma.getdata(array)))
    return tensor, torch.from_numpy(np.ma.getmaskarray(array)) if np.ma.is_masked(array) else None


def whole(name: str, value: Any, *, holds: str = "numbers") -> Tensor:
    """``read`` for arguments that have a value everywhere: ValueError if some of them are masked."""
    tensor, masked = read(name, value, holds=holds)
    if masked is not None:
        raise ValueError(
            f"{name} is a masked array with {int(masked.sum())} masked values, but each is needed: "
            f"write {name}.filled(...) with what shall stand there"
        )
    return tensor


def integers(name: str, value: Any, B: int, low: int, high: int) -> Tensor:
    """A (B,) int64 tensor of values in low … high, from a tensor, array or list."""
    try:
        tensor = whole(name, value, holds="integers")
    except (OverflowError, RuntimeError):
        raise ValueError(f"{name} must lie between {low} and {high}, got {reprlib.repr(value)}") from None
    if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must hold integers, got {tensor.dtype}")
    if tensor.shape != (B,):
        raise ValueError(f"{name} must have one value a series, ({B},), got {tuple(tensor.shape)}")
    tensor = tensor.to("cpu", torch.int64)
    if B and (int(tensor.min()) < low or int(tensor.max()) > high):
        raise ValueError(f"{name} must lie between {low} and {high}, got {int(tensor.min())} … {int(tensor.max())}")
    return tensor


def model_type(module: nn.Module | None) -> torch.dtype | None:
    """The type in which rows are made: that of all parameters of a model, if there is one; float32 for 16 bits."""
    kind = _weights_type(module)
    return torch.float32 if kind in NARROW else kind


def narrow_type(module: nn.Module | None) -> torch.dtype | None:
    """The type of 16 bits to which rows are cast for a model all of whose parameters have it."""
    kind = _weights_type(module)
    return kind if kind in NARROW else None


def _weights_type(module: nn.Module | None) -> torch.dtype | None:
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()} if module is not None else set()
    return kinds.pop() if len(kinds) == 1 and kinds <= set(FLOATS) else None


def holds_integers(x: Tensor) -> bool:
    """Whether it holds integers; booleans are none."""
    return not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)


def floating(name: str, x: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """What is no floating number yet, integers and booleans, in a floating type. ValueError where it can't hold one."""
    if x.is_floating_point() or x.is_complex():
        return x
    most = round(2 / torch.finfo(dtype).eps)  # up to here each integer has a value of its own
    whole = x.to(torch.int64)
    wrong = (whole > most) | (whole < -most) | ((whole < 0) & (x.dtype == torch.uint64))
    if bool(wrong.any()):
        first = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} holds integers beyond {most}, which {dtype} does not hold exactly, first at {first}")
    return whole.to(dtype)


def as_rows(name: str, x: Tensor, module: nn.Module | None) -> Tensor:
    """Numbers in a type that rows can have, integers in that of the model's weights. TypeError where they have none."""
    if x.is_complex() or (x.is_floating_point() and x.dtype not in FLOATS):
        raise TypeError(f"{name} must hold real numbers of 16 bits or more, got {x.dtype}: convert it")
    if x.is_floating_point():
        return x.float() if x.dtype in NARROW else x
    kind = model_type(module)
    if kind is None:
        raise TypeError(f"{name} must be floating for a model without floating weights, got {x.dtype}: convert it")
    return floating(name, x, kind)


def as_model(name: str, x: Tensor, module: nn.Module | None) -> Tensor:
    """Finite values in the type of a model's parameters. ValueError naming the first that is beyond that type."""
    cast = x.to(model_type(module) or x.dtype)
    if not bool(cast.isfinite().all()):
        first = tuple((~cast.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"{name} holds values beyond {cast.dtype}, the type of the model, the first at {first}")
    return cast


def usable_device(device: torch.device | str | None) -> torch.device:
    """ValueError for a device that is none, or that is not to be had here."""
    if device is None:
        return torch.device("cpu")
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).item()
    except (RuntimeError, TypeError, ValueError, OverflowError, AssertionError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"device={str(device)!r} cannot be used here: {reason}") from None
    return found


def _dense(name: str, value: Tensor) -> Tensor:
    """A tensor that native code may read by its address."""
    if hasattr(value, "get_mask"):
        raise TypeError(
            f"{name} is a MaskedTensor: write {name}.get_data(), and give what {name}.get_mask() says apart"
        )
    if value.is_nested:
        raise TypeError(f"{name} is a nested tensor: write {name}.to_padded_tensor(0.0), and pass lengths=")
    if value.is_meta:
        raise TypeError(f"{name} is on the device 'meta', where tensors have no values: make it on the model's device")
    if value.is_quantized:
        raise TypeError(f"{name} is quantized: write {name}.dequantize()")
    if value.layout != torch.strided:
        raise TypeError(f"{name} is stored as {value.layout}: write {name}.to_dense()")
    value = value.detach() if value.requires_grad else value
    return value.resolve_conj().resolve_neg() if value.is_conj() or value.is_neg() else value


def _stacked(name: str, values: Any, holds: str) -> tuple[Tensor, Tensor | None]:
    parts = [read(f"{name}[{i}]", value, holds=holds) for i, value in enumerate(values)]
    first = tuple(parts[0][0].shape)
    for i, (part, _) in enumerate(parts):
        if tuple(part.shape) != first:
            raise ValueError(
                f"{name} holds arrays of different shapes, {first} and (entry {i}) {tuple(part.shape)}: pad them to "
                "one shape, with any values, and say with lengths= where each of them ends"
            )
    try:
        tensor = torch.stack([part for part, _ in parts])
    except RuntimeError as error:  # on different devices
        raise ValueError(f"{name}: {error}") from None
    if all(masked is None for _, masked in parts):
        return tensor, None
    return tensor, torch.stack([torch.zeros_like(p, dtype=torch.bool) if m is None else m for p, m in parts])


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The same values as torch takes them: native, at most 64 bits, strides that are whole and not negative."""
    if array.dtype.char in "gG":
        with np.errstate(over="ignore"):  # becomes infinite, and that is refused
            return array.astype({"g": "d", "G": "D"}[array.dtype.char])
    if array.dtype.char in "qQ":  # torch knows one type of 64 bits, NumPy two
        array = array.astype({"q": "l", "Q": "L"}[array.dtype.char])
    if not array.dtype.isnative:
        return array.astype(array.dtype.newbyteorder("="))
    fits = all(stride >= 0 and stride % array.itemsize == 0 for stride in array.strides)
    # torch warns of memory that it may not write to.
    return array if fits and array.flags.writeable else np.array(array, subok=False)
