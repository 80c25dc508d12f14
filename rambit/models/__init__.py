"""Small causal classifiers to train and explain: (B, D, T) -> logits (B, C)."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from rambit.models.recurrent import HEADS, GRUClassifier, LSTMClassifier, State
from rambit.models.sequence_classifier import Classifier, seed_of, seeded
from rambit.models.tcn import TCNClassifier
from rambit.models.transformer import TransformerClassifier

__all__ = [
    "HEADS",
    "MODELS",
    "Classifier",
    "GRUClassifier",
    "LSTMClassifier",
    "State",
    "TCNClassifier",
    "TransformerClassifier",
    "build_model",
]

MODELS: dict[str, type[Classifier]] = {
    "GRUClassifier": GRUClassifier,
    "LSTMClassifier": LSTMClassifier,
    "TCNClassifier": TCNClassifier,
    "TransformerClassifier": TransformerClassifier,
}


def build_model(config: Mapping[str, Any], *, seed: int | None = None) -> Classifier:
    """A fresh model from what `config()` returned; its weights are drawn from `seed`, or from torch's generator.

    With a seed the global generator is left as it was. Raises ValueError for an unknown class or argument, TypeError
    for a config or a seed of another kind.
    """
    if not isinstance(config, Mapping):
        raise TypeError(f"config must be what config() returned, got {reprlib.repr(config)}")
    if seed is not None:
        seed = seed_of(seed)
    arguments = dict(config)
    name = arguments.pop("model", None)
    if not isinstance(name, str) or name not in MODELS:
        raise ValueError(f"config['model'] must be one of {', '.join(MODELS)}, got {name!r}")
    with nullcontext() if seed is None else seeded(seed):
        try:
            return MODELS[name](**arguments)
        except TypeError as error:
            raise ValueError(f"config does not fit {name}: {error}") from error
