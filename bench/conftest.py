"""Both sides of every benchmark are checked equal before either is timed; what counts is their ratio within one run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from bench.machine import machine

#: Programs and helpers: pytest would import them to look for doctests, and some want packages of their own.
collect_ignore = [path.name for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]

#: The lines of the table: file, case, figure, and what else is known of its test.
FIGURES: list[tuple[str, str, str, dict[str, float]]] = []
#: The columns of the table beside the figure: heading, what of a test's extra_info it shows, and how.
COLUMNS = {
    "rows": ("rows", "{:,}".format),
    "row-steps": ("row_steps", "{:,}".format),
    "overhead": ("overhead", "{:.2f}".format),
    "peak MiB": ("peak_memory", lambda b: f"{b / 2**20:.0f}"),
    "GB/s": ("bytes_per_second", lambda b: f"{b / 1e9:.1f}"),
}


def pytest_benchmark_update_machine_info(machine_info):
    """What tells machines apart, without what only this one is called."""
    machine_info |= {"class": machine(), "torch": torch.__version__}
    for name in ("node", "release"):
        machine_info.pop(name, None)
    machine_info.get("cpu", {}).pop("flags", None)


@pytest.fixture
def count_threads():
    """A setter of the number of threads, 0 for all, which says how many in words; the old number comes back."""
    before = torch.get_num_threads()

    def use(wanted):
        count = wanted or os.cpu_count() or 1
        torch.set_num_threads(count)
        return f"{count} thread{'s' * (count > 1)}"

    yield use
    torch.set_num_threads(before)


@pytest.fixture(params=[1, 0], ids=["one thread", "all threads"])
def threads(request, count_threads):
    """Both sides with one thread, then both with all: how many, in words."""
    return count_threads(request.param)


class Place(NamedTuple):
    """Where both sides of a benchmark run, and that in words."""

    device: torch.device
    words: str

    def __str__(self):
        return self.words


@pytest.fixture(params=[1, 0, *["cuda"] * torch.cuda.is_available()], ids={1: "one thread", 0: "all threads"}.get)
def place(request, count_threads):
    """As ``threads``; then the GPU, where there is one, without cuDNN's rounding to TF32."""
    if request.param != "cuda":
        yield Place(torch.device("cpu"), count_threads(request.param))
    else:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield Place(torch.device("cuda"), "GPU")


@pytest.fixture
def report(request, benchmark):
    """Add a line to the table that is printed at the end; ``ratio`` is what bench/check.py tracks.

    ``part`` names a further figure of the same test. Anything else is noted beside the figure: ``rows``, ``row_steps``,
    ``overhead`` (over the bare model's time on the same batches), ``bytes_per_second``. pytest-benchmark keeps it all.
    """

    def line(what: str, figure: str, *, ratio: float | None = None, part: str = "", **info: float) -> None:
        known = {f"figure {part}".strip(): f"{what}: {figure}", **info}
        if ratio is not None:
            known[f"ratio {part}".strip()] = ratio
        benchmark.extra_info.update(known)
        FIGURES.append((Path(request.node.path).name, what, figure, {} if part else benchmark.extra_info))

    return line


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section(f"figures: {machine()}")
        for line in table():
            terminalreporter.write_line(line)


def table():
    """The lines of the table: a heading for each file, a line for each figure."""
    rows = []
    for file, what, figure, info in FIGURES:
        cells = [show(info[key]) if key in info else "" for key, show in COLUMNS.values()]
        rows.append((file, what, figure, *cells))
    heading = ("", "what", "figure", *COLUMNS)
    width = [max(len(row[k]) for row in (heading, *rows)) for k in range(len(heading))]

    def line(row):
        words = [cell.ljust(w) for cell, w in zip(row[1:3], width[1:3], strict=True)]
        numbers = [cell.rjust(w) for cell, w in zip(row[3:], width[3:], strict=True)]
        return "  ".join(["", *words, *numbers]).rstrip()

    yield line(heading)
    file = ""
    for row in rows:
        if row[0] != file:
            file = row[0]
            yield file
        yield line(row)
