"""The UCR/UEA archive, through sktime (extra `data`)."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np

from rambit.datasets.dataset import Array, Dataset, numbered, padded

# These two ship inside sktime's wheel and have loaders that never touch the network.
BUNDLED = {"BasicMotions": "load_basic_motions", "JapaneseVowels": "load_japanese_vowels"}


def basic_motions(split: str | None = None) -> Dataset:
    """BasicMotions: what a person with a smart watch does; 40 + 40 series (6, 100), 4 classes. No download.

    split: "train", "test", or None for both, in this order. Source: the UEA archive, Bagnall et al., 2018.
    """
    return ucr_uea("BasicMotions", split)


def japanese_vowels(split: str | None = None) -> Dataset:
    """JapaneseVowels: which of 9 men speaks; 270 + 370 series (12, 29), zeros after `lengths` (7-29). No download.

    split: "train", "test", or None for both, in this order. Source: Kudo et al., "Multidimensional curve
    classification using passing-through regions", 1999; the UEA archive.
    """
    return ucr_uea("JapaneseVowels", split)


def ucr_uea(name: str, split: str | None = None) -> Dataset:
    """A classification set of the UCR/UEA archive by its name; sktime downloads those that it does not ship.

    split: "train", "test", or None for both, in this order. Both parts have the same classes and are padded with
    zeros to the same T; `lengths` is set if the series differ in length.

    Raises ImportError without sktime, ValueError for an unknown name or split, ConnectionError if a download fails.
    """
    if split not in (None, "train", "test"):
        raise ValueError(f"split must be None, 'train' or 'test', got {split!r}")
    # Both parts are read for either, so that a class or a length that only one of them has means the same in both.
    series, labels = zip(*(_read(name, part) for part in ("train", "test")), strict=True)
    steps = max(one.shape[1] for part in series for one in part)
    classes = numbered([label for part in labels for label in part])
    ragged = min(one.shape[1] for part in series for one in part) < steps

    chosen = {"train": slice(0, 1), "test": slice(1, 2), None: slice(None)}[split]
    X, lengths = padded([one for part in series[chosen] for one in part], steps)
    number = {label: i for i, label in enumerate(classes)}
    y = np.array([number[label] for part in labels[chosen] for label in part], dtype=np.int64)
    return Dataset(name if split is None else f"{name} ({split})", X, y, None, lengths if ragged else None, (), classes)


def _read(name: str, split: str) -> tuple[list[Array], list[str]]:
    """Series (D, T_i) and labels as text."""
    with warnings.catch_warnings():
        # sktime and what it imports warn about their own versions and mirrors; none of it concerns the data.
        warnings.simplefilter("ignore")
        datasets = _sktime_datasets()
        try:
            if name in BUNDLED:
                frames, labels = getattr(datasets, BUNDLED[name])(split=split, return_type="df-list")
            else:
                _check_name(name, datasets)
                frames, labels = datasets.load_UCR_UEA_dataset(name, split=split, return_type="df-list")
        except (OSError, RuntimeError) as error:
            raise ConnectionError(f"the data set {name!r} could not be loaded by sktime: {error}") from error
    return [frame.to_numpy(dtype=np.float32).T for frame in frames], [str(label) for label in labels]


def _sktime_datasets() -> Any:
    try:
        import sktime.datasets
        import sktime.datasets.tsc_dataset_names
    except ImportError as error:
        raise ImportError(f"UCR/UEA data needs sktime: pip install rambit[data] ({error})") from error
    return sktime.datasets


def _check_name(name: str, datasets: Any) -> None:
    # Before any network, and because the name becomes part of an address and of a folder.
    names = datasets.tsc_dataset_names
    if not re.fullmatch(r"\w+", name) or name not in {*names.univariate, *names.multivariate}:
        raise ValueError(f"there is no data set {name!r}: not one of ours, no file, and not in the UCR/UEA archive")
