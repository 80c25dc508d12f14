"""One file for each explanation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rambit.cli import common
from rambit.sufficiency import Explanation


def paths(args: argparse.Namespace, places: Sequence[int]) -> list[Path]:
    """The files of explanations of these series or documents, none without --out. Raises OSError before any work."""
    if args.out is None:
        return []
    folder = Path(args.out)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    files = [folder / f"{place}.safetensors" for place in places]
    if folder.is_dir():
        common.check_outputs(files, force=args.force, inputs=(args.model, args.data))
    return files


def write(files: Sequence[Path], found: Sequence[Explanation], *, force: bool) -> None:
    """Save each explanation in its file."""
    for path, explanation in zip(files, found, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        explanation.save(path, force=force)
