"""Arrays as text in a page: base64 of float32, or of whole numbers with a scale, so that a page stays small."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["f4", "i2", "i1"]
#: The most that each whole number reaches; the one below -most stands for NaN.
MOST = {"i2": 32767, "i1": 127}
#: Characters of base64 for each byte.
TEXT = 4 / 3


@dataclass
class Packed:
    """Arrays by name, as a page holds them: ``texts`` are base64, ``specs`` how they are read."""

    kind: Kind
    texts: dict[str, str] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(
        self, name: str, array: Array, *, signed: bool = False, exact: bool = False, kind: Kind | None = None
    ) -> None:
        """Add an array (…, T), NaN allowed. Each row along its last axis has a scale; ``signed`` ones keep 0 exactly.

        ``exact``: as float64, for times. ``kind``: another one than that of the other arrays.
        """
        kind = kind or self.kind
        if exact or kind == "f4":
            data = np.ascontiguousarray(array, np.float64 if exact else np.float32)
            spec: dict[str, Any] = {"kind": "f8" if exact else "f4"}
        else:
            data, spec = _scaled(array, kind, signed)
        little = data.astype(data.dtype.newbyteorder("<"), copy=False)
        self.texts[name] = base64.b64encode(little.tobytes()).decode("ascii")
        self.specs[name] = {**spec, "shape": list(array.shape)}


def _scaled(array: Array, kind: Literal["i2", "i1"], signed: bool) -> tuple[NDArray[Any], dict[str, Any]]:
    """value = middle + half · whole / most."""
    known = np.isfinite(array)
    high = array.max(axis=-1, keepdims=True, initial=-np.inf, where=known)
    low = array.min(axis=-1, keepdims=True, initial=np.inf, where=known)
    middle = np.zeros_like(high) if signed else np.where(high >= low, low / 2 + high / 2, 0.0)
    half = np.maximum(np.abs(high - middle), np.abs(low - middle))
    half = np.where(np.isfinite(half) & (half > 0), half, 1.0)
    most = MOST[kind]
    whole = np.where(known, np.rint(np.where(known, (array - middle) / half, 0.0) * most), -most - 1)
    return whole.astype(kind), {
        "kind": kind,
        "middle": middle[..., 0].ravel().tolist(),
        "half": half[..., 0].ravel().tolist(),
    }


def kind_for(numbers: int, most_bytes: int) -> Kind | None:
    """The most exact way of packing so many numbers into so many bytes of text; None: none does."""
    sizes: Mapping[Kind, int] = {"f4": 4, "i2": 2, "i1": 1}
    return next((kind for kind, size in sizes.items() if numbers * size * TEXT <= most_bytes), None)
