"""The scores of a batch of time series, what they explain, and how they were computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit import arrays, frames
from rambit.checks import one_of
from rambit.labels import Labels
from rambit.results import bars, html, intervals, record_checks, result_files, selection, tables
from rambit.results.agreement import agreement
from rambit.results.cell import Cell
from rambit.results.grid import Grid, as_array
from rambit.results.names import Names
from rambit.results.record_checks import FLOATS, check_tensor
from rambit.store import load_result, save_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-attribution-1"  # the name of the one metadata entry of a saved file
_OF_CELLS = ("values", "stderr", "freedom", "windows", "evaluated")
_TENSORS = (*_OF_CELLS, "lengths", "ids", "target", "outputs", "X")
#: What `Attribution.plot` draws.
KINDS = ("cells", "features", "times")
_NUMBERS = {"rows": int, "row_steps": int, "seconds": float, "seed": int, "mode": str}


@dataclass(repr=False, eq=False)
class Attribution:
    """Scores of a batch of time series, what they explain and how they were computed.

    values: like the input, (B, D, T), or (B, T, D) if settings["layout"] is "BTD"; with ``targets`` (B, K, D, T) or
    (B, K, T, D). stderr: the standard error of each score, or None; freedom: its degrees of freedom, which `interval`
    reads. rows, row_steps: what the model evaluated. seconds: wall time. settings: JSON values. mode: the evaluation
    that was used. lengths, ids: (B,), as given. windows: (B, D, T, W), the scores by prediction (WinIT). evaluated:
    bool like values, or like the input, False where no score was made (a missing value): the 0 that stands there is
    none. None: all were.

    What was explained, each None where it was not kept. labels: what features, times, series and outputs are called.
    targets: the K outputs, integers or [h, q] pairs, that have values of their own. target: (B,), or (B, 2) pairs, the
    one output of each series that was explained. outputs: (B, C), or (B, H, Q), what the model gives for the series
    as they are. X: the series, like values without K, NaN where there is no value. model: a hash of the model (hex).

    Errors: TypeError or ValueError naming a part that is of another kind, or does not fit the others.
    """

    values: Tensor
    stderr: Tensor | None
    rows: int
    row_steps: int
    seconds: float
    settings: dict[str, Any]
    seed: int
    mode: str = ""
    lengths: Tensor | None = None
    ids: Tensor | Sequence[int] | None = None
    windows: Tensor | None = None
    evaluated: Tensor | None = None
    labels: Labels = field(default_factory=Labels)
    targets: Sequence[Any] | None = None
    target: Tensor | None = None
    outputs: Tensor | None = None
    X: Tensor | None = None
    model: str | None = None
    freedom: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensor("values", self.values, FLOATS)
        shape = tuple(self.values.shape)
        if not shape:
            raise ValueError("values must have a batch axis, given a scalar")
        self.targets = None if self.targets is None else record_checks.read_targets(self.targets)
        if self.targets is not None and (len(shape) not in (3, 4) or shape[1] != len(self.targets)):
            raise ValueError(f"values must be (B, {len(self.targets)}, D, T) with these targets, given {shape}")
        series = shape if self.targets is None else (shape[0], *shape[2:])  # the shape of the input
        self._check_cells(shape, series)
        self._check_record(shape[0])
        if self.outputs is not None:
            record_checks.check_outputs(self.outputs, series=shape[0])
        if self.X is not None:
            record_checks.check_input("X", self.X, series)
        self._check_labels(series)

    def _check_cells(self, shape: tuple[int, ...], series: tuple[int, ...]) -> None:
        for name, kinds in (("stderr", FLOATS), ("freedom", FLOATS), ("windows", FLOATS), ("evaluated", (torch.bool,))):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            check_tensor(name, tensor, kinds)
            if name == "evaluated" and tuple(tensor.shape) == series:
                continue
            if tuple(tensor.shape[: len(shape)]) != shape or tensor.ndim != len(shape) + (name == "windows"):
                more = " and one axis more" if name == "windows" else ""
                raise ValueError(f"{name} must have the shape of values {shape}{more}, given {tuple(tensor.shape)}")

    def _check_record(self, count: int) -> None:
        for name, numbers in (("lengths", self.lengths), ("ids", self.ids), ("target", self.target)):
            if numbers is not None:
                record_checks.check_by_series(name, numbers, count, pairs=name == "target")
        record_checks.check_run(self)
        layout = self.settings.get("layout", "BDT")
        if layout not in ("BDT", "BTD"):
            raise ValueError(f"settings['layout'] must be 'BDT' or 'BTD', given {layout!r}")

    def _check_labels(self, shape: tuple[int, ...]) -> None:
        self.labels = Labels.of(self.labels)
        if self.labels and not self._has_cells():
            raise ValueError(f"labels are for time series, with three axes, given the shape {shape}")
        if self.labels:
            B, *grid = shape
            grid = grid if self.settings.get("layout") != "BTD" or len(grid) < 2 else grid[::-1]
            self.labels.check(B, *[1] * (2 - len(grid)), *grid)
        if self.outputs is not None:
            self.labels.check_outputs(math.prod(self.outputs.shape[1:]))

    def __repr__(self) -> str:
        parts = [" x ".join(map(str, self.values.shape)), self.settings.get("layout", "BDT")]
        parts += [] if self.targets is None else [f"targets {self._names().listed()}"]
        if self.values.numel():
            parts.append(f"scores {self.values.min().item():.3g} to {self.values.max().item():.3g}")
        if self.stderr is not None and self.stderr.numel():
            parts.append(f"stderr up to {self.stderr.max().item():.2g}")
        if self.evaluated is not None:
            parts.append(f"{int((~self.evaluated).sum()):,} cells not evaluated")
        parts.append(f"{self.rows:,} rows, {self.row_steps:,} row-steps, {self.seconds:.3g} s")
        parts += [f"mode {self.mode}"] if self.mode else []
        return f"Attribution({'; '.join([*parts, f'seed {self.seed}'])})"

    # -- files ----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind, TypeError
        naming a setting that is no JSON value.
        """
        optional = {"targets": self.targets, "model": self.model}
        result_files.save(path, _FORMAT, self, numbers=_NUMBERS, tensors=_TENSORS, optional=optional, force=force)

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "attribution", cls._of)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> Attribution:
        return cls(**result_files.fields(tensors, record, _NUMBERS))

    # -- tables ---------------------------------------------------------------------------------------------------

    def to_numpy(self) -> NDArray[Any]:
        """The values as an array of the same shape (bfloat16, which NumPy lacks, as float32); 0 where not evaluated."""
        return as_array(self.values)

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each cell that was evaluated, within its series' length.

        Columns: series, target (where there are ``targets``), feature, time, score, stderr and value, the last two
        where the result has them. Series are called by name or else id, features and times by name or else number.
        Errors: ImportError without pandas.
        """
        return tables.library("pandas").DataFrame(self._grid().columns())

    def to_csv(self, path: str | Path, *, force: bool = False) -> None:
        """Write the table of `to_frame` as CSV, without pandas: datetimes as ISO 8601, timedeltas in seconds.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind.
        """
        save_text(path, tables.csv_bytes(self._grid().columns()), ".csv", force=force)

    def to_xarray(self) -> Any:
        """An xarray Dataset over (series, feature, time), with ``targets`` over (series, target, feature, time).

        Variables: score, stderr, value and outputs, where the result has them; NaN where there is none. Where the times
        of series differ, the axis time counts from 0 and the variable times (series, time) holds them. Errors:
        ImportError without xarray.
        """
        given = {"seed": self.seed, "rows": self.rows, "model": self.model, "time_unit": self.labels.unit}
        notes = {name: value for name, value in given.items() if value is not None}
        return self._grid().dataset(self.outputs, {**notes, "method": self.settings.get("method", "")})

    def to_shap(self, columns: str | None = None, *, X: Any = None, target: Any = None) -> Any:
        """A shap.Explanation: shap's bar, beeswarm and heatmap draw it, and its waterfall one series of it.

        It has a row for each series and a column for each of ``columns``: "features" (the sum of a feature's scores),
        "timestamps" or "cells"; None: features, or timestamps where there is one feature. With several ``targets`` it
        has them as a third axis, unless ``target`` names one. ``X``: the input, like the values or a frame, instead of
        the one that was kept.

        A group's or player's score, which each of its cells has, is divided among these, so that a sum counts it once;
        padding and what was not evaluated count nothing. ``base_values`` are the explained outputs less all scores, so
        that a waterfall ends at the output: for Shapley values, what the model gives with everything replaced; for
        methods whose scores have no such sum, a remainder. They are 0 where scores are no changes of one output
        (another distance than "diff"). ``data``: the input; of features, its mean over times; none for timestamps of
        several features.

        Errors: ValueError naming the argument, or where it is not known which cells are a group; ImportError without
        shap.
        """
        from rambit.results import shap_columns

        result = self if X is None else replace(self, X=self._read_input(X))
        result = result if target is None else result._of_target(target)
        outputs = shap_columns.explained_outputs(result.outputs, result.targets, result.target, result.settings)
        return shap_columns.explanation(result._grid(), result.settings, columns, outputs, result.seconds)

    def _read_input(self, X: Any) -> Tensor:
        """A given input in the layout of the values."""
        if frames.is_frame(X):
            X = frames.read("X", X).in_layout(self.settings.get("layout", "BDT"))
        return arrays.whole("X", X)

    def interval(self, confidence: float = 0.95) -> tuple[Tensor, Tensor]:
        """Lowest and highest, like values, of intervals of which this share covers what endless masks and draws give.

        Values -+ Student's quantile for ``freedom`` (normal where there is none) times ``stderr``: 1.96 and more at
        0.95. What ``stderr`` is over, the method says; infinite where a cell was seen beside one mask. Errors:
        ValueError for a confidence not between 0 and 1, or where the method states no standard error.
        """
        return intervals.interval(self.values, self.stderr, self.freedom, confidence)

    def by_feature(self) -> Tensor:
        """How much each feature matters: the mean of ``|score|`` over its times, (B, D) or (B, K, D) float64.

        Padding, cells that were not evaluated and NaN do not count; NaN where nothing does.
        """
        return self._grid().mean_size(-1).to(self.values.device)

    def by_time(self) -> Tensor:
        """How much each time matters: the mean of ``|score|`` over features, (B, T) or (B, K, T), as `by_feature`."""
        return self._grid().mean_size(-2).to(self.values.device)

    def top(self, k: int, series: int | str | None = None, *, target: Any = None) -> list[Cell]:
        """The k cells of highest score, of all series or of one, highest first; ties by (series, feature, time).

        Cells beyond a series' length, cells that were not evaluated and NaN don't count; there may be fewer than k.
        ``target``: which of several ``targets``, by its entry or its name. Errors: ValueError.
        """
        result = self._of_target(target)
        scores, valid = result._cells()
        record_checks.check_integer("k", k, 1)
        if series is not None:
            at = self._numbered(series)
            record_checks.check_integer("series", at, None)
            if not 0 <= at < len(scores):
                raise ValueError(f"series must be 0 to {len(scores) - 1}, given {series}")
            valid = valid & (torch.arange(len(scores)) == at)[:, None, None]
        where = (valid & ~scores.isnan()).nonzero()
        found = scores[tuple(where.T)]
        best = torch.sort(found, descending=True, stable=True).indices[:k]
        rows = zip(where[best].tolist(), found[best].tolist(), strict=True)
        names = result._names()
        return [names.named(Cell(b, d, t, score)) for (b, d, t), score in rows]

    def compare(self, other: Attribution, *, k: int = 10) -> dict[str, float]:
        """How far two attributions of the same series agree, over the cells that both evaluated, within both lengths.

        max_abs_diff: the largest absolute difference. spearman: the rank correlation of all scores pooled, NaN where
        one side is constant. topk_overlap: the share of each series' k highest cells (or all, if it has fewer) that
        are also among the other's, averaged over series. Several ``targets`` count as so many series. Errors:
        ValueError for other shapes or targets, or k < 1.
        """
        if self.targets != other.targets:
            raise ValueError(f"other must be of the targets {self.targets}, given {other.targets}")
        (a, valid), (b, valid_b) = self._cells(), other._cells()
        if a.shape != b.shape:
            raise ValueError(f"other must have the shape (B, D, T) = {tuple(a.shape)}, given {tuple(b.shape)}")
        if k < 1:
            raise ValueError(f"k must be at least 1, given {k}")
        return agreement(a, b, valid & valid_b, k)

    # -- parts ----------------------------------------------------------------------------------------------------

    def isel(self, *, series: Any = None, feature: Any = None, time: Any = None, target: Any = None) -> Attribution:
        """The attribution of some series, features, times and targets, by number: an integer, a slice or a list.

        All axes stay, but for one target alone, which becomes the ``target`` of each series. Times must stay in order.
        What it took (rows, seconds) stays that of the whole. Errors: TypeError or ValueError naming the argument.
        """
        if target is not None and self.targets is None:
            raise ValueError("target applies to results with targets, and these are scores of one")
        B, *targets, D, T = self._bdt(self.values).shape
        wanted = (("series", series, B), ("target", target, sum(targets)), ("feature", feature, D), ("time", time, T))
        b, k, d, t = (None if one is None else selection.by_number(name, one, size) for name, one, size in wanted)
        if t is not None and sorted(set(t)) != t:
            raise ValueError(f"time must be in order, each once, given {time!r}")
        parts = {name: self._cut(name, b, k, d, t) for name in (*_OF_CELLS, "X")}
        for name in ("lengths", "ids", "target", "outputs"):
            part = getattr(self, name)
            parts[name] = None if part is None else _taken(part, b)
        lengths = parts["lengths"]
        if lengths is not None and t is not None:
            before = torch.tensor(t, device=lengths.device) < lengths[:, None]
            parts["lengths"] = before.sum(dim=1).to(lengths.dtype)
        fields: dict[str, Any] = {**parts, "labels": self.labels.take(series=b, features=d, times=t)}
        if self.targets is not None:
            fields["targets"] = [self.targets[i] for i in (range(len(self.targets)) if k is None else k)]
        part = replace(self, **fields)
        return part._alone() if k is not None and not selection.is_several(target) else part

    def _alone(self) -> Attribution:
        """The scores of the one target that there is, as those of a ``target``."""
        assert self.targets is not None
        named = {name: getattr(self, name) for name in _OF_CELLS}
        fields: dict[str, Any] = {name: part[:, 0] for name, part in named.items() if part is not None}
        if self.evaluated is not None and not self._has_targets("evaluated"):
            fields["evaluated"] = self.evaluated
        return replace(self, **fields, targets=None, target=torch.tensor([self.targets[0]] * len(self.values)))

    def sel(self, *, series: Any = None, feature: Any = None, time: Any = None, target: Any = None) -> Attribution:
        """As `isel`, but by name: a name, a list of names, or a slice of names or times, both ends included.

        ``result.sel(feature="heart rate", time=slice("2024-03-01", "2024-03-02"))``. A date means all of it. Series
        without names go by their ids; features and times without names by their numbers, as in `isel`. ``target``: the
        output's name, or its entry in ``targets``. Errors: TypeError or ValueError naming the argument.
        """
        names, wanted = self._names(), {"series": series, "feature": feature}
        indices: dict[str, Any] = {name: one for name, one in wanted.items() if one is not None}
        if series is not None:
            indices["series"] = selection.by_name("series", series, names.of_series())
        if feature is not None and self.labels.features is not None:
            indices["feature"] = selection.by_name("feature", feature, names.of_features())
        if target is not None:
            indices["target"] = names.targets_at(target)
        result = self.isel(**indices)
        if time is None or result.labels.times is None:
            return result if time is None else result.isel(time=time)
        steps = [selection.by_time(time, times) for times in np.atleast_2d(result.labels.times)]
        if any(one != steps[0] for one in steps):
            raise ValueError(f"time={time!r} means other steps in other series: choose one with series=, or use isel")
        return result.isel(time=steps[0])

    # -- pictures -------------------------------------------------------------------------------------------------

    def plot(
        self,
        path: str | Path | None = None,
        *,
        X: Any = None,
        series: int | str | Sequence[int | str] | None = None,
        target: Any = None,
        salient: Any = None,
        kind: str = "cells",
        **drawing: Any,
    ) -> Figure:
        """A heat map for each series, saved if `path` is given, over it the input.

        ``X``: the input, like the values or a frame, instead of the one that was kept; False draws none. ``series``:
        which, by number or name. ``target``: which of several ``targets``, by its entry or its name. ``salient``: bool
        like the input, cells that are outlined. Features, series, times and outputs are called as ``labels`` say. Cells
        that were not evaluated stay blank (hatched), as those beyond a series' length do. ``drawing``: how it looks,
        any of `plots.heatmap`: scale, top, titles, feature_names, ax, cmap, label, …

        ``kind``: "features" or "times" draws `by_feature` or `by_time` as bars (``drawing``: `plots.feature_bars`,
        `plots.time_bars`), of one series with the standard error of its scores, as if those were independent, and of
        several (default: all) their mean with its standard error over them.

        Errors: TypeError or ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        one_of("kind", kind, KINDS)
        result, chosen, labels = self._of_target(target), self._numbered(series), self.labels
        if kind != "cells":
            for name, given in (("X", X), ("salient", salient)):
                if given is not None:
                    raise ValueError(f"{name} is for kind='cells', given kind={kind!r}")
            several = list(range(len(self.values))) if series is None else plots.choose_series(chosen, len(self.values))
            title = result._title(several[0]) if len(several) == 1 else f"mean of {len(several)} series"
            said = {"title": title, "label": result._score_label("mean |score|"), "path": path}
            return bars.draw(result._grid(), kind, several, {**said, **drawing})
        drawn = result.X if X is None else None if X is False else self._read_input(X)
        marked = None if salient is None else arrays.whole("salient", salient)
        for name, given in (("X", drawn), ("salient", marked)):
            if given is not None and tuple(given.shape) != tuple(result.values.shape):
                raise ValueError(
                    f"{name} must have the shape of values {tuple(result.values.shape)}, given {tuple(given.shape)}"
                )
        values = result.values
        if result.evaluated is not None:
            values = values.masked_fill(~result.evaluated, math.nan)
        if drawing.get("titles") is None:
            drawing["titles"] = [result._title(i) for i in plots.choose_series(chosen, len(values))]
        named = {"feature_names": labels.features, "times": labels.times, "unit": labels.unit}
        return plots.heatmap(
            result._bdt(values),
            X=None if drawn is None else result._bdt(drawn),
            salient=None if marked is None else result._bdt(marked),
            series=chosen,
            lengths=result.lengths,
            path=path,
            **{**named, "label": result._score_label("score"), **drawing},
        )

    def _score_label(self, score: str) -> str:
        """What scores are: whose, and which change of which output they measure, where that is known."""
        names, output = self._names(), None
        if self.target is not None:
            targets = torch.as_tensor(self.target).tolist()
            same = all(one == targets[0] for one in targets)
            named = "" if self.labels.outputs else "output "
            output = f"{named}{names.output(targets[0])}" if same else "each series' output"
        return bars.score_label(self.settings, score, output)

    def report(
        self, path: str | Path, *, X: Any = None, series: Any = None, title: str | None = None, force: bool = False
    ) -> None:
        """Write one HTML file that shows the scores behind the series, to be sent: it needs no network and no server.

        ``X`` and ``series`` as in `plot`. With ``title``, that stands over it. Errors: FileExistsError without
        ``force``, ValueError naming the argument, or for a path that does not end in .html.
        """
        from rambit.results.page import attribution_page

        result = self if X is None else replace(self, X=None if X is False else self._read_input(X))
        result = result if series is None else result.isel(series=self._numbered(series))
        text = attribution_page(
            result._grid(),
            [result._title(b) for b in range(len(result.values))],
            None if result.lengths is None else torch.as_tensor(result.lengths).tolist(),
            self._score_label("score"),
            title=title,
            line=repr(self),
            settings=self.settings,
            seed=self.seed,
            model=self.model,
            numbers={"rows": self.rows, "row-steps": self.row_steps, "seconds": self.seconds, "mode": self.mode},
        )
        save_text(path, text.encode(), ".html", force=force)

    def _repr_html_(self) -> str:
        """For notebooks: what `repr` says, and the scores of a few series as bars of colours."""
        if not self._has_cells() or not self.values.numel():
            return html.table(repr(self), [], [], "")
        grid = self._grid()
        shown, targets = grid.score.double().masked_fill(~grid.known, math.nan).numpy(), grid.names.of_targets()
        panels = [
            html.Panel(f"{self._title(b)}, {targets[k]}" if targets else self._title(b), shown[b, k])
            for b, k in np.ndindex(shown.shape[:2])
        ]
        more = len(panels) - html.MOST_SERIES
        note = f"and {more} more; plot() draws them" if more > 0 else ""
        return html.table(repr(self), list(map(str, grid.names.of_features())), panels[: html.MOST_SERIES], note)

    # -- names and axes -------------------------------------------------------------------------------------------

    def _numbered(self, series: Any) -> Any:
        """Series by number, of what may name them."""
        if isinstance(series, str):
            return selection.by_name("series", series, self._names().of_series())[0]
        return [self._numbered(one) for one in series] if isinstance(series, (list, tuple)) else series

    def _names(self) -> Names:
        shape = self._bdt(self.values).shape
        numbers = range(shape[0]) if self.ids is None else torch.as_tensor(self.ids).tolist()
        forecasts = self.outputs is not None and self.outputs.ndim == 3
        quantiles = self.outputs.shape[2] if self.outputs is not None and forecasts else None
        return Names(self.labels, numbers, shape[-2], self.targets, quantiles)

    def _title(self, series: int) -> str:
        """Which series, and which output of it was explained or, where classes have names, is predicted."""
        names = self._names()
        title = names.title(series)
        if self.target is not None:
            target = torch.as_tensor(self.target)[series].tolist()
            return f"{title}: {'' if self.labels.outputs else 'output '}{names.output(target)}"
        classes = self.outputs is not None and self.outputs.ndim == 2 and self.settings.get("output") != "regression"
        if self.outputs is None or self.labels.outputs is None or not classes:
            return title
        share, best = self.outputs[series].max(dim=0)
        return f"{title}: {names.output(int(best))} ({float(share):.2f})"

    def _of_target(self, target: Any) -> Attribution:
        """The scores of one target. ValueError where it must be said which."""
        if target is None and self.targets is None:
            return self
        return self.isel(target=self._names().target_at(target))

    def _bdt(self, tensor: Tensor) -> Tensor:
        """What is like the values, or the input, as (B, D, T) or (B, K, D, T)."""
        if not self._has_cells():
            axes = self.values.ndim
            raise ValueError(f"only scores of time series, with three axes, have cells; these have {axes} axes")
        if self._of_tokens():
            return tensor.unsqueeze(-2)
        return tensor.transpose(-1, -2) if self.settings.get("layout") == "BTD" else tensor

    def _has_cells(self) -> bool:
        return self.values.ndim == (3 if self.targets is None else 4) or self._of_tokens()

    def _of_tokens(self) -> bool:
        """Whether the series are of tokens, (B, T): one feature without an axis of its own."""
        return self.values.ndim == (2 if self.targets is None else 3)

    def _grid(self) -> Grid:
        """All cells, on the CPU."""

        def spread(tensor: Tensor | None) -> Tensor | None:
            """(B, K, D, T), or (B, 1, D, T) of what all targets share."""
            if tensor is None:
                return None
            ordered = self._bdt(tensor.detach().cpu())
            return ordered if ordered.ndim == 4 else ordered[:, None]

        score, evaluated = spread(self.values), spread(self.evaluated)
        assert score is not None
        known = torch.ones(score.shape, dtype=torch.bool)
        if evaluated is not None:
            known &= evaluated
        if self.lengths is not None:
            ends = torch.as_tensor(self.lengths).cpu()
            known &= (torch.arange(known.shape[3]) < ends[:, None])[:, None, None]
        return Grid(score, known, spread(self.stderr), spread(self.X), self._names())

    def _cells(self) -> tuple[Tensor, Tensor]:
        """Scores (B · K, D, T) in float64 on the CPU, and which of them were made, within their series' length."""
        grid = self._grid()
        return grid.score.double().flatten(0, 1), grid.known.flatten(0, 1)

    def _cut(self, name: str, b: Any, k: Any, d: Any, t: Any) -> Tensor | None:
        """Some series, targets, features and times of one of the parts that have cells."""
        tensor: Tensor | None = getattr(self, name)
        if tensor is None:
            return None
        grid = [t] if self._of_tokens() else [t, d] if self.settings.get("layout") == "BTD" else [d, t]
        for axis, indices in enumerate([b, *([k] if self._has_targets(name) else []), *grid]):
            tensor = _taken(tensor, indices, axis)
        return tensor

    def _has_targets(self, name: str) -> bool:
        """Whether a part has an axis for the targets."""
        if self.targets is None or name == "X":
            return False
        return name != "evaluated" or (self.evaluated is not None and self.evaluated.ndim == 4)


def _taken(value: Any, indices: list[int] | None, axis: int = 0) -> Tensor:
    """Some entries of a tensor, or of numbers, along an axis; None: all."""
    tensor = torch.as_tensor(value)
    return tensor if indices is None else tensor.index_select(axis, torch.tensor(indices, device=tensor.device))
