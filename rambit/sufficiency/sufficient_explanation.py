"""What ``explain`` returns: what of a sample suffices, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rambit.labels import Labels
from rambit.report import About, about, document_page, image_page, series_page, table_page
from rambit.results import check_integer, check_number, check_settings, record_checks
from rambit.results.grid import as_array
from rambit.store import json_dict, load_result, save_result, save_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-sufficiency-1"  # the name of the one metadata entry of a saved file
_OPTIONAL = ("outputs", "x")
_NUMBERS = {
    "size": int,
    "gap": float,
    "threshold": float,
    "target": int,
    "rows": int,
    "calls": int,
    "seconds": float,
    "seed": int,
}


@dataclass(repr=False, eq=False)
class SufficientExplanation:
    """A part of one sample with which the model still decides for the target.

    mask: bool, True = kept: (D, T) of a series, (H, W) of an image, (F,) of a table, (terms of the batch,) of a nested
    sample, where the other samples' terms are False. size: how many terms are kept, or clusters where they were given.
    gap: the target's probability minus the best other one's, evaluated again with that part alone (of a criterion: its
    value; of regression: minus how far the values moved); threshold: what it had to reach. target: the class, or the
    output of regression; None where there is no single one. rows: what was evaluated for this sample. calls, seconds:
    of the whole batch. settings: JSON values. document: the kept part of a nested sample, None for a tensor.

    What was explained, each None where it was not kept. labels: what classes and, of series and tables, features and
    times are called. outputs: (C,), the model's probabilities, or values, for the whole sample. x: the sample, without
    batch axis. model: a hash of the model (hex). terms: how many terms a nested sample has by itself.

    Errors: TypeError or ValueError naming a part that is of another kind.
    """

    mask: Tensor
    size: int
    gap: float
    threshold: float
    target: int | None
    rows: int
    calls: int
    seconds: float
    settings: dict[str, Any]
    seed: int
    document: Any = None
    labels: Labels = field(default_factory=Labels)
    outputs: Tensor | None = None
    x: Tensor | None = None
    model: str | None = None
    terms: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Tensor) or self.mask.dtype != torch.bool:
            raise TypeError(f"mask must be boolean, given {getattr(self.mask, 'dtype', type(self.mask).__name__)}")
        for name, low in (("size", 0), ("target", 0), ("rows", 0), ("calls", 0), ("seed", None)):
            if name != "target" or self.target is not None:
                check_integer(name, getattr(self, name), low)
        check_number("gap", self.gap)
        check_number("threshold", self.threshold)
        check_number("seconds", self.seconds, 0)
        check_settings(self.settings)
        grid = tuple(self.mask.shape) if self.mask.ndim > 1 else (*self.mask.shape, 1)  # a table has no times
        self.labels = record_checks.check_explained(self.labels, self.outputs, self.x, self.model, grid)

    def __repr__(self) -> str:
        kept, shape = int(self.mask.sum()), " x ".join(map(str, self.mask.shape))
        shape = shape if self.terms is None else str(self.terms)
        parts = [
            f"{self.size} of {shape}" if kept == self.size else f"{self.size} terms, {kept} of {shape}",
            self._class() + ("" if self.size else ", of a sample without anything too"),
            f"gap {self.gap:.4f} of at least {self.threshold:.4f}",
            f"{self.rows:,} rows, {self.calls:,} calls, {self.seconds:.3g} s",
        ]
        return f"SufficientExplanation({'; '.join([*parts, f'seed {self.seed}'])})"

    def _class(self) -> str:
        """What the target is called."""
        if self.target is None:
            return f"criterion {self.settings['criterion']}" if "criterion" in self.settings else "all outputs"
        return self.labels.output(self.target, f"class {self.target}")

    def to_json(self) -> Any:
        """The kept part of a nested sample as a JSON document, empty parts dropped. Errors: TypeError for a tensor."""
        if self.document is None:
            raise TypeError("only nested samples have a document; the mask says what of a tensor is kept")
        return self.document

    def plot(self, path: str | Path | None = None, *, x: Tensor | Literal[False] | None = None) -> Figure:
        """What is kept (see `plots.explanation`), cut out of the sample; saved at `path`.

        x: the sample, without batch axis, instead of the one that was kept; False draws the mask alone.
        Errors: TypeError for a nested sample; ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        if self.document is not None:
            raise TypeError("a nested sample has no picture; see to_json()")
        table = self.mask.ndim == 1  # whose features stand along the axis, where series have times
        return plots.explanation(
            self.mask.double(),
            x=self.x if x is None else None if x is False else x,
            masks={"sufficient": self.mask},
            feature_names=None if table else self.labels.features,
            times=None if table else self.labels.times,
            unit=None if table else self.labels.unit,
            title=f"{self._class()}, {self.size} kept: gap {self.gap:.2f} of at least {self.threshold:.2f}",
            path=path,
        )

    def report(self, path: str | Path, *, x: Any = None, title: str | None = None, force: bool = False) -> None:
        """Write one HTML file with what is kept beside the whole sample, to be sent: it needs no network and no server.

        x: the sample, without batch axis, instead of the one that was kept, False for none; of a nested sample the
        whole document. Errors: FileExistsError without ``force``, ValueError for a path that does not end in .html.
        """
        numbers = {
            "kept": self.size,
            "gap": self.gap,
            "threshold": self.threshold,
            "rows": self.rows,
            "calls": self.calls,
        }
        settings = {"method": "rambit.sufficiency.explain", **self.settings}
        said = about(title, repr(self), settings, self.seed, self.model, numbers)
        whole = (None if self.document is not None else self.x) if x is None else None if x is False else x
        save_text(path, self._page(said, whole).encode(), ".html", force=force)

    def _page(self, said: About, whole: Any) -> str:
        if self.document is not None:
            return document_page(self.document, said, whole=whole)
        kept, values = (
            as_array(self.mask.double()),
            None if whole is None else as_array(torch.as_tensor(whole).double()),
        )
        if kept.ndim == 1:
            names = self.labels.features or range(len(kept))
            shown = kept if values is None else values
            columns = zip(names, shown.tolist(), self.mask.tolist(), strict=True)
            return table_page(
                [{"feature": str(n), "value": v, "kept": "yes" if k else ""} for n, v, k in columns], said
            )
        if kept.ndim > 2 or (values is not None and values.shape != kept.shape):
            return image_page(kept, said, picture=values, masks={"sufficient": as_array(self.mask)})
        return series_page(
            kept[None, None],
            said,
            features=self.labels.features or range(len(kept)),
            titles=[self._class()],
            values=None if values is None else values[None],
            times=self.labels.times,
            unit=self.labels.unit,
            score="kept",
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind, TypeError
        naming a setting that is no JSON value.
        """
        given = {name: getattr(self, name) for name in _NUMBERS}
        record: dict[str, Any] = {name: None if of is None else _NUMBERS[name](of) for name, of in given.items()}
        record["settings"] = json_dict(self.settings, "settings")
        record["document"] = self.document
        optional = {"labels": self.labels.record() or None, "model": self.model, "terms": self.terms}
        record |= {name: value for name, value in optional.items() if value is not None}
        kept = {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) is not None}
        save_result(path, _FORMAT, {"mask": self.mask, **kept, **self.labels.tensors()}, record, force=force)

    @classmethod
    def load(cls, path: str | Path) -> SufficientExplanation:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "sufficient explanation", cls._of)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> SufficientExplanation:
        labels = Labels.read(tensors, record.pop("labels", {}))
        kept: dict[str, Any] = {name: tensors[name] for name in _OPTIONAL if name in tensors}
        return cls(mask=tensors["mask"], labels=labels, **kept, **record)
