"""When a model that claims nothing is traced, to see whether its graph claims something."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from torch import nn

from rambit.game.horizons import Anchor
from rambit.game.modes import NEEDS, Evaluation
from rambit.game.tensor_sample import TensorSample
from rambit.game.work import SPEED, Flipped
from rambit.predictors import ModulePredictor, Predictor
from rambit.predictors.trace import traces_made
from rambit.predictors.work import multiplications

#: Multiplications, of prefixes, that outweigh a trace: some three seconds of a core. States take less than a tenth of
#: them, and a trace up to half a second, the first one of a process two more.
WORTH_A_TRACE = 5e10
#: The same of one module's rows in all calls so far, where they are likely to go on: about a second of a core.
WORTH_A_TRACE_SO_FAR = 1.5e10
_so_far: weakref.WeakKeyDictionary[nn.Module, float] = weakref.WeakKeyDictionary()


def outweighs_a_trace(module: nn.Module, work: float, device_type: str) -> bool:
    """Whether the multiplications of a module's rows, ``work`` in this call beside those of earlier ones, outweigh a
    trace; where it was traced more than once, each of these. So no sequence of calls takes much longer with traces."""
    _so_far[module] = _so_far.get(module, 0.0) + work
    return _so_far[module] >= max(1, traces_made(module)) * WORTH_A_TRACE_SO_FAR * SPEED.get(device_type, 1)


def recognised(
    predictor: Predictor,
    sample: TensorSample,
    anchor: Anchor,
    evaluation: Evaluation,
    flips: Callable[[], Flipped],
) -> Predictor:
    """The predictor, with what its module's graph claims where that was asked for by name, or may pay.

    Under ``auto`` it may pay where outputs are compared at many times, each of which is otherwise a call on a prefix,
    and the prefixes are work enough: a rule of shapes alone. (With anchor end there is one call on the whole series.)
    Raises ValueError, which says why, where a mode was named and the graph claims nothing.
    """
    if predictor.modes or not isinstance(predictor, ModulePredictor) or predictor.module is None:
        return predictor
    if sample.extra or sample.shape is not None or sample.tokens:
        return predictor
    T = sample.cut().x.shape[2]
    if evaluation == "auto" and anchor != "end":
        least = WORTH_A_TRACE * SPEED.get(sample.x.device.type, 1) * T
        worth = flips().work("prefix").row_steps * multiplications(predictor.module, T) >= least
    else:
        worth = evaluation in NEEDS
    if not worth:
        return predictor
    from rambit.predictors.recognised import RecognisedPredictor  # with what torch's tracing needs

    found = RecognisedPredictor.of(predictor, sample.cut().x)
    if isinstance(found, RecognisedPredictor):
        return found
    if evaluation in NEEDS:
        raise ValueError(
            f"evaluation={evaluation!r} needs a model with {NEEDS[evaluation]}, or one whose graph shows the same; "
            f"{type(predictor).__name__} offers none, and as to its graph: {found}"
        )
    return predictor
