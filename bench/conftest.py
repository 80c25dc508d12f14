"""Both sides of every benchmark are checked equal before either is timed; what counts is their ratio within one run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: two spinning threads on shared cores are slow

import pytest
import torch

TABLE: list[tuple[str, str, str]] = []


@pytest.fixture(params=[1, 0], ids=["one thread", "all threads"])
def threads(request):
    """Both sides with one thread, then both with all."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param or os.cpu_count() or 1)
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.fixture
def report(request):
    """Add a line to the table that is printed at the end."""

    def line(what: str, figure: str) -> None:
        TABLE.append((request.node.name, what, figure))

    return line


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    width = [max(len(row[i]) for row in TABLE) for i in range(2)]
    terminalreporter.section("figures")
    for name, what, figure in TABLE:
        terminalreporter.write_line(f"{name:<{width[0]}}  {what:<{width[1]}}  {figure}")
