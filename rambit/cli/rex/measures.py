"""How good an explanation is, as lines of a report and in its file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from rambit.checks import warn
from rambit.rex import ReX, RexExplanation

#: Lines of the table of curves.
_LINES = 11


def analysed(explainer: ReX, x: Tensor, found: RexExplanation) -> RexExplanation:
    """The explanation of x with its measures; a change to another class has none, and a warning says so."""
    if found.predicted is not None:
        warn("--analyse measures what suffices for the class of the input: of another class there are no measures")
        return found
    evaluation = explainer.evaluate(x, found, step=max(1, found.mask.numel() // 100), seed=explainer.seed)
    return replace(found, measures=evaluation.measures(), curves=torch.tensor(evaluation.points, dtype=torch.float64))


def measured(found: RexExplanation) -> list[tuple[str, str]]:
    """Each measure, and the curves as a table: how much is kept or replaced, and how sure the model is then."""
    if found.measures is None or found.curves is None:
        return []
    rows = [(name, "none" if value is None else f"{value:.4f}") for name, value in found.measures.items()]
    share, *curves = found.curves.numpy()
    at = np.linspace(0, 1, _LINES)
    kept, replaced = (np.interp(at, share, curve) for curve in curves)
    lines = [(f"  {a:.0%}", f"{b:.4f}  {c:.4f}") for a, b, c in zip(at, kept, replaced, strict=True)]
    return [*rows, ("curves", "confidence with so much kept, and with so much replaced"), *lines]
