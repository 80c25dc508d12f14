"""A look at a model's outputs before its scores are believed: what it returns, and whether a second call changes it."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit.checks import warn
from rambit.counterfactuals import Counterfactual
from rambit.game import probes
from rambit.game.runner import Inputs, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.predictors import PredictionError, Predictor


def look(runner: Runner, sample: TensorSample, strategy: Counterfactual, seed: int) -> None:
    """Decide what ``output="auto"`` means, and warn of a model whose output for a row depends on more than the row.

    A few rows are evaluated, then most of them again in another order: once for a predictor, and they are not counted.
    """
    predictor = runner.predictor
    x, series = probes.rows(sample, strategy, seed, predictor.features_last)
    inputs = Inputs(
        sample.x, sample.x, None, sample.ids, strategy.fill, sample.length, None, sample.shape, sample.extra
    )
    runner.predictor = predictor.as_given().raw()
    try:
        with predictor.session():
            first = _outputs(runner, x, inputs, series)
            again = _outputs(runner, x[1:].flip(0), inputs, series[1:].flip(0)).flip(0)
            moved = _moved(first[1:], again)
            by_chance = moved and _moved(first, _outputs(runner, x, inputs, series))
    finally:
        runner.predictor = predictor
    predictor.decide(first)
    predictor.looked = True
    if moved:
        why = "evaluated among other rows, so it depends on its batch: does it normalise by statistics of the batch?"
        if by_chance:
            why = "evaluated twice, so it is not deterministic: is a module in training mode hidden in it, or chance?"
        warn(f"the model gives the same row {_most(first[1:], again)} when it is {why}")


def never_moved(rows: int, predictor: Predictor) -> None:
    """Warn that no output differed from another, so that all scores are 0."""
    why = "is the model constant?"
    if predictor.output != "regression":
        why = (
            "are they forecasts (output='regression'), hard votes, or logits so large that one class has probability 1?"
        )
    warn(f"{rows} rows were evaluated and the outputs never moved, so that no score says anything: {why}")


def _outputs(runner: Runner, x: Tensor, inputs: Inputs, series: Tensor) -> Tensor:
    """Outputs (n, C) for rows x of these series (n,)."""
    parts = runner.uncounted(len(x), lambda rows: runner.whole(x[rows].clone(), inputs, series[rows])[:, :, 0])
    return torch.cat(parts) if len({part.shape[1] for part in parts}) == 1 else _changing(*parts)


def _changing(*outputs: Tensor) -> Tensor:
    numbers = " and ".join(str(number) for number in sorted({part.shape[1] for part in outputs}))
    raise PredictionError(f"the model returned {numbers} outputs for rows of one batch: the number must not change")


def _moved(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        _changing(one, other)
    return bool(((one - other).abs() > probes.allowed(one)).any())


def _most(one: Tensor, other: Tensor) -> str:
    off = (one - other).abs()
    row, output = divmod(int(torch.nan_to_num(off).argmax()), off.shape[1])
    return f"{float(one[row, output]):.3g} or {float(other[row, output]):.3g}"
