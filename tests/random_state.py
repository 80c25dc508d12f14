"""NumPy's global generator as a value: its keys change only every 624 numbers, its place among them with each."""

from __future__ import annotations

import numpy as np


def numpy_state():
    """What differs after a single number was drawn."""
    _, keys, *where = np.random.get_state()  # noqa: NPY002
    return keys.tobytes(), tuple(where)
