"""Reference data, from whatever holds it, as one tensor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, frames


def read_background(background: object, *, layout: str = "BDT") -> Tensor | None:
    """Reference data as one tensor (N, D, T), NaN where a value is missing.

    From a tensor, an array, a frame (``rambit.frames``), or batches of them (a DataLoader or any iterable; what follows
    x in a tuple is not read). Integers are read as numbers; (N, T) of them are tokens, (N, 1, T). Missing values are
    declared: a masked array, or a dict with ``X`` and, as in a call of ``explain``, ``observed`` (bool like X) or
    ``lengths`` (N,). ValueError or TypeError for anything else, and for a feature without any value.
    """
    if background is None:
        return None
    axes = "(N, D, T)" if layout == "BDT" else "(N, T, D)"
    if isinstance(background, Mapping) or arrays.is_array(background) or frames.is_frame(background):
        data = _one_background(background, axes)
    elif isinstance(background, Iterable):
        with torch.random.fork_rng(devices=[]):  # a DataLoader draws a seed from torch's generator
            batches = [batch[0] if isinstance(batch, (tuple, list)) and batch else batch for batch in background]
        if not batches:
            raise ValueError("background is empty")
        if not all(isinstance(batch, Mapping) or arrays.is_array(batch) or frames.is_frame(batch) for batch in batches):
            raise TypeError(f"background must give tensors {axes}, or tuples or dicts that start with one")
        parts = [_one_background(batch, axes) for batch in batches]
        if len({part.shape[1:] for part in parts}) > 1:
            found = ", ".join(sorted({str(tuple(part.shape[1:])) for part in parts}))
            raise ValueError(
                f"background gives batches of different shapes: {found}; all must be {axes}: pad them to one length, "
                "and give each as a dict with X and lengths"
            )
        data = torch.cat(parts)
    else:
        raise TypeError(f"background must be a tensor {axes} or a DataLoader, got {type(background).__name__}")
    data = data.transpose(1, 2) if layout == "BTD" else data
    empty = data.isnan().all(dim=2).all(dim=0)
    if bool(empty.any()):
        raise ValueError(f"background has no value of feature {int(empty.int().argmax())}: all are missing")
    return data


def declared(background: Tensor | None) -> Any:
    """What `read_background` gave, as it takes it."""
    if background is None or not bool(background.isnan().any()):
        return background
    return {"X": background, "observed": ~background.isnan()}


def _one_background(batch: Any, axes: str) -> Tensor:
    """One tensor of series, NaN where it is declared that there is no value."""
    given: dict[str, Any] = dict(batch) if isinstance(batch, Mapping) else {"X": batch}
    unknown = given.keys() - {"X", "observed", "lengths"}
    if unknown or "X" not in given:
        names = ", ".join(map(str, given))
        raise ValueError(f"background as a dict must have X, and may have observed and lengths; it has {names}")
    time_last = axes.endswith("T)")
    data, masked, lengths = _background_values(given["X"], time_last)
    if lengths is not None and given.get("lengths") is not None:
        raise ValueError("background's lengths: X says itself where each of its series ends; leave lengths out")
    given["lengths"] = given.get("lengths") if lengths is None else lengths
    if data.ndim != 3 or data.dtype not in arrays.FLOATS:
        raise ValueError(f"background must be a floating tensor {axes}, got {data.dtype} {tuple(data.shape)}")
    if data.numel() == 0:
        raise ValueError(f"background is empty: {tuple(data.shape)}")
    missing = torch.zeros_like(data, dtype=torch.bool) if masked is None else masked.to(data.device)
    if given.get("observed") is not None:
        missing = missing | ~_observed_background(given["observed"], data, time_last)
    if given.get("lengths") is not None:
        missing = missing | _padding(given["lengths"], data, time_last)
    wrong = ~data.isfinite() & ~missing
    if bool(wrong.any()):
        where = tuple(torch.nonzero(wrong)[0].tolist())
        raise ValueError(
            f"background holds NaN or infinite values, the first at {where}; missing values are declared: "
            "background={'X': X, 'observed': ~X.isnan()}, of a frame {'X': frame, 'observed': frame.notna()}, and they "
            "are not drawn"
        )
    return data.masked_fill(missing, math.nan) if bool(missing.any()) else data


def _background_values(given: Any, time_last: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Series, where they are masked, and their lengths, if they say them."""
    if frames.is_frame(given):
        found = frames.read("background", given)
        return found.in_layout("BDT" if time_last else "BTD"), None, found.lengths
    data, masked = arrays.read("background", given)
    if data.ndim == 2 and arrays.holds_integers(data):
        axis = 1 if time_last else 2
        data, masked = data.unsqueeze(axis), None if masked is None else masked.unsqueeze(axis)
    return arrays.floating("background", data), masked, None


def _observed_background(observed: Any, data: Tensor, time_last: bool) -> Tensor:
    if frames.is_frame(observed):
        seen = frames.read("background's observed", observed).in_layout("BDT" if time_last else "BTD").to(data.device)
    else:
        seen = arrays.whole("background's observed", observed, holds="booleans").to(data.device)
    if seen.dtype != torch.bool or seen.shape != data.shape:
        raise ValueError(
            f"background's observed must be a bool tensor {tuple(data.shape)}, got {seen.dtype} {tuple(seen.shape)}"
        )
    return seen


def _padding(lengths: Any, data: Tensor, time_last: bool) -> Tensor:
    """Like data, True behind the end of each series."""
    ends = arrays.whole("background's lengths", lengths, holds="integers").to(data.device)
    T = data.shape[2 if time_last else 1]
    whole = not (ends.is_floating_point() or ends.is_complex() or ends.dtype == torch.bool)
    if not whole or ends.shape != (len(data),) or not bool(((ends >= 1) & (ends <= T)).all()):
        raise ValueError(f"background's lengths must be ({len(data)},) integers from 1 to {T}, got {lengths}")
    behind = torch.arange(T, device=data.device) >= ends[:, None]
    return (behind[:, None] if time_last else behind[:, :, None]).expand_as(data)
