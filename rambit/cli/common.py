"""What the commands share: the parser, arguments that several have, reading data and models, checking outputs."""

from __future__ import annotations

import argparse
import csv
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import torch

from rambit.checks import warn
from rambit.cli.terminal import plain, shortened
from rambit.datasets import DATASETS, Columns, Dataset, load, load_file
from rambit.datasets.dataset_files import KINDS, TABLES
from rambit.registry import Registry
from rambit.store import Lock, StoreError, is_lock
from rambit.text import MOST as MOST
from rambit.text import MOST_UNITS as MOST_UNITS

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

#: The largest seed, and the most memory, that options take.
MOST_SEED, MOST_BYTES = 2**63 - 1, 1 << 60
#: Options that name columns of a table.
COLUMNS = ("id", "time", "label", "features")

DATA_HELP = (
    f"a built-in name ({', '.join(DATASETS)}; with options: spike:delay=2,n=500), any other name of the UCR/UEA "
    f"archive, or a file ({' '.join(KINDS)})"
)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Descriptions and examples as they are written; options in a wider first column."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions, so that every error is reported in the same way, in one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see {self.prog} --help)")


# --- arguments that several commands have ----------------------------------------------------------------------------


def add_data(parser: Parser) -> None:
    """DATA and how a file of arrays is read."""
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    add_file_options(parser)


def add_file_options(parser: Parser) -> None:
    """How a file of arrays or a table is read."""
    parser.add_argument("--x", metavar="NAME", help="the array of series in a file of arrays (default: X)")
    parser.add_argument(
        "--layout", choices=("BDT", "BTD"), help="the axes of a file's series: B series, D features, T steps (BDT)"
    )
    add_columns(parser)


def add_columns(parser: Parser) -> None:
    """Which columns of a table say what."""
    group = parser.add_argument_group(f"columns of a table ({' '.join(TABLES)}), in any order (default)")
    group.add_argument("--id", metavar="NAME", help="which series a row is of (series; without one, all rows are one)")
    group.add_argument(
        "--time", metavar="NAME", help="when: numbers or ISO dates (time; without one, rows are in order)"
    )
    group.add_argument("--label", metavar="NAME", help="the class or value of the series, or of each step (label)")
    group.add_argument(
        "--features", metavar="A,B", type=names, help="the features, in the order that the model reads (all others)"
    )


