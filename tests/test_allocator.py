"""The allocator is told once, in a process of its own, and says so elsewhere."""

from __future__ import annotations

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


def test_elsewhere_it_warns(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with pytest.warns(UserWarning, match="needs Linux with glibc"):
        assert allocator.tune_allocator() is False
