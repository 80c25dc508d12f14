"""Distinct strings as hashed n-grams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

START, END = b"\x02", b"\x03"


@dataclass(frozen=True, eq=False)
class StringTable:
    """V distinct ``strings`` and their n-grams: those of string i are ``ngrams[offsets[i] : offsets[i + 1]]``."""

    strings: tuple[str, ...]
    ngrams: Tensor
    offsets: Tensor
    n: int
    buckets: int

    @staticmethod
    def of(strings: Sequence[str], n: int, buckets: int) -> StringTable:
        """Hashes every ``n`` successive bytes of UTF-8, padded at both ends, into one of ``buckets``."""
        padded = [START * (n - 1) + s.encode("utf-8", "surrogatepass") + END * (n - 1) for s in strings]
        lengths = np.array([len(p) for p in padded], dtype=np.int64)
        codes = np.frombuffer(b"".join(padded), dtype=np.uint8).astype(np.int64)
        counts = lengths - n + 1
        offsets = np.concatenate(([0], np.cumsum(counts)))
        # Window w of string i starts at byte w + i (n - 1): each string before has n - 1 bytes that start none.
        first = np.arange(offsets[-1]) + np.repeat(np.arange(len(padded)) * (n - 1), counts)
        ngrams = torch.from_numpy(_hash(codes, first, n) % buckets)
        return StringTable(tuple(strings), ngrams, torch.from_numpy(offsets), n, buckets)

    def __len__(self) -> int:
        return len(self.strings)

    def to(self, device: torch.device) -> StringTable:
        """The same table on another device."""
        return StringTable(self.strings, self.ngrams.to(device), self.offsets.to(device), self.n, self.buckets)


def _hash(codes: NDArray[np.int64], first: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The n bytes from each of ``first`` as the digits of a number; exact, since 257^7 < 2^63."""
    total = np.zeros(len(first), dtype=np.int64)
    for place in range(n):
        total = total * 257 + codes[first + place] + 1
    return total
