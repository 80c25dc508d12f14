"""What `explain()` returns: scores with what they cost, how sure they are and how they came about."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rambit import arrays
from rambit.store import json_dict, load_result, save_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-attribution-1"  # the name of the one metadata entry of a saved file
_TENSORS = ("values", "stderr", "lengths", "ids", "windows", "evaluated")
#: The types of scores and maps; those of 8 bits are none, which nothing can be computed with.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MAX = sys.float_info.max
_NUMBERS = {"rows": int, "row_steps": int, "seconds": float, "seed": int, "mode": str}


class Cell(NamedTuple):
    """One cell and its score: series and time count from 0, the feature too."""

    series: int
    feature: int
    time: int
    score: float


@dataclass(repr=False, eq=False)
class Attribution:
    """Scores of a batch of time series and how they were computed.

    values: like the input, (B, D, T), or (B, T, D) if settings["layout"] is "BTD". stderr: the standard error of each
    score, or None. rows, row_steps: what the model evaluated. seconds: wall time. settings: JSON values. mode: the
    evaluation that was used. lengths, ids: (B,), as given. windows: (B, D, T, W), the scores by prediction (WinIT).
    evaluated: bool like values, False where no score was made (a missing value): the 0 that stands there is none. None:
    all were.

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

    def __post_init__(self) -> None:
        _check_tensor("values", self.values, FLOATS)
        shape = tuple(self.values.shape)
        if not shape:
            raise ValueError("values must have a batch axis, given a scalar")
        for name, kinds in (("stderr", FLOATS), ("windows", FLOATS), ("evaluated", (torch.bool,))):
            tensor = getattr(self, name)
            if tensor is None:
                continue
            _check_tensor(name, tensor, kinds)
            if name == "evaluated" and tensor.ndim == 3 and tuple(tensor.shape) == (shape[0], *shape[2:]):
                continue  # of several targets alike
            if tuple(tensor.shape[: len(shape)]) != shape or tensor.ndim != len(shape) + (name == "windows"):
                more = " and one axis more" if name == "windows" else ""
                raise ValueError(f"{name} must have the shape of values {shape}{more}, given {tuple(tensor.shape)}")
        for name, numbers in (("lengths", self.lengths), ("ids", self.ids)):
            if numbers is not None:
                _check_integers(name, numbers, shape[0])
        for name, low in (("rows", 0), ("row_steps", 0), ("seed", None)):
            check_integer(name, getattr(self, name), low)
        check_number("seconds", self.seconds, 0, math.inf)
        check_settings(self.settings)
        if not isinstance(self.mode, str):
            raise TypeError(f"mode must be text, given {self.mode!r}")
        layout = self.settings.get("layout", "BDT")
        if layout not in ("BDT", "BTD"):
            raise ValueError(f"settings['layout'] must be 'BDT' or 'BTD', given {layout!r}")

    def __repr__(self) -> str:
        parts = [" x ".join(map(str, self.values.shape)), self.settings.get("layout", "BDT")]
        if self.values.numel():
            parts.append(f"scores {self.values.min().item():.3g} to {self.values.max().item():.3g}")
        if self.stderr is not None and self.stderr.numel():
            parts.append(f"stderr up to {self.stderr.max().item():.2g}")
        if self.evaluated is not None:
            parts.append(f"{int((~self.evaluated).sum()):,} cells not evaluated")
        parts.append(f"{self.rows:,} rows, {self.row_steps:,} row-steps, {self.seconds:.3g} s")
        parts += [f"mode {self.mode}"] if self.mode else []
        return f"Attribution({'; '.join([*parts, f'seed {self.seed}'])})"

    def to_numpy(self) -> np.ndarray[Any, np.dtype[Any]]:
        """The values as an array of the same shape (bfloat16, which NumPy lacks, as float32); 0 where not evaluated."""
        values = self.values.detach().cpu()
        array: np.ndarray[Any, np.dtype[Any]] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        return array

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, TypeError naming a setting that is no JSON value.
        """
        record: dict[str, Any] = {name: kind(getattr(self, name)) for name, kind in _NUMBERS.items()}
        record["settings"] = json_dict(self.settings, "settings")
        given = {name: getattr(self, name) for name in _TENSORS if getattr(self, name) is not None}
        tensors = {name: torch.as_tensor(value) for name, value in given.items()}
        save_result(path, _FORMAT, tensors, record, force=force)

    @classmethod
    def load(cls, path: str | Path) -> Attribution:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "attribution", cls._of)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> Attribution:
        for name, kind in {**_NUMBERS, "settings": dict}.items():
            if type(record[name]) is not kind:
                raise TypeError(f"{name} is {record[name]!r}")
        fields: dict[str, Any] = {"stderr": None, **tensors, **record}
        return cls(**fields)

    def top(self, k: int, series: int | None = None) -> list[Cell]:
        """The k cells of highest score, of all series or of one, highest first; ties by (series, feature, time).

        Cells beyond a series' length, cells that were not evaluated and NaN don't count; there may be fewer than k.
        Errors: ValueError.
        """
        scores, valid = self._cells()
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
        return [Cell(b, d, t, score) for (b, d, t), score in rows]

    def compare(self, other: Attribution, *, k: int = 10) -> dict[str, float]:
        """How far two attributions of the same series agree, over the cells that both evaluated, within both lengths.

        max_abs_diff: the largest absolute difference. spearman: the rank correlation of all scores pooled, NaN where
        one side is constant. topk_overlap: the share of each series' k highest cells (or all, if it has fewer) that
        are also among the other's, averaged over series. Errors: ValueError for other shapes or k < 1.
        """
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

    def plot(
        self,
        path: str | Path | None = None,
        *,
        X: Tensor | None = None,
        series: int | Sequence[int] | None = None,
        feature_names: Sequence[str] | None = None,
        titles: Sequence[str] | None = None,
        cmap: Any = None,
    ) -> Figure:
        """A heat map for each series (see `plots.heatmap`), saved if `path` is given; `X`, like the values, over it.

        Cells that were not evaluated stay blank (hatched), as those beyond a series' length do.

        Errors: ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        if X is not None and tuple(X.shape) != tuple(self.values.shape):
            raise ValueError(f"X must have the shape of values {tuple(self.values.shape)}, given {tuple(X.shape)}")
        if titles is None and self.ids is not None:
            titles = [f"series {int(self.ids[i])}" for i in plots.choose_series(series, len(self.values))]
        values = self.values if self.evaluated is None else self.values.masked_fill(~self.evaluated, math.nan)
        return plots.heatmap(
            self._bdt(values),
            X=None if X is None else self._bdt(X),
            series=series,
            feature_names=feature_names,
            titles=titles,
            lengths=self.lengths,
            path=path,
            cmap=cmap,
        )

    def _bdt(self, tensor: Tensor) -> Tensor:
        if tensor.ndim != 3:
            raise ValueError(f"only scores of time series, with three axes, have cells; these have {tensor.ndim} axes")
        return tensor.transpose(1, 2) if self.settings.get("layout") == "BTD" else tensor

    def _cells(self) -> tuple[Tensor, Tensor]:
        """Scores (B, D, T) in float64 on the CPU, and which of them were made, within their series' length."""
        scores = self._bdt(self.values.detach()).cpu().double()
        valid = torch.ones(scores.shape, dtype=torch.bool)
        if self.evaluated is not None:
            valid &= self._bdt(self.evaluated).cpu()
        if self.lengths is not None:
            ends = torch.as_tensor(self.lengths).cpu()
            valid &= (torch.arange(scores.shape[2]) < ends[:, None])[:, None]
        return scores, valid


