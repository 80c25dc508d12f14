"""Trains classifiers of nested samples."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from rambit.structure.classifier import HierarchicalClassifier
from rambit.structure.encoders import DenseEncoder
from rambit.structure.nodes import Dense
from rambit.structure.sample import Sample
from rambit.structure.schema import at_least
from rambit.training import History


def fit(
    model: HierarchicalClassifier,
    sample: Sample,
    y: Tensor,
    *,
    valid: tuple[Sample, Tensor] | None = None,
    epochs: int = 10,
    batch_size: int = 100,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    patience: int | None = None,
    seed: int = 0,
) -> History:
    """Trains ``model`` in place on the B samples and classes ``y`` (B,) int64, and leaves its best weights in it.

    The best epoch has the lowest loss on ``valid``, without it the lowest training loss; training stops after
    ``patience`` epochs without a better one. Numbers are standardised with the samples' own mean and deviation. The
    order of the samples is drawn from ``seed``; the global generators are neither read nor written. The optimiser is
    Adam (Kingma and Ba, 2015). Raises TypeError or ValueError before any work for wrong arguments, and RuntimeError if
    the loss stops being finite.
    """
    for name, count in (("epochs", epochs), ("batch_size", batch_size), ("patience", patience)):
        if count is not None:
            at_least(name, count, 1)
    if not 0 < lr < math.inf or not 0 <= weight_decay < math.inf:
        raise ValueError(f"lr must be above 0 and weight_decay at least 0, got {lr} and {weight_decay}")
    for labelled, labels in ((sample, y), *([] if valid is None else [valid])):
        _check(model, labelled, labels)
        labelled.check_range(model.head.weight.dtype)

    started, history, order = time.perf_counter(), History(), torch.Generator().manual_seed(seed)
    for encoder, node, _ in model.encoder.leaves(sample.root):
        if isinstance(encoder, DenseEncoder) and isinstance(node, Dense):
            encoder.standardize(node)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    best, kept = math.inf, _weights(model)
    try:
        for epoch in range(epochs):
            loss = _epoch(model, sample, y, optimiser, torch.split(torch.randperm(len(y), generator=order), batch_size))
            history.train_loss.append(loss)
            if valid is not None:
                scores = evaluate(model, *valid, batch_size=batch_size)
                loss = scores["loss"]
                history.valid_loss.append(loss)
                history.valid_accuracy.append(scores["accuracy"])
            if not math.isfinite(loss):
                raise RuntimeError(f"the loss became {loss} in epoch {epoch}; lr is {lr}, a smaller one may help")
            if loss < best:
                best, kept, history.best_epoch = loss, _weights(model), epoch
            elif patience is not None and epoch - history.best_epoch >= patience:
                break
    finally:
        model.load_state_dict(kept)
        model.eval()
    history.seconds = time.perf_counter() - started
    return history


def predict(model: HierarchicalClassifier, sample: Sample, *, batch_size: int = 256) -> Tensor:
    """Class probabilities (B, C) of whole samples, without gradients.

    Raises ValueError, naming sample and place, for a number that the model's type does not hold.
    """
    sample.check_range(model.head.weight.dtype)
    with torch.no_grad():
        parts = [model(sample.take(index)) for index in torch.split(torch.arange(len(sample)), batch_size)]
    return torch.cat(parts).softmax(dim=1)


def evaluate(model: HierarchicalClassifier, sample: Sample, y: Tensor, *, batch_size: int = 256) -> dict[str, float]:
    """Accuracy and mean cross entropy ("loss") on samples with classes ``y`` (B,) int64."""
    _check(model, sample, y)
    logits = predict(model, sample, batch_size=batch_size).double().log().cpu()
    return {
        "accuracy": float((logits.argmax(dim=1) == y).double().mean()),
        "loss": float(functional.nll_loss(logits, y)),
    }


def _epoch(
    model: HierarchicalClassifier,
    sample: Sample,
    y: Tensor,
    optimiser: torch.optim.Optimizer,
    batches: tuple[Tensor, ...],
) -> float:
    """One pass over the samples; the mean loss."""
    model.train()
    losses = []
    for index in batches:
        logits = model(sample.take(index))
        loss = functional.cross_entropy(logits, y[index].to(logits.device))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.detach())
    return float(np.average(torch.stack(losses).cpu().double().numpy(), weights=[len(index) for index in batches]))


def _weights(model: HierarchicalClassifier) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _check(model: HierarchicalClassifier, sample: Sample, y: Tensor) -> None:
    if sample.schema != model.schema:
        raise ValueError("sample must look like the model's schema; encode it with from_json(..., model.schema)")
    if len(sample) == 0 or y.shape != (len(sample),):
        raise ValueError(f"y must be ({len(sample)},) with at least one sample, got {tuple(y.shape)}")
    if y.dtype != torch.int64:
        raise TypeError(f"y must be int64, got {y.dtype}")
    if y.min() < 0 or y.max() >= model.num_classes:
        raise ValueError(f"y must lie in 0..{model.num_classes - 1}, got {int(y.min())}..{int(y.max())}")
