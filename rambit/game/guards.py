"""A look at a model's outputs before its scores are believed: what it returns, and whether a second call changes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rambit.checks import warn
from rambit.counterfactuals import Counterfactual
from rambit.game import probes
from rambit.game.runner import Inputs, Runner
from rambit.game.tensor_sample import TensorSample
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.predictor import are_votes, sum_to_one

#: No classifier's logits lie so far apart in every row that was looked at; forecasts may.
TOO_LARGE = 300.0
#: Outputs that a warning shows.
MOST_SHOWN = 4
#: What makes probabilities, as the last step of a model.
SIGMOIDS = (torch.ops.aten.sigmoid, torch.ops.aten.sigmoid_, torch.ops.aten._softmax)
#: What leaves probabilities what they are: copies, other types, bounds, joined models, means over an ensemble.
PASSING = (
    *(torch.ops.aten.clone, torch.ops.aten._to_copy, torch.ops.aten.nan_to_num),
    *(torch.ops.aten.clamp, torch.ops.aten.clamp_min, torch.ops.aten.clamp_max),
    *(torch.ops.aten.cat, torch.ops.aten.stack, torch.ops.aten.mean, torch.ops.aten.index, torch.ops.aten.index_select),
)


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
        with predictor.session(), probes.exact_products(x.device):
            first = _outputs(runner, x, inputs, series)
            again = _outputs(runner, x[1:].flip(0), inputs, series[1:].flip(0)).flip(0)
            moved = _moved(first[1:], again)
            by_chance = moved and _moved(first, _outputs(runner, x, inputs, series))
            bounded = predictor.undecided and _made_by_a_sigmoid(runner, x, inputs, series, first)
    finally:
        runner.predictor = predictor
    predictor.too_large = predictor.undecided and _are_too_large(first)
    predictor.decide(first, bounded)
    predictor.looked, predictor.seen = True, first
    if moved:
        why = (
            "evaluated among other rows, so it depends on its batch: let it normalise by statistics of the training "
            "data (track_running_stats=True), or evaluate rows alone, batch_size=1"
        )
        if by_chance:
            why = (
                "evaluated twice, so it is not deterministic: call eval() on a module in training mode that is hidden "
                "in it, and fix the seed of what it draws inside it"
            )
        warn(f"the model gives the same row {_most(first[1:], again)} when it is {why}")


def look_back(rows: int, predictor: Predictor, *, moved: bool, graded: bool) -> None:
    """Warn of outputs that never ``moved``, or whose probabilities are all (not ``graded``), or nearly all, 0 or 1."""
    if rows < 2 or (moved and graded and not predictor.too_large):
        return
    if not moved:
        says = f"{rows} rows were evaluated and the outputs never moved, so that no score says anything"
        warn(f"{says}: {_why_still(predictor, graded)}")
    else:
        every = "nearly every" if graded else "every"
        says = (
            f"{rows} rows were evaluated and {every} probability was 0 or 1, so that scores only count other decisions"
        )
        warn(f"{says}: {_why_hard(predictor)}")


def _why_still(predictor: Predictor, graded: bool) -> str:
    """The likeliest reason, by what the model returned at first."""
    seen = predictor.seen
    if seen is not None and bool((seen == seen[:1]).all()):
        shown = ", ".join(f"{value:.3g}" for value in seen[0, :MOST_SHOWN].tolist())
        more = ", …" if seen.shape[1] > MOST_SHOWN else ""
        votes = " If these are hard votes, explain what it votes by." if are_votes(seen) else ""
        return f"is the model constant? It returned {shown}{more} for every row.{votes}"
    if graded:
        return "is the model constant in what was replaced?"
    return _why_hard(predictor)


def _why_hard(predictor: Predictor) -> str:
    """The likeliest reason for probabilities that are all 0 or 1."""
    if predictor.output == "probs":
        return "are these hard votes? Explain what it votes by, such as predict_proba or the logits"
    seen = predictor.seen
    extent = "" if seen is None else f" ({float(seen.amin()):.3g} to {float(seen.amax()):.3g})"
    says = f"its outputs{extent} are too large for logits. Are they forecasts?"
    return f"{says} output='regression' compares them as they are"


def _are_too_large(outputs: Tensor) -> bool:
    """Whether outputs (n, C) lie too far apart, or from 0, for logits, in every row."""
    extent = outputs.amax(dim=1) - outputs.amin(dim=1) if outputs.shape[1] > 1 else outputs.abs()[:, 0]
    return bool((extent > TOO_LARGE).all())


class _Sigmoids(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers what sigmoids and softmaxes made, and copies of it, so that outputs in that memory are known to be."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.results: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        passed = func.overloadpacket in PASSING and all(map(self.made, _tensors(args[0])))
        if passed or func.overloadpacket in SIGMOIDS:
            self.results.append(result)
        return result

    def made(self, output: Tensor) -> bool:
        """Whether these values lie where a sigmoid or softmax put its own."""
        place = output.untyped_storage().data_ptr()
        return any(result.untyped_storage().data_ptr() == place for result in self.results)


def _tensors(given: Any) -> Sequence[Tensor]:
    return [given] if isinstance(given, Tensor) else given


def _made_by_a_sigmoid(runner: Runner, x: Tensor, inputs: Inputs, series: Tensor, outputs: Tensor) -> bool:
    """Whether a model's outputs (n, C) that could be probabilities of no sum are made by a sigmoid or softmax."""
    if sum_to_one(outputs) or not bool(((outputs >= 0) & (outputs <= 1)).all()):
        return False
    mode = _Sigmoids()
    with mode:
        found = runner.whole(x[:1].clone(), inputs, series[:1])
    return mode.made(found)


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
