"""The scores of a batch of time series, what they explain, and how they were computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rambit.labels import Labels
from rambit.results import html, record_checks, selection, tables
from rambit.results.cell import Cell
from rambit.results.record_checks import FLOATS, check_tensor
from rambit.store import json_dict, load_result, save_result, save_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-attribution-1"  # the name of the one metadata entry of a saved file
_TENSORS = ("values", "stderr", "lengths", "ids", "windows", "evaluated", "target", "outputs", "X")
_NUMBERS = {"rows": int, "row_steps": int, "seconds": float, "seed": int, "mode": str}


@dataclass(repr=False, eq=False)
class Attribution:
    """Scores of a batch of time series, what they explain and how they were computed.

    values: like the input, (B, D, T), or (B, T, D) if settings["layout"] is "BTD"; with ``targets`` (B, K, D, T) or
    (B, K, T, D). stderr: the standard error of each score, or None. rows, row_steps: what the model evaluated. seconds:
    wall time. settings: JSON values. mode: the evaluation that was used. lengths, ids: (B,), as given. windows: (B, D,
    T, W), the scores by prediction (WinIT). evaluated: bool like values, or like the input, False where no score was
    made (a missing value): the 0 that stands there is none. None: all were.

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

    def __post_init__(self) -> None:
        check_tensor("values", self.values, FLOATS)
        shape = tuple(self.values.shape)
        if not shape:
            raise ValueError("values must have a batch axis, given a scalar")
        self.targets = None if self.targets is None else record_checks.read_targets(self.targets)
        if self.targets is not None and (len(shape) != 4 or shape[1] != len(self.targets)):
            raise ValueError(f"values must be (B, {len(self.targets)}, D, T) with these targets, given {shape}")
        series = shape if self.targets is None else (shape[0], *shape[2:])  # the shape of the input
        for name, kinds in (("stderr", FLOATS), ("windows", FLOATS), ("evaluated", (torch.bool,))):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            check_tensor(name, tensor, kinds)
            if name == "evaluated" and tuple(tensor.shape) == series:
                continue
            if tuple(tensor.shape[: len(shape)]) != shape or tensor.ndim != len(shape) + (name == "windows"):
                more = " and one axis more" if name == "windows" else ""
                raise ValueError(f"{name} must have the shape of values {shape}{more}, given {tuple(tensor.shape)}")
        for name, numbers in (("lengths", self.lengths), ("ids", self.ids), ("target", self.target)):
            if numbers is not None:
                record_checks.check_by_series(name, numbers, shape[0], pairs=name == "target")
        for name, low in (("rows", 0), ("row_steps", 0), ("seed", None)):
            record_checks.check_integer(name, getattr(self, name), low)
        record_checks.check_number("seconds", self.seconds, 0, math.inf)
        record_checks.check_settings(self.settings)
        if not isinstance(self.mode, str):
            raise TypeError(f"mode must be text, given {self.mode!r}")
        layout = self.settings.get("layout", "BDT")
        if layout not in ("BDT", "BTD"):
            raise ValueError(f"settings['layout'] must be 'BDT' or 'BTD', given {layout!r}")
        if self.outputs is not None:
            record_checks.check_outputs(self.outputs, series=shape[0])
        if self.X is not None:
            record_checks.check_input("X", self.X, series)
        record_checks.check_hash("model", self.model)
        self._check_labels(series)

    def _check_labels(self, shape: tuple[int, ...]) -> None:
        self.labels = Labels.of(self.labels)
        if self.labels and len(shape) != 3:
            raise ValueError(f"labels are for time series, with three axes, given the shape {shape}")
        if self.labels:
            B, *grid = shape
            self.labels.check(B, *(reversed(grid) if self.settings.get("layout") == "BTD" else grid))
        if self.outputs is not None:
            self.labels.check_outputs(math.prod(self.outputs.shape[1:]))

    def __repr__(self) -> str:
        parts = [" x ".join(map(str, self.values.shape)), self.settings.get("layout", "BDT")]
        parts += [] if self.targets is None else [f"targets {', '.join(self._target_names())}"]
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
        record: dict[str, Any] = {name: kind(getattr(self, name)) for name, kind in _NUMBERS.items()}
        record["settings"] = json_dict(self.settings, "settings")
        optional = {"targets": self.targets, "model": self.model, "labels": self.labels.record() or None}
        record |= {name: value for name, value in optional.items() if value is not None}
        given = {name: getattr(self, name) for name in _TENSORS if getattr(self, name) is not None}
        tensors = {name: torch.as_tensor(value) for name, value in given.items()}
        save_result(path, _FORMAT, tensors | self.labels.tensors(), record, force=force)

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "attribution", cls._of)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> Attribution:
        for name, kind in {**_NUMBERS, "settings": dict}.items():
            if type(record[name]) is not kind:
                raise TypeError(f"{name} is {record[name]!r}")
        labels = Labels.read(tensors, record.pop("labels", {}))
        fields: dict[str, Any] = {"stderr": None, **tensors, **record}
        return cls(labels=labels, **fields)

    # -- tables ---------------------------------------------------------------------------------------------------

    def to_numpy(self) -> NDArray[Any]:
        """The values as an array of the same shape (bfloat16, which NumPy lacks, as float32); 0 where not evaluated."""
        return _array(self.values)

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each cell that was evaluated, within its series' length.

        Columns: series, target (where there are ``targets``), feature, time, score, stderr and value, the last two
        where the result has them. Series are called by name or else id, features and times by name or else number.
        Errors: ImportError without pandas.
        """
        return tables.library("pandas").DataFrame(self._columns())

    def to_csv(self, path: str | Path, *, force: bool = False) -> None:
        """Write the table of `to_frame` as CSV, without pandas: datetimes as ISO 8601, timedeltas in seconds.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind.
        """
        save_text(path, tables.csv_bytes(self._columns()), ".csv", force=force)

    def to_xarray(self) -> Any:
        """An xarray Dataset over (series, feature, time), with ``targets`` over (series, target, feature, time).

        Variables: score, stderr, value and outputs, where the result has them; NaN where there is none. Where the times
        of series differ, the axis time counts from 0 and the variable times (series, time) holds them. Errors:
        ImportError without xarray.
        """
        known, axes = self._known().numpy(), ("series", "target", "feature", "time")
        given = {"score": self.values, "stderr": self.stderr, "value": self.X}
        found: dict[str, Any] = {}
        for name, tensor in given.items():
            if tensor is not None:
                array = _array(self._by_target(tensor, name != "value"))
                whole = np.where(known.any(axis=1, keepdims=True) if name == "value" else known, array, np.nan)
                several = self.targets is not None and name != "value"
                found[name] = (axes, whole) if several else (axes[:1] + axes[2:], whole[:, 0])
        labels, times = self.labels, self.labels.times
        coords: dict[str, Any] = {"series": self._series_names(), "feature": self._feature_names()}
        if self.targets is not None:
            coords["target"] = self._target_names()
        if times is not None and times.ndim == 1:
            coords["time"] = times
        elif times is not None:
            found["times"] = (("series", "time"), times)
        if self.outputs is not None:
            found["outputs"] = (("series", "output"), _array(self.outputs).reshape(len(self.outputs), -1))
            coords |= {} if labels.outputs is None else {"output": list(labels.outputs)}
        notes = {"seed": self.seed, "rows": self.rows, "model": self.model, "time_unit": labels.unit}
        attrs = {name: value for name, value in notes.items() if value is not None}
        return tables.library("xarray").Dataset(found, coords, {**attrs, "method": self.settings.get("method", "")})

    def by_feature(self) -> Tensor:
        """How much each feature matters: the mean of |score| over its times, (B, D) or (B, K, D) float64.

        Padding, cells that were not evaluated and NaN do not count; NaN where nothing does.
        """
        return self._mean_size(-1)

    def by_time(self) -> Tensor:
        """How much each time matters: the mean of |score| over features, (B, T) or (B, K, T), as in `by_feature`."""
        return self._mean_size(-2)

    def top(self, k: int, series: int | None = None, *, target: Any = None) -> list[Cell]:
        """The k cells of highest score, of all series or of one, highest first; ties by (series, feature, time).

        Cells beyond a series' length, cells that were not evaluated and NaN don't count; there may be fewer than k.
        ``target``: which of several ``targets``, by its entry or its name. Errors: ValueError.
        """
        result = self._of_target(target)
        scores, valid = result._cells()
        if k < 1:
            raise ValueError(f"k must be at least 1, given {k}")
        if series is not None:
            if not 0 <= series < len(scores):
                raise ValueError(f"series must be 0 to {len(scores) - 1}, given {series}")
            valid = valid & (torch.arange(len(scores)) == series)[:, None, None]
        where = (valid & ~scores.isnan()).nonzero()
        found = scores[tuple(where.T)]
        best = torch.sort(found, descending=True, stable=True).indices[:k]
        rows = zip(where[best].tolist(), found[best].tolist(), strict=True)
        return [result._named(Cell(b, d, t, score)) for (b, d, t), score in rows]

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
        valid = valid & valid_b
        if not valid.any():
            return {"max_abs_diff": math.nan, "spearman": math.nan, "topk_overlap": math.nan}
        tops = [_top_mask(scores, valid, k) for scores in (a, b)]
        sizes = tops[0].sum(1)
        shares = (tops[0] & tops[1]).sum(1)[sizes > 0] / sizes[sizes > 0]
        return {
            "max_abs_diff": (a - b)[valid].abs().max().item(),
            "spearman": _spearman(a[valid], b[valid]),
            "topk_overlap": shares.mean().item(),
        }

    # -- parts ----------------------------------------------------------------------------------------------------

    def isel(self, *, series: Any = None, feature: Any = None, time: Any = None, target: Any = None) -> Attribution:
        """The attribution of some series, features, times and targets, by number: an integer, a slice or a list.

        All axes stay, but for one target alone, which becomes the ``target`` of each series. Times must stay in order.
        What it took (rows, seconds) stays that of the whole. Errors: TypeError or ValueError naming the argument.
        """
        B, K, D, T = self._sizes()
        if target is not None and self.targets is None:
            raise ValueError("target applies to results with targets, and these are scores of one")
        wanted = (("series", series, B), ("target", target, K), ("feature", feature, D), ("time", time, T))
        b, k, d, t = (None if one is None else selection.by_number(name, one, size) for name, one, size in wanted)
        if t is not None and sorted(set(t)) != t:
            raise ValueError(f"time must be in order, each once, given {time!r}")
        lengths = None if self.lengths is None else _rows(torch.as_tensor(self.lengths), b)
        if lengths is not None and t is not None:
            lengths = (torch.tensor(t, device=lengths.device) < lengths[:, None]).sum(dim=1).to(lengths.dtype)
        by_series = {name: getattr(self, name) for name in ("ids", "target", "outputs")}
        parts = {name: None if one is None else _rows(torch.as_tensor(one), b) for name, one in by_series.items()}
        tensors = {name: getattr(self, name) for name in ("values", "stderr", "windows", "evaluated", "X")}
        cells = {name: None if one is None else self._cut(name, one, b, k, d, t) for name, one in tensors.items()}
        targets = None if self.targets is None else [self.targets[i] for i in k or range(K)]
        if k is not None and not isinstance(target, (slice, list, tuple, range, np.ndarray, Tensor)):
            several = {name: one for name, one in cells.items() if one is not None and self._has_targets(name, one)}
            cells |= {name: one[:, 0] for name, one in several.items()}
            parts["target"] = torch.tensor([targets[0]] * len(cells["values"]))  # type: ignore[index, arg-type]
            targets = None
        fields: dict[str, Any] = {**cells, **parts, "lengths": lengths, "targets": targets}
        return replace(self, **fields, labels=self.labels.take(series=b, features=d, times=t))

    def sel(self, *, series: Any = None, feature: Any = None, time: Any = None, target: Any = None) -> Attribution:
        """As `isel`, but by name: a name, a list of names, or a slice of names or times, both ends included.

        ``result.sel(feature="heart rate", time=slice("2024-03-01", "2024-03-02"))``. A date means all of it. Series
        without names go by their ids; features and times without names by their numbers, as in `isel`. ``target``: the
        output's name, or its entry in ``targets``. Errors: TypeError or ValueError naming the argument.
        """
        by_name: dict[str, Any] = {}
        if series is not None:
            by_name["series"] = selection.by_name("series", series, self._series_names())
        if feature is not None:
            named = self.labels.features is not None
            by_name["feature"] = selection.by_name("feature", feature, self._feature_names()) if named else feature
        if target is not None:
            by_name["target"] = self._targets_at(target)
        result = self.isel(**by_name)
        if time is None or result.labels.times is None:
            return result if time is None else result.isel(time=time)
        indices = [selection.by_time(time, times) for times in np.atleast_2d(result.labels.times)]
        if any(one != indices[0] for one in indices):
            raise ValueError(f"time={time!r} means other steps in other series: choose one with series=, or use isel")
        return result.isel(time=indices[0])

    # -- pictures -------------------------------------------------------------------------------------------------

    def plot(
        self,
        path: str | Path | None = None,
        *,
        X: Tensor | Literal[False] | None = None,
        series: int | Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        cmap: Any = None,
        target: Any = None,
    ) -> Figure:
        """A heat map for each series (see `plots.heatmap`), saved if `path` is given, over it the input.

        ``X``: the input, like the values, instead of the one that was kept; False draws none. Features, series, times
        and outputs are called as ``labels`` say. Cells that were not evaluated stay blank (hatched), as those beyond a
        series' length do. ``target``: which of several ``targets``, by its entry or its name.

        Errors: ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        result = self._of_target(target)
        if isinstance(X, Tensor) and tuple(X.shape) != tuple(result.values.shape):
            raise ValueError(f"X must have the shape of values {tuple(result.values.shape)}, given {tuple(X.shape)}")
        drawn = result.X if X is None else None if X is False else X
        values, labels = result.values, self.labels
        if result.evaluated is not None:
            values = values.masked_fill(~result.evaluated, math.nan)
        if titles is None:
            titles = [result._title(i) for i in plots.choose_series(series, len(values))]
        return plots.heatmap(
            result._bdt(values),
            X=None if drawn is None else result._bdt(drawn),
            series=series,
            feature_names=labels.features if feature_names is None else feature_names,
            titles=titles,
            lengths=result.lengths,
            times=labels.times,
            unit=labels.unit,
            path=path,
            cmap=cmap,
        )

    def _repr_html_(self) -> str:
        """For notebooks: what `repr` says, and the scores of a few series as bars of colours."""
        if self.values.ndim != 3 + (self.targets is not None) or not self.values.numel():
            return html.table(repr(self), [], [], "")
        B, K = self._sizes()[:2]
        scores = self._by_target(self.values.detach(), True).double().cpu()
        shown = scores.masked_fill(~self._known(), math.nan).numpy()
        panels = [
            html.Panel(
                self._title(b) + (f", {self._target_names()[k]}" if self.targets is not None else ""), shown[b, k]
            )
            for b in range(B)
            for k in range(K)
        ]
        more = len(panels) - html.MOST_SERIES
        note = f"and {more} more; plot() draws them" if more > 0 else ""
        return html.table(repr(self), list(map(str, self._feature_names())), panels[: html.MOST_SERIES], note)

    # -- names ----------------------------------------------------------------------------------------------------

    def _series_names(self) -> Sequence[Any]:
        if self.labels.series is not None or self.ids is None:
            return self.labels.series or range(len(self.values))
        numbers: list[int] = torch.as_tensor(self.ids).tolist()
        return numbers

    def _feature_names(self) -> Sequence[Any]:
        return self.labels.features or range(self._sizes()[2])

    def _target_names(self) -> list[str]:
        return [self._output_name(target) for target in self.targets or ()]

    def _output_name(self, target: Any) -> str:
        """What an output is called, given by its number or as a pair [h, q]."""
        if not isinstance(target, list):
            return self.labels.output(target, str(target))
        pair = f"({target[0]}, {target[1]})"
        if self.outputs is None or self.outputs.ndim != 3:
            return pair
        return self.labels.output(target[0] * self.outputs.shape[2] + target[1], pair)

    def _title(self, series: int) -> str:
        """Which series, and which output of it was explained or, where classes have names, is predicted."""
        title = f"series {self._series_names()[series]}" if self.labels.series is None else self.labels.series[series]
        if self.target is not None:
            target = torch.as_tensor(self.target)[series].tolist()
            return f"{title}: {'' if self.labels.outputs else 'output '}{self._output_name(target)}"
        classes = self.outputs is not None and self.outputs.ndim == 2 and self.settings.get("output") != "regression"
        if self.outputs is None or self.labels.outputs is None or not classes:
            return title
        share, best = self.outputs[series].max(dim=0)
        return f"{title}: {self.labels.outputs[int(best)]} ({float(share):.2f})"

    def _named(self, cell: Cell) -> Cell:
        labels, times = self.labels, self.labels.times_of(cell.series)
        return cell.named(
            series=None if labels.series is None else labels.series[cell.series],
            feature=None if labels.features is None else labels.features[cell.feature],
            time=None if times is None else times[cell.time],
        )

    def _targets_at(self, target: Any) -> Any:
        """The indices of targets, given by their entries or their names: an integer for one, a list for several."""
        if self.targets is None:
            raise ValueError("target applies to results with targets, and these are scores of one")
        entries = {str(entry): i for i, entry in enumerate(self.targets)}

        def where(one: Any) -> int:
            one = list(one) if isinstance(one, tuple) else one
            if str(one) in entries and not isinstance(one, str):
                return entries[str(one)]
            return selection.by_name("target", one, self._target_names())[0]

        return (
            [where(one) for one in target] if isinstance(target, list) and target not in self.targets else where(target)
        )

    def _of_target(self, target: Any) -> Attribution:
        """The scores of one target. ValueError where it must be said which."""
        if target is None and (self.targets is None or len(self.targets) > 1):
            if self.targets is not None:
                raise ValueError(f"target must say which of {', '.join(self._target_names())}, given None")
            return self
        at = 0 if target is None else self._targets_at(target)
        if isinstance(at, list):
            raise ValueError(f"target must be one of {', '.join(self._target_names())}, given {target!r}")
        return self.isel(target=at)

    # -- axes -----------------------------------------------------------------------------------------------------

    def _sizes(self) -> tuple[int, int, int, int]:
        """B, K, D and T."""
        B, K, D, T = self._by_target(self.values, True).shape
        return B, K, D, T

    def _bdt(self, tensor: Tensor) -> Tensor:
        """What is like the values, or the input, as (B, D, T) or (B, K, D, T)."""
        if self.values.ndim != 3 + (self.targets is not None):
            axes = self.values.ndim
            raise ValueError(f"only scores of time series, with three axes, have cells; these have {axes} axes")
        return tensor.transpose(-1, -2) if self.settings.get("layout") == "BTD" else tensor

    def _has_targets(self, name: str, tensor: Tensor) -> bool:
        """Whether a part has an axis for the targets."""
        if self.targets is None or name == "X":
            return False
        return name != "evaluated" or tensor.ndim == self.values.ndim

    def _by_target(self, tensor: Tensor, several: bool) -> Tensor:
        """What is like the values, or (not ``several``) like the input, as (B, K or 1, D, T)."""
        ordered = self._bdt(tensor)
        return ordered if several and self.targets is not None else ordered[:, None]

    def _cut(self, name: str, tensor: Tensor, b: Any, k: Any, d: Any, t: Any) -> Tensor:
        """Some series, targets, features and times of one of the parts that have cells."""
        grid = [t, d] if self.settings.get("layout") == "BTD" else [d, t]
        for axis, indices in enumerate([b, *([k] if self._has_targets(name, tensor) else []), *grid]):
            if indices is not None:
                tensor = tensor.index_select(axis, torch.tensor(indices, device=tensor.device))
        return tensor

    def _known(self) -> Tensor:
        """(B, K, D, T) bool on the CPU: which scores were made, within their series' length."""
        B, K, D, T = self._sizes()
        valid = torch.ones(B, K, D, T, dtype=torch.bool)
        if self.evaluated is not None:
            valid &= self._by_target(self.evaluated, self._has_targets("evaluated", self.evaluated)).cpu()
        if self.lengths is not None:
            ends = torch.as_tensor(self.lengths).cpu()
            valid &= (torch.arange(T) < ends[:, None])[:, None, None]
        return valid

    def _cells(self) -> tuple[Tensor, Tensor]:
        """Scores (B · K, D, T) in float64 on the CPU, and which of them were made, within their series' length."""
        scores = self._by_target(self.values.detach(), True).cpu().double()
        return scores.flatten(0, 1), self._known().flatten(0, 1)

    def _mean_size(self, axis: int) -> Tensor:
        scores = self._by_target(self.values.detach(), True).cpu().double()
        found = scores.masked_fill(~self._known(), math.nan).abs().nanmean(dim=axis)
        return (found if self.targets is not None else found[:, 0]).to(self.values.device)

    def _columns(self) -> dict[str, NDArray[Any]]:
        """The columns of the table: an entry for each cell that was evaluated."""
        b, k, d, t = (where.numpy() for where in self._known().nonzero(as_tuple=True))
        times = self.labels.times
        columns: dict[str, NDArray[Any]] = {"series": _names(self._series_names())[b]}
        if self.targets is not None:
            columns["target"] = _names(self._target_names())[k]
        columns["feature"] = _names(self._feature_names())[d]
        columns["time"] = t if times is None else times[t] if times.ndim == 1 else times[b, t]
        columns["score"] = _array(self._by_target(self.values, True))[b, k, d, t]
        if self.stderr is not None:
            columns["stderr"] = _array(self._by_target(self.stderr, True))[b, k, d, t]
        if self.X is not None:
            columns["value"] = _array(self._by_target(self.X, False))[b, 0, d, t]
        return columns


