"""The decision that is explained, and the one place where ReX evaluates the game about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit.game import Boxes, Coalitions, Game

Classes = npt.NDArray[np.int32]
Confidences = npt.NDArray[np.float32]


class Decision:
    """One input of a game, the class it is explained for, and the outputs for masked versions of it.

    ``grid`` (Z, H, W) is the shape that boxes and masks live on, ``dimensions`` 1 for spectra, 2 for images and
    (D, T) series, 3 for volumes. ``target`` is the class, ``confidence`` its probability on the original input,
    ``outputs`` (C,) those of all classes, ``rows`` how many rows were evaluated. Masks keep where they are True, unions
    of boxes keep what is inside. ``whole``: the class that the model gives to the original input, and its probability.

    ``target`` None takes that class. Raises ValueError where the class does not exist and, unless ``any_class``, where
    it is not that one.
    """

    def __init__(
        self, game: Game, *, dimensions: int, target: int | None = None, any_class: bool = False, series: int = 0
    ) -> None:
        self.series = series
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
        [found] = boxes_together([self], [(offsets, boxes)])
        return found

    def masks(self, masks: Tensor) -> tuple[Classes, Confidences]:
        """Class and confidence of rows that keep where ``masks`` (N, terms) is True. One synchronisation."""
        return self._decide(self.probabilities(masks))

    def probabilities(self, masks: Tensor) -> Tensor:
        """Probabilities (N, C), on the device, of rows that keep where ``masks`` (N, terms) is True."""
        self.rows += len(masks)
        series = None  # there is one
        if len(self.game.sample) > 1:
            series = torch.full((len(masks),), self.series, dtype=torch.int64, device=self.game.device)
        question = Coalitions(masks, series=series)
        return torch.cat([outputs.mean(dim=(1, 2)) for outputs in self.game.evaluate(question)])

    def _decide(self, probabilities: Tensor) -> tuple[Classes, Confidences]:
        """The class that the model decides for on each row (N, C), and its probability."""
        label = self.game.predictor.predicted(probabilities)
        confidence = probabilities.gather(1, label[:, None])[:, 0]
        both = self.game.to_host(torch.stack((label.double(), confidence.double()))).numpy()
        return both[0].astype(np.int32), both[1].astype(np.float32)


def boxes_together(
    decisions: Sequence[Decision], rows: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]]
) -> list[tuple[Classes, Confidences]]:
    """What `Decision.boxes` says of the rows of each of some decisions of one game, evaluated as one batch."""
    counts = [len(offsets) - 1 for offsets, _ in rows]
    begins = np.cumsum([0, *(len(boxes) for _, boxes in rows)])
    offsets = [own[:-1] + begin for (own, _), begin in zip(rows, begins[:-1], strict=True)]
    for decision, count in zip(decisions, counts, strict=True):
        decision.rows += count
    question = Boxes(
        np.concatenate((*offsets, begins[-1:])).astype(np.int64),
        np.concatenate([boxes for _, boxes in rows]),
        np.repeat([decision.series for decision in decisions], counts).astype(np.int64),
    )
    game = decisions[0].game
    classes, confidences = decisions[0]._decide(
        torch.cat([outputs.mean(dim=(1, 2)) for outputs in game.evaluate(question)])
    )
    ends = np.cumsum(counts)[:-1]
    return list(zip(np.split(classes, ends), np.split(confidences, ends), strict=True))
