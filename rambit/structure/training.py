"""Trains classifiers of nested samples."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from rambit import arrays
from rambit.epochs import History, Training, one_pass
from rambit.structure.classifier import HierarchicalClassifier
from rambit.structure.encoders import DenseEncoder
from rambit.structure.nodes import Dense
from rambit.structure.sample import Sample


def fit(
    model: HierarchicalClassifier,
    sample: Sample,
    y: Any,
    *,
    valid: tuple[Sample, Any] | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    patience: int | None = None,
    seed: int = 0,
) -> History:
    """Trains ``model`` in place on the B samples and classes ``y`` (B,), integers, and leaves its best weights in it.

    The best epoch has the lowest loss on ``valid``, without it the lowest training loss; training stops after
    ``patience`` epochs without a better one. Numbers are standardised with the samples' own mean and deviation. The
    order of the samples is drawn from ``seed``; the global generators are neither read nor written. The optimiser is
    Adam (Kingma and Ba, 2015). Raises TypeError or ValueError before any work for wrong arguments, and RuntimeError if
    the loss stops being finite.
    """
    options = Training(epochs, batch_size, lr, weight_decay, patience, seed)
    y = _labels(model, sample, y)
    if valid is not None:
        valid = valid[0], _labels(model, *valid)
    for encoder, node, _ in model.encoder.leaves(sample.root):
        if isinstance(encoder, DenseEncoder) and isinstance(node, Dense):
            encoder.standardize(node)
    optimiser, order = options.optimiser(model), torch.Generator().manual_seed(options.seed)

    def epoch() -> float:
        model.train()
        batches = torch.split(torch.randperm(len(y), generator=order), options.batch_size)
        return one_pass(optimiser, (_loss(model, sample.take(index), y[index]) for index in batches))

    validate = None if valid is None else partial(evaluate, model, *valid, batch_size=options.batch_size)
    return options.run(model, epoch, validate)


def predict(model: HierarchicalClassifier, sample: Sample, *, batch_size: int = 256) -> Tensor:
    """Class probabilities (B, C) of whole samples, without gradients.

    Raises ValueError, naming sample and place, for a number that the model's type does not hold.
    """
    sample.check_range(model.head.weight.dtype)
    with torch.no_grad():
        parts = [model(sample.take(index)) for index in torch.split(torch.arange(len(sample)), batch_size)]
    return torch.cat(parts).softmax(dim=1)


def evaluate(model: HierarchicalClassifier, sample: Sample, y: Any, *, batch_size: int = 256) -> dict[str, float]:
    """Accuracy and mean cross entropy ("loss") on samples with classes ``y`` (B,), integers."""
    y = _labels(model, sample, y)
    logits = predict(model, sample, batch_size=batch_size).double().log().cpu()
    return {
        "accuracy": float((logits.argmax(dim=1) == y).double().mean()),
        "loss": float(functional.nll_loss(logits, y)),
    }


def _loss(model: HierarchicalClassifier, sample: Sample, y: Tensor) -> tuple[Tensor, int]:
    """The mean cross entropy of a batch, and over how many samples."""
    logits = model(sample)
    return functional.cross_entropy(logits, y.to(logits.device)), len(y)


def _labels(model: HierarchicalClassifier, sample: Sample, y: Any) -> Tensor:
    """The classes (B,) int64 of samples that the model can read."""
    if sample.schema != model.schema:
        raise ValueError("sample must look like the model's schema; encode it with from_json(..., model.schema)")
    if len(sample) == 0:
        raise ValueError("sample is empty; there must be at least one")
    sample.check_range(model.head.weight.dtype)
    return arrays.integers("y", y, len(sample), 0, model.num_classes - 1)
