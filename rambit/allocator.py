"""glibc's allocator, told to keep memory instead of giving it back after every large activation."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import warnings

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1
#: The largest block of which glibc learns, less room for its own notes.
_LEARNT = (32 << 20) - (64 << 10)


def can_tune_allocator() -> bool:
    """Whether this is glibc, whose allocator can be told what to keep."""
    return platform.libc_ver()[0] == "glibc"


def tune_allocator() -> bool:
    """Make the C allocator keep freed memory; whether it could be told so.

    glibc maps and unmaps each large block, so that every activation of a batched convolution on the CPU pays for
    fresh pages. After this call blocks come from the heap, which grows 256 MiB at a time and is never trimmed: the
    process holds its peak until it ends. It concerns the whole process, hence it is never done on import. Anywhere
    but on Linux with glibc it does nothing but warn.
    """
    if not can_tune_allocator():
        warnings.warn("tune_allocator() does nothing here: it needs Linux with glibc", UserWarning, stacklevel=2)
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_TOP_PAD, 256 << 20))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)


@functools.cache
def keep_freed_blocks() -> None:
    """Let glibc see, once a process, that large blocks come and go.

    From the largest block that was freed, 32 MiB at most, it learns what to take from the heap instead of mapping it
    anew each time, and that up to twice as much may stay free there. Until then nearly every activation of a call costs
    page faults, even in small batches: a quarter to a third of a small convolutional network's time. What environment
    variables or ``mallopt`` say of it holds.
    """
    import torch

    with contextlib.suppress(RuntimeError):  # no memory: then it stays as it is
        torch.empty(_LEARNT, dtype=torch.uint8)
