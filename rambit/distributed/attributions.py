"""Scores of many series, read from their folder as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rambit.distributed.ledger import COUNTS, SUMMARY, TENSORS, read_summary, span, tiled
from rambit.results import Attribution
from rambit.store import Store, StoreError


class Attributions:
    """The scores of many series in a folder that ``attribute_many`` filled; at most one shard is held in memory.

    ``results[5]`` and ``results[100:200]`` are Attributions of those series (one or more; always with a batch axis),
    ``len(results)`` their number, ``results.shards()`` all of them in order, ``results.to_numpy()`` one array.
    ``settings``, ``seed``, ``rows``, ``row_steps`` and ``seconds`` (of all workers, added up) are the whole run's.
    Every read checks the shard's SHA-256.

    Errors: StoreError (a ValueError) if the folder holds no finished run, or a file of it is corrupt.
    """

    def __init__(self, folder: str | Path) -> None:
        self.store = Store(folder, read_only=True)
        summary = read_summary(self.store)
        if summary["series"] is None:
            done = len(self.store.names()) - 1
            raise StoreError(f"{folder} holds an unfinished run of {done} shards so far; call attribute_many again")
        if tiled(self.store) != summary["series"]:
            raise StoreError(f"{folder} is corrupt: its shards are not of {summary['series']} series")
        self.settings: dict[str, Any] = {name: v for name, v in summary["settings"].items() if name != "seed"}
        self.seed: int = summary["settings"]["seed"]
        self._names = sorted(name for name in self.store.names() if name != SUMMARY)
        self._spans = np.array([span(name, self.store.folder) for name in self._names])
        counts = [self._counts(name) for name in self._names]
        self.rows: int = sum(count["rows"] for count in counts)
        self.row_steps: int = sum(count["row_steps"] for count in counts)
        self.seconds: float = sum(count["seconds"] for count in counts)
        self._like: tuple[tuple[int, ...], torch.dtype] | None = None
        self._held: tuple[int, Attribution] | None = None

    def __len__(self) -> int:
        return int(self._spans[-1, 1])

    def __repr__(self) -> str:
        return f"Attributions({str(self.store.folder)!r}, {len(self)} series, {len(self._names)} shards)"

    def __getitem__(self, which: int | slice) -> Attribution:
        """Of a series or a slice of them. ``rows``, ``row_steps`` and ``seconds`` are those of the shards read."""
        if isinstance(which, slice):
            indices: Sequence[int] = range(*which.indices(len(self)))
        else:
            if not -len(self) <= which < len(self):
                raise IndexError(f"series must be {-len(self)} to {len(self) - 1}, given {which}")
            indices = [which % len(self)]
        if not indices:
            raise IndexError(f"{which} of {len(self)} series is none")
        parts = [
            _take(self._shard(shard), [place - int(self._spans[shard, 0]) for place in of])
            for shard, of in groupby(indices, key=self._shard_of)
        ]
        return _joined(parts)

    def shards(self) -> Iterator[Attribution]:
        """All series in order, a shard at a time."""
        for i in range(len(self._names)):
            yield self._shard(i)

    def to_numpy(self) -> np.ndarray[Any, np.dtype[Any]]:
        """All values as one array, in memory."""
        out: np.ndarray[Any, np.dtype[Any]] | None = None
        for (start, stop), part in zip(self._spans, self.shards(), strict=True):
            values = part.to_numpy()
            if out is None:
                out = np.empty((len(self), *values.shape[1:]), values.dtype)
            out[start:stop] = values
        assert out is not None
        return out

    def _shard_of(self, place: int) -> int:
        return int(np.searchsorted(self._spans[:, 1], place, side="right"))

    def _shard(self, i: int) -> Attribution:
        if self._held is None or self._held[0] != i:
            self._held = i, self._read(i)
        return self._held[1]

    def _counts(self, name: str) -> dict[str, Any]:
        """What a shard took, from the manifest."""
        meta = self.store.info(name)
        if any(type(meta.get(field)) is not kind for field, kind in COUNTS.items()):
            raise StoreError(
                f"{self.store.folder}: the shard {name!r} lacks {', '.join(COUNTS)}, or they are no numbers"
            )
        return {field: meta[field] for field in COUNTS}

    def _read(self, i: int) -> Attribution:
        """One shard, with everything about it checked: a hash only says that it is what a writer wrote."""
        name, (start, stop) = self._names[i], self._spans[i]
        tensors, _ = self.store.get(name)
        for field, tensor in tensors.items():
            if field not in TENSORS or not tensor.ndim or len(tensor) != stop - start:
                raise StoreError(f"{self.store.folder}: the shard {name!r} has {field!r} {tuple(tensor.shape)}")
            whole, booleans = field in ("lengths", "ids", "target"), field == "evaluated"
            wrong = tensor.is_floating_point() == (whole or booleans) or (tensor.dtype == torch.bool) != booleans
            if wrong or tensor.is_complex():
                raise StoreError(f"{self.store.folder}: the shard {name!r} has {field!r} of {tensor.dtype}")
        if "values" not in tensors:
            raise StoreError(f"{self.store.folder}: the shard {name!r} has no 'values'")
        like = tuple(tensors["values"].shape[1:]), tensors["values"].dtype
        self._like = self._like or like
        if like != self._like:
            raise StoreError(f"{self.store.folder}: the shard {name!r} has another shape or dtype than others: {like}")
        fields: dict[str, Any] = {"stderr": None, **tensors, **self._counts(name)}
        try:
            return Attribution(settings=dict(self.settings), seed=self.seed, **fields)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{self.store.folder}: the shard {name!r} is corrupt: {error}") from error


def _take(part: Attribution, indices: list[int]) -> Attribution:
    """Some series of a shard, by their indices in it."""
    found = {name: getattr(part, name) for name in TENSORS}
    taken: dict[str, Any] = {name: None if tensor is None else tensor[indices] for name, tensor in found.items()}
    return replace(part, **taken)


def _joined(parts: list[Attribution]) -> Attribution:
    """Several attributions of one run as one."""

    def all_of(name: str) -> Any:
        tensors = [getattr(part, name) for part in parts]
        if name == "evaluated" and any(tensor is not None for tensor in tensors):  # where one has none, all were
            every = [torch.ones_like(part.values, dtype=torch.bool) for part in parts]
            tensors = [all_ if tensor is None else tensor for tensor, all_ in zip(tensors, every, strict=True)]
        return None if any(tensor is None for tensor in tensors) else torch.cat(tensors)

    tensors: dict[str, Any] = {name: all_of(name) for name in TENSORS}
    return replace(
        parts[0],
        **tensors,
        rows=sum(part.rows for part in parts),
        row_steps=sum(part.row_steps for part in parts),
        seconds=sum(part.seconds for part in parts),
        mode=", ".join(dict.fromkeys(part.mode for part in parts)),
    )
