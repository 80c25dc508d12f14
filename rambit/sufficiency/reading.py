"""What a user hands to ``explain``, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rambit import arrays, frames
from rambit.checks import channels_first
from rambit.counterfactuals import Counterfactual, CounterfactualLike, Replay, resolve
from rambit.game import Game, TensorSample
from rambit.game.nested import NestedGame, NestedPredictor
from rambit.game.progress import Progress
from rambit.labels import Labels
from rambit.predictors import Predictor
from rambit.predictors.extra import read_extra
from rambit.predictors.predictor import Output
from rambit.results import Attribution
from rambit.results.record_checks import check_grid_labels
from rambit.structure import HierarchicalClassifier, Sample
from rambit.sufficiency.goals import Goal
from rambit.sufficiency.heuristics import HEURISTICS
from rambit.sufficiency.subjects import NestedSubject, Subject, TensorSubject

Terms = Literal["cells", "timestamps", "features"]
TERMS: tuple[Terms, ...] = get_args(Terms)


# -- samples -----------------------------------------------------------------------------------------------------------


def subject_of(
    model: Any,
    sample: Any,
    *,
    counterfactuals: CounterfactualLike,
    terms: str | Tensor | None,
    output: Output,
    seed: int,
    max_memory: int | None,
    progress: Progress | None = None,
    extra: Any = None,
    goal: Goal | None = None,
) -> Subject:
    """The batch as something that can be evaluated. Raises TypeError or ValueError naming the argument."""
    if isinstance(sample, Sample):
        if extra is not None:
            raise ValueError("extra is for tensors: a nested sample holds all that its model reads")
        return _nested(model, sample, counterfactuals, terms, output, max_memory, progress, goal)
    if frames.is_frame(sample):
        sample = frames.of_one_length("sample", sample).values
    if not arrays.is_array(sample):
        raise TypeError(f"sample must be a tensor or a rambit.structure.Sample, got {type(sample).__name__}")
    sample = arrays.whole("sample", sample)
    tokens = sample.ndim == 2 and arrays.holds_integers(sample)
    if not 2 <= sample.ndim <= 5:
        raise ValueError(
            "sample must be tables (B, F), series (B, D, T), images (B, C, H, W), volumes (B, C, Z, H, W) or integer "
            f"tokens (B, T), got {tuple(sample.shape)}"
        )
    if extra is not None and sample.ndim == 2 and not tokens:
        raise ValueError("extra is for series, images and tokens: a table (B, F) holds all that its model reads")
    if sample.numel() == 0:
        raise ValueError(f"sample is empty: {tuple(sample.shape)}")
    if not bool(torch.isfinite(sample).all()):
        first = tuple((~torch.isfinite(sample)).nonzero()[0].tolist())
        raise ValueError(f"sample holds NaN or infinite values, the first at {first}")
    channels_first("sample", tuple(sample.shape))
    predictor = Predictor.of(_of_tables(model) if sample.ndim == 2 and not tokens else model, output=output)
    if goal is not None:
        goal.check(predictor)
    held = _held(sample, predictor, tokens)
    beside = read_extra(extra, len(sample), held.x.device, arrays.model_type(predictor.module))
    predictor.check_extra(beside)
    held = replace(held, extra=beside)
    strategy = _values(counterfactuals, tuple(sample.shape), held)
    game = Game(
        predictor,
        held,
        strategy,
        draws=len(strategy.values) if isinstance(strategy, Replay) else 1,
        # Outputs of whole samples count: what a model claims of single steps has no use, and needs no check.
        evaluation="full" if predictor.modes else "auto",
        max_memory=max_memory,
        seed=seed,
        progress=progress,
    )
    grid = tuple(sample.shape[2:] if sample.ndim > 3 else sample.shape[1:])
    return TensorSubject(game, _groups(terms, len(sample), grid, sample.ndim), tuple(sample.shape), grid)


def labels_of(labels: Labels | Mapping[str, Any] | None, sample: Any, count: int) -> Labels:
    """The labels of a batch of samples. Raises TypeError or ValueError naming what does not fit."""
    named = Labels.of(labels)
    grid = () if isinstance(sample, Sample) else tuple(sample.shape[1:])
    grid = (*grid, 1) if len(grid) == 1 else grid
    if len(grid) == 2:
        named.check(count, *grid)
    check_grid_labels(named.take(series=[0]), grid)
    if named.series is not None and len(named.series) != count:
        raise ValueError(f"labels.series must have {count} names, got {len(named.series)}")
    return named


def _held(sample: Tensor, predictor: Predictor, tokens: bool) -> TensorSample:
    """The batch as a game holds it, on the model's device and in its type."""
    device = predictor.device_for(sample)
    if tokens:
        return TensorSample.of_tokens(sample.to(device))
    x = arrays.as_rows("sample", sample, predictor.module)
    x = arrays.as_model("sample", x, predictor.module).to(device)
    if x.ndim > 3:
        return TensorSample.spatial(x)
    return TensorSample(x.view(*x.shape, *[1] * (3 - x.ndim)), torch.arange(len(x)))


def _of_tables(model: Any) -> Any:
    """A model that reads tables (N, F), as one that is given (N, F, 1)."""
    if isinstance(model, nn.Module):
        return nn.Sequential(nn.Flatten(), model)
    if callable(model) and not isinstance(model, Predictor) and not hasattr(model, "predict_proba"):
        return lambda x: model(x.flatten(1))
    return model


