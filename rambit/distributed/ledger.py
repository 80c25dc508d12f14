"""What is finished: a store with one shard for each piece of the input, and a summary."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from rambit.attribution.attributor import Attributor
from rambit.distributed.pieces import Piece, shard_name
from rambit.masks import Explicit
from rambit.store import Store, StoreError, decode, encode, resume_key

#: The shard that holds the settings, and the number of series once all of them are finished.
SUMMARY = "summary"
#: What an Attribution holds that has an entry for each series, and what it counts.
TENSORS = ("values", "stderr", "freedom", "lengths", "ids", "windows", "evaluated", "target", "outputs")
COUNTS = {"rows": int, "row_steps": int, "seconds": float, "mode": str}
_NAME = re.compile(r"(\d{12})-(\d{12})")


@dataclass(frozen=True)
class Finished:
    """The scores of one piece: its shard's name, tensors and meta, and the settings that all shards share."""

    name: str
    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    settings: dict[str, Any]

    def pack(self) -> bytes:
        """For another process; ``unpack`` is the way back."""
        record = {"name": self.name, "meta": self.meta, "settings": self.settings}
        return encode(self.tensors, {"record": json.dumps(record)})

    @staticmethod
    def unpack(data: bytes) -> Finished:
        tensors, metadata = decode(data, "a worker's output")
        return Finished(tensors=tensors, **json.loads(metadata["record"]))


def explain(attributor: Attributor, piece: Piece) -> Finished:
    """The one place that explains: a piece is one call of ``explain``, whichever process makes it."""
    result = attributor.explain(**piece.call(), keep_input=False)  # the input is there, and may be large
    found = {name: getattr(result, name) for name in TENSORS}
    counts = {name: getattr(result, name) for name in COUNTS}
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    settings = {**result.settings, "seed": result.seed}
    if "target" in piece.arguments:  # which may differ between series, and stands among the tensors
        settings.pop("target", None)
    return Finished(piece.name, tensors, {"input": piece.digest(), **counts}, settings)


class Ledger:
    """The one writer of a folder of shards. A shard counts once its manifest entry and its SHA-256 hold.

    Errors: StoreError when another process writes the folder, or when it was written by another model or settings.
    """

    def __init__(self, folder: str | Path, attributor: Attributor, shard_size: int | str) -> None:
        parts = _identity(attributor, shard_size)
        key = resume_key(version=version("rambit"), **parts)
        hashes = {name: resume_key(part=parts[name]) for name in parts if name != "settings"}
        self.store = Store(folder, key=key, meta={**parts["settings"], **hashes, "version": version("rambit")})
        try:
            self.inputs = self._whole_shards()
        except BaseException:
            self.store.close()
            raise

    def _whole_shards(self) -> dict[str, str]:
        """The digest of the input of each finished shard; one whose file is lost or altered is not finished."""
        inputs: dict[str, str] = {}
        for name in [name for name in self.store.names() if name != SUMMARY]:
            span(name, self.store.folder)
            try:
                inputs[name] = str(self.store.get(name)[1].get("input"))
            except StoreError:
                self.store.remove(name)
        return inputs

    @property
    def series(self) -> int | None:
        """How many series there are, once all are finished."""
        return read_summary(self.store)["series"] if SUMMARY in self.store else None

    def add(self, done: Finished) -> None:
        """Write one shard, atomically."""
        if SUMMARY not in self.store:  # before the first shard, so that no store has shards without their settings
            self.store.put(SUMMARY, {}, {"settings": done.settings, "series": None})
        self.store.put(done.name, done.tensors, done.meta)
        self.inputs[done.name] = done.meta["input"]

    def finish(self, series: int) -> None:
        """Note that the input ended after so many series. Raises StoreError if the store holds others too."""
        held = tiled(self.store)
        if held != series:
            raise StoreError(f"{self.store.folder} holds scores of {held} series, but the input has {series}")
        if self.series is None:
            self.store.put(SUMMARY, {}, {**read_summary(self.store), "series": series})

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.close()


class Pending:
    """The pieces that are not finished yet; the others are compared with what was explained.

    ``inputs``: digests by name. ``series``: the number of series, where it is known. ``seen``: the series so far.
    Errors: StoreError naming the series that are not those of the finished run.
    """

    def __init__(self, pieces: Iterator[Piece], inputs: Mapping[str, str], series: int | None) -> None:
        self.pieces, self.inputs, self.series = pieces, inputs, series
        self.seen = 0

    def __iter__(self) -> Iterator[Piece]:
        for piece in self.pieces:
            self.seen = piece.stop
            where = f"series {piece.start} to {piece.stop - 1} of the input"
            if self.series is not None and piece.stop > self.series:
                raise StoreError(f"{where}: the store was finished with {self.series} series; use another folder")
            if piece.name not in self.inputs:
                yield piece
            elif self.inputs[piece.name] != piece.digest():
                raise StoreError(f"{where} are not those that the store holds scores of; use another folder")


def span(name: str, folder: Path) -> tuple[int, int]:
    """The series start … stop - 1 that a shard is named for. Raises StoreError for any other name."""
    found = _NAME.fullmatch(name)
    start, stop = (int(found[1]), int(found[2])) if found else (0, 0)
    if start >= stop or shard_name(start, stop) != name:
        raise StoreError(f"{folder} is no store of many attributions: it has the shard {name!r}")
    return start, stop


def tiled(store: Store) -> int:
    """How many series the shards cover from 0 on. Raises StoreError where they leave a gap or overlap."""
    end = 0
    for name in sorted(name for name in store.names() if name != SUMMARY):
        start, stop = span(name, store.folder)
        if start != end:
            raise StoreError(f"{store.folder} is corrupt: the shard {name!r} does not begin at series {end}")
        end = stop
    return end


def read_summary(store: Store) -> dict[str, Any]:
    """Settings and number of series. Raises StoreError if they are not what ``Ledger`` writes."""
    meta = store.info(SUMMARY) if SUMMARY in store else {}
    series = meta.get("series")
    settings = meta.get("settings")
    sound = isinstance(settings, dict) and type(settings.get("seed")) is int
    if not sound or not (series is None or (type(series) is int and series > 0)):
        raise StoreError(f"{store.folder} is no store of many attributions, or its summary is corrupt")
    return {"settings": settings, "series": series}


def _identity(attributor: Attributor, shard_size: int | str) -> dict[str, Any]:
    """What a resumed run must find unchanged, but for the input, which each shard notes."""
    how = {name: getattr(attributor, name) for name in ("seed", "evaluation", "batch_size", "max_memory")}
    masks = getattr(attributor, "masks", None)
    return {
        "settings": {**attributor.settings(), **how, "shard_size": shard_size},
        "masks": masks.masks if isinstance(masks, Explicit) else None,
        "values": attributor.strategy.tensors(),
        "background": attributor.background,
        "model": attributor.predictor.fingerprint(),
    }
