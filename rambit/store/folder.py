"""A folder of shards and a manifest."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from torch import Tensor

from rambit.store.atomic_files import StoreError, atomic_write, decode, encode, make_folder, read, sync_folder
from rambit.store.lock import Lock, left_by_the_dead

_FORMAT = "rambit-store"
_VERSION = 1
_MAX_MANIFEST = 256 << 20
_SHARD_FILE = re.compile(r"shard-[0-9a-f]{64}\.safetensors")
_LEFTOVER = re.compile(r"\.(shard-[0-9a-f]{26}|manifest\.json)\.[0-9a-f]{16}\.tmp")
_MOVED_LOCK = re.compile(r"writer\.lock\.[0-9a-f]{16}\.tmp")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Shard(NamedTuple):
    sha256: str
    size: int
    meta: dict[str, Any]

    @property
    def file(self) -> str:
        # Named by content: never a name from the manifest, and never the same name for another version.
        return f"shard-{self.sha256}.safetensors"


class Store:
    """A folder of named sets of tensors (safetensors shards, manifest.json) that is readable and whole at any moment.

    Whoever reads it, after a kill or a power cut too (as far as the system's fsync reaches the disk), finds what was
    there after the last ``put`` or ``remove`` that returned, or after the one that was under way: never a part of one,
    nor a shard without its bytes. The next writer removes the files that a kill or a cut left.

    `key` (see `resume_key`) says what the store belongs to; `meta` is a dict of JSON values, kept to say what differs.
    One writer: `writer.lock` holds its process and machine; a lock is taken over from a process that is surely dead
    (see ``Lock``), else the error names it. `read_only=True` takes no lock, needs no key, and sees what the writer had
    finished. Use it in a `with`; it is not thread-safe.

    Errors: StoreError when another writer holds the folder, another key wrote it, or a file of it is corrupt.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
        read_only: bool = False,
    ) -> None:
        if not (isinstance(key, str) and key) and not (read_only and key is None):
            raise ValueError(f"key must be a string that is not empty (or None with read_only=True), given {key!r}")
        if not str(folder).strip():
            raise ValueError(f"folder must name a folder, given {str(folder)!r}")
        self.folder = Path(folder).absolute()
        self.read_only = read_only
        self._lock: Lock | None = None
        self._closed = False
        self._shards: dict[str, _Shard] = {}
        meta = json_dict(meta, "meta")
        if not read_only:
            try:
                make_folder(self.folder)
            except (FileExistsError, NotADirectoryError) as error:
                raise StoreError(f"{self.folder} is not a folder") from error
            self._lock = Lock(self.folder / "writer.lock", self.folder)
        try:
            self.key, self.meta = self._open(key, meta)
        except BaseException:
            self.close()
            raise

    def _open(self, key: str | None, meta: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        try:
            found_key, found_meta, self._shards = self._read_manifest()
        except FileNotFoundError:
            if self.read_only or key is None:
                raise StoreError(f"{self.folder} holds no store: there is no manifest.json") from None
            self.key, self.meta = key, meta
            self._write_manifest({})
            return key, meta
        if key not in (None, found_key):
            lines = _differences(found_meta, meta) or ["every recorded setting agrees, so the data or the model differ"]
            raise StoreError(
                f"the checkpoint {self.folder} was written for other settings, data or model: {'; '.join(lines)}. "
                "Use another folder, or remove this one"
            )
        if not self.read_only:
            self._remove_leftovers()
        return found_key, found_meta

    def put(self, name: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
        """Add or replace the shard `name` (like a relative path: "a", "a/b.png") in one atomic step.

        Errors: ValueError or TypeError for a name, tensors or meta that can't be stored, StoreError if not the writer.
        """
        lock = self._writer()
        self.check_name(name)
        data = encode(tensors)
        shard = _Shard(hashlib.sha256(data).hexdigest(), len(data), json_dict(meta, "meta"))
        atomic_write(self.folder / shard.file, data)
        lock.check()
        self._switch({**self._shards, name: shard})

    @staticmethod
    def check_name(name: str) -> None:
        """Raise ValueError for a name that `put` refuses."""
        if not _is_name(name):
            raise ValueError(f"name must be a printable relative path without '..', ':' or '\\', given {name!r}")

    def get(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors (on the CPU) and meta of the shard `name`.

        Errors: KeyError if there is none, StoreError if its file is missing, truncated or altered.
        """
        if self._closed:
            raise StoreError(f"the store {self.folder} is closed")
        while True:
            shard = self._shards[name]
            path = self.folder / shard.file
            try:
                data = read(path, shard.size)
                break
            except FileNotFoundError:
                # A reader's manifest may be older than a writer's last step; with a newer one there is a newer file.
                if self.read_only:
                    self._shards = self._read_manifest()[2]
                    if self._shards.get(name) != shard:
                        continue
                raise StoreError(f"{path}, the shard {name!r}, is missing") from None
        if len(data) != shard.size or hashlib.sha256(data).hexdigest() != shard.sha256:
            raise StoreError(f"{path}, the shard {name!r}, is truncated or altered: its size or SHA-256 differs")
        return decode(data, path)[0], self.info(name)

    def info(self, name: str) -> dict[str, Any]:
        """The meta of the shard `name`, from the manifest alone. Errors: KeyError if there is none."""
        meta: dict[str, Any] = json.loads(json.dumps(self._shards[name].meta))
        return meta

    def remove(self, name: str) -> None:
        """Remove the shard `name`. Errors: KeyError if there is none, StoreError if not the writer."""
        lock = self._writer()
        shards = dict(self._shards)
        del shards[name]
        lock.check()
        self._switch(shards)

    def discard_if_empty(self) -> None:
        """Remove the manifest if there is no shard: the folder then belongs to nothing. Errors: StoreError, OSError."""
        lock = self._writer()
        if not self._shards:
            lock.check()
            os.unlink(self.folder / "manifest.json")
            self.close()

    def names(self) -> list[str]:
        """The names of all shards, in the order in which they were first put."""
        return list(self._shards)

    def __contains__(self, name: object) -> bool:
        return name in self._shards

    def close(self) -> None:
        """Give the lock back; a closed store can't be read or written."""
        self._closed = True
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "read-only" if self.read_only else "writer"
        return f"Store({str(self.folder)!r}, {len(self._shards)} shards, {state})"

    def _writer(self) -> Lock:
        if self._lock is None:
            raise StoreError(f"the store {self.folder} is {'closed' if self._closed else 'open for reading only'}")
        return self._lock

    def _switch(self, shards: dict[str, _Shard]) -> None:
        """Make `shards` the store's content, and only then remove the files that it no longer names."""
        self._write_manifest(shards)
        old, self._shards = self._shards, shards
        for file in {shard.file for shard in old.values()} - {shard.file for shard in shards.values()}:
            with contextlib.suppress(OSError):  # what can't go now (a reader on Windows) goes at the next opening
                os.unlink(self.folder / file)

    def _write_manifest(self, shards: dict[str, _Shard]) -> None:
        manifest = {
            "format": _FORMAT,
            "version": _VERSION,
            "key": self.key,
            "meta": self.meta,
            "shards": {name: shard._asdict() for name, shard in shards.items()},
        }
        data = json.dumps(manifest).encode()
        if len(data) > _MAX_MANIFEST:  # or nobody could open the store again
            raise StoreError(
                f"{self.folder} is full: with {len(shards)} shards its manifest has {len(data)} bytes, "
                f"at most {_MAX_MANIFEST} are allowed; use larger shards"
            )
        atomic_write(self.folder / "manifest.json", data)

    def _read_manifest(self) -> tuple[str, dict[str, Any], dict[str, _Shard]]:
        path = self.folder / "manifest.json"
        data = read(path, _MAX_MANIFEST)
        try:
            manifest = json.loads(data)
            key, meta, version = manifest["key"], manifest["meta"], manifest["version"]
            shards = {name: _Shard(**entry) for name, entry in manifest["shards"].items()}
            sound = manifest["format"] == _FORMAT and isinstance(key, str) and isinstance(meta, dict)
        except Exception as error:  # bad UTF-8, bad JSON, other types, missing or unknown entries, too deep a nesting
            raise StoreError(f"{path} is corrupt or not a rambit manifest: {error!r}") from error
        if not sound:
            raise StoreError(f"{path} is corrupt or not a rambit manifest")
        if version != _VERSION:
            raise StoreError(f"{path} has version {version!r}, this rambit reads version {_VERSION}")
        for name, shard in shards.items():
            if not _is_name(name) or not _is_sound(shard):
                raise StoreError(f"{path} is corrupt: the entry {name!r} has a bad name, size, SHA-256 or meta")
        return key, meta, shards

    def _remove_leftovers(self) -> None:
        """Remove what a killed writer left: temporary files and shards that the manifest does not name."""
        kept = {shard.file for shard in self._shards.values()}
        found = [
            self.folder / file
            for file in os.listdir(self.folder)
            if _LEFTOVER.fullmatch(file)
            or (_SHARD_FILE.fullmatch(file) and file not in kept)
            or (_MOVED_LOCK.fullmatch(file) and left_by_the_dead(self.folder / file))
        ]
        if found:  # an older manifest, which names them, must not come back after a power cut
            sync_folder(self.folder)
        for path in found:
            if path.is_file() and not path.is_symlink():
                os.unlink(path)


def _is_name(name: object) -> bool:
    """Names are never paths here, but whoever exports a store may make paths of them."""
    return (
        isinstance(name, str)
        and len(name) <= 1000
        and name.isprintable()
        and not set(name) & set("\\:")
        and not any(part in ("", ".", "..") for part in name.split("/"))
    )


def _is_sound(shard: _Shard) -> bool:
    return (
        isinstance(shard.sha256, str)
        and _SHA256.fullmatch(shard.sha256) is not None
        and type(shard.size) is int
        and shard.size >= 8
        and isinstance(shard.meta, dict)
    )


def json_dict(meta: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    """A copy of `meta` as JSON will give it back (tuples become lists). Errors: TypeError naming `what` and its key."""
    if not isinstance(meta, Mapping | None):
        raise TypeError(f"{what} must be a dict of JSON values, given {type(meta).__name__}")
    plain: dict[str, Any] = {}
    for name, value in (meta or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"{what} must have strings for keys, given {name!r}")
        try:
            plain[name] = json.loads(json.dumps(value))
        except (TypeError, ValueError) as error:
            raise TypeError(f"{what}[{name!r}] must be a JSON value, given {_short(value)}: {error}") from error
    return plain


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> list[str]:
    """One line for every setting in which two dicts of JSON values differ."""
    lines: list[str] = []
    for name in dict.fromkeys([*there, *here]):
        old, new = there.get(name, _ABSENT), here.get(name, _ABSENT)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += _differences(old, new, f"{prefix}{name}.")
        elif repr(old) != repr(new):  # repr tells 1 from 1.0 and True, and takes NaN as equal to itself
            lines.append(f"{prefix}{name} is {_short(old)} there and {_short(new)} here")
    return lines


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT = _Absent()


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
