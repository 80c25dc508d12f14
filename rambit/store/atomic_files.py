"""Single files: atomic writes, guarded reads, safetensors bytes."""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import safetensors.torch
import torch
from torch import Tensor

Result = TypeVar("Result")
Build = Callable[[dict[str, Tensor], dict[str, Any]], Result]  # from tensors and a record

_MAX_HEADER = 16 << 20
#: What says that a folder can't be synced at all: file systems without that, and folders that may not be listed.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EACCES)


class StoreError(ValueError):
    """A store or a file of one that is corrupt, held by another writer, or written for something else."""


def atomic_write(path: str | Path, data: bytes) -> None:
    """Write `data` to `path` so that whoever reads it at any moment sees the old file or the new one, never a part.

    This holds after a kill and, on POSIX as far as the system's fsync reaches the disk, after a power cut; once this
    returned, it is the new one. What a kill or a cut leaves behind is a hidden file that ends in .tmp. The folder must
    exist; a file (or symbolic link) of that name is replaced. Errors: OSError naming `path`, with nothing left behind.
    """
    path = Path(path)
    # Hidden, of bounded length, and never an existing file's name; made by us, so that the usual umask holds.
    temporary = path.parent / f".{path.name[:32]}.{secrets.token_hex(8)}.tmp"
    with naming(path):
        try:
            with open(create(temporary), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the system refuses name `path`: not a temporary file, nor none, as where a disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)


def make_folder(folder: Path) -> None:
    """Make a folder and the missing ones above it, so that they survive a power cut. Errors: OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        with naming(folder):
            try:
                os.mkdir(folder)
            except FileExistsError:
                if not folder.is_dir():  # or another process was faster
                    raise
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed and removed in `folder` survive a power cut, where the system can."""
    if os.name == "posix":
        try:
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


def open_file(path: str | Path) -> BinaryIO:
    """A file that the user names, open for reading; a link is followed, but what may never end or begin is refused.

    Errors: OSError as the system says, ValueError naming a pipe or a device.
    """
    file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 (the caller closes it)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ValueError(f"{path} is not a regular file")
    return file


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def read_file(path: str | Path) -> bytes:
    """All bytes of a file that the user names. Errors: those of `open_file`, ValueError if it is larger than memory."""
    with open_file(path) as file:
        try:
            return file.read()
        except MemoryError:
            size = os.fstat(file.fileno()).st_size
            raise ValueError(f"{path} holds {size} bytes, more than there is memory for") from None


def read(path: Path, limit: int) -> bytes:
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
    except MemoryError:
        raise StoreError(f"{path} holds {status.st_size} bytes, more than there is memory for") from None
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
    header = read_header(io.BytesIO(data), source)
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except Exception as error:  # whatever a hostile header makes the parser or torch raise
        raise StoreError(f"{source} is corrupt or not a safetensors file: {error}") from error
    return tensors, header.get("__metadata__") or {}


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What `decode` makes of a safetensors file. Errors: ValueError naming the file, OSError if there is none."""
    return decode(read_file(path), path)


def load_record(path: str | Path, entry: str, what: str, build: Build[Result]) -> Result:
    """What ``build`` makes of a safetensors file's tensors, on the CPU, and of the JSON in an entry of its metadata.

    Errors: ValueError naming the file if it is corrupt or not ``what`` it should be, OSError if there is none.
    """
    tensors, metadata = load_tensors(path)
    if entry not in metadata:
        raise StoreError(f"{path} is a safetensors file, but not {what}")
    try:
        return build(tensors, json.loads(metadata[entry]))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RuntimeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise StoreError(f"{path} is corrupt or not {what}: {reason}") from error


def read_header(file: BinaryIO, source: str | Path) -> dict[str, Any]:
    """The header of a safetensors file, which then stands where its data begin. Errors: StoreError naming `source`.

    Only its size is checked, before anything is parsed: the library's own limit lets its parser take gigabytes.
    """
    size = int.from_bytes(file.read(8), "little")
    if size > _MAX_HEADER:
        limit = f"a header of {size} bytes, at most {_MAX_HEADER} are expected"
        raise StoreError(f"{source} is truncated or not a safetensors file: {limit}")
    text = file.read(size)
    if not size or len(text) < size:
        raise StoreError(f"{source} is truncated or not a safetensors file")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{source} is corrupt or not a safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise StoreError(f"{source} is corrupt or not a safetensors file: its header is no dictionary")
    return header
