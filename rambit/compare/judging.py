"""What the table says of scores: by the known cells, and by the set's own model, evaluated without what scores high."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rambit import metrics
from rambit.checks import number, one_of
from rambit.compare.methods import read_names
from rambit.compare.runs import Case, Data
from rambit.counterfactuals import STRATEGIES, resolve
from rambit.game import Game, TensorSample
from rambit.metrics import FAITHFULNESS, MEASURES
from rambit.options import Options, option
from rambit.predictors import Predictor

Floats = NDArray[np.float64]
Names = str | Sequence[str] | None
ORDERS = ("most", "least")
#: What the model says of scores if nothing is named: of a classifier, and of a regression.
JUDGED = ("accuracy", "accuracy_kept", "sufficiency", "comprehensiveness")
JUDGED_REGRESSION = ("average_prediction_difference",)
#: Whose differences are tested: the first that a set has.
TESTED = ("auprc", "comprehensiveness", "average_prediction_difference")
#: Where low numbers are good, of what removes the most important cells.
LOW = ("mean_rank", "mean_rank_min", "entropy", "sufficiency", "log_odds", "cpp", "deletion_auc", "masked_count")
#: Random values that stand in for a removed cell.
DRAWS = 5


@FAITHFULNESS.register("accuracy")
def accuracy(game: Game, scores: Any, labels: Any) -> float:
    """The share of series whose predicted class is their label's, with nothing removed."""
    return metrics.accuracy_at(game, scores, labels, game.sample.x.shape[2])


@FAITHFULNESS.register("accuracy_kept")
def accuracy_kept(game: Game, scores: Any, labels: Any, keep: int) -> float:
    """`metrics.accuracy_at` of the best ``keep`` timestamps."""
    return metrics.accuracy_at(game, scores, labels, keep)


@dataclass(frozen=True)
class Metric:
    """A registered function of scores, by the text that names it, with the options that the text gives."""

    text: str
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(text: str) -> Metric:
        """Raises ValueError for an unknown name or option."""
        name, _, given = text.partition(":")
        if name not in MEASURES and name not in FAITHFULNESS:
            known = ", ".join((*MEASURES, *FAITHFULNESS))
            raise ValueError(f"metrics: unknown metric {name!r}; known: {known}")
        takes = (MEASURES if name in MEASURES else FAITHFULNESS).parameters(name)
        allowed = {key: one.default for key, one in takes.items() if one.default is not one.empty}
        options = {}
        for part in filter(None, given.split(",")):
            key, equals, value = part.partition("=")
            if key not in allowed or not equals:
                listed = ", ".join(allowed) or "none"
                raise ValueError(f"metrics: {name} has no option {part!r}; its options (as name=value): {listed}")
            options[key] = _read(value)
        return Metric(text, name, options)

    @property
    def of_truth(self) -> bool:
        """Whether it compares scores with known cells."""
        return self.name in MEASURES

    @property
    def function(self) -> Callable[..., float]:
        """The function itself."""
        return MEASURES[self.name] if self.of_truth else FAITHFULNESS[self.name]

    def takes(self, argument: str) -> bool:
        """Whether the table gives it this argument."""
        return argument in inspect.signature(self.function).parameters and argument not in self.options


def _read(text: str) -> Any:
    """A number, a switch or the text itself."""
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return {"true": True, "false": False}.get(text, text)


@dataclass(frozen=True)
class Column:
    """A number in the table: a metric and how cells are removed for it. ``where`` says what differs from others."""

    metric: Metric
    share: float = 1.0
    counterfactuals: str = "zero"
    order: str = "most"
    where: str = ""

    @property
    def name(self) -> str:
        """As in the CSV: `comprehensiveness`, or `comprehensiveness@0.05 mean` where there are several."""
        return f"{self.metric.text}@{self.where}" if self.where else self.metric.text


