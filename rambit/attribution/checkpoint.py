"""Running sums on disk, so that a killed run goes on where it was and gives the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from rambit.game import FlipScores
from rambit.store import Store, StoreError, resume_key

#: Seconds between two writes. What was done since the last one is done again after a kill.
SAVE_EVERY = 1.0
_SUMS = ("sum", "squares", "by_draw", "draw_squares")


class Checkpoint:
    """A store of running sums, one shard for each length of series; without a folder it keeps nothing."""

    def __init__(self, store: Store | None) -> None:
        self.store = store

    @staticmethod
    def open(folder: str | Path | None, identity: Callable[[], dict[str, Any]]) -> Checkpoint:
        """Raises StoreError (a ValueError) when the folder belongs to other settings, data or another model."""
        if folder is None:
            return Checkpoint(None)
        parts = identity()
        key = resume_key(version=version("rambit"), **parts)
        hashes = {name: resume_key(part=parts[name]) for name in parts if name != "settings"}
        return Checkpoint(Store(folder, key=key, meta={**parts["settings"], **hashes, "version": version("rambit")}))

    def part(self, scores: FlipScores, length: int) -> Saved:
        """The running sums of the series of one length."""
        return Saved(self.store, scores, f"length-{length}")

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        if self.store is not None:
            self.store.close()


class Saved:
    """How far the series of one length are: the round of masks, the chunk of series, and the masks added in it."""

    def __init__(self, store: Store | None, scores: FlipScores, name: str) -> None:
        self.store, self.scores, self.name = store, scores, name
        self.reached = (0, 0, 0)
        self.earlier = (0, 0)
        self._saved_at = time.monotonic()
        if store is not None and name in store:
            tensors, meta = store.get(name)
            try:
                for sums in _SUMS:
                    getattr(scores, sums).copy_(tensors[sums])
                self.reached = (int(meta["round"]), int(meta["series"]), int(meta["distinct"]))
            except (KeyError, TypeError, ValueError, RuntimeError) as error:
                raise StoreError(f"shard {name} of the checkpoint holds no sums of these series: {error}") from error

    def added(self, number: int) -> Callable[[Any], int]:
        """How many masks of a round and a chunk of series were added before."""

        def count(series: slice) -> int:
            here, there = (number, series.start), self.reached[:2]
            return 1 << 31 if here < there else self.reached[2] if here == there else 0

        return count

    def done(self, number: int, to_host: Callable[[Tensor], Tensor]) -> Callable[[Any, int, bool], None]:
        """Called whenever masks were added; writes now and then, and always at the end of a round."""

        def save(series: slice, distinct: int, complete: bool) -> None:
            if self.store is None:
                return
            last = complete and series.stop >= len(self.scores.sum)
            if not last and time.monotonic() - self._saved_at < SAVE_EVERY:
                return
            self._saved_at = time.monotonic()
            sums = {name: to_host(getattr(self.scores, name)) for name in _SUMS}
            self.store.put(self.name, sums, {"round": number, "series": series.start, "distinct": distinct})

        return save
