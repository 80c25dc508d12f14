"""Classifiers of nested samples as files that hold no code."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from rambit.store import atomic_write, encode, load_tensors
from rambit.structure.classifier import HierarchicalClassifier

FORMAT = "rambit-nested-model-1"  # the name of the one metadata entry


def save_model(path: str | Path, model: HierarchicalClassifier) -> None:
    """Writes a classifier to one safetensors file: its weights and, as JSON in their metadata, its configuration.

    A file of that name is replaced, and its folder must exist. Raises OSError.
    """
    atomic_write(path, encode(model.state_dict(), {FORMAT: json.dumps(model.config())}))


def load_model(path: str | Path) -> HierarchicalClassifier:
    """The classifier that ``save_model`` wrote, on the CPU and in evaluation mode.

    Runs no code from the file and draws no random number. Raises ValueError, naming the file, if it is damaged, holds
    something else, or its weights do not fit its configuration; OSError if there is none.
    """
    weights, metadata = load_tensors(path)
    if FORMAT not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not a model of documents")
    try:
        kinds = {value.dtype for value in weights.values()}
        if len(kinds) != 1 or not kinds.pop().is_floating_point:
            raise ValueError("its weights are not of one floating type")
        with torch.device("meta"):  # so that a wrong size costs nothing before it is compared
            model = HierarchicalClassifier.from_config(json.loads(metadata[FORMAT]))
        # Copies, because the tensors may lean on the bytes of the file.
        model.load_state_dict({name: value.clone() for name, value in weights.items()}, assign=True)
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is corrupt or not a model of documents: {reason}") from error
    return model.eval()
