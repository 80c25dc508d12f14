"""What the parts of the selector demand of their arguments; everything raises ValueError or TypeError naming one."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit import arrays
from rambit.checks import number


def share(name: str, value: float) -> float:
    """A number in [0, 1)."""
    found = number(name, value)
    if not 0 <= found < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value}")
    return found


def finite(name: str, value: Tensor) -> Tensor:
    """The tensor, if it is floating and holds no NaN and nothing infinite."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must be floating, got {value.dtype}")
    # A compiled graph has no values to look at.
    if not torch.compiler.is_compiling() and not bool(value.isfinite().all()):
        first = tuple((~value.isfinite()).nonzero()[0].tolist())
        raise ValueError(f"{name} holds NaN or infinite values, the first at {first}")
    return value


def series(name: str, x: Tensor, input_dim: int | None = None) -> Tensor:
    """Finite series (B, T, D) without an empty axis, of ``input_dim`` features if that is given."""
    finite(name, x)
    wanted = "D" if input_dim is None else input_dim
    if x.ndim != 3 or 0 in x.shape or input_dim not in (None, x.shape[2]):
        raise ValueError(f"{name} must have shape (B, T, {wanted}), none of them 0, got {tuple(x.shape)}")
    return x


def mask_of(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (B, T) of series x (B, T, D), finite, in the type of x; integers must be 0 and 1, which bools become."""
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor, got {type(mask).__name__}")
    if mask.shape != x.shape[:2]:
        raise ValueError(f"mask must have shape (B, T) = {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
    if mask.is_complex():
        raise TypeError(f"mask must hold real numbers, got {mask.dtype}")
    if mask.dtype != torch.bool and not mask.is_floating_point() and not torch.compiler.is_compiling():
        wrong = mask[(mask != 0) & (mask != 1)]
        if len(wrong):
            raise ValueError(f"mask must hold 0 and 1 where it is of integers, got {int(wrong[0])}")
    return finite("mask", mask.to(x.dtype))


def lengths_of(lengths: Tensor | None, B: int, T: int) -> Tensor | None:
    """Integers (B,) on the CPU in 1..T: where each series ends."""
    if lengths is None:
        return None
    found = arrays.whole("lengths", lengths, holds="integers").cpu()
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"lengths must hold integers, got {found.dtype}")
    if found.shape != (B,) or int(found.min()) < 1 or int(found.max()) > T:
        raise ValueError(f"lengths must be ({B},), between 1 and {T}, got {found.tolist()}")
    return found


def padding_of(padding: Tensor | None, x: Tensor) -> Tensor | None:
    """``key_padding_mask`` (B, T) bool of series x (B, T, D): as in torch, True = padded. One step a series stays."""
    if padding is None:
        return None
    if not isinstance(padding, Tensor) or padding.dtype != torch.bool or padding.shape != x.shape[:2]:
        got = f"{padding.dtype} {tuple(padding.shape)}" if isinstance(padding, Tensor) else type(padding).__name__
        raise ValueError(f"key_padding_mask must be bool (B, T) = {tuple(x.shape[:2])}, got {got}")
    if not torch.compiler.is_compiling() and bool(padding.all(dim=1).any()):
        first = int(padding.all(dim=1).int().argmax())
        raise ValueError(f"key_padding_mask pads every step of a series, the first is {first}")
    return padding
