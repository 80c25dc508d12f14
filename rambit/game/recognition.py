"""When a model that claims nothing is traced, to see whether its graph claims something."""

from __future__ import annotations

from torch import Tensor

from rambit.game.horizons import Anchor
from rambit.game.modes import NEEDS, Evaluation
from rambit.game.tensor_sample import TensorSample
from rambit.predictors import ModulePredictor, Predictor

#: Multiply-adds of one mask's flips on prefixes, from which on ``auto`` has a model traced: they take a few seconds on
#: one thread of a CPU, and a trace takes up to 0.5 s, the first one of a process 2 s more.
WORTH = 10**10


def recognised(
    predictor: Predictor, sample: TensorSample, anchor: Anchor, evaluation: Evaluation, window: int, draws: int
) -> Predictor:
    """The predictor, with what its module's graph claims where that was asked for by name, or may pay.

    Under ``auto`` it may pay where outputs are compared at many times, each of which is otherwise a call on a prefix,
    and the prefixes are work enough: that follows from shapes alone. With anchor end one call on the whole series
    serves. Raises ValueError, which says why, where a mode was named and the graph claims nothing.
    """
    named = evaluation in NEEDS
    plain = isinstance(predictor, ModulePredictor) and predictor.module is not None and not predictor.modes
    if not plain or sample.extra or sample.shape is not None or sample.tokens:
        return predictor
    x = sample.cut().x
    if not named and (evaluation != "auto" or anchor == "end" or _multiply_adds(predictor, x, window, draws) < WORTH):
        return predictor
    from rambit.predictors.recognised import RecognisedPredictor

    found = RecognisedPredictor.of(predictor, x)
    if isinstance(found, RecognisedPredictor):
        return found
    if named:
        raise ValueError(
            f"evaluation={evaluation!r} needs a model with {NEEDS[evaluation]}, or one whose graph shows the same; "
            f"{type(predictor).__name__} offers none, and its graph does not: {found}"
        )
    return predictor


def _multiply_adds(predictor: Predictor, x: Tensor, window: int, draws: int) -> int:
    """Of each cell flipped and compared at ``window`` times, on prefixes; each weight counts once a step."""
    B, D, T = x.shape
    row_steps = draws * B * D * window * T * (T + 1) // 2
    assert predictor.module is not None
    return row_steps * sum(weight.numel() for weight in predictor.module.parameters())
