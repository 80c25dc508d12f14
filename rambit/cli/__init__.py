"""The command line: ``rambit COMMAND``, a module of this package for each command."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rambit.cli.terminal import Stream, guarded, plain, shortened

if TYPE_CHECKING:
    from rambit.cli.common import Parser

__all__ = ["main"]

#: Modules of this package. Only the one that is called is imported: some take a second.
COMMANDS = (
    "demo",
    "train",
    "attribute",
    "cost",
    "compare",
    "rex",
    "select",
    "suffice",
    "plot",
    "report",
    "export",
    "info",
)
#: Commands of before -> where they are now.
MOVED = {"study": "python -m studies.masks, in a copy of the sources"}
#: Errors whose message says by itself what is wrong. RuntimeError: PredictionError, and whatever torch refuses.
SAID = (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError, SyntaxError)
EPILOG = """\
start here:  rambit demo
each command has examples:  rambit attribute --help

A command that fails prints one line and exits with 2. With RAMBIT_TRACEBACK=1 in the environment it prints
Python's traceback as well, which helps whoever reads a bug report.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 after an error (one line on stderr), 130 when interrupted.

    Trouble with printing fails no command that has written its files: a line on stderr says so. What only prints fails.
    """
    args = argparse.Namespace()
    with guarded() as (out, _), _Interrupts(exits=argv is None) as interrupts:
        try:
            status = _status(sys.argv[1:] if argv is None else argv, args, interrupts)
        except KeyboardInterrupt:
            status = 130
        except BaseException as error:
            status = 130 if interrupts.seen else 2
            if status == 2 and os.environ.get("RAMBIT_TRACEBACK") and isinstance(error, Exception):
                raise
            if status == 2:
                _say(f"error: {_message(error)}")
        if status == 130:
            checkpoint = getattr(args, "checkpoint", None)
            _say(f"interrupted; the same command goes on from {checkpoint}" if checkpoint else "interrupted")
        return _printed(out, args) if status == 0 else status


def _status(argv: Sequence[str], args: argparse.Namespace, interrupts: _Interrupts) -> int:
    """Parse, filling ``args``, and run."""
    if argv and argv[0] in MOVED:
        raise ValueError(f"{argv[0]} is now {MOVED[argv[0]]}")
    parser = _parser(argv[:1])
    interrupts.exits = False
    try:
        parser.parse_args(argv, args)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    with _warnings_as_lines():
        args.run(args)
    return 0


def _printed(out: Stream, args: argparse.Namespace) -> int:
    """The exit status of a command that did its work, once all that it printed is out, or can't be."""
    out.flush()
    if out.error is None or isinstance(out.error, BrokenPipeError):  # whoever reads wants no more
        return 0
    reason = f"the report can't be printed: {_message(out.error)}"
    if getattr(args, "out", None) is None and getattr(args, "store", None) is None:
        _say(f"error: {reason}")
        return 2
    _say(f"warning: {reason}; the files are written")
    return 0


def _parser(first: Sequence[str]) -> Parser:
    """With the command that is named first, or with all of them."""
    import rambit
    from rambit.cli.common import Parser

    parser = Parser(
        prog="rambit",
        description="Explains what a time-series model looked at, by trying: what if these values were not there?",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"rambit {rambit.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in first if first and first[0] in COMMANDS else COMMANDS:
        importlib.import_module(f"rambit.cli.{name}").add(commands)
    return parser


def _say(message: str) -> None:
    print(f"rambit: {message}", file=sys.stderr)


def _message(error: BaseException) -> str:
    """What went wrong, in one line; of the user's own code also where."""
    text = str(error).partition("\nException raised from")[0]  # torch's C++ stack
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = plain(" ".join(text.split()))
    said = isinstance(error, SAID)
    name = type(error).__name__
    text = (text or name) if said else f"{name}: {text}" if text else name
    return shortened(text) + _place(error, anywhere=not said)


def _place(error: BaseException, *, anywhere: bool) -> str:
    """The last line of the user's own code below the call of a model; ``anywhere``: else the last line of all."""
    found = None
    while error is not None:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
        called = [i for i, frame in enumerate(frames) if _calls_models(frame.filename)]
        own = [frame for frame in frames[called[-1] + 1 :] if not _is_library(frame.filename)] if called else []
        found = found or (frames[-1] if anywhere and frames else None)
        if own:
            found = own[-1]
            break
        error = error.__cause__  # type: ignore[assignment]
    return f" ({plain(os.path.relpath(found.filename))}, line {found.lineno}, in {found.name})" if found else ""


_PACKAGE = Path(__file__).resolve().parents[1]


def _calls_models(file: str) -> bool:
    path = Path(file)
    return path.parent == _PACKAGE / "predictors" or path == _PACKAGE / "cli" / "models.py"


def _is_library(file: str) -> bool:
    """Python's own, what was installed, or ours."""
    places = [_PACKAGE, *(Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib"))]
    return any(place in Path(file).parents for place in places)


class _Interrupts:
    """Within it, notes that the user has interrupted, whatever becomes of the KeyboardInterrupt.

    ``exits``: nothing has begun yet that would need an end, so the program is left at once. An interrupt in the middle
    of a compiled module's import may be taken for another error, or end in C++.
    """

    def __init__(self, *, exits: bool) -> None:
        self.exits, self.seen = exits, False

    def __enter__(self) -> _Interrupts:
        self._before = signal.getsignal(signal.SIGINT)
        # Another program's own handler stays, and only the main thread may have one.
        self._ours = (
            self._before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, self._before)

    def _interrupt(self, number: int, frame: object) -> None:
        self.seen = True
        if self.exits:
            with contextlib.suppress(OSError):
                os.write(2, b"rambit: interrupted\n")
            os._exit(130)
        raise KeyboardInterrupt


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Our own warnings (UserWarning) become one line each; the filters of other kinds stay as they are."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {shortened(plain(' '.join(str(message).split())))}")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning)
        warnings.showwarning = show
        yield
