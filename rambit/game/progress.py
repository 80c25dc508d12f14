"""The one progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from tqdm import tqdm


class Progress(Protocol):
    """What the engine tells of its work."""

    def update(self, n: int) -> object: ...


@contextmanager
def progress(show: bool, total: Callable[[], int]) -> Iterator[Progress | None]:
    """A bar over ``total()`` row-steps, or None; the total is only worked out when it is shown."""
    if not show:
        yield None
        return
    with tqdm(total=total(), unit="row-step", unit_scale=True, leave=False) as bar:
        yield bar
