"""What `ReX.explain()` returns: responsibility maps, a sufficient mask, and how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rambit.store import json_dict, load_result, save_result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-rex-1"  # the name of the one metadata entry of a saved file
_OPTIONAL = ("necessary", "complete", "spotlights")
_RECORD = ("target", "confidence", "area", "stats", "settings", "seed")


@dataclass(repr=False, eq=False)
class Explanation:
    """How responsible each part of one input is for the model's decision, and a small part that suffices for it.

    The grid of an image is (H, W), of a volume (Z, H, W), of a spectrum (T,), of a series of several features (D, T).

    responsibility: the target's map over the grid, float. maps: class -> its map, for every class seen. mask: a part
    that suffices, bool over the grid, True = kept; empty where what replaces the input has the class by itself, so
    that no part is responsible. target: the class explained. confidence: the model's for it when
    only the mask is kept. area: the kept share of the grid. stats: how many "mutants" were made, how many were
    "passing", the "depth" reached, and the "rows" that the model answered. settings: JSON values. necessary, complete:
    further masks of the strategies contrastive and complete. spotlights: (K, *grid), the masks of multi_spotlight.

    Errors: ValueError naming the part that does not have the shape of the map.
    """

    responsibility: Tensor
    maps: dict[int, Tensor]
    mask: Tensor
    target: int
    confidence: float
    area: float
    stats: dict[str, int]
    settings: dict[str, Any]
    seed: int
    necessary: Tensor | None = None
    complete: Tensor | None = None
    spotlights: Tensor | None = None

    def __post_init__(self) -> None:
        grid = tuple(self.responsibility.shape)
        if not 1 <= len(grid) <= 3 or not self.responsibility.is_floating_point():
            raise ValueError(f"responsibility must be a float map of 1 to 3 axes, given {_kind(self.responsibility)}")
        for label, map_ in self.maps.items():
            if tuple(map_.shape) != grid:
                raise ValueError(f"maps[{label}] must have the shape of responsibility {grid}, given {_kind(map_)}")
        for name in ("mask", "necessary", "complete"):
            mask: Tensor | None = getattr(self, name)
            if mask is not None and (tuple(mask.shape) != grid or mask.dtype != torch.bool):
                raise ValueError(f"{name} must be {grid} bool, given {_kind(mask)}")
        if self.spotlights is not None and tuple(self.spotlights.shape[1:]) != grid:
            raise ValueError(f"spotlights must be (K, *{grid}) bool, given {_kind(self.spotlights)}")

    def __repr__(self) -> str:
        parts = [
            " x ".join(map(str, self.responsibility.shape)),
            f"class {self.target}",
            f"{self.area:.2%} kept: confidence {self.confidence:.4f}"
            + ("" if self.mask.any() else ", which what replaces the input has by itself"),
        ]
        if self.spotlights is not None:
            parts.append(f"{len(self.spotlights)} separate explanations")
        parts.append(", ".join(f"{count:,} {name}" for name, count in self.stats.items()))
        return f"Explanation({'; '.join([*parts, f'seed {self.seed}'])})"

    def plot(self, path: str | Path | None = None, *, x: Tensor | None = None, cmap: Any = None) -> Figure:
        """The map over the input and the explanation cut out of it (see `plots.explanation`), saved if `path` is given.

        x: the input that was explained, (1, C, H, W), (1, C, Z, H, W), (1, 1, T) or (1, D, T); without it the map
        alone. Errors: ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        return plots.explanation(
            self.responsibility,
            x=None if x is None else self._input(x),
            masks=self._masks(),
            title=f"class {self.target}, {self.area:.1%} kept: confidence {self.confidence:.2f}",
            path=path,
            cmap=cmap,
        )

    def _input(self, x: Tensor) -> Tensor:
        """The input (1, C, *grid) or, of a series, (1, D, T), as (C, *grid) or as the grid itself."""
        grid = tuple(self.responsibility.shape)
        if tuple(x.shape) == (1, *grid):
            return x[0]
        if tuple(x.shape[2:]) != grid or x.shape[0] != 1:
            raise ValueError(f"x must be one input over the grid {grid}, given {tuple(x.shape)}")
        return x[0]

    def _masks(self) -> dict[str, Tensor]:
        """Every mask found, by what it is."""
        if self.spotlights is not None:
            return {f"explanation {i + 1}": mask for i, mask in enumerate(self.spotlights)}
        masks = {"sufficient": self.mask, "necessary": self.necessary, "complete": self.complete}
        return {name: mask for name, mask in masks.items() if mask is not None}

    # -- files ----------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor, for a file or a store; the maps as "maps" (K, *grid) of "classes" (K,)."""
        classes = sorted(self.maps)
        shape = tuple(self.responsibility.shape)
        stacked = torch.stack([self.maps[c] for c in classes]) if classes else self.responsibility.new_empty(0, *shape)
        given: dict[str, Tensor | None] = {name: getattr(self, name) for name in _OPTIONAL}
        return {
            "responsibility": self.responsibility,
            "mask": self.mask,
            "maps": stacked,
            "classes": torch.tensor(classes, dtype=torch.int64),
            **{name: mask for name, mask in given.items() if mask is not None},
        }

    def record(self) -> dict[str, Any]:
        """Everything else, as JSON values. Errors: TypeError naming a setting that is none."""
        return {
            "target": int(self.target),
            "confidence": float(self.confidence),
            "area": float(self.area),
            "stats": {name: int(count) for name, count in self.stats.items()},
            "settings": json_dict(self.settings, "settings"),
            "seed": int(self.seed),
        }

    @classmethod
    def of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> Explanation:
        """The explanation with these `tensors()` and this `record()`; entries of neither are ignored."""
        fields: dict[str, Any] = {name: tensors.get(name) for name in _OPTIONAL}
        fields |= {name: record[name] for name in _RECORD}
        maps = dict(zip(tensors["classes"].tolist(), tensors["maps"], strict=True))
        return cls(responsibility=tensors["responsibility"], maps=maps, mask=tensors["mask"], **fields)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, TypeError naming a setting that is no JSON value.
        """
        save_result(path, _FORMAT, self.tensors(), self.record(), force=force)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "explanation", cls.of)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
