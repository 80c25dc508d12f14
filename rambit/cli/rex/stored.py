"""The results that `rambit rex` stored of many inputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from rambit.rex import RexExplanation
from rambit.store import Store
from rambit.text import shortened

#: The name of what pictures show of an input, beside its result: bytes, or its own values. Results hold no inputs.
PICTURE = "picture"


class Stored:
    """The explanations of a store by their names, each read when it is needed."""

    def __init__(self, store: Store) -> None:
        self.store, self.names = store, store.names()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> RexExplanation:
        """An explanation with what pictures show as its input. Raises ValueError naming one that is none."""
        if name not in self.store:
            raise ValueError(f"--input {shortened(name, 80)}: {self.store.folder} holds {self.listed()}")
        tensors, record = self.store.get(name)
        picture = tensors.get(PICTURE)
        try:
            found = RexExplanation.of(tensors, record)
            if picture is None:
                return found
            return replace(found, x=picture.float() / 255 if picture.dtype == torch.uint8 else picture)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.store.folder}: {name!r} is no explanation of `rambit rex`: {error}") from error

    def listed(self) -> str:
        """Its names, as far as they fit a line."""
        return shortened(", ".join(self.names), 200) or "nothing"


def is_store(path: str) -> bool:
    """Whether a folder is a store."""
    return (Path(path) / "manifest.json").is_file()


@contextmanager
def stored(path: str) -> Iterator[Stored]:
    """The explanations of a store. Raises StoreError, and ValueError for one that is empty."""
    with Store(path, read_only=True) as store:
        found = Stored(store)
        if not found.names:
            raise ValueError(f"{path} holds no results")
        yield found