def _array(tensor: Tensor) -> NDArray[Any]:
    """On the CPU; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _names(names: Sequence[Any]) -> NDArray[Any]:
    """Numbers as numbers, texts as objects: each is held once, however often it stands in a column."""
    return np.array(list(names), dtype=object if any(isinstance(name, str) for name in names) else np.int64)


def _rows(tensor: Tensor, indices: list[int] | None) -> Tensor:
    return tensor if indices is None else tensor[torch.tensor(indices, device=tensor.device)]


def _top_mask(scores: Tensor, valid: Tensor, k: int) -> Tensor:
    """Which of the cells (B, D·T) are among their series' k highest; ties go to the earlier cell."""
    flat = scores.masked_fill(~valid, -math.inf).flatten(1)
    order = torch.sort(flat, dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True) & valid.flatten(1)


def _spearman(a: Tensor, b: Tensor) -> float:
    if bool(a.isnan().any() or b.isnan().any()):
        return math.nan
    x, y = _centred_ranks(a), _centred_ranks(b)
    scale = math.sqrt((x @ x).item() * (y @ y).item())
    return (x @ y).item() / scale if scale else math.nan


def _centred_ranks(a: Tensor) -> Tensor:
    """Ranks about their mean; equal scores share the mean of their ranks."""
    which: Tensor
    counts: Tensor
    _, which, counts = torch.unique(a, return_inverse=True, return_counts=True)
    ranks = counts.cumsum(0) - (counts - 1) / 2
    return ranks[which] - (len(a) + 1) / 2
