"""The interactions of pairs of cells, or of sets of cells, and how they were computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.checks import flag, one_of
from rambit.labels import Labels
from rambit.results import intervals, record_checks, result_files, tables
from rambit.results.grid import as_array
from rambit.results.names import Names
from rambit.results.record_checks import FLOATS, check_tensor
from rambit.store import load_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cells = tuple[tuple[int, int], ...]
Axis = Literal["lag", "feature", "time"]
AXES = ("lag", "feature", "time")

_FORMAT = "rambit-pairs-1"  # the name of the one metadata entry of a saved file
_SCORES = ("values", "joint", "first", "second")
_ERRORS = ("stderr", "freedom")
_TENSORS = (*_SCORES, *_ERRORS, "cells", "sizes", "ids")
_NUMBERS = {"rows": int, "row_steps": int, "seconds": float, "seed": int, "mode": str}


@dataclass(repr=False, eq=False)
class PairAttribution:
    """Interactions of P pairs of sets of cells in B series, and how they were computed.

    values: (B, P), with ``targets`` (B, K, P), what replacing both sets does beyond what each does alone; joint, first,
    second: like values, what both, the first and the second do; NaN where a set has no value in a series. stderr: the
    standard error of values, or None; freedom: its degrees of freedom, which `interval` reads. cells: (N, 2) int64,
    feature and time of the cells of all pairs, first set before second; sizes: (P, 2) int64, how many of these each set
    has. rows, row_steps: what the model evaluated. seconds: wall time. settings: JSON values. mode: the evaluation that
    was used. ids: (B,). labels: what features, times, series and outputs are called. targets: the K outputs, integers
    or [h, q] pairs, that have values of their own; None: scores of one. model: a hash of the model (hex).

    Errors: TypeError or ValueError naming a part that is of another kind, or does not fit the others.
    """

    values: Tensor
    joint: Tensor
    first: Tensor
    second: Tensor
    stderr: Tensor | None
    cells: Tensor
    sizes: Tensor
    rows: int
    row_steps: int
    seconds: float
    settings: dict[str, Any]
    seed: int
    mode: str = ""
    ids: Tensor | Sequence[int] | None = None
    labels: Labels = field(default_factory=Labels)
    model: str | None = None
    targets: Sequence[Any] | None = None
    freedom: Tensor | None = None

    def __post_init__(self) -> None:
        self.targets = None if self.targets is None else record_checks.read_targets(self.targets)
        several = () if self.targets is None else (len(self.targets),)
        for name in (*_SCORES, *_ERRORS):
            scores = getattr(self, name)
            if scores is None and name in _ERRORS:
                continue
            check_tensor(name, scores, FLOATS)
            if scores.ndim != 2 + len(several) or scores.shape[1:-1] != several or scores.shape != self.values.shape:
                axes = ", ".join(("B", *map(str, several), "P"))
                raise ValueError(f"{name} must be ({axes}), like values, given {tuple(scores.shape)}")
        B, P = len(self.values), self.values.shape[-1]
        for name in ("cells", "sizes"):
            check_tensor(name, getattr(self, name), (torch.int64,))
        if tuple(self.sizes.shape) != (P, 2) or bool((self.sizes < 1).any()):
            raise ValueError(f"sizes must be ({P}, 2), at least 1, for these values, given {tuple(self.sizes.shape)}")
        if tuple(self.cells.shape) != (N := int(self.sizes.sum()), 2) or bool((self.cells < 0).any()):
            raise ValueError(f"cells must be ({N}, 2), at least 0, for these sizes, given {tuple(self.cells.shape)}")
        if self.ids is not None:
            record_checks.check_by_series("ids", self.ids, B)
        record_checks.check_run(self)
        self.labels = Labels.of(self.labels)

    def __repr__(self) -> str:
        parts = [f"{len(self.values)} series, {len(self.sizes):,} pairs"]
        parts += [] if self.targets is None else [f"targets {self._names().listed()}"]
        if bool(self.values.isfinite().any()):
            known = self.values[self.values.isfinite()]
            parts.append(f"interactions {known.min().item():.3g} to {known.max().item():.3g}")
        parts.append(f"{self.rows:,} rows, {self.row_steps:,} row-steps, {self.seconds:.3g} s")
        parts += [f"mode {self.mode}"] if self.mode else []
        return f"PairAttribution({'; '.join([*parts, f'seed {self.seed}'])})"

    # -- pairs ----------------------------------------------------------------------------------------------------

    @property
    def pairs(self) -> list[tuple[Cells, Cells]]:
        """The two sets of each pair, as tuples of cells (feature, time)."""
        cells = iter(map(tuple, self.cells.tolist()))
        sets = [tuple(next(cells) for _ in range(size)) for size in self.sizes.flatten().tolist()]
        return list(zip(sets[::2], sets[1::2], strict=True))

    @property
    def lag(self) -> Tensor:
        """(P,) int64: the steps from the first set's latest cell to the second's."""
        return torch.from_numpy(np.diff(self._latest(), axis=1)[:, 0])

    def _latest(self) -> npt.NDArray[np.int64]:
        begin = np.cumsum(self.sizes.flatten().numpy()) - self.sizes.flatten().numpy()
        latest: npt.NDArray[np.int64] = np.maximum.reduceat(self.cells[:, 1].numpy(), begin)
        return latest.reshape(-1, 2)

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lowest and highest, like values, of intervals of which this share covers what endless masks and draws give.

        As `Attribution.interval`; NaN where values are. Errors: ValueError for a confidence not between 0 and 1, or
        without a standard error.
        """
        return intervals.interval(self.values, self.stderr, self.freedom, confidence)

    def _names(self) -> Names:
        numbers = range(len(self.values)) if self.ids is None else torch.as_tensor(self.ids).tolist()
        return Names(self.labels, numbers, int(self.cells[:, 0].max()) + 1, self.targets, None)

    def _of_target(self, target: Any) -> PairAttribution:
        """The interactions of one target. ValueError where it must be said which."""
        if target is None and self.targets is None:
            return self
        at = self._names().target_at(target)
        tables = {name: getattr(self, name) for name in (*_SCORES, *_ERRORS)}
        fields: dict[str, Any] = {name: table[:, at] for name, table in tables.items() if table is not None}
        return replace(self, targets=None, **fields)

    def top(self, k: int, series: int | None = None, *, target: Any = None) -> list[tuple[int, Cells, Cells, float]]:
        """The k interactions of largest size, of all series or of one: (series, first set, second set, interaction).

        Largest first, ties by series and pair; NaN does not count. ``target``: which of several ``targets``, by its
        entry or its name. Errors: TypeError, ValueError.
        """
        record_checks.check_integer("k", k, 1)
        values = self._of_target(target).values.detach().cpu().double()
        if series is not None:
            record_checks.check_integer("series", series, 0)
            if series >= len(values):
                raise ValueError(f"series must be 0 to {len(values) - 1}, given {series}")
        chosen = values if series is None else values[series : series + 1]
        size = chosen.abs().nan_to_num(nan=-1.0).flatten()
        best = torch.sort(size, descending=True, stable=True).indices[:k].tolist()
        pairs, P = self.pairs, values.shape[1]
        first = series or 0
        return [(first + i // P, *pairs[i % P], float(chosen[i // P, i % P])) for i in best if float(size[i]) >= 0.0]

    # -- maps -----------------------------------------------------------------------------------------------------

    def map(self, axis: Axis = "lag", *, signed: bool = False, target: Any = None) -> Tensor:
        """The mean size of the interactions over series and pairs, NaN where there are none, float64.

        axis "feature": (D, D), by the features of the first and the second set; "time": (T, T), by their times; "lag":
        (D, D, lags), by features, for each lag that occurs, in ascending order. A set of several cells counts for each
        of its features or times. D and T end with the last feature and time of a pair. ``signed``: the mean itself, in
        which opposite signs cancel. ``target`` as in `top`. Errors: ValueError, TypeError.
        """
        one_of("axis", axis, AXES)
        values = self._of_target(target).values.detach().cpu().double()
        values = values if flag("signed", signed) else values.abs()
        known = ~values.isnan()
        total, count = values.nan_to_num().sum(dim=0), known.sum(dim=0).double()
        first, second = self._members(1 if axis == "time" else 0)
        if axis != "lag":
            return _mean(first, second, total, count)
        lag = self.lag
        return torch.stack(
            [_mean(first[lag == n], second[lag == n], total[lag == n], count[lag == n]) for n in _distinct(lag)], dim=2
        )

    def _members(self, column: int) -> tuple[Tensor, Tensor]:
        """Which features (0) or times (1) each pair's first and second set have, two (P, D or T) float64."""
        numbers = self.cells[:, column].cpu()
        sets = torch.repeat_interleave(self.sizes.flatten().cpu())
        found = torch.zeros(2 * len(self.sizes), int(numbers.max()) + 1, dtype=torch.float64)
        found[sets, numbers] = 1.0
        return found[::2], found[1::2]

    # -- files and tables -----------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind, TypeError
        naming a setting that is no JSON value.
        """
        optional = {"targets": self.targets, "model": self.model}
        result_files.save(path, _FORMAT, self, numbers=_NUMBERS, tensors=_TENSORS, optional=optional, force=force)

    @classmethod
    def load(cls, path: str | Path) -> PairAttribution:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "pair attribution", cls._of)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> PairAttribution:
        return cls(**result_files.fields(tensors, record, _NUMBERS))

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each series, target and pair that has an interaction.

        Columns: series, target (where there are ``targets``), first_set, second_set (as text, "d,t" with ";" between
        cells), lag, interaction, stderr (where there is one), joint, first, second. Errors: ImportError without pandas.
        """
        where = tuple(axis.numpy() for axis in (~self.values.cpu().isnan()).nonzero(as_tuple=True))
        b, p, names = where[0], where[-1], self._names()
        texts = [[";".join(f"{d},{t}" for d, t in cells) for cells in pair] for pair in self.pairs]
        sets = np.array(texts, dtype=object)
        columns: dict[str, Any] = {
            "series": np.array(names.of_series(), dtype=object if self.labels.series else None)[b]
        }
        if self.targets is not None:
            columns["target"] = np.array(names.of_targets(), dtype=object)[where[1]]
        columns |= {"first_set": sets[p, 0], "second_set": sets[p, 1], "lag": self.lag.numpy()[p]}
        named = {"interaction": "values", "stderr": "stderr", "joint": "joint", "first": "first", "second": "second"}
        scores = {column: getattr(self, name) for column, name in named.items()}
        columns |= {column: as_array(table)[where] for column, table in scores.items() if table is not None}
        return tables.library("pandas").DataFrame(columns)

    # -- pictures -------------------------------------------------------------------------------------------------

    def plot(
        self,
        path: str | Path | None = None,
        *,
        of: Axis | Literal["histogram"] = "lag",
        signed: bool = False,
        target: Any = None,
    ) -> Figure:
        """A heat map of `map(of)`, or a histogram of all interactions, saved if `path` is given.

        Of lags: a row for each two features that have pairs, a column for each lag. ``target`` as in `top`. Errors:
        ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        if one_of("of", of, (*AXES, "histogram")) == "histogram":
            return plots.histogram(self._of_target(target).values, path=path)
        values = self.map(of, signed=signed, target=target)  # type: ignore[arg-type]
        label = "mean interaction" if signed else "mean size of interaction"
        names = list(self.labels.features or range(values.shape[0]))
        if of == "lag":
            there = (~values.isnan()).any(dim=2).nonzero().tolist()
            rows = [f"{names[d]} → {names[e]}" for d, e in there]
            shown = torch.stack([values[d, e] for d, e in there])
            lags = list(map(str, _distinct(self.lag)))
            titles = {"row_title": "features, earlier → later", "column_title": "lag (steps)"}
            return plots.pair_map(shown, rows=rows, columns=lags, label=label, path=path, **titles)
        axis = names[: len(values)] if of == "feature" else None
        titles = {"row_title": f"{of} of the first set", "column_title": f"{of} of the second set"}
        texts = None if axis is None else list(map(str, axis))
        return plots.pair_map(values, rows=texts, columns=texts, label=label, path=path, **titles)


def _distinct(numbers: Tensor) -> list[int]:
    """Each number once, in ascending order."""
    return sorted(set(numbers.tolist()))


def _mean(first: Tensor, second: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """Means (n, m) of sums ``total`` (P,) of ``count`` (P,) numbers, by members (P, n) and (P, m); NaN for none."""
    sums, counts = (first.T @ (column[:, None] * second) for column in (total, count))
    return torch.where(counts > 0, sums / counts, math.nan)
