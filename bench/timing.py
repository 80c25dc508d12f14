"""Timing ours and a baseline, and what is told apart within a run: the model's own time, peak memory."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from math import ceil
from pathlib import Path
from typing import Any

import torch

from rambit.predictors import Predictor, Walk

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: Short work is repeated for so many seconds: the shortest of a few runs of a millisecond would be chance.
LONG_ENOUGH = 0.3
#: Every way into a model: what its time is told by.
ENTRIES = ((Predictor, ("whole", "steps", "advance")), (Walk, ("step", "outputs")))


def done(result: Any = None) -> Any:
    """``result``, once the GPU has finished what it was given, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def best(work: Callable[[], object], rounds: int, at_least: float = LONG_ENOUGH) -> float:
    """The shortest of ``rounds`` runs, or of more that take ``at_least`` so long together; in seconds."""
    times: list[float] = []
    while len(times) < rounds or sum(times) < at_least:
        begin = time.perf_counter()
        done(work())
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(benchmark: Any, work: Callable[[], Any], *, rounds: int, warmup_rounds: int = 0) -> tuple[float, Any]:
    """The shortest of at least ``rounds`` runs of ours, in seconds, and its result; on Linux, notes its peak memory."""
    rounds = max(rounds, ceil(LONG_ENOUGH / best(work, rounds=1, at_least=0)))
    if CLEAR.exists():
        _give_back()
        CLEAR.write_text("5")  # the peak starts anew
        before = _memory("VmRSS")
    result = benchmark.pedantic(lambda: done(work()), rounds=rounds, warmup_rounds=warmup_rounds)
    if CLEAR.exists():
        benchmark.extra_info["peak_memory"] = _memory("VmHWM") - before
    return benchmark.stats.stats.min, result


def _give_back() -> None:
    """Return freed memory to the system, where glibc would hand it out again unseen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _memory(name: str) -> int:
    """Bytes, as Linux counts them for this process."""
    return next(int(line.split()[1]) << 10 for line in STATUS.read_text().splitlines() if line.startswith(name))


def overhead(work: Callable[[], object]) -> float:
    """One run's time over the model's own time in it: what asking costs beside the same batches alone."""
    inside = 0.0

    @contextmanager
    def clock() -> Iterator[None]:
        nonlocal inside
        done()
        begin = time.perf_counter()
        yield
        done()
        inside += time.perf_counter() - begin

    with around_model(clock):
        return best(work, rounds=1, at_least=0) / inside


@contextmanager
def around_model(context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Enter ``context()`` around each call of a model, but not around what that call calls in turn."""
    depth = 0

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            try:
                with context() if depth == 1 else nullcontext():
                    return function(*args, **kwargs)
            finally:
                depth -= 1

        return call

    originals = [
        (cls, name, vars(cls)[name])
        for root, names in ENTRIES
        for cls in (root, *_below(root))
        for name in names
        if name in vars(cls)
    ]
    try:
        for cls, name, function in originals:
            setattr(cls, name, wrapped(function))
        yield
    finally:
        for cls, name, function in originals:
            setattr(cls, name, function)


def _below(cls: type) -> list[type]:
    return [sub for child in cls.__subclasses__() for sub in (child, *_below(child))]
