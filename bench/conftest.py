"""Both sides of every benchmark are checked equal before either is timed; what counts is their ratio within one run."""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: two spinning threads on shared cores are slow

import pytest
import torch

from bench.machine import machine

TABLE: list[dict[str, object]] = []


def pytest_addoption(parser):
    parser.addoption("--record", type=Path, help="write the figures of this run to a JSON file")


@pytest.fixture(params=[1, 0], ids=["one thread", "all threads"])
def threads(request):
    """Both sides with one thread, then both with all."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param or os.cpu_count() or 1)
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.fixture
def report(request, pytestconfig):
    """Add a line to the table that is printed at the end; ``ratio`` is what bench/check.py tracks."""

    def line(what: str, figure: str, *, ratio: float | None = None) -> None:
        test = f"{Path(request.node.path).name}::{request.node.name}"
        TABLE.append({"test": test, "what": what, "figure": figure, "ratio": ratio})

    return line


def pytest_terminal_summary(terminalreporter, config):
    if not TABLE:
        return
    width = [max(len(str(row[key])) for row in TABLE) for key in ("test", "what")]
    terminalreporter.section(f"figures: {machine()}")
    for row in TABLE:
        terminalreporter.write_line(f"{row['test']:<{width[0]}}  {row['what']:<{width[1]}}  {row['figure']}")
    path = config.getoption("--record")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(
            json.dumps({"machine": machine(), "torch": torch.__version__, "figures": TABLE}, indent=1) + "\n"
        )
        new.replace(path)
