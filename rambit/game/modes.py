"""Which evaluation mode a model is asked in: the strongest that it claims and that a check confirms."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit.checks import warn
from rambit.game import states
from rambit.game.sample import TensorSample
from rambit.memory import is_out_of_memory
from rambit.predictors import PredictionError, Predictor

EVALUATIONS = ("auto", "prefix", "causal", "stateful", "full")
#: Two ways to the same answer may differ by |a - b| <= ABSOLUTE + RELATIVE · |b|: rounding, not meaning.
TOLERANCE = {torch.float32: (1e-5, 1e-4), torch.float64: (1e-9, 1e-7)}


def claimed(predictor: Predictor, anchor: str, evaluation: str) -> str:
    """The mode that would be used if every claim held. Raises ValueError where the model cannot serve the request."""
    if evaluation not in EVALUATIONS:
        raise ValueError(f"evaluation must be one of {', '.join(EVALUATIONS)}, got {evaluation!r}")
    if evaluation == "full" and anchor != "end":
        raise ValueError(f"evaluation='full' serves anchor='end' only, got anchor={anchor!r}")
    if evaluation in ("causal", "stateful") and evaluation not in predictor.modes:
        needs = "return_all" if evaluation == "causal" else "advance(x, state)"
        raise ValueError(
            f"evaluation={evaluation!r} needs a model with {needs}; {type(predictor).__name__} offers none"
        )
    if evaluation != "auto":
        return evaluation
    if "stateful" in predictor.modes:
        return "stateful"
    if anchor == "end":
        return "full"
    return "causal" if "causal" in predictor.modes else "prefix"


def choose(predictor: Predictor, sample: TensorSample, anchor: str, evaluation: str) -> str:
    """The mode to use: claims are confirmed on a few series against calls on prefixes (anchor end: on whole series).

    A failed check of ``auto`` falls back with a warning; a mode that was asked for by name raises ValueError.
    """
    mode = claimed(predictor, anchor, evaluation)
    if predictor.proven or mode == "full":
        return mode
    predictor = predictor.as_given()  # half precision's rounding is so coarse that a false claim could hide in it
    with predictor.session():
        x = sample.cut().x[: min(4, len(sample))]
        T = x.shape[2]
        horizons = [T - 1] if anchor == "end" else sorted({0, T // 3, (2 * T) // 3, T - 1})
        try:
            expected = {h: _prefix(predictor, x, h) for h in horizons}
        except PredictionError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if anchor == "end":
                raise
            raise ValueError(
                f"the model cannot be asked on the first steps of a series ({_said(error)}): "
                f"anchor={anchor!r} needs that; use anchor='end', which asks it on whole series only, or layout='BTD' "
                "if it reads (B, T, D)"
            ) from error
        for candidate in _weaker(mode, predictor):
            problem = _confirm(candidate, predictor, x, expected)
            if problem is None:
                return "full" if candidate == "prefix" and anchor == "end" and evaluation == "auto" else candidate
            if evaluation != "auto":
                raise ValueError(f"evaluation={evaluation!r} does not hold for this model: {problem}")
            warn(f"the model offers {candidate} evaluation, but {problem}; falling back")
    raise AssertionError("prefix evaluation needs no confirmation")


def _weaker(mode: str, predictor: Predictor) -> list[str]:
    order = [m for m in ("stateful", "causal") if m in predictor.modes] + ["prefix"]
    return order[order.index(mode) :]


def _prefix(predictor: Predictor, x: Tensor, h: int) -> Tensor:
    lengths = torch.full((len(x),), h + 1, dtype=torch.int64, device=x.device)
    return predictor.whole(x[:, :, : h + 1], lengths)[:, :, 0]


def _confirm(mode: str, predictor: Predictor, x: Tensor, expected: dict[int, Tensor]) -> str | None:
    if mode == "prefix":
        return None
    try:
        if mode == "causal":
            answers = predictor.steps(x)
        else:
            cut = max(1, x.shape[2] // 2)
            answers, state = predictor.advance(x[:, :, :cut], None)
            if cut < x.shape[2]:
                # Through a permutation and back: rows are gathered from tables, so states must be row-first.
                order = torch.arange(len(x) - 1, -1, -1, device=x.device)
                rest, _ = predictor.advance(x[order][:, :, cut:], states.take(state, order))
                answers = torch.cat((answers, rest[order]), dim=2)
    except (PredictionError, TypeError, IndexError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return f"asking it that way failed ({_said(error)})"
    absolute, relative = TOLERANCE[answers.dtype]
    for h, value in expected.items():
        if answers.shape[1] != value.shape[1]:
            return f"it then gives {answers.shape[1]} classes instead of {value.shape[1]}"
        off = (answers[:, :, h] - value).abs()
        if bool((off > absolute + relative * value.abs()).any()):
            return (
                f"its answers at step {h} then differ by {float(off.max()):.2g} from those on {h + 1} steps alone "
                f"(allowed: {absolute:g} + {relative:g} · |answer|)"
            )
    return None


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
