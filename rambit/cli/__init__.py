"""The command line: ``rambit COMMAND``, a module of this package for each command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rambit
from rambit.cli.common import Parser

#: Modules of this package. Only the one that is called is imported: some take a second.
COMMANDS = ("demo", "train", "attribute", "cost", "compare", "study", "rex", "select", "suffice", "export", "info")
EPILOG = """\
start here:  rambit demo
each command has examples:  rambit attribute --help

A command that fails prints one line and exits with 2. With RAMBIT_TRACEBACK=1 in the environment it prints
Python's traceback as well, which helps whoever reads a bug report.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 after an error (one line on stderr), 130 when interrupted."""
    args = argparse.Namespace()
    try:
        argv = sys.argv[1:] if argv is None else argv
        args = _parser(argv[:1]).parse_args(argv)
        with _warnings_as_lines():
            args.run(args)
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        checkpoint = getattr(args, "checkpoint", None)
        hint = f"; the same command goes on from {checkpoint}" if checkpoint else ""
        _say(f"interrupted{hint}")
        return 130
    # RuntimeError: PredictionError, a loss that became NaN, and whatever torch refuses.
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError) as error:
        if os.environ.get("RAMBIT_TRACEBACK"):
            raise
        _say(f"error: {_message(error)}")
        return 2
    return 0


def _parser(first: Sequence[str]) -> Parser:
    """With the command that is named first, or with all of them."""
    parser = Parser(
        prog="rambit",
        description="Explains what a time-series model looked at, by asking it: what if these values were not there?",
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
    """What went wrong, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Our own warnings (UserWarning) become one line each; the filters of other kinds stay as they are."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        _say(f"warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.filterwarnings("always", category=UserWarning)
        warnings.showwarning = show
        yield
