"""Labelled time series to train on and explain: synthetic, from the UCR/UEA archive, and the user's own files."""

from __future__ import annotations

from pathlib import Path

from rambit.datasets.archive import basic_motions, japanese_vowels, ucr_uea
from rambit.datasets.base import Dataset
from rambit.datasets.files import load_file, save_file
from rambit.datasets.spike import spike

__all__ = [
    "DATASETS",
    "Dataset",
    "basic_motions",
    "japanese_vowels",
    "load",
    "load_file",
    "save_file",
    "spike",
    "ucr_uea",
]

DATASETS: dict[str, str] = {
    "spike": "3000 series, 3 features, 80 steps; label 1 from feature 0's first spike on; salient cells known",
    "BasicMotions": "40 + 40 series, 6 features, 100 steps, 4 classes (needs rambit[data], no download)",
    "JapaneseVowels": "270 + 370 series, 12 features, 7-29 steps, 9 classes (needs rambit[data], no download)",
}


def load(name_or_path: str | Path, split: str | None = None) -> Dataset:
    """A data set by what a user types: a name of DATASETS, a file, or any other name in the UCR/UEA archive.

    "spike" takes options of `spike()`: "spike:delay=2,n=500". split: "train", "test" or None for both; of spike, the
    first four fifths are the train part; a file has no parts. Errors are those of `spike`, `load_file` and `ucr_uea`.
    """
    if split not in (None, "train", "test"):
        raise ValueError(f"split must be None, 'train' or 'test', got {split!r}")
    name, path = str(name_or_path), Path(name_or_path)
    kind, _, options = name.partition(":")
    if kind == "spike":
        data = spike(**_options(name, options))
        cut = len(data) * 4 // 5
        return data if split is None else data.take(range(cut) if split == "train" else range(cut, len(data)))
    if path.suffix or len(path.parts) > 1:
        if split is not None:
            raise ValueError(f"{name}: a file has no parts, so split must be None; Dataset.split makes two of it")
        return load_file(path)
    return ucr_uea(name, split)


def _options(name: str, text: str) -> dict[str, int]:
    """{"delay": 2} from "delay=2"."""
    options = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in ("n", "T", "delay", "seed") or not value.isdecimal():
            raise ValueError(f"{name!r}: options are n, T, delay and seed, as in 'spike:delay=2,n=500'; got {part!r}")
        options[key] = int(value)
    return options
