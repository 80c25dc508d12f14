"""The allocator is told once, in a process of its own, and says so elsewhere."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from rambit import allocator

# A large block is mapped by itself, unless mallopt says that none may be; freed memory then stays.
SCRIPT = """
from rambit.allocator import tune_allocator
import ctypes
tuned = {tune} and tune_allocator()
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks "
                "fordblks keepcost".split()]
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.mallinfo2.restype = Info
before = libc.mallinfo2().hblks
libc.malloc(64 << 20)
print(tuned, libc.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.parametrize(("tune", "mapped"), [(False, "False 1"), (True, "True 0")])
def test_large_blocks_come_from_the_heap(tune, mapped):
    out = subprocess.run([sys.executable, "-c", SCRIPT.format(tune=tune)], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == mapped


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
@pytest.mark.parametrize(("argv", "mapped"), [("None", 0), ("['--version']", 1)])
def test_a_command_that_owns_its_process_tunes_it(argv, mapped):
    given = f"import sys\nsys.argv = ['rambit', '--version']\nfrom rambit.cli import main\nmain({argv})\n"
    script = given + SCRIPT.format(tune=False)
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == str(mapped)


LEARNT = """
import ctypes
from rambit.allocator import keep_freed_blocks
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
import torch
{learn} and keep_freed_blocks()
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    blocks = [libc.malloc(4 << 20) for _ in range(3)]
    for block in blocks:
        ctypes.memset(block, 0, 4 << 20)
    for block in blocks:
        libc.free(block)
for _ in range(3):
    work()
before = faults()
for _ in range(10):
    work()
print((faults() - before) // 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_blocks_that_come_and_go_cost_no_page_faults():
    """Three blocks of 4 MiB are 3072 pages, which glibc would give back each time."""
    command = [sys.executable, "-c", LEARNT.format(learn=True)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert int(out.stdout) < 100


def test_elsewhere_it_warns(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with pytest.warns(UserWarning, match="needs Linux with glibc"):
        assert allocator.tune_allocator() is False
