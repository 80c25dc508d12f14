"""A pytest plugin: a peer's tests with our classes in the place of its own, and which calls went to the peer after all.

``RAMBIT_PEER`` names one of ``bench.peers.PEERS``; what was seen of each test is written to ``RAMBIT_PEER_RECORD``.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.peers import PEERS

PEER = PEERS[os.environ["RAMBIT_PEER"]]
#: For each test: how it ended, and for each class how many calls were made and how many went to the peer.
TESTS: dict[str, dict[str, Any]] = {}
REASONS: Counter[str] = Counter()
current: dict[str, Any] | None = None


def note(kind: str, name: str) -> None:
    if current is not None:
        current[kind][name] = current[kind].get(name, 0) + 1


class Reasons(logging.Handler):
    """Counts why calls went to the peer."""

    def emit(self, record: logging.LogRecord) -> None:
        REASONS[record.getMessage()] += 1


def counted(function: Any, kind: str, name: str) -> Any:
    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if type(self).__name__ == name:
            note(kind, name)
        return function(self, *args, **kwargs)

    if hasattr(function, "__wrapped__"):  # by which classes reach each other's methods without logging them
        call.__wrapped__ = counted(function.__wrapped__, kind, name)  # type: ignore[attr-defined]
    return call


def pytest_configure() -> None:
    ours = importlib.import_module(PEER.ours)
    logger = logging.getLogger(PEER.ours)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(Reasons())
    for name, places in PEER.classes.items():
        theirs, own = getattr(importlib.import_module(places[0]), name), getattr(ours, name)
        theirs.attribute = counted(theirs.attribute, "delegated", name)
        own.attribute = counted(own.attribute, "calls", name)
        for place in places:
            setattr(importlib.import_module(place), name, own)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    global current
    current = TESTS[item.nodeid] = {"outcome": "passed", "calls": {}, "delegated": {}}
    result = yield
    current = None
    return result


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if current is not None and report.outcome != "passed":
        current["outcome"] = report.outcome
        current["why"] = str(report.longrepr)[-2000:]


def pytest_sessionfinish() -> None:
    record = {"tests": TESTS, "reasons": REASONS}
    Path(os.environ["RAMBIT_PEER_RECORD"]).write_text(json.dumps(record), encoding="utf-8")