def names(text: str) -> tuple[str, ...]:
    """Names with commas between, in quotes where they hold one."""
    try:
        found = next(csv.reader([text], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise argparse.ArgumentTypeError(f"must be names with commas between: {error}") from None
    if not all(found):
        raise argparse.ArgumentTypeError(f"must be names with commas between, got {shortened(text, 80)!r}")
    return tuple(found)


def add_progress(parser: Parser) -> None:
    """Progress bars: on a terminal unless told otherwise."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--quiet", action="store_true", help="no progress bars (there are none when stderr is piped)")
    group.add_argument("--progress", action="store_true", help="progress bars even when stderr is piped")


def add_force(parser: Parser) -> None:
    """--force, without which no file is overwritten."""
    parser.add_argument("--force", action="store_true", help="overwrite existing files")


def shows_progress(args: argparse.Namespace) -> bool:
    """Whether this command draws progress bars."""
    return bool(args.progress or (sys.stderr.isatty() and not args.quiet))


def whole(most: int = MOST) -> Callable[[str], int]:
    """A whole number of at most this size; what else is allowed, the argument's owner checks."""

    def read(text: str) -> int:
        number = int(text)
        if abs(number) > most:
            raise argparse.ArgumentTypeError(f"must be at most {most:,}, got {shortened(text, 40)}")
        return number

    read.__name__ = "int"  # as messages call it
    return read


def finite(text: str) -> float:
    """A number other than NaN and infinity."""
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be finite, got {shortened(text, 40)}")
    return number


def memory(text: str) -> int:
    """Bytes from 1073741824, 512M or 2G (powers of 1024)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.strip().upper().removesuffix("B").removesuffix("I"))
    if match is None:
        raise argparse.ArgumentTypeError(f"must be bytes or a size such as 512M or 2G, got {shortened(text, 40)!r}")
    size = float(match[1]) * 1024 ** " KMGT".index(match[2] or " ")
    if size > MOST_BYTES:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_BYTES >> 40:,}T, got {shortened(text, 40)}")
    return int(size)


def device(text: str) -> torch.device:
    """A device that is there."""
    match = re.fullmatch(r"cpu|cuda(?::(\d+))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be cpu, cuda or cuda:N, got {text!r}")
    if text != "cpu" and int(match[1] or 0) >= torch.cuda.device_count():
        raise argparse.ArgumentTypeError(f"{text} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return torch.device(text)


def batch_size(text: str) -> int | str:
    """A number of rows, or auto."""
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be auto or a number of rows, got {text!r}")
    return text if text == "auto" else whole()(text)


def output(text: str, most: int = MOST) -> int | str:
    """The number of an output, at most ``most``, or its name."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be a number or a name, got {text!r}")
    return whole(most)(text) if re.fullmatch(r"\s*[+-]?\d+\s*", text) else text


def registered(registry: Registry[Any]) -> Callable[[str], str]:
    """A reader of what is registered, by its name or as name:option=value."""

    def read(text: str) -> str:
        try:
            registry.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return read


# --- reading --------------------------------------------------------------------------------------------------------


def is_file(name: str) -> bool:
    """Whether DATA means a file, by the rule of `rambit.datasets.load`."""
    path = Path(name)
    return name.partition(":")[0] not in DATASETS and bool(path.suffix or len(path.parts) > 1)


def read(
    args: argparse.Namespace,
    split: str | None,
    *,
    y: str | None = "y",
    name: str | None = None,
    need_labels: bool = True,
) -> Dataset:
    """DATA (or another `name`, read in the same way) with its labels `y`; of a file all series, else those of `split`.

    Raises ValueError where an option for files is given for something else.
    """
    name = name or args.data
    if not is_file(name):
        return load(name, split)
    return load_file(
        name,
        x=args.x or "X",
        y=y,
        layout=args.layout or "BDT",
        columns=columns(args) if is_table(name) else None,
        need_labels=need_labels,
    )


def is_table(name: str) -> bool:
    """Whether it is a file with columns."""
    return is_file(name) and Path(name).suffix in TABLES


def columns(args: argparse.Namespace) -> Columns | None:
    """The columns that were named, if any."""
    given = {name: getattr(args, name) for name in COLUMNS if getattr(args, name) is not None}
    return Columns(**given) if given else None


def check_file_options(args: argparse.Namespace, *names: str) -> None:
    """Raise ValueError for options that only a file, or only a table, has, given with a data set that is none."""
    for option in names:
        if getattr(args, option) is not None and not is_file(args.data):
            raise ValueError(f"--{option} is for files, but {args.data} is a data set")
    for option in COLUMNS:
        if getattr(args, option) is not None and not is_table(args.data):
            raise ValueError(f"--{option} is for tables ({' '.join(TABLES)}), but {args.data} is none")


def chosen(series: str | None, limit: int | None, count: int) -> list[int]:
    """Which of `count` series to take: those of `0,3-7`, the first `limit`, or all. Raises ValueError."""
    if limit is not None:
        if limit < 1:
            raise ValueError(f"--limit must be at least 1, got {limit}")
        return list(range(min(limit, count)))
    if series is None:
        return list(range(count))
    indices: list[int] = []
    for part in ranges(series):
        if part[-1] >= count:
            raise ValueError(f"--series {_written(part)}: there are series 0 to {count - 1}")
        indices.extend(part)
    if len(set(indices)) < len(indices):
        raise ValueError(f"--series names a series twice: {series!r}")
    return indices


def ranges(series: str) -> list[range]:
    """What `0,3-7` names. Raises ValueError."""
    found = []
    for part in series.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if first > last:
            raise ValueError(f"--series must be numbers and ranges such as 0,3-7, got {shortened(series, 80)!r}")
        found.append(range(first, last + 1))
    return found


def _written(part: range) -> str:
    return str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}"


