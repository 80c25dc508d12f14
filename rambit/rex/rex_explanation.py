"""What `ReX.explain()` returns: responsibility maps, a sufficient mask, and how they came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from rambit.checks import one_of
from rambit.labels import Labels
from rambit.results import FLOATS, check_integer, check_number, check_settings, record_checks
from rambit.results.grid import as_array
from rambit.store import json_dict, load_result, save_result, save_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "rambit-rex-1"  # the name of the one metadata entry of a saved file
_OPTIONAL = ("necessary", "complete", "spotlights", "outputs", "x", "curves")
#: What `RexExplanation.plot` draws.
KINDS = ("all", "map", "part", "input", "surface")
_RECORD = ("target", "confidence", "area", "stats", "settings", "seed")


@dataclass(repr=False, eq=False)
class RexExplanation:
    """How responsible each part of one input is for the model's decision, and a small part that suffices for it.

    The grid of an image is (H, W), of a volume (Z, H, W), of a spectrum (T,), of a series of several features (D, T).

    responsibility: the target's map over the grid, float. maps: class -> its map, for every class seen. mask: a part
    that suffices, bool over the grid, True = kept; empty where what replaces the input has the class by itself, so
    that no part is responsible; all of it where none was looked for. predicted: the class that the model gives to the
    input, where that is another than the target; the mask then leaves out as little as was found. target: the class
    explained. confidence: the model's for it when only the mask is kept. area: the kept share of the grid. stats: how
    many "mutants" were made, how many were "passing", the "depth" reached, and the "rows" that the model evaluated.
    settings: JSON values. necessary, complete: further masks of the strategies contrastive and complete. spotlights:
    (K, …), the masks of multi_spotlight.
    measures, curves: those of an `Evaluation`, if it was made: by name, None for what is no number, and (3, K) float64.

    What was explained, each None where it was not kept. labels: what classes and, of series, features and times are
    called. outputs: (C,), the model's probabilities for the whole input. x: the input, with a batch axis. model: a hash
    of the model (hex).

    Errors: TypeError or ValueError naming a part that is of another kind, or does not fit the others.
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
    labels: Labels = field(default_factory=Labels)
    outputs: Tensor | None = None
    x: Tensor | None = None
    model: str | None = None
    predicted: int | None = None
    measures: dict[str, float | None] | None = None
    curves: Tensor | None = None

    def __post_init__(self) -> None:
        if not _is(self.responsibility, None, *FLOATS) or not 1 <= self.responsibility.ndim <= 3:
            raise ValueError(f"responsibility must be a float map of 1 to 3 axes, given {_kind(self.responsibility)}")
        grid = tuple(self.responsibility.shape)
        if not isinstance(self.maps, dict):
            raise TypeError(f"maps must be a dictionary, class -> map, given {self.maps!r}")
        for label, map_ in self.maps.items():
            check_integer("the class of a map", label)
            if not _is(map_, grid, *FLOATS):
                raise ValueError(
                    f"maps[{label}] must have the shape of responsibility {grid} and be float, given {_kind(map_)}"
                )
            if not bool(map_.isfinite().all()):
                raise ValueError(f"maps[{label}] must be finite, but holds NaN or infinite values")
        if not bool(self.responsibility.isfinite().all()):
            raise ValueError("responsibility must be finite, but holds NaN or infinite values")
        check_integer("target", self.target)
        if self.target not in self.maps:
            raise ValueError(f"target must be a class with a map, one of {sorted(self.maps)}, given {self.target}")
        for name in ("mask", "necessary", "complete"):
            mask: Tensor | None = getattr(self, name)
            if not (mask is None and name in _OPTIONAL) and not _is(mask, grid, torch.bool):
                raise ValueError(f"{name} must be {grid} bool, given {_kind(mask)}")
        lights = self.spotlights
        if lights is not None and not (_is(lights, None, torch.bool) and tuple(lights.shape[1:]) == grid):
            raise ValueError(f"spotlights must be (K, *{grid}) bool, given {_kind(lights)}")
        check_number("confidence", self.confidence)
        check_number("area", self.area, 0, 1)
        if not isinstance(self.stats, dict):
            raise TypeError(f"stats must be a dictionary of counts, given {self.stats!r}")
        for name, count in self.stats.items():
            check_integer(f"stats[{name!r}]", count)
        check_settings(self.settings)
        check_integer("seed", self.seed, None)
        if self.predicted is not None:
            check_integer("predicted", self.predicted)
        for name, value in (self.measures or {}).items():
            if value is not None:
                check_number(f"measures[{name!r}]", value)
        if self.curves is not None and not (_is(self.curves, None, torch.float64) and len(self.curves) == 3):
            raise ValueError(f"curves must be (3, K) float64, given {_kind(self.curves)}")
        known = (self.labels, self.outputs, self.x, self.model)
        self.labels = record_checks.check_explained(*known, grid if len(grid) > 1 else (1, *grid))
        if self.x is not None:
            self._input(self.x)

    def __repr__(self) -> str:
        parts = [
            " x ".join(map(str, self.responsibility.shape)),
            self._class(),
            self._kept(2) + ("" if self.mask.any() else ", which what replaces the input has by itself"),
        ]
        if self.spotlights is not None:
            parts.append(f"{len(self.spotlights)} separate explanations")
        parts.append(", ".join(f"{count:,} {name}" for name, count in self.stats.items()))
        return f"RexExplanation({'; '.join([*parts, f'seed {self.seed}'])})"

    def _class(self, labels: Labels | None = None) -> str:
        """What the target is called, and what it stands instead of; by other labels first."""
        shown = [label for label in (self.target, self.predicted) if label is not None]
        names = [(labels or Labels()).output(c, self.labels.output(c, f"class {c}")) for c in shown]
        return " instead of ".join(names)

    def _kept(self, digits: int) -> str:
        """How much is kept, or replaced, and the confidence with that."""
        if self.settings.get("strategy") == "map_only":
            return f"all kept: confidence {self.confidence:.{2 * digits}f}"
        share = f"{self.area:.{digits}%} kept" if self.predicted is None else f"{1 - self.area:.{digits}%} replaced"
        return f"{share}: confidence {self.confidence:.{2 * digits}f}"

    def plot(
        self,
        path: str | Path | None = None,
        *,
        x: Tensor | Literal[False] | None = None,
        kind: str = "all",
        labels: Sequence[str] | None = None,
        cmap: Any = None,
        ax: Any = None,
    ) -> Figure:
        """The map over the input and the explanation cut out of it (see `plots.explanation`), saved if `path` is given.

        x: the input, (1, C, H, W), (1, C, Z, H, W), (1, 1, T) or (1, D, T), instead of the one that was kept; False
        draws the map alone. kind: "all", or only the "map", the "part" that suffices, the "input", or, of an image, the
        map as a "surface". labels: what classes are called, instead of ``self.labels``. ax: the matplotlib Axes to draw
        one panel into. Errors: TypeError or ValueError naming the argument; ImportError without matplotlib.
        """
        from rambit import plots

        one_of("kind", kind, KINDS)
        drawn = self.x if x is None else None if x is False else x
        name = self._class(None if labels is None else Labels(outputs=tuple(labels)))
        title = f"{name}, {self._kept(1)}"
        if kind == "surface":
            if ax is not None or self.responsibility.ndim != 2:
                raise ValueError("kind='surface' is for the map (H, W) of an image, in a figure of its own")
            return plots.surface(self.responsibility, title=title, path=path, cmap=cmap)
        return plots.explanation(
            self.responsibility,
            x=None if drawn is None else self._input(drawn),
            masks=self._masks(),
            title=title,
            feature_names=self.labels.features,
            times=self.labels.times,
            unit=self.labels.unit,
            path=path,
            cmap=cmap,
            kind=kind,
            ax=ax,
        )

    def report(
        self,
        path: str | Path,
        *,
        x: Tensor | Literal[False] | None = None,
        title: str | None = None,
        force: bool = False,
    ) -> None:
        """Write one HTML file with the map, the parts found and a slider, to be sent: it needs no network, no server.

        x as in `plot`. Errors: FileExistsError without ``force``, ValueError naming the argument, or for a path that
        does not end in .html.
        """
        from rambit.report import about, image_page, series_page

        drawn = self.x if x is None else None if x is False else x
        picture = None if drawn is None else as_array(self._input(drawn).double())
        numbers = {"confidence": self.confidence, "area": self.area, **self.stats}
        said = about(title, repr(self), self.settings, self.seed, self.model, numbers)
        score, steps = as_array(self.responsibility.double()), self.responsibility.shape[-1]
        if drawn is not None and drawn.ndim > self.responsibility.ndim + 1 and score.ndim > 1:
            masks = {name: as_array(mask) for name, mask in self._masks().items()}
            text = image_page(score, said, picture=picture, masks=masks)
        else:
            text = series_page(
                score.reshape(1, 1, -1, steps),
                said,
                features=self.labels.features or range(score.size // steps),
                titles=[self._class()],
                values=None if picture is None else picture.reshape(1, -1, steps),
                times=self.labels.times,
                unit=self.labels.unit,
                score="responsibility",
            )
        save_text(path, text.encode(), ".html", force=force)

    def _input(self, x: Tensor) -> Tensor:
        """The input (1, C, *grid) or, of a series, (1, D, T), as (C, *grid) or as the grid itself.

        Where the settings say that channels come last, it is (1, *grid, C).
        """
        grid = tuple(self.responsibility.shape)
        if self.settings.get("layout") == "NHWC" and x.ndim == len(grid) + 2:
            x = x.movedim(-1, 1)
        if tuple(x.shape) == (1, *grid):
            return x[0]
        if tuple(x.shape[2:]) != grid or x.shape[0] != 1:
            raise ValueError(f"x must be one input over the grid {grid}, given {tuple(x.shape)}")
        return x[0]

    def _masks(self) -> dict[str, Tensor]:
        """Every mask found, by what it is."""
        if self.settings.get("strategy") == "map_only":
            return {}
        if self.predicted is not None:
            return {self.labels.output(self.target, f"class {self.target}"): self.mask}
        if self.spotlights is not None:
            return {f"explanation {i + 1}": mask for i, mask in enumerate(self.spotlights)}
        masks = {"sufficient": self.mask, "necessary": self.necessary, "complete": self.complete}
        return {name: mask for name, mask in masks.items() if mask is not None}

    # -- files ----------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is a tensor, for a file or a store; the maps as "maps" (K, …) of "classes" (K,)."""
        classes = sorted(self.maps)
        shape = tuple(self.responsibility.shape)
        stacked = torch.stack([self.maps[c] for c in classes]) if classes else self.responsibility.new_empty(0, *shape)
        given: dict[str, Tensor | None] = {name: getattr(self, name) for name in _OPTIONAL}
        return {
            "responsibility": self.responsibility,
            "mask": self.mask,
            "maps": stacked,
            "classes": torch.tensor(classes, dtype=torch.int64),
            **{name: tensor for name, tensor in given.items() if tensor is not None},
            **self.labels.tensors(),
        }

    def record(self) -> dict[str, Any]:
        """Everything else, as JSON values. Errors: TypeError naming a setting that is none."""
        optional = {"labels": self.labels.record() or None, "model": self.model, "predicted": self.predicted}
        optional["measures"] = self.measures
        return {
            "target": int(self.target),
            "confidence": float(self.confidence),
            "area": float(self.area),
            "stats": {name: int(count) for name, count in self.stats.items()},
            "settings": json_dict(self.settings, "settings"),
            "seed": int(self.seed),
            **{name: value for name, value in optional.items() if value is not None},
        }

    @classmethod
    def of(cls, tensors: dict[str, Tensor], record: dict[str, Any]) -> RexExplanation:
        """The explanation with these `tensors()` and this `record()`; entries of neither are ignored."""
        fields: dict[str, Any] = {name: tensors.get(name) for name in _OPTIONAL}
        fields |= {name: record[name] for name in _RECORD}
        fields |= {"labels": Labels.read(dict(tensors), record.get("labels", {})), "model": record.get("model")}
        fields |= {"predicted": record.get("predicted"), "measures": record.get("measures")}
        classes = tensors["classes"].tolist()
        maps = dict(zip(classes, tensors["maps"], strict=True))
        if len(maps) < len(classes):
            raise ValueError(f"classes must differ, given {classes}")
        return cls(responsibility=tensors["responsibility"], maps=maps, mask=tensors["mask"], **fields)

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write everything to one safetensors file; tuples in the settings come back as lists.

        Errors: FileExistsError without `force`, ValueError for a path that ends like a file of another kind, TypeError
        naming a setting that is no JSON value.
        """
        save_result(path, _FORMAT, self.tensors(), self.record(), force=force)

    @classmethod
    def load(cls, path: str | Path) -> RexExplanation:
        """Read what `save` wrote, onto the CPU. Errors: ValueError naming the file if it is corrupt or foreign."""
        return load_result(path, _FORMAT, "explanation", cls.of)


def _is(value: Any, shape: tuple[int, ...] | None, *kinds: torch.dtype) -> bool:
    """Whether it is a tensor of one of these types and of this shape, or (None) of any."""
    return isinstance(value, Tensor) and value.dtype in kinds and shape in (None, tuple(value.shape))


def _kind(value: Any) -> str:
    if not isinstance(value, Tensor):
        return repr(value)
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
