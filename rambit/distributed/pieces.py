"""From batches of any size to pieces of a fixed one, so that nothing depends on how the input was batched."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import arrays
from rambit.attribution.batch import observations
from rambit.checks import count
from rambit.output_names import are_names, numbers_of
from rambit.predictors.extra import read_extra, split
from rambit.store import decode, encode, resume_key

#: What ``shard_size="auto"`` takes: at most so many series, and at most so many bytes of them.
AUTO_SERIES, AUTO_BYTES = 256, 16 << 20
#: The arguments of ``explain`` that have an entry for each series, with the largest value of those that are integers.
SERIES_ARGUMENTS = {"ids": 2**32 - 1, "target": 2**31 - 1, "lengths": None, "observed": None}
#: How the names of extra inputs begin in a piece.
EXTRA = "extra."


@dataclass(frozen=True)
class Piece:
    """Series start … stop - 1 of the whole input, as the arguments of one call of ``explain``."""

    start: int
    arguments: dict[str, Tensor]

    @property
    def stop(self) -> int:
        return self.start + len(self.arguments["X"])

    @property
    def name(self) -> str:
        """The name of its shard; names sort as the pieces do."""
        return shard_name(self.start, self.stop)

    def call(self) -> dict[str, Any]:
        """The arguments of ``explain``."""
        extra = {name.removeprefix(EXTRA): value for name, value in self.arguments.items() if name.startswith(EXTRA)}
        rest = {name: value for name, value in self.arguments.items() if not name.startswith(EXTRA)}
        by_place, by_name = split(extra)
        return {**rest, "extra": tuple(by_place) or by_name} if extra else rest

    def digest(self) -> str:
        """SHA-256 of everything in it: the same for the same series, however they were batched."""
        return resume_key(**self.arguments)

    def pack(self) -> bytes:
        """For another process; ``unpack`` is the way back."""
        return encode(self.arguments, {"start": json.dumps(self.start)})

    @staticmethod
    def unpack(data: bytes) -> Piece:
        arguments, metadata = decode(data, "a piece of the input")
        return Piece(json.loads(metadata["start"]), arguments)


def shard_name(start: int, stop: int) -> str:
    """Names of shards, in the order of their series when sorted."""
    return f"{start:012d}-{stop:012d}"


def check_size(shard_size: int | str) -> None:
    """A number of series, or "auto"; ValueError or TypeError otherwise."""
    if shard_size != "auto":
        count("shard_size", shard_size)


def read_targets(target: Any, names: Sequence[str]) -> Tensor | None:
    """(1,) or (1, 2): the output of all series; (N,) or (N, 2): of each. ``names``: the model's of its outputs.

    Raises TypeError or ValueError naming the argument.
    """
    if target is None:
        return None
    if callable(target):
        raise TypeError("target must be an output, or one for each series: explain takes functions, of one batch")
    given = numbers_of("target", target, names) if are_names(target) else target
    one = not isinstance(given, (list, tuple)) and np.ndim(given) == 0
    pair = isinstance(given, tuple) and len(given) == 2 and not any(np.ndim(part) for part in given)
    read = arrays.whole("target", [given] if one or pair else given, holds="integers")
    if read.ndim not in (1, 2) or read.shape[1:] not in ((), (2,)) or not len(read):
        raise ValueError(f"target must be one output, (N,), or (N, 2) of forecasts, got {tuple(read.shape)}")
    return arrays.integers("target", read.flatten(), read.numel(), 0, 2**31 - 1).view(read.shape)


def pieces(data: Iterable[Any], size: int | str, layout: str, outputs: Tensor | None = None) -> Iterator[Piece]:
    """The series of all batches, ``size`` in a piece and the rest in the last one. ``layout``: their axes.

    ``outputs``: what ``read_targets`` gave. Never holds more than a piece and a batch. Raises TypeError or ValueError
    naming the batch and what is wrong.
    """
    held: deque[dict[str, Tensor]] = deque()
    seen = waiting = start = wanted = 0
    first: dict[str, Tensor] | None = None
    for number, batch in enumerate(data):
        given = _read(batch, number, layout)
        if outputs is not None:
            given["target"] = _target_of(given, number, outputs, seen)
        seen += len(given["X"])
        if first is None:
            first = {name: value[:0] for name, value in given.items()}
            wanted = size if isinstance(size, int) else _auto(given["X"])
        _check_like(given, first, number)
        held.append(given)
        waiting += len(given["X"])
        while waiting >= wanted:
            yield _cut(held, start, wanted)
            start, waiting = start + wanted, waiting - wanted
    if waiting:
        yield _cut(held, start, waiting)
    if first is None:
        raise ValueError("data is empty: it gave no batch")
    if outputs is not None and len(outputs) not in (1, seen):
        raise ValueError(f"target has {len(outputs)} outputs, for {seen} series")


def _target_of(given: dict[str, Tensor], number: int, outputs: Tensor, seen: int) -> Tensor:
    """The outputs of a batch's series, of which so many were ``seen`` before. Raises ValueError."""
    if "target" in given:
        raise ValueError(f"batch {number} has a target, and target was given too: leave one out")
    B = len(given["X"])
    if len(outputs) == 1:
        return outputs.expand(B, *outputs.shape[1:])
    if seen + B > len(outputs):
        raise ValueError(f"target has {len(outputs)} outputs, and batch {number} ends with series {seen + B - 1}")
    return outputs[seen : seen + B]


