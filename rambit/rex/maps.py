"""Responsibility maps: one for each class that the model was seen to give."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from rambit.checks import member
from rambit.rex import kernels
from rambit.rex.mutants import Mutant
from rambit.rex.settings import ResponsibilityStyle, SearchSettings

Map = npt.NDArray[np.float32]


class ResponsibilityMaps:
    """Float32 maps (H, W), or (Z, H, W) with a depth, by class; fresh ones are 1 (multiplicative) or 0 (additive)."""

    def __init__(self, style: ResponsibilityStyle | str, height: int, width: int, depth: int | None = None) -> None:
        self.style = member("style", style, ResponsibilityStyle)
        self.shape = (height, width) if depth is None else (depth, height, width)
        self._maps: dict[int, Map] = {}

    def __len__(self) -> int:
        return len(self._maps)

    def get(self, label: int) -> Map | None:
        """The map of a class, or None."""
        return self._maps.get(label)

    def new_map(self, label: int) -> Map:
        """A fresh map for a class."""
        fill = 0 if self.style is ResponsibilityStyle.Additive else 1
        self._maps[label] = np.full(self.shape, fill, dtype=np.float32)
        return self._maps[label]

    def items(self) -> ItemsView[int, Map]:
        """Classes and maps, in the order in which the classes were seen."""
        return self._maps.items()

    def merge(self, maps: ResponsibilityMaps | Mapping[int, Map]) -> None:
        """Take in an iteration's maps: multiply and divide by the maximum, or add."""
        for label, local in maps.items():
            own = self._maps[label] if label in self._maps else self.new_map(label)
            if self.style is ResponsibilityStyle.Additive:
                own += local
            else:
                own *= local
                own /= own.max()

    def subtract_others(self, target: int) -> None:
        """Negative responsibility: the target's map less those of all other classes."""
        for label, other in self._maps.items():
            if label != target:
                self._maps[target] -= other

    def update_maps(self, mutants: Iterable[Mutant], settings: SearchSettings) -> None:
        """Every mutant adds its responsibility to the map of the class that the model gave it (`Mutant.prediction`)."""
        for mutant in mutants:
            if mutant.prediction is None:
                raise ValueError(f"mutants must have a prediction, {mutant.get_name()} has none")
            label = mutant.prediction[0]
            own = self._maps[label] if label in self._maps else self.new_map(label)
            boxes = np.stack([box.bounds() for box in mutant.active])
            view = own[None] if own.ndim == 2 else own
            kernels.add_to_boxes(view, boxes, np.arange(len(boxes)), self.responsibility(mutant, settings))

    def responsibility(self, mutant: Mutant, settings: SearchSettings) -> Map:
        """What a mutant adds to each of its k active boxes: 1/k, times its confidence and the box's depth if set."""
        share = 1 / len(mutant.active)
        if settings.weighted and mutant.prediction is not None:
            share *= mutant.prediction[1]
        depth = [box.depth if settings.concentrate else 1 for box in mutant.active]
        return np.full(len(depth), share, np.float32) * np.array(depth, np.float32)
