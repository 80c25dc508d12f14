"""How long ``from rambit import RaMbIT`` takes beyond torch and numba, each time in an interpreter of its own."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import sys, time
begin = time.perf_counter()
import torch
there = time.perf_counter()
{also}
ready = time.perf_counter()
from rambit import RaMbIT
print(time.perf_counter() - ready, there - begin, "numba" in sys.modules)
"""


def imported(also=""):
    """Seconds of ours and of torch, and whether numba was loaded."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as it is installed
    command = [sys.executable, "-c", SCRIPT.format(also=also)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    ours, torch, numba = out.stdout.split()
    return float(ours), float(torch), numba == "True"


def test_import(benchmark, report):
    also = "import numba" if imported()[2] else ""
    runs = benchmark.pedantic(lambda: [imported(also)[:2] for _ in range(7)], rounds=1)
    ours, torch = (min(seconds) for seconds in zip(*runs, strict=True))
    report(
        "import of rambit beyond torch's and numba's own",
        f"{ours / torch:.2f} of torch's import ({torch:.2f} s; ours {ours:.3f} s)",
        ratio=ours / torch,
    )
