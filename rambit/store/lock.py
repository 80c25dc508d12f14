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

from rambit.store.files import StoreError, create, naming, read


class Lock:
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
            text = read(self.path, 4096)
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
        if read(moved, 4096) != text:  # another process was faster, and this is its lock
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
                    return self.pid == os.getpid() and read(self.path, 4096) == self.text
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
