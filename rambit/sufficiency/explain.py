"""``explain``: the least that a model needs to decide the same."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, frames
from rambit.checks import count, flag, warn
from rambit.counterfactuals import CounterfactualLike
from rambit.game import Cost, progress
from rambit.labels import Labels
from rambit.predictors import PredictionError
from rambit.predictors.predictor import Output
from rambit.structure import Sample
from rambit.sufficiency import reading
from rambit.sufficiency.decisions import Decisions, Problem, joined
from rambit.sufficiency.goals import Goal
from rambit.sufficiency.heuristics import HEURISTICS, SOFT, rows_of, uniform
from rambit.sufficiency.reading import Terms
from rambit.sufficiency.search import exact, methods
from rambit.sufficiency.search.methods import SearchName
from rambit.sufficiency.search.task import Task
from rambit.sufficiency.subjects import Subject
from rambit.sufficiency.sufficient_explanation import SufficientExplanation
from rambit.text import shortened

#: Two outputs of the same row, in batches of different size, differ by at most this many units of rounding.
ROUNDING = 8
#: Masks of one question of one search, at most: more would be evaluated for nothing.
WIDTH = 2048
#: The draw that orders random removal; those of the heuristics come first.
REMOVAL_DRAW = 1 << 30


def explain(
    model: Any,
    sample: Any,
    *,
    target: Any = None,
    counterfactuals: CounterfactualLike = "zero",
    terms: Terms | Tensor | None = None,
    heuristic: Any = "banzhaf",
    search: SearchName = "flat_harr",
    rel_tol: float | Sequence[float] | Tensor = 0.9,
    abs_tol: float | Sequence[float] | Tensor | None = None,
    num_samples: int = 200,
    clusters: Tensor | None = None,
    output: Output = "auto",
    seed: int = 0,
    max_memory: int | None = None,
    show_progress: bool = False,
    labels: Labels | Mapping[str, Any] | None = None,
    keep_input: bool = True,
    extra: Any = None,
    criterion: Callable[[Tensor], Any] | None = None,
    tolerance: float | Sequence[float] | Tensor | None = None,
) -> SufficientExplanation | list[SufficientExplanation]:
    """A small part of each sample with which the model still decides for the target; a list where there are several.

    The gap is the target's probability minus that of the best other class. The part keeps a gap of at least rel_tol ×
    the gap of the whole sample (or that gap - ``abs_tol``, at least 0, if it is given), less rounding. Either is one
    number or one for each sample. A sample without anything in it has an empty explanation, of which a warning tells.

    * ``model``: anything that ``rambit.predictors.Predictor.of`` takes; for nested samples a HierarchicalClassifier, or
      anything that is called with a ``Sample`` (of which parts are removed, and which repeats) and returns (B, C).
    * ``sample``: tables (B, F), series (B, D, T), images (B, C, H, W), volumes, integer tokens (B, T), frames of series
      of one length (pandas, xarray), or a ``rambit.structure.Sample``.
    * ``target``: a class, or one for each sample, by number or, where ``labels`` or the model names the outputs, by
      name; default: the model's own choice. Of regression: an output; default: all of them.
    * ``criterion``: in place of the gap, a function of probabilities (N, C) float64, or of the values of regression,
      that returns (N,) numbers, higher is better (or bools). With ``abs_tol``, it may be negative.
    * ``tolerance``: for regression, how far each value may move (one number, or one for each sample); the gap is then
      minus the largest move.
    * ``counterfactuals``: what stands where a term is not kept (see ``rambit.counterfactuals``), a strategy, its name,
      or values (S, …) like the sample; outputs are means over S. In nested samples, what is not kept is missing.
    * ``terms``: what is kept or not: ``cells`` (default; an image's channels belong together), ``timestamps``,
      ``features``, or an integer tensor like a mask: the group of each cell.
    * ``heuristic``: ``const``, ``random``, ``grad``, ``gnn``, ``daf``, ``banzhaf`` (``num_samples`` random masks),
      ``shapley`` (``num_samples`` random orders), scores like the sample or its masks, an attribution, a ReX result, or
      anything with ``attribute(sample)``. ``gnn:steps=50,lr=0.05,size=0.01,entropy=0.5`` sets options of gnn
      (200, 0.01, 0.005, 1). It is not computed where the search does not use it.
    * ``search``: ``flat_`` or ``lbyl_`` (nested samples: level by level from the root) and hadd, harr, harrft (a prefix
      of the heuristic's ranking; with random removal; with fine-tuning), gadd, garr, garrft (the same, starting
      greedily), gradient; or exact, for up to 24 terms.
    * ``clusters``: an id for each term of the batch; terms of one id move together. Samples that share one are searched
      together, and all their thresholds must hold.
    * ``labels``: what classes, samples and, of series and tables, features and times are called, a
      ``rambit.labels.Labels`` or a dictionary of its fields. ``keep_input=False``: the results hold no copy of the
      samples (nested ones never do).
    * ``extra``: further inputs of the model, a dictionary by argument or a tuple by position, (B, …), which are never
      replaced; for samples of three axes or more, and tokens.

    Raises ValueError or TypeError naming the argument for what does not fit, and where the gap of a whole sample is
    negative; PredictionError where the model's outputs are unusable. Source: Pevný, Mandlík et al., ExplainMill.
    """
    begin = time.perf_counter()
    flag("show_progress", show_progress)
    flag("keep_input", keep_input)
    scope, method = _check(sample, search, num_samples, seed, max_memory)
    num_samples, seed = int(num_samples), int(seed)  # plain numbers from here on
    goal = Goal.of(target, criterion, rel_tol, abs_tol, tolerance)
    sample, given_names = frames.with_names("sample", sample, labels)
    with progress(show_progress, lambda: 0) as bar:
        subject = reading.subject_of(
            model,
            sample,
            counterfactuals=counterfactuals,
            terms=terms,
            output=output,
            seed=seed,
            max_memory=max_memory,
            progress=bar,
            extra=extra,
            goal=goal,
        )
        named, model = reading.labels_of(given_names, sample, len(subject.terms)), subject.game.predictor.digest()
        goal = goal.over(len(subject.terms), named.outputs or subject.game.predictor.class_names)
        problems = joined(reading.players_of(clusters, subject))
        _check_exact(search, problems)
        values = reading.heuristic_of(heuristic, sample, subject) if method.ranks else "const"
        soft = (
            "heuristic"
            if isinstance(values, str) and values.partition(":")[0] in SOFT
            else "search"
            if any(stage.soft for stage in method.stages)
            else None
        )
        if soft is not None and not subject.differentiable:
            raise ValueError(
                f"{soft} needs fixed counterfactuals, whose values do not depend on what is kept, no tokens, which "
                "have no gradients, and for nested samples a HierarchicalClassifier"
            )
        _warn_of_empty(subject)
        decisions = _decide(subject, problems, goal)
        named.check_outputs(decisions.whole.shape[1])
        if isinstance(values, str):
            name, ranking = HEURISTICS.parse(values)
            scores = HEURISTICS[name](decisions, num_samples, seed, **ranking)
        else:
            scores = [problem.on_players([values[b] for b in problem.samples]) for problem in problems]
        masks = methods.search(decisions, _tasks(decisions, scores, seed), scope, method)
        settings = {
            "heuristic": heuristic if isinstance(heuristic, str) else type(heuristic).__name__,
            "search": search,
            "num_samples": num_samples,
        }
        found = _explanations(decisions, masks, goal, settings, seed, begin)
    kept = None if isinstance(sample, Sample) or not keep_input else arrays.whole("sample", sample).cpu()
    found = [
        replace(
            one,
            labels=named.take(series=[b]),
            outputs=decisions.whole[b].clone(),
            x=None if kept is None else kept[b].clone(),
            model=model,
        )
        for b, one in enumerate(found)
    ]
    return found[0] if len(found) == 1 else found


def cost(
    model: Any,
    sample: Any,
    *,
    counterfactuals: CounterfactualLike = "zero",
    terms: Terms | Tensor | None = None,
    heuristic: Any = "banzhaf",
    search: SearchName = "flat_harr",
    num_samples: int = 200,
    clusters: Tensor | None = None,
    output: Output = "auto",
    max_memory: int | None = None,
) -> Cost:
    """The most rows that ``explain`` with these arguments evaluates; the model is not called.

    For ``exact``: all masks that are smaller than the sample. Raises ValueError for fine-tuning, whose walk has no
    useful bound, and as ``explain``.
    """
    scope, method = _check(sample, search, num_samples, 0, max_memory)
    subject = reading.subject_of(
        model, sample, counterfactuals=counterfactuals, terms=terms, output=output, seed=0, max_memory=max_memory
    )
    problems = joined(reading.players_of(clusters, subject))
    _check_exact(search, problems)
    stages = (*method.stages, *([method.last] if scope == "lbyl" and method.last else []))
    if any(stage.worst is None for stage in stages):
        raise ValueError(f"search={search!r} walks on from one mask to the next: its rows have no useful bound")
    rows = 0
    for problem in problems:
        P = problem.players
        ranking = rows_of(heuristic, num_samples, P) if method.ranks and isinstance(heuristic, str) else 0
        rows += len(problem.samples) * (2 + ranking + sum(stage.worst(P) for stage in stages if stage.worst))
    return replace(subject.game.cost(), rows=rows, row_steps=rows * subject.game.steps)


def _check(
    sample: Any,
    search: str,
    num_samples: int,
    seed: int,
    max_memory: int | None,
) -> tuple[str, methods.Method]:
    """Scope and method of the search. Raises TypeError or ValueError for arguments that are wrong on their own."""
    scope, method = methods.parse(search)
    count("num_samples", num_samples, 1, REMOVAL_DRAW - 1)
    count("seed", seed, 0)
    if max_memory is not None:
        count("max_memory", max_memory, 1 << 20)
    if scope == "lbyl" and not isinstance(sample, Sample):
        raise ValueError(f"search={search!r} goes level by level, which is for nested samples")
    return scope, method


def _check_exact(search: str, problems: Sequence[Problem]) -> None:
    largest = max(problem.players for problem in problems)
    if search == "exact" and largest > exact.MAX_EXACT:
        raise ValueError(f"search='exact' is for up to {exact.MAX_EXACT} terms, got {largest}")


def _warn_of_empty(subject: Subject) -> None:
    empty = [str(b) for b, count in enumerate(subject.terms) if not count]
    if len(empty) == 1:
        warn(f"sample {empty[0]} holds nothing: its explanation is empty")
    elif empty:
        warn(f"samples {shortened(', '.join(empty))} hold nothing: their explanations are empty")


def _decide(subject: Subject, problems: Sequence[Problem], goal: Goal) -> Decisions:
    """What the model says about the whole samples, and what a part of each must reach."""
    B, predictor = len(subject.terms), subject.game.predictor
    whole = subject.outputs([(b, torch.ones(1, count, dtype=torch.bool)) for b, count in enumerate(subject.terms)])
    criterion = goal.criterion(whole, predictor)
    value = criterion.values(whole.double()[None], range(B))[0]
    threshold = criterion.thresholds(value, goal.rel_tol, goal.abs_tol, torch.tensor(subject.terms) > 0)
    largest = torch.stack((whole.abs().amax(dim=1).double(), value.abs())).amax(dim=0)
    rounding = ROUNDING * torch.finfo(whole.dtype).eps * largest.clamp(min=1)
    if goal.tolerance is not None:  # what moves by just as much is within
        threshold = threshold - 2 * rounding
    return Decisions(subject, problems, criterion, torch.minimum(threshold, value - 2 * rounding), rounding, whole)


def _tasks(decisions: Decisions, scores: Sequence[Tensor], seed: int) -> list[Task]:
    """What each search knows. The masks of one round of all searches fit into a quarter of the memory."""
    most = max(1, *(problem.players for problem in decisions.problems))
    width = max(1, min(WIDTH, decisions.max_memory // 4 // (most * len(scores))))
    ranks = (uniform(decisions, number, 1, seed, first=REMOVAL_DRAW)[0] for number in range(len(scores)))
    return [Task(of, rank, width) for of, rank in zip(scores, ranks, strict=True)]


def _explanations(
    decisions: Decisions, masks: Sequence[Tensor], goal: Goal, settings: dict[str, Any], seed: int, begin: float
) -> list[SufficientExplanation]:
    """The results, evaluated again."""
    subject = decisions.subject
    kept: dict[int, Tensor] = {}
    size: dict[int, int] = {}
    for problem, mask in zip(decisions.problems, masks, strict=True):
        for b, index in zip(problem.samples, problem.index, strict=True):
            kept[b] = mask[index]
            size[b] = len(index[kept[b]].unique())  # type: ignore[no-untyped-call]
    order = range(len(kept))
    outputs = subject.outputs([(b, kept[b][None]) for b in order])
    found = decisions.criterion.values(outputs.double()[None], order)[0]
    if bool((found < decisions.threshold).any()):
        b = int((found < decisions.threshold).int().argmax())
        raise PredictionError(f"the model gives the same row other outputs when it is evaluated again (sample {b})")
    documents = subject.documents(kept)
    calls, seconds = subject.game.runner.calls, time.perf_counter() - begin
    targets = goal.targets(decisions.whole, subject.game.predictor)
    return [
        SufficientExplanation(
            mask=subject.mask(b, kept[b]),
            size=size[b],
            gap=float(found[b]),
            threshold=float(decisions.threshold[b]),
            target=None if targets is None else int(targets[b]),
            rows=int(decisions.rows[b]) + 2,  # the whole sample, and the result
            calls=calls,
            seconds=seconds,
            settings=settings | goal.settings(b),
            seed=seed,
            document=documents[b],
            terms=None if documents[b] is None else len(subject.levels(b)),
        )
        for b in order
    ]
