"""One file for each explanation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rambit.cli import common
from rambit.store import atomic_write
from rambit.sufficiency import SufficientExplanation

Write = Callable[[Sequence[SufficientExplanation]], int]


@contextmanager
def files(args: argparse.Namespace, places: Sequence[int], *, documents: bool = False) -> Iterator[Write]:
    """Keep the places of the files of explanations of these series or documents, none without --out.

    Yields what saves one explanation for each of them and returns how many. Raises OSError or StoreError before any
    work. A folder that did not exist stays only if something was written.
    """
    if args.out is None:
        yield lambda found: 0
        return
    folder = Path(args.out)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    paths = [folder / f"{place}.safetensors" for place in places]
    beside = [path.with_suffix(".json") for path in paths] if documents else []
    with (
        common.folders([folder]),
        common.reserved([*paths, *beside], force=args.force, inputs=(args.model, args.data)) as place,
    ):

        def write(found: Sequence[SufficientExplanation]) -> int:
            for path, explanation in zip(paths, found, strict=True):
                explanation.save(place(path), force=True)
            for path, explanation in zip(beside, found if documents else (), strict=True):
                text = json.dumps(explanation.to_json(), indent=2) + "\n"
                atomic_write(place(path), text.encode())
            return len(found)

        yield write
