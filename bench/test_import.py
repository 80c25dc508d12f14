"""How long ``from rambit import RaMbIT`` takes beyond torch and numba, each time in an interpreter of its own."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys, time
import torch
{also}
begin = time.perf_counter()
from rambit import RaMbIT
print(time.perf_counter() - begin, "numba" in sys.modules)
"""


def imported(also=""):
    """Seconds, and whether numba was loaded."""
    out = subprocess.run([sys.executable, "-c", SCRIPT.format(also=also)], capture_output=True, text=True, check=True)
    seconds, numba = out.stdout.split()
    return float(seconds), numba == "True"


def test_import(benchmark, report):
    also = "import numba" if imported()[1] else ""
    seconds = benchmark.pedantic(lambda: min(imported(also)[0] for _ in range(7)), rounds=1)
    report("import of rambit beyond torch's and numba's own", f"{seconds:.3f} s", ratio=seconds)
