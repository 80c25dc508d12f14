"""What is printed never stops the work, and never reaches the terminal as anything but text. Imports nothing slow."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rambit.text import shortened

__all__ = ["Stream", "guarded", "plain", "shortened"]


class Stream:
    """A text stream that an error closes for good: what is printed from then on is dropped, and ``error`` says why."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream: Any = io.StringIO() if stream is None else stream  # None where it was closed before we began
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """The length of the text, whether it was printed or not."""
        self._try(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Print what is held back."""
        self._try(self._stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.error is None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, call: Any, *text: str) -> None:
        if self.error is not None:
            return
        try:
            call(*text)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.error = error
            with contextlib.suppress(OSError, ValueError, AttributeError):  # so that what it holds back fails no more
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)


@contextmanager
def guarded() -> Iterator[tuple[Stream, Stream]]:
    """Standard output and error as streams that stop nothing; a character that they lack is printed as its escape."""
    for number in (0, 1, 2):
        _keep_open(number)
    before = sys.stdout, sys.stderr
    styles = [getattr(stream, "errors", None) for stream in before]
    for stream in before:
        _reconfigure(stream, "backslashreplace")
    out, err = Stream(before[0]), Stream(before[1])
    sys.stdout, sys.stderr = out, err
    try:
        yield out, err
    finally:
        for stream in (out, err):
            stream.flush()
        sys.stdout, sys.stderr = before
        for stream, style in zip(before, styles, strict=True):
            _reconfigure(stream, style)


def _keep_open(number: int) -> None:
    """Or the next file that is opened takes the place of what is closed, and gets what is printed there."""
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def _reconfigure(stream: Any, errors: str | None) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.reconfigure(errors=errors)


def plain(text: str) -> str:
    """The text in one line, in which what is no printable character (an escape of a terminal, say) is escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
