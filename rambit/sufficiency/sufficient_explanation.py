"""What ``explain`` returns: what of a sample suffices, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rambit.results import check_integer, check_number, check_settings
from rambit.store import json_dict, load_result, save_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-sufficiency-1"  # the name of the one metadata entry of a saved file
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
    gap: the target's probability minus the best other one's, evaluated again with that part alone; threshold: what it
    had to reach. rows: what was evaluated for this sample. calls, seconds: of the whole batch. settings: JSON
    values. document: the kept part of a nested sample, None for a tensor.

    Errors: TypeError or ValueError naming a part that is of another kind.
    """

    mask: Tensor
    size: int
    gap: float
    threshold: float
    target: int
    rows: int
    calls: int
    seconds: float
    settings: dict[str, Any]
    seed: int
    document: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.mask, Tensor) or self.mask.dtype != torch.bool:
            raise TypeError(f"mask must be boolean, given {getattr(self.mask, 'dtype', type(self.mask).__name__)}")
        for name, low in (("size", 0), ("target", 0), ("rows", 0), ("calls", 0), ("seed", None)):
            check_integer(name, getattr(self, name), low)
        check_number("gap", self.gap)
        check_number("threshold", self.threshold)
        check_number("seconds", self.seconds, 0)
        check_settings(self.settings)

    def __repr__(self) -> str:
        kept, shape = int(self.mask.sum()), " x ".join(map(str, self.mask.shape))
        parts = [
            f"{self.size} of {shape}" if kept == self.size else f"{self.size} terms, {kept} of {shape}",
            f"class {self.target}" + ("" if self.size else ", of a sample without anything too"),
            f"gap {self.gap:.4f} of at least {self.threshold:.4f}",
            f"{self.rows:,} rows, {self.calls:,} calls, {self.seconds:.3g} s",
        ]
        return f"SufficientExplanation({'; '.join([*parts, f'seed {self.seed}'])})"

    def to_json(self) -> Any:
        """The kept part of a nested sample as a JSON document, empty parts dropped. Errors: TypeError for a tensor."""
        if self.document is None:
            raise TypeError("only nested samples have a document; the mask says what of a tensor is kept")
        return self.document

    def plot(self, path: str | Path | None = None, *, x: Tensor | None = None) -> Figure:
        """What is kept (see `plots.explanation`), cut out of the sample x (without batch axis); saved at `path`.

        Errors: TypeError for a nested sample; ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        if self.document is not None:
            raise TypeError("a nested sample has no picture; see to_json()")
        return plots.explanation(
            self.mask.double(),
            x=x,
            masks={"sufficient": self.mask},
            title=f"class {self.target}, {self.size} kept: gap {self.gap:.2f} of at least {self.threshold:.2f}",
            path=path,
        )

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, TypeError naming a setting that is no JSON value.
        """
        record: dict[str, Any] = {name: kind(getattr(self, name)) for name, kind in _NUMBERS.items()}
        record["settings"] = json_dict(self.settings, "settings")
        record["document"] = self.document
        save_result(path, _FORMAT, {"mask": self.mask}, record, force=force)

    @classmethod
    def load(cls, path: str | Path) -> SufficientExplanation:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(
            path, _FORMAT, "sufficient explanation", lambda tensors, record: cls(mask=tensors["mask"], **record)
        )
