"""What a result says about what was explained: names, targets and the model's outputs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rambit.attribution.batch import Batch
from rambit.checks import warn
from rambit.labels import Labels
from rambit.predictors import Predictor


def explained(
    batch: Batch, distance: str, outputs: Tensor, axes: tuple[int, ...], predictor: Predictor
) -> dict[str, Any]:
    """The parts of an ``Attribution`` that say so.

    ``outputs`` (B, C): for the series as they are, of a target's function what it returns. ``axes``: (C,), or (H, Q) of
    forecasts. ``predictor`` says which class it decides for where no target was given.
    """
    return {
        "labels": _labels(batch, math.prod(axes), predictor),
        "targets": batch.targets.names(axes, math.prod(axes)),
        "target": _target(batch, distance, outputs, axes, predictor),
        "outputs": outputs.view(len(outputs), *axes).to(batch.like.device),
    }


def _target(batch: Batch, distance: str, outputs: Tensor, axes: tuple[int, ...], predictor: Predictor) -> Tensor | None:
    """The output of each series whose scores these are, (B,) or, of forecasts, (B, 2); None where it is not one."""
    targets, series = batch.targets, torch.arange(len(outputs))
    if targets.many or targets.function is not None or not (targets.given or distance == "diff"):
        return None
    found = targets.indices(series, len(series), axes)[0] if targets.given else predictor.predicted(outputs).cpu()
    return found if len(axes) == 1 else torch.stack(torch.unravel_index(found, axes), dim=1)


def _labels(batch: Batch, count: int, predictor: Predictor) -> Labels:
    """The labels, without the names of outputs where these are others: then with a warning, unless by a function.

    Outputs that nobody named are called as the model calls its classes.
    """
    names, own = batch.labels.outputs, predictor.class_names
    if names is None and len(own) == count and batch.targets.function is None:
        return replace(batch.labels, outputs=own)
    if names is None or (len(names) == count and batch.targets.function is None):
        return batch.labels
    if batch.targets.function is None:
        warn(f"labels name {len(names)} outputs, but the model has {count}: their names are left out")
    return replace(batch.labels, outputs=None)
