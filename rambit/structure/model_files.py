"""Classifiers of nested samples as files that hold no code."""

from __future__ import annotations

import json
from pathlib import Path

from rambit.checks import check_saved
from rambit.store import atomic_write, encode, fill, load_record
from rambit.structure.classifier import HierarchicalClassifier

FORMAT = "rambit-nested-model-1"  # the name of the one metadata entry


def save_model(path: str | Path, model: HierarchicalClassifier) -> None:
    """Writes a classifier to one safetensors file: its weights and, as JSON in their metadata, its configuration.

    A file of that name is replaced, and its folder must exist. Raises OSError, TypeError for something else.
    """
    check_saved(path, model, "model", HierarchicalClassifier)
    atomic_write(path, encode(model.state_dict(), {FORMAT: json.dumps(model.config())}))


def load_model(path: str | Path) -> HierarchicalClassifier:
    """The classifier that ``save_model`` wrote, on the CPU and in evaluation mode.

    Runs no code from the file and draws no random number. Raises ValueError, naming the file, if it is damaged, holds
    something else, or its weights do not fit its configuration; OSError if there is none.
    """
    return load_record(
        path,
        FORMAT,
        "a model of documents",
        lambda weights, config: fill(lambda: HierarchicalClassifier.from_config(config), weights),
    )