# --- writing --------------------------------------------------------------------------------------------------------


def check_outputs(paths: Iterable[str | Path | None], *, force: bool, inputs: Iterable[str | Path | None] = ()) -> None:
    """Before any work: each output may be written, and none of them is something that is read. Raises OSError."""
    read_from = [Path(path) for path in inputs if path is not None]
    for path in (Path(path) for path in paths if path is not None):
        if any(_is_same(path, other) for other in read_from):
            raise FileExistsError(f"{path} is read by this command, so it is not written")
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder")
        if os.path.lexists(path) and not force and not is_lock(path):  # a link to nothing too
            raise FileExistsError(f"{path} exists; --force overwrites it")
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(f"{path}: nothing may be written to the folder {path.parent}")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names mean one file: by way of links, or where the system takes a for A."""
    try:
        return one.resolve() == other.resolve() or os.path.samefile(one, other)
    except OSError:  # one of them is not there
        return False


Place = Callable[..., Path]


@contextmanager
def reserved(
    paths: Iterable[str | Path | None], *, force: bool, inputs: Iterable[str | Path | None] = ()
) -> Iterator[Place]:
    """Check outputs as `check_outputs` does and, while the work goes on, keep their places against other processes.

    Yields ``place(path, *beside)``: where that output goes now, which is ``path`` unless, without ``force``, something
    else came to stand there or at ``beside``; then it is a free name like it, and a warning says so. A place is a lock
    file, which a later run takes over from a dead one. Raises OSError, or StoreError where another run holds a place.
    """
    outputs = [Path(path) for path in paths if path is not None]
    check_outputs(outputs, force=force, inputs=inputs)
    locks: dict[Path, Lock] = {}

    def place(path: str | Path, *beside: str | Path) -> Path:
        wanted = [Path(path), *map(Path, beside)]
        if force or all(_holds(locks[one]) for one in wanted):
            return wanted[0]
        names = ([one.with_stem(f"{one.stem}-{number}") for one in wanted] for number in count(1))
        free = next(found for found in names if not any(map(os.path.lexists, found)))
        warn(f"{path} came to be while this worked, and is not overwritten: the result goes to {free[0]}")
        return free[0]

    with ExitStack() as stack:
        for path in outputs:
            if not os.path.lexists(path) or is_lock(path):
                locks[path] = Lock(path, path)
                stack.callback(locks[path].release)
        yield place


def _holds(lock: Lock) -> bool:
    try:
        lock.check()
    except StoreError:
        return False
    return True


def check_suffix(option: str, path: str, suffix: str) -> None:
    """Raise ValueError unless the file's name ends in `suffix`."""
    if Path(path).suffix != suffix:
        raise ValueError(f"{option} must end in {suffix}, got {path}")


def has_matplotlib() -> bool:
    """Whether figures can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def check_figure(path: str, option: str = "--figure") -> None:
    """Before any work: matplotlib is there and writes this kind of file. Raises ImportError or ValueError."""
    if not has_matplotlib():
        raise ImportError("figures need matplotlib: pip install 'rambit[plots]'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = sorted(FigureCanvasAgg.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in kinds:
        raise ValueError(f"{option} must end in one of .{', .'.join(kinds)}, got {path}")


def table(rows: Iterable[tuple[str, object]]) -> str:
    """Lines of a name and what belongs to it, in two columns; what can't be printed is escaped."""
    lines = [(plain(name), plain(str(value))) for name, value in rows]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
