"""In which mode a model is evaluated: the cheapest of those that it claims and that a check confirms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from rambit.checks import warn
from rambit.counterfactuals import Counterfactual
from rambit.game import probes, states
from rambit.game.horizons import Anchor
from rambit.game.runner import Runner
from rambit.game.tensor_sample import TensorSample
from rambit.game.work import PRICES, Flipped, Way, Work
from rambit.memory import is_out_of_memory
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.extra import SERIES
from rambit.predictors.fused import StepsWalk

Evaluation = Literal["auto", "prefix", "causal", "stateful", "full", "incremental"]
EVALUATIONS: tuple[Evaluation, ...] = get_args(Evaluation)
#: After so many steps, spread over the series, the future is changed to see whether a model looks at it.
CUTS = 12
#: So many single steps are taken at either end of a series.
SINGLE = 64
#: What a model must have for a mode.
NEEDS = {"causal": "return_all", "stateful": "advance(x, state)"}
UNVARIED = "its outputs in the check did not vary, so that the claim could not be told from a false one"


def offered(predictor: Predictor, sample: TensorSample) -> frozenset[str]:
    """The modes that a model claims for a sample: a state knows nothing of inputs beside a series."""
    return predictor.modes - {"stateful"} if sample.extra else predictor.modes


def candidates(
    runner: Runner, sample: TensorSample, anchor: Anchor, evaluation: Evaluation, flips: Callable[[], Flipped]
) -> list[Evaluation]:
    """The mode that was named, or under ``auto`` those that would serve if every claim held, the cheapest first.

    Claims that cost the same come in the order of what they claim. Raises ValueError where the model cannot serve the
    request.
    """
    predictor = runner.predictor
    offers = offered(predictor, sample)
    if evaluation not in EVALUATIONS:
        raise ValueError(f"evaluation must be one of {', '.join(EVALUATIONS)}, got {evaluation!r}")
    if evaluation in ("full", "incremental") and anchor != "end":
        raise ValueError(f"evaluation={evaluation!r} serves anchor='end' only, got anchor={anchor!r}")
    if evaluation in predictor.modes - offers:
        raise ValueError(f"evaluation={evaluation!r} does not serve extra=: a state knows nothing of extra inputs")
    if evaluation in ("causal", "stateful") and evaluation not in offers:
        raise ValueError(
            f"evaluation={evaluation!r} needs a model with {NEEDS[evaluation]}; {type(predictor).__name__} offers none"
        )
    if evaluation != "auto":
        return [evaluation]
    # With anchor end an output at every step has no use: causal would be full, with a claim to confirm.
    claims: tuple[Evaluation, ...] = ("stateful",) if anchor == "end" else ("stateful", "causal")
    serving = [mode for mode in claims if mode in offers]
    fallback: Evaluation = "full" if anchor == "end" else "prefix"
    # One call for all horizons of a row is never more work than one for each: prefixes only compete with states.
    competing = serving if "causal" in serving else [*serving, fallback]
    if len(competing) > 1:
        seconds = _seconds(runner, sample, flips(), competing)
        competing = sorted(competing, key=lambda mode: seconds[mode])
    return competing if fallback in competing else [*competing, fallback]


def _seconds(
    runner: Runner, sample: TensorSample, flips: Flipped, modes: Sequence[Evaluation]
) -> dict[Evaluation, float]:
    """How long the flips take in each mode."""
    prices = PRICES.get(runner.device.type, PRICES["cuda"])
    found: dict[Evaluation, float] = {}
    for mode in modes:
        work, way, weights = reckoned(runner, sample, flips, mode)
        found[mode] = work.seconds(prices[way], weights)
    if runner.predictor.takes_lengths and "full" in found:  # which is given the padding too
        found["full"] *= sample.padded().x.shape[2] / flips.rule.T
    return found


def reckoned(runner: Runner, sample: TensorSample, flips: Flipped, mode: Evaluation) -> tuple[Work, Way, int]:
    """What flips and the check of a mode do, how its steps are made, and how many weights the model has."""
    predictor = runner.predictor
    work = flips.work(mode)
    way: Way = "whole"
    if mode == "stateful":
        with torch.no_grad():  # as while it is evaluated: steps of ours have no gradients
            way = "own" if isinstance(predictor.walk(sample.cut().x[:1]), StepsWalk) else "advance"
    if not predictor.proven and mode in ("causal", "stateful"):
        T = flips.rule.T
        work += Work(2 * CUTS, 2 * CUTS * T) if mode == "causal" else Work(2 * _singles(T), 2 * _singles(T))
    return work, way, 0 if predictor.module is None else sum(w.numel() for w in predictor.module.parameters())


def choose(
    runner: Runner,
    sample: TensorSample,
    anchor: Anchor,
    evaluation: Evaluation,
    flips: Callable[[], Flipped],
    counterfactuals: Counterfactual,
    draws: int,
    seed: int,
) -> Evaluation:
    """The mode to use for flips. Claims are confirmed on rows as the engine makes them, of series spread over the
    batch; a runner that only counts takes them as they are.

    A model's output at a step must be what it says of the steps until then alone, whatever follows, and however the
    steps are cut into calls. A failed check of ``auto`` falls back to the next cheapest with a warning; a mode that was
    asked for by name raises ValueError.
    """
    predictor = runner.predictor
    order = candidates(runner, sample, anchor, evaluation, flips)
    if runner.dry or predictor.proven or predictor.confirmed or order[0] in ("full", "incremental"):
        return order[0]
    # Half precision's rounding, and saturated probabilities, are so coarse that a false claim could hide in them.
    predictor = predictor.as_given().raw()
    sample = sample.cut().in_memory_order(predictor.features_last)
    x, series = probes.rows(sample, counterfactuals, seed, predictor.features_last)
    extremes = probes.extremes(sample, counterfactuals, draws, seed)
    apart, series = (len(x), len(extremes)), torch.cat((series, series[: len(extremes)]))
    rows = Probes(runner, predictor, torch.cat((x, extremes)), series, sample, apart)
    with predictor.session(), probes.exact_products(x.device):
        expected = _expected(rows, anchor)
        for candidate in order:
            problem = _confirm(candidate, rows, expected)
            if problem is None or (problem == UNVARIED and evaluation != "auto"):
                return candidate
            if evaluation != "auto":
                raise ValueError(f"evaluation={evaluation!r} does not hold for this model: {problem}")
            if not predictor.recognised:
                warn(f"the model offers {candidate} evaluation, but {problem}; falling back")
    raise AssertionError("prefix and full evaluation need no confirmation")


@dataclass(frozen=True)
class Probes:
    """Rows x (n, D, T) of series (n,) of a sample, on which a model's claims are confirmed.

    ``apart``: how many of them are as the engine makes them, and how many follow that are of extremes.
    """

    runner: Runner
    predictor: Predictor
    x: Tensor
    series: Tensor
    sample: TensorSample
    apart: tuple[int, int]

    def evaluate(self, call: Callable[[Tensor, dict[str, Tensor]], Tensor]) -> Tensor:
        """What a call gives for these rows, and what goes with them, as many at a time as fit; uncounted."""
        takes_series = self.predictor.takes_series

        def part(rows: slice) -> Tensor:
            index = self.series[rows]
            beside = {name: values[index] for name, values in self.sample.extra.items()}
            if takes_series:
                beside[SERIES] = self.sample.ids[index]
            return call(self.x[rows].clone(), beside)

        return torch.cat(self.runner.uncounted(len(self.x), part))


def _expected(rows: Probes, anchor: Anchor) -> dict[int, Tensor]:
    """Outputs (n, C) on the first steps alone, for some numbers of them."""
    T = rows.x.shape[2]

    def prefix(h: int) -> Tensor:
        def evaluate(part: Tensor, beside: dict[str, Tensor]) -> Tensor:
            lengths = torch.full((len(part),), h + 1, dtype=torch.int64, device=part.device)
            return rows.predictor.whole(part[:, :, : h + 1], lengths, beside)[:, :, 0]

        return rows.evaluate(evaluate)

    try:
        return {h: prefix(h) for h in ([T - 1] if anchor == "end" else sorted({0, T // 3, (2 * T) // 3, T - 1}))}
    except Exception as error:
        if is_out_of_memory(error) or anchor == "end":
            raise
        prefix(T - 1)  # a model that cannot be evaluated at all says so itself
        raise ValueError(
            f"the model cannot be evaluated on the first steps of a series ({said(error)}): "
            f"anchor={anchor!r} needs that; use anchor='end', which evaluates it on whole series only, or layout='BTD' "
            "if it reads (B, T, D)"
        ) from error


def _confirm(mode: str, rows: Probes, expected: dict[int, Tensor]) -> str | None:
    """What speaks against a mode; None if nothing does."""
    if mode in ("prefix", "full"):
        return None
    ways = _one_call(rows) if mode == "causal" else _cut_calls(rows, min(expected))
    found: list[Tensor] = []
    try:
        for changed, evaluate, times in ways:
            found.append(replace(rows, x=changed).evaluate(evaluate))
            against = {h: (value, f"on {h + 1} steps alone") for h, value in expected.items()}
            if len(found) > 1:
                against = {h: (found[0][:, :, h], "in another call") for h in times}
            for h, (value, where) in against.items():
                if (problem := _differs(found[-1], value, h, where, rows.apart)) is not None:
                    return problem
    except (PredictionError, TypeError, IndexError, RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        return f"evaluating it that way failed ({said(error)})"
    if not probes.vary(torch.cat([outputs.transpose(1, 2).flatten(0, 1) for outputs in found])):
        return UNVARIED
    return None


def _differs(outputs: Tensor, value: Tensor, h: int, where: str, apart: tuple[int, int]) -> str | None:
    if outputs.shape[1] != value.shape[1]:
        return f"it then gives {outputs.shape[1]} classes instead of {value.shape[1]}"
    off = (outputs[:, :, h] - value).abs()
    # What extremes give may be so large that beside it any difference of the others would count as rounding.
    allowed = torch.cat([probes.allowed(part) for part in torch.split(value, list(apart))])
    if bool((off > allowed).any()):
        return f"its outputs at step {h} then differ by {float(off.max()):.2g} from those {where}"
    return None


#: Rows, how they are evaluated, and the steps at which the outputs must be those of the first way.
Ways = Iterator[tuple[Tensor, Callable[[Tensor, dict[str, Tensor]], Tensor], range]]


def _one_call(rows: Probes) -> Ways:
    """Outputs at every step, and again where all that follows a step is something else."""
    x, predictor, T = rows.x, rows.predictor, rows.x.shape[2]
    yield x, predictor.steps, range(0)
    for cut in sorted({1, 2, T - 2, T - 1, *np.linspace(1, T - 1, CUTS).astype(int).tolist()} & set(range(1, T))):
        for other in (x.roll(1, dims=0).flip(2), x[-1:].expand(x.shape)):  # the last row is one of extremes
            yield torch.cat((x[:, :, :cut], other[:, :, cut:]), dim=2), predictor.steps, range(cut)


def _cut_calls(rows: Probes, first: int) -> Ways:
    """Outputs at every step, of calls that cut the series at different places; they agree from ``first`` on."""
    x, T = rows.x, rows.x.shape[2]
    single = [1] * _singles(T)
    for lengths in ([T], [*single, T - 2 * len(single), *single], [1, T - 1], [T // 2, T - T // 2]):
        yield x, partial(_along, rows.predictor, lengths), range(first, T)


def _singles(T: int) -> int:
    return min(T // 2, SINGLE)


def _along(predictor: Predictor, lengths: list[int], x: Tensor, _: object) -> Tensor:
    """Outputs (n, C, T) of calls on so many steps each."""
    order = torch.arange(len(x) - 1, -1, -1, device=x.device)
    outputs: list[Tensor] = []
    state: states.State | None = None
    for piece in torch.split(x, list(filter(None, lengths)), dim=2):
        if state is None:
            found, state = predictor.advance(piece.clone(), None)
        else:  # through a permutation and back: rows are gathered from tables, so states must be row-first
            found, state = predictor.advance(piece[order], states.take(state, order))
            found, state = found[order], states.take(state, order)
        outputs.append(found.clone())
    return torch.cat(outputs, dim=2)


def said(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