def check_integer(name: str, value: Any, low: int | None = 0) -> None:
    """TypeError or ValueError unless an entry of a record is a whole number (NumPy's too) of at least ``low``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, given {value!r}")
    if low is not None and int(value) < low:
        raise ValueError(f"{name} must be at least {low}, given {value}")


def check_number(name: str, value: Any, low: float = -_MAX, high: float = _MAX) -> None:
    """TypeError or ValueError unless an entry of a record is a number from ``low`` to ``high``: by default, finite."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, given {value!r}")
    number: Any = value
    if not low <= number <= high:
        bounds = ["finite"] * (high == _MAX) + [f"at least {low}"] * (low > -_MAX) + [f"at most {high}"] * (high < _MAX)
        raise ValueError(f"{name} must be {' and '.join(bounds)}, given {value}")


def check_settings(value: Any) -> None:
    """TypeError unless it is a dictionary; what is in it is checked where it is written."""
    if not isinstance(value, dict):
        raise TypeError(f"settings must be a dictionary, given {value!r}")


def _check_tensor(name: str, value: Any, kinds: tuple[torch.dtype, ...]) -> None:
    if not isinstance(value, Tensor) or value.dtype not in kinds:
        given = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"{name} must be a tensor of {' or '.join(map(str, kinds))}, given {given}")


def _check_integers(name: str, value: Any, series: int) -> None:
    numbers = arrays.whole(name, value, holds="integers")
    if tuple(numbers.shape) != (series,):
        raise ValueError(f"{name} must hold one number for each of {series} series, given {value}")
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, given {numbers.dtype}")
    if bool((numbers.to(torch.int64) < 0).any()):
        raise ValueError(f"{name} must be at least 0, given {value}")


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
