"""The one place that writes result files: atomic writes, a folder of safetensors shards, and resume keys."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

_FORMAT = "rambit-store"
_VERSION = 1
_MAX_HEADER = 16 << 20
_MAX_MANIFEST = 256 << 20
_PIECE = 4 << 20  # bytes hashed at a time
_SHARD_FILE = re.compile(r"shard-[0-9a-f]{64}\.safetensors")
_LEFTOVER = re.compile(r"\.(shard-[0-9a-f]{26}|manifest\.json)\.[0-9a-f]{16}\.tmp")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class StoreError(ValueError):
    """A store or a file of one that is corrupt, held by another writer, or written for something else."""


# --- files -----------------------------------------------------------------------------------------------------------


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a kill at any moment, sees the old file or the new one, never a part.

    The folder must exist; a file (or symbolic link) of that name is replaced. Errors: OSError; nothing is left behind.
    """
    path = Path(path)
    # Hidden, of bounded length, and never an existing file's name; made by us, so that the usual umask holds.
    temporary = path.parent / f".{path.name[:32]}.{secrets.token_hex(8)}.tmp"
    try:
        with open(_create(temporary), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def _sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _read(path: Path, limit: int) -> bytes:
    """The bytes of a regular file; never follows a link, waits on a pipe or reads more than `limit` bytes."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink():
        raise StoreError(f"{path} is a symbolic link; a store holds only its own files")
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path} can't be read: {error.strerror}") from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise StoreError(f"{path} holds {status.st_size} bytes, at most {limit} are expected")
        with open(fd, "rb", closefd=False) as file:
            return file.read(status.st_size)
    finally:
        os.close(fd)


def encode(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with `tensors` (any shapes, strides and devices) and `metadata`.

    Errors: TypeError for what is not a tensor, ValueError naming a tensor that the format has no room for.
    """
    dense: dict[str, Tensor] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(f"tensors must map names to tensors, {name!r} is a {type(tensor).__name__}")
        if name == "__metadata__":
            raise ValueError("tensors can't hold '__metadata__', a name that the safetensors format reserves")
        if tensor.layout != torch.strided or tensor.device.type == "meta" or tensor.is_quantized:
            raise ValueError(f"tensor {name!r} must be dense and hold data, not {tensor.layout} on {tensor.device}")
        plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
        # The format refuses tensors that share memory; a second view of the same data is written as data of its own.
        if plain.untyped_storage().data_ptr() in storages:
            plain = plain.clone()
        storages.add(plain.untyped_storage().data_ptr())
        dense[name] = plain
    try:
        data: bytes = safetensors.torch.save(dense, None if metadata is None else dict(metadata))
    except Exception as error:
        raise ValueError(f"tensors {sorted(dense)} can't be written as safetensors: {error}") from error
    return data


def decode(data: bytes, source: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors (on the CPU) and metadata of a safetensors file's bytes. Errors: StoreError naming `source`."""
    header = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header > len(data) - 8:
        raise StoreError(f"{source} is truncated or not a safetensors file")
    if header > _MAX_HEADER:
        raise StoreError(f"{source} has a header of {header} bytes, at most {_MAX_HEADER} are expected")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
        metadata: dict[str, str] = json.loads(data[8 : 8 + header]).get("__metadata__", {})
    except Exception as error:  # whatever a hostile header makes the parser or torch raise
        raise StoreError(f"{source} is corrupt or not a safetensors file: {error}") from error
    return tensors, metadata


# --- the store -------------------------------------------------------------------------------------------------------


class _Shard(NamedTuple):
    sha256: str
    size: int
    meta: dict[str, Any]

    @property
    def file(self) -> str:
        # Named by content: never a name from the manifest, and never the same name for another version.
        return f"shard-{self.sha256}.safetensors"


class Store:
    """A folder of named sets of tensors (safetensors shards, manifest.json) that a kill at any moment leaves readable.

    `key` (see `resume_key`) says what the store belongs to; `meta` is a dict of JSON values, kept to say what differs.
    One writer: `writer.lock` holds its process and host, and a dead process's lock is taken over. `read_only=True`
    takes no lock, needs no key, and sees what the writer had finished. Use it in a `with`; it is not thread-safe.

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
        self.folder = Path(folder).absolute()
        self.read_only = read_only
        self._lock: _Lock | None = None
        self._closed = False
        self._shards: dict[str, _Shard] = {}
        meta = json_dict(meta, "meta")
        if not read_only:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise StoreError(f"{self.folder} is not a folder") from error
            self._lock = _Lock(self.folder / "writer.lock")
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
        if not _is_name(name):
            raise ValueError(f"name must be a printable relative path without '..', ':' or '\\', given {name!r}")
        data = encode(tensors)
        shard = _Shard(hashlib.sha256(data).hexdigest(), len(data), json_dict(meta, "meta"))
        atomic_write(self.folder / shard.file, data)
        lock.check()
        self._switch({**self._shards, name: shard})

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
                data = _read(path, shard.size)
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
        return decode(data, path)[0], json.loads(json.dumps(shard.meta))

    def remove(self, name: str) -> None:
        """Remove the shard `name`. Errors: KeyError if there is none, StoreError if not the writer."""
        lock = self._writer()
        shards = dict(self._shards)
        del shards[name]
        lock.check()
        self._switch(shards)

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

    def _writer(self) -> _Lock:
        if self._lock is None:
            raise StoreError(f"the store {self.folder} is {'closed' if self._closed else 'open for reading only'}")
        return self._lock

    def _switch(self, shards: dict[str, _Shard]) -> None:
        """Make `shards` the store's content, and only then remove the files that it no longer names."""
        self._write_manifest(shards)
        old, self._shards = self._shards, shards
        for file in {shard.file for shard in old.values()} - {shard.file for shard in shards.values()}:
            with contextlib.suppress(OSError):  # what can't go now (a reader on Windows) goes at the next opening
                (self.folder / file).unlink()

    def _write_manifest(self, shards: dict[str, _Shard]) -> None:
        manifest = {
            "format": _FORMAT,
            "version": _VERSION,
            "key": self.key,
            "meta": self.meta,
            "shards": {name: shard._asdict() for name, shard in shards.items()},
        }
        atomic_write(self.folder / "manifest.json", json.dumps(manifest).encode())

    def _read_manifest(self) -> tuple[str, dict[str, Any], dict[str, _Shard]]:
        path = self.folder / "manifest.json"
        data = _read(path, _MAX_MANIFEST)
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
        for file in os.listdir(self.folder):
            path = self.folder / file
            ours = _LEFTOVER.fullmatch(file) or (_SHARD_FILE.fullmatch(file) and file not in kept)
            if ours and path.is_file() and not path.is_symlink():
                path.unlink()


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


# --- one writer ------------------------------------------------------------------------------------------------------


class _Lock:
    """The file that says which process writes a folder: created exclusively, taken over from a dead process only."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pid = os.getpid()
        owner = {
            "pid": self.pid,
            "host": socket.gethostname(),
            "namespace": _namespace(),
            "started": _started(self.pid),
        }
        self.text = json.dumps({**owner, "token": secrets.token_hex(8)}).encode()
        patience = time.monotonic() + 1.0
        while True:
            try:
                fd = _create(path)
            except FileExistsError:
                self._take_over(patience)
                continue
            try:
                with open(fd, "wb", buffering=0) as file:  # one write, so that the text is whole or absent
                    file.write(self.text)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.check()
            return

    def _take_over(self, patience: float) -> None:
        """Move a dead writer's lock out of the way, or raise."""
        try:
            text = _read(self.path, 4096)
        except FileNotFoundError:
            return
        if not text and time.monotonic() < patience:
            time.sleep(0.02)  # created a moment ago: its writer either fills it now or was killed in between
            return
        if text and not _is_dead(text):
            raise StoreError(
                f"{self.path.parent} is being written by another process: {text.decode(errors='replace')}. "
                f"If that process is gone, remove {self.path}"
            )
        moved = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            os.rename(self.path, moved)
        except FileNotFoundError:
            return
        if _read(moved, 4096) != text:  # another process was faster, and this is its lock
            os.replace(moved, self.path)
        else:
            moved.unlink()

    def check(self) -> None:
        """Errors: StoreError if this process (a fork, say) does not hold the lock, or no longer does."""
        if not self._is_ours():
            raise StoreError(f"{self.path} is not this process's lock any more; nothing was changed")

    def release(self) -> None:
        if self._is_ours():
            self.path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        with contextlib.suppress(StoreError):
            for pause in (0.05, 0.0):
                with contextlib.suppress(FileNotFoundError):
                    return self.pid == os.getpid() and _read(self.path, 4096) == self.text
                time.sleep(pause)  # another process may have moved it by mistake, and is about to put it back
        return False


def _is_dead(text: bytes) -> bool:
    """Whether a lock's text names a process of this host that is surely gone."""
    try:
        owner = json.loads(text)
        pid, host = owner["pid"], owner["host"]
        here = (socket.gethostname(), _namespace())
        if type(pid) is not int or pid <= 0 or (host, owner.get("namespace", here[1])) != here or os.name != "posix":
            return False  # only POSIX has a harmless signal 0
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        # Where /proc tells, a later process of the same number is not taken for the one that wrote the lock.
        now, then = _started(pid), owner.get("started", "")
        return now == "dead" or bool(now and then and now != then)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False


def _started(pid: int) -> str:
    """When a process started, as Linux counts it; "dead" if it only waits to be reaped, "" where that is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "dead" if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError, UnicodeDecodeError):
        return ""


def _namespace() -> str:
    """Containers may share a host's name but not its process numbers."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


# --- what may be resumed ---------------------------------------------------------------------------------------------


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