def _values(given: CounterfactualLike, shape: tuple[int, ...], held: TensorSample) -> Counterfactual:
    """The strategy; exact values, (S, *shape) or one set of them, in the shape in which the game holds the batch."""
    if not arrays.is_array(given) or not getattr(given, "shape", ()):
        strategy = resolve(given)
        if not strategy.fixed and held.shape is not None:
            raise ValueError(f"counterfactuals: {type(strategy).__name__} fills gaps along time, so it is for series")
        return strategy
    values = arrays.whole("counterfactuals", given)
    sets = values[None] if tuple(values.shape) == shape else values
    if tuple(sets.shape[1:]) != shape:
        raise ValueError(
            f"counterfactuals must be (S, *{shape}), sets of values like the sample, got {tuple(values.shape)}"
        )
    return Replay(sets.reshape(len(sets), *held.x.shape))


def _groups(terms: str | Tensor | None, B: int, grid: tuple[int, ...], ndim: int) -> Tensor:
    """(B, cells) int64: the term of each cell, counted from 0 in each sample."""
    if arrays.is_array(terms):
        terms = arrays.whole("terms", terms, holds="integers")
        if not arrays.holds_integers(terms) or tuple(terms.shape) not in (grid, (B, *grid)):
            raise ValueError(
                f"terms must be an integer tensor {grid} or {(B, *grid)}, got {terms.dtype} {tuple(terms.shape)}"
            )
        each = terms.cpu().expand(B, *grid).reshape(B, -1)
        return torch.stack([of.unique(return_inverse=True)[1] for of in each])
    cells = torch.arange(math.prod(grid)).view(grid)
    if terms not in (None, *TERMS):
        raise ValueError(f"terms must be one of {', '.join(TERMS)}, a tensor or None, got {terms!r}")
    if terms in ("timestamps", "features"):
        if ndim != 3:
            raise ValueError(f"terms={terms!r} is for series (B, D, T)")
        cells = cells % grid[1] if terms == "timestamps" else cells // grid[1]
    return cells.flatten().expand(B, -1)


def _nested(
    model: Any,
    sample: Sample,
    counterfactuals: CounterfactualLike,
    terms: str | Tensor | None,
    output: Output,
    max_memory: int | None,
    progress: Progress | None,
    goal: Goal | None,
) -> NestedSubject:
    if not isinstance(counterfactuals, str) or counterfactuals != "zero":
        raise ValueError("counterfactuals do not apply to nested samples: what is removed is missing")
    if terms is not None:
        raise ValueError("terms are those of the nested sample: use clusters=, or sample.seen_by a FlatView")
    if len(sample) == 0:
        raise ValueError("sample is empty: there must be a document")
    predictor = NestedPredictor(model, output)
    if goal is not None:
        goal.check(predictor)
    if isinstance(model, HierarchicalClassifier):
        sample.check_range(model.head.weight.dtype)
    return NestedSubject(NestedGame(predictor, sample, max_memory=max_memory, progress=progress))


# -- clusters, targets, heuristics -------------------------------------------------------------------------------------


def players_of(clusters: Tensor | None, subject: Subject) -> list[Tensor]:
    """The unit (terms,) int64 that each term of each sample moves with; equal numbers across samples are one unit."""
    total = sum(subject.terms)
    if clusters is None and isinstance(subject, NestedSubject):
        return subject.places
    if clusters is None:
        return list(torch.split_with_sizes(torch.arange(total), subject.terms))
    if isinstance(subject, NestedSubject):
        total = subject.game.sample.terms
    if arrays.is_array(clusters):
        clusters = arrays.whole("clusters", clusters, holds="integers")
    if not isinstance(clusters, Tensor) or not arrays.holds_integers(clusters):
        raise TypeError("clusters must be an integer tensor, an id for each term")
    if clusters.numel() != total:
        raise ValueError(f"clusters must have an id for each of {total} terms, got {tuple(clusters.shape)}")
    flat = clusters.cpu().long().flatten()
    if isinstance(subject, NestedSubject):
        return [flat[places] for places in subject.places]
    return list(torch.split_with_sizes(flat, subject.terms))


def heuristic_of(given: Any, sample: Any, subject: Subject) -> str | list[Tensor]:
    """The name of a heuristic, or the scores (terms,) of each sample: from a tensor, a result or an attributor."""
    if isinstance(given, str):
        if given.partition(":")[0] not in HEURISTICS:
            raise ValueError(
                f"heuristic must be one of {', '.join(HEURISTICS)}, a tensor or an attributor, got {given!r}"
            )
        HEURISTICS.parse(given)
        return given
    if isinstance(given, Attribution):
        given = given.values
    elif hasattr(given, "responsibility"):
        given = given.responsibility[None]
    elif callable(getattr(given, "attribute", None)):
        given = given.attribute(sample)
    if not arrays.is_array(given):
        raise TypeError(
            "heuristic must be a name, a tensor, a result with scores or responsibility, or something with attribute, "
            f"got {type(given).__name__}"
        )
    values = arrays.whole("heuristic", given)
    if values.is_complex():
        raise TypeError(f"heuristic must hold real scores, got {values.dtype}")
    scores = values.double()
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("heuristic holds NaN or infinite scores")
    return subject.scores(scores)
