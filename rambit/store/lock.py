"""One writer a folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import socket
import time
from pathlib import Path

from rambit.store.atomic_files import StoreError, create, naming, read

_MAX_TEXT = 4096


class Lock:
    """The file that says which process writes a folder or a file: created exclusively, taken from the dead only.

    ``what`` stands in messages for what is locked. A writer counts as dead if its process is gone, on this start of
    this machine, or if this machine's own disk holds the file and the machine was started anew since. Where that can't
    be known (a shared disk; another container or host, even one of the same name) the lock is left alone.

    Errors: StoreError if another process holds the lock, OSError.
    """

    def __init__(self, path: Path, what: str | Path) -> None:
        self.path = path
        self.pid = os.getpid()
        owner = {"pid": self.pid, **_here(), "started": _started(self.pid)}
        self.text = json.dumps({**owner, "token": secrets.token_hex(8)}).encode()
        self._what = what
        patience = time.monotonic() + 1.0
        while True:
            try:
                fd = create(path)
            except FileExistsError:
                self._take_over(patience)
                continue
            try:
                # One write, so that the text is whole or absent.
                with naming(path), open(fd, "wb", buffering=0) as file:
                    if file.write(self.text) < len(self.text):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            self.check()
            return

    def _take_over(self, patience: float) -> None:
        """Move a dead writer's lock out of the way, or raise."""
        try:
            text = read(self.path, _MAX_TEXT)
        except FileNotFoundError:
            return
        signed = not _is_torn(text)
        if not signed and time.monotonic() < patience:
            time.sleep(0.02)  # created a moment ago: its writer either fills it now, or was killed in between
            return
        if signed and not _is_dead(text, self.path):
            raise StoreError(
                f"{self._what} is being written by another process: {text.decode(errors='replace')}. "
                f"If that process is gone, remove {self.path}"
            )
        moved = self.path.with_name(f"{self.path.name}.{secrets.token_hex(8)}.tmp")
        try:
            os.rename(self.path, moved)
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):  # a new writer may tidy up what is moved out of its way
            if read(moved, _MAX_TEXT) != text:  # another process was faster, and this is its lock
                os.replace(moved, self.path)
            else:
                os.unlink(moved)

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
                    return self.pid == os.getpid() and read(self.path, _MAX_TEXT) == self.text
                time.sleep(pause)  # another process may have moved it by mistake, and is about to put it back
        return False


def is_lock(path: Path) -> bool:
    """Whether a whole lock stands there, of whomever."""
    try:
        return {"pid", "host", "token"} <= set(json.loads(read(path, _MAX_TEXT)))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def left_by_the_dead(path: Path) -> bool:
    """Whether a file is a lock whose writer is surely gone, which a new Lock takes over."""
    try:
        text = read(path, _MAX_TEXT)
        return _is_torn(text) or _is_dead(text, path)
    except (OSError, StoreError):
        return False


def _is_torn(text: bytes) -> bool:
    """Whether this is what a kill or a power cut leaves of a lock that was being written."""
    if not text.strip(b"\0"):
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return b'{"pid": '.startswith(text[:8])
    return False


def _is_dead(text: bytes, path: Path) -> bool:
    """Whether a lock's text names a process of this machine that is surely gone."""
    try:
        owner, here = json.loads(text), _here()
        pid, boot = owner["pid"], owner.get("boot", here["boot"])
        if type(pid) is not int or pid <= 0 or owner["host"] != here["host"] or os.name != "posix":
            return False  # only POSIX has a harmless signal 0
        if boot != here["boot"]:
            return bool(boot and here["boot"]) and _is_own_disk(path)
        if owner.get("namespace", here["namespace"]) != here["namespace"]:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass
        # Where /proc tells, a later process of the same number is not taken for the one that wrote the lock.
        now, then = _started(pid), owner.get("started", "")
        return now == "dead" or bool(now and then and now != then)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, OSError):
        return False


def _here() -> dict[str, str]:
    """Which machine this is, since when it runs, and which process numbers are seen.

    Hosts may share a name, and the first namespace of every Linux has the same number; a start has one of its own.
    """
    return {"host": socket.gethostname(), "namespace": _namespace(), "boot": _boot()}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_own_disk(path: Path) -> bool:
    """Whether a disk of this machine holds the file: what others may write, too, has no block device on Linux."""
    return os.major(path.lstat().st_dev) != 0


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
