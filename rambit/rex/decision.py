"""The decision that is explained, and the one place where ReX evaluates the game about it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.game import Boxes, Coalitions, Game

Classes = npt.NDArray[np.int32]
Confidences = npt.NDArray[np.float32]


class Decision:
    """One input, the class it is explained for, and the outputs for masked versions of it.

    ``grid`` (Z, H, W) is the shape that boxes and masks live on, ``dimensions`` 1 for spectra, 2 for images and
    (D, T) series, 3 for volumes. ``target`` is the class, ``confidence`` its probability on the original input,
    ``outputs`` (C,) those of all classes, ``rows`` how many rows were evaluated. Masks keep where they are True, unions
    of boxes keep what is inside. ``whole``: the class that the model gives to the original input, and its probability.

    ``target`` None takes that class. Raises ValueError where the class does not exist and, unless ``any_class``, where
    it is not that one.
    """

    def __init__(self, game: Game, *, dimensions: int, target: int | None = None, any_class: bool = False) -> None:
        self.game, self.grid, self.dimensions = game, game.sample.grid, dimensions
        self.terms = game.sample.terms
        self.rows = 0
        original = self.probabilities(torch.ones(1, self.terms, dtype=torch.bool, device=game.device))
        classes, confidences = self._decide(original)
        self.whole = self.target, self.confidence = int(classes[0]), float(confidences[0])
        self.outputs = original[0]
        if target is not None and not 0 <= target < original.shape[1]:
            raise ValueError(
                f"target must be one of the {original.shape[1]} classes, 0 … {original.shape[1] - 1}, got {target}"
            )
        if any_class and target is not None and target != self.target:
            self.target, self.confidence = target, float(original[0, target])
        if target is not None and target != self.target:
            raise ValueError(
                f"target must be the class that the model gives to x, {self.target} "
                f"(confidence {self.confidence:.3g}), got {target}"
            )

    def boxes(self, offsets: npt.NDArray[np.int64], boxes: npt.NDArray[np.int32]) -> tuple[Classes, Confidences]:
        """Class and confidence of rows that keep boxes[offsets[n]:offsets[n + 1]], half-open [z0, z1, y0, y1, x0, x1).

        ``offsets`` (N + 1,) int64, ``boxes`` (K, 6) int32. One synchronisation.
        """
        self.rows += len(offsets) - 1
        return self._decide(
            torch.cat([outputs.mean(dim=(1, 2)) for outputs in self.game.evaluate(Boxes(offsets, boxes))])
        )

    def masks(self, masks: Tensor) -> tuple[Classes, Confidences]:
        """Class and confidence of rows that keep where ``masks`` (N, terms) is True. One synchronisation."""
        return self._decide(self.probabilities(masks))

    def probabilities(self, masks: Tensor) -> Tensor:
        """Probabilities (N, C), on the device, of rows that keep where ``masks`` (N, terms) is True."""
        self.rows += len(masks)
        return torch.cat([outputs.mean(dim=(1, 2)) for outputs in self.game.evaluate(Coalitions(masks))])

    def _decide(self, probabilities: Tensor) -> tuple[Classes, Confidences]:
        """The class that the model decides for on each row (N, C), and its probability."""
        label = self.game.predictor.predicted(probabilities)
        confidence = probabilities.gather(1, label[:, None])[:, 0]
        both = self.game.to_host(torch.stack((label.double(), confidence.double()))).numpy()
        return both[0].astype(np.int32), both[1].astype(np.float32)