def _auto(x: Tensor) -> int:
    return max(1, min(AUTO_SERIES, AUTO_BYTES // (x[0].numel() * x.element_size())))


def _read(batch: Any, number: int, layout: str) -> dict[str, Tensor]:
    """One batch as arguments of ``explain``, on the CPU."""
    if isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    given = dict(batch) if isinstance(batch, Mapping) else {"X": batch}
    extra = given.pop("extra", None)
    unknown = given.keys() - {"X", *SERIES_ARGUMENTS}
    if unknown or "X" not in given:
        raise ValueError(
            f"batch {number} must have X and may have {', '.join(SERIES_ARGUMENTS)}, extra; "
            f"it has {', '.join(map(str, given))}"
        )
    x = given.pop("X")
    if not arrays.is_array(x) and not isinstance(x, (list, tuple)):
        raise TypeError(f"batch {number} must be a tensor, a tuple that starts with one, or a dict with X, got {x!r}")
    x, masked = arrays.read(f"batch {number}: X", x)
    axes = "(B, D, T)" if layout == "BDT" else "(B, T, D)"
    if x.ndim != 3 or not x.numel() or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"batch {number}: X must be {axes} of float32 or float64, got {x.dtype} {tuple(x.shape)}")
    try:
        beside = read_extra(extra, len(x), torch.device("cpu"))
    except (TypeError, ValueError) as error:
        raise type(error)(f"batch {number}: {error}") from None
    arguments = {"X": x.cpu(), **{EXTRA + name: value for name, value in beside.items()}}
    for name, largest in SERIES_ARGUMENTS.items():
        value = given.get(name)
        if name == "observed":
            seen = observations(f"batch {number}: {name}", value, masked, x.shape)
            arguments |= {} if seen is None else {name: seen.cpu()}
        elif value is not None:
            low, high = (1, x.shape[2 if layout == "BDT" else 1]) if largest is None else (0, largest)
            arguments[name] = arrays.integers(f"batch {number}: {name}", value, len(x), low, high)
    return arguments


def _check_like(given: dict[str, Tensor], first: dict[str, Tensor], number: int) -> None:
    """All batches must be of one kind; only ``observed`` may come and go."""
    extras = {name for name in (*given, *first) if name.startswith(EXTRA)}
    for name in ("ids", "target", "lengths", *sorted(extras)):
        if (name in given) != (name in first):
            raise ValueError(
                f"batch {number} {'has' if name in given else 'lacks'} {name}, unlike batch 0: all or none"
            )
    for name in sorted(extras):
        value, like = given[name], first[name]
        if value.shape[1:] != like.shape[1:] or value.dtype != like.dtype:
            raise ValueError(
                f"batch {number}: {name} is {value.dtype} {tuple(value.shape)}, unlike batch 0, {like.dtype} "
                f"{('*', *like.shape[1:])}"
            )
    x, like = given["X"], first["X"]
    if x.shape[1:] != like.shape[1:] or x.dtype != like.dtype:
        raise ValueError(
            f"batch {number}: X is {x.dtype} {tuple(x.shape)}, unlike batch 0, {like.dtype} (*, {like.shape[1]}, "
            f"{like.shape[2]}); pad shorter series and pass lengths"
        )


def _cut(held: deque[dict[str, Tensor]], start: int, size: int) -> Piece:
    """The next ``size`` series that are held, as a piece."""
    parts: list[dict[str, Tensor]] = []
    missing = size
    while missing:
        batch = held.popleft()
        parts.append({name: value[:missing] for name, value in batch.items()})
        if len(batch["X"]) > missing:
            held.appendleft({name: value[missing:] for name, value in batch.items()})
        missing -= len(parts[-1]["X"])
    if any("observed" in part for part in parts):
        for part in parts:
            part.setdefault("observed", torch.ones_like(part["X"], dtype=torch.bool))
    arguments = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    # One form for one meaning, so that neither the batches nor an idle argument change what a piece is.
    if "observed" in arguments and bool(arguments["observed"].all()):
        del arguments["observed"]
    arguments.setdefault("ids", torch.arange(start, start + size))
    return Piece(start, arguments)