class Judging(Options):
    """What the table says of scores. Of several shares, values or orders each metric has a column for each.

    Raises TypeError or ValueError for what there is not.
    """

    metrics: Names = option(
        default=None, help="names with options, as of methods; None: those of known cells, and four of the model"
    )
    cells: float | str | Sequence[float] = option(
        default=0.1, help="the share of cells that is removed or alone kept, or several"
    )
    keep: int | None = option(default=None, help="best timestamps that accuracy_kept keeps (a tenth of them)")
    counterfactuals: str | Sequence[str] = option(
        default="zero", help="what stands where cells are removed, or several: zero, mean, conditional, ..."
    )
    order: str | Sequence[str] = option(
        default="most", help="which cells are removed or kept: the most important, the least, or both"
    )
    curves: int = option(
        default=0, low=0, help="points of the curves of what the model says while cells are removed, and kept; 0: none"
    )
    test: Names = option(default=None, help="metrics whose differences are tested; None: auprc, else comprehensiveness")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shares = _shares(self.cells)
        self.strategies = read_names("counterfactuals", self.counterfactuals)
        self.orders = [one_of("order", one, ORDERS) for one in read_names("order", self.order)]
        self.chosen = (
            None if self.metrics is None else [Metric.of(text) for text in read_names("metrics", self.metrics)]
        )
        self.tested = list(TESTED) if self.test is None else read_names("test", self.test)
        try:
            [STRATEGIES.parse(text) for text in self.strategies]
        except ValueError as error:
            raise ValueError(f"counterfactuals: {error}") from None
        if not (self.shares and self.strategies and self.orders) or self.chosen == []:
            raise ValueError("metrics, cells, counterfactuals and order must name at least one each")
        columns = {column.name for regression in (False, True) for column in self.columns(regression)}
        if self.test is not None and (unknown := [name for name in self.tested if name not in columns]):
            raise ValueError(f"test: there is no column {unknown[0]!r}; the columns: {', '.join(sorted(columns))}")

    def check(self, sets: Iterable[Data]) -> None:
        """Raise ValueError for sizes that a set does not have."""
        for data in sets:
            steps = data.explained.X.shape[2]
            if self.keep is not None and self.keep > steps:
                raise ValueError(f"keep must be between 1 and the {steps} timestamps of {data.name}, got {self.keep}")

    def columns(self, regression: bool) -> list[Column]:
        """What the table has for models of one kind."""
        if self.chosen is None:
            chosen = [Metric.of(name) for name in (*MEASURES, *(JUDGED_REGRESSION if regression else JUDGED))]
        else:
            chosen = self.chosen
        return [column for metric in chosen for column in self._columns(metric)]

    def _columns(self, metric: Metric) -> list[Column]:
        if metric.of_truth or metric.name == "accuracy":  # which remove nothing
            return [Column(metric, counterfactuals=self.strategies[0])]
        shares = self.shares if metric.takes("k") else [1.0]
        every: tuple[Sequence[object], ...] = shares, self.strategies, self.orders
        found = []
        for share, values, order in product(shares, self.strategies, self.orders):
            chosen = (share, values, order)
            where = " ".join(str(one) for one, named in zip(chosen, every, strict=True) if len(named) > 1)
            found.append(Column(metric, share, values, order, where))
        return found

    def tested_of(self, names: Iterable[str]) -> list[str]:
        """Of a set's columns those whose differences are tested: those named, or the first of the usual ones."""
        known = set(names)
        found = [name for name in self.tested if name in known]
        return found if self.test is not None else found[:1]

    def timestamps(self, steps: int) -> int:
        """How many of so many stay."""
        return max(1, steps // 10) if self.keep is None else self.keep

    def notes(self) -> list[str]:
        """What the columns of the model mean, if there are such."""
        if self.chosen is not None and all(metric.of_truth for metric in self.chosen):
            return []
        k = "a tenth" if self.keep is None else self.keep
        shares = ", ".join(f"{100 * share:g}" for share in self.shares)
        text = (
            f"The model is evaluated again, at the last step, with {' or '.join(self.strategies)} in place of removed "
            "cells. acc.: its accuracy on these series as they are; acc. kept: when the best timestamps alone stay "
            f"({k} of them), by the sum of their cells. The predicted class's mean loss of probability, when of all "
            f"cells the best {shares} % alone stay: suffic. (low is good), and when they go: compreh. (high is good). "
            "Among equal scores the earlier cell comes first."
        )
        return [text]


def _shares(given: Any) -> list[float]:
    """Different shares above 0 and up to 1, from a number, several, or text such as 0.05,0.1."""
    if isinstance(given, str):
        given = [_read(one) for one in given.split(",")]
    items = list(given) if isinstance(given, Sequence) else [given]
    shares = [number("cells", one, 0.0, 1.0, above=True) for one in items]
    if len(set(shares)) < len(shares):
        raise ValueError(f"cells must be different shares, got {shares}")
    return shares


@dataclass(frozen=True)
class Judge:
    """The scores of one case's methods, by its known cells and by its model."""

    case: Case
    judging: Judging

    @cached_property
    def predictor(self) -> Predictor:
        """The case's model."""
        return Predictor.of(self.case.model())

    @cached_property
    def columns(self) -> list[Column]:
        """What can be said of this case."""
        given = self.case.given
        regression = given is not None and Predictor.of(given).output == "regression"
        data = self.case.data.explained
        labelled = data.y is not None and data.y.dtype == np.int64
        return [
            column
            for column in self.judging.columns(regression)
            if (data.salient is not None if column.metric.of_truth else labelled or not column.metric.takes("labels"))
        ]

    @cached_property
    def _games(self) -> dict[str, Game]:
        """The model on the explained series, by what stands in for removed cells."""
        X = torch.from_numpy(self.case.data.explained.X)
        sample = TensorSample(X, torch.arange(len(X)), None if bool(X.isfinite().all()) else X.isfinite())
        games = {}
        for text in self.judging.strategies:
            strategy = resolve(text, self.case.background())
            draws = 1 if strategy.single else DRAWS
            games[text] = Game(self.predictor, sample, strategy, draws=draws, evaluation="full", seed=self.case.seed)
        return games

    @cached_property
    def tested(self) -> list[str]:
        """The names of the columns that are tested."""
        return self.judging.tested_of(column.name for column in self.columns)

    def number(self, column: Column, scores: Any, part: slice = slice(None)) -> float:
        """One column of scores (B, D, T); of the truth, of ``part`` of the series.

        Raises ValueError where the metric does not serve these series.
        """
        metric, data = column.metric, self.case.data.explained
        if metric.of_truth:
            assert data.salient is not None
            return float(metric.function(scores[part, :, 1:], data.salient[part, :, 1:], **metric.options))
        _, D, T = scores.shape
        labels = data.y if data.y is None or data.y.ndim == 1 else data.y[:, -1]
        # Of all series together a count would be of all their cells.
        k = column.share if metric.options.get("per") == "all" else max(1, round(column.share * D * T))
        common = {"labels": labels, "k": k, "keep": self.judging.timestamps(T)}
        given = {name: value for name, value in common.items() if metric.takes(name)}
        ordered = scores if column.order == "most" else -scores
        return metric.function(self._games[column.counterfactuals], ordered, **given, **metric.options)

    def by_series(self, column: Column, scores: Any, mean: float) -> Floats | None:
        """The column's number of each series, NaN where there is none; None where its ``mean`` knows no series."""
        if not column.metric.of_truth:
            return getattr(mean, "by_series", None)
        truth = self.case.data.explained.salient
        assert truth is not None
        found = np.full(len(scores), math.nan)
        for b in np.flatnonzero(truth[..., 1:].any(axis=(1, 2))):
            one = slice(b, b + 1)
            try:
                found[b] = column.metric.function(scores[one, :, 1:], truth[one, :, 1:], **column.metric.options)
            except ValueError:  # every cell of it is salient
                continue
        return found

    def curves(self, scores: Any) -> dict[str, Floats]:
        """p_c with 0, 1 … equal shares of the cells removed, or alone kept, for each kind of values and order."""
        judging, found = self.judging, {}
        if not judging.curves:
            return {}
        steps = min(judging.curves, scores[0].numel())
        for text, order in product(judging.strategies, judging.orders):
            ordered = scores if order == "most" else -scores
            for kind, curve in (("removed", metrics.deletion_curve), ("kept", metrics.insertion_curve)):
                found[f"{order} important {kind}, {text}"] = curve(self._games[text], ordered, steps=steps)
        return found
