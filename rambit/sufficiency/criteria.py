"""What a part of a sample must keep of the outputs for all of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rambit import arrays
from rambit.predictors import Predictor


class Criterion(ABC):
    """Says of outputs (n, samples, C) of the samples numbered ``samples`` how much they keep."""

    @abstractmethod
    def values(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        """(n, samples): what must reach the threshold."""

    @abstractmethod
    def thresholds(self, whole: Tensor, rel_tol: Tensor, abs_tol: Tensor | None, present: Tensor) -> Tensor:
        """(B,): what a part must reach, by the values (B,) of whole samples and tolerances (B,).

        Raises ValueError, naming a sample in which there is something (``present``, (B,) bool), where there is nothing
        that a part could keep.
        """

    def score(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        """(n, samples): whose gradient ranks terms."""
        return self.values(outputs.double(), samples)

    def loss(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        """(n, samples): what a learned mask makes small."""
        return -self.score(outputs, samples)


class ForClass(Criterion):
    """The decision for classes ``target`` (B,): the probability of each sample's, minus the best other one's."""

    def __init__(self, predictor: Predictor, target: Tensor) -> None:
        self.predictor, self.target = predictor, target

    def _targets(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return self.target[list(samples)].to(outputs.device).expand(outputs.shape[:2])

    def values(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return self.predictor.margin(outputs, self._targets(outputs, samples))

    def thresholds(self, whole: Tensor, rel_tol: Tensor, abs_tol: Tensor | None, present: Tensor) -> Tensor:
        if (b := _first((whole < 0) & present)) is not None:
            raise ValueError(
                f"target: the model does not decide for class {int(self.target[b])} on sample {b} (the gap is "
                f"{float(whole[b]):.4g}), so there is no decision to explain"
            )
        return whole * rel_tol if abs_tol is None else (whole - abs_tol).clamp(min=0)

    def score(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return outputs.gather(-1, self._targets(outputs, samples)[..., None])[..., 0]

    def loss(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return -self.score(outputs, samples).clamp(min=1e-12).log()


class OfFunction(Criterion):
    """What a user's function makes of outputs (N, C) float64: (N,) numbers, higher is better, or bools."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        self.function = function

    def values(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        rows = outputs.flatten(0, 1)
        given = self.function(rows)
        try:
            found = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):  # no array
            found = torch.empty(0)
        if tuple(found.shape) != (len(rows),) or found.is_complex():
            got = f"{found.dtype} {tuple(found.shape)}" if arrays.is_array(given) else type(given).__name__
            raise ValueError(f"criterion must return a number for each row of outputs {tuple(rows.shape)}, got {got}")
        if not bool(torch.isfinite(found).all()):
            raise ValueError("criterion returned NaN or infinite values")
        return found.to(outputs.device).double().view(outputs.shape[:2])

    def thresholds(self, whole: Tensor, rel_tol: Tensor, abs_tol: Tensor | None, present: Tensor) -> Tensor:
        if abs_tol is not None:
            return whole - abs_tol
        if (b := _first((whole <= 0) & present)) is not None:
            raise ValueError(
                f"criterion is {float(whole[b]):.4g} on sample {b} as a whole: it must be above 0 for rel_tol, a share "
                "of it, to be kept; abs_tol says how much of it may be lost"
            )
        return whole * rel_tol


class WithinTolerance(Criterion):
    """Regression: minus the largest distance from the ``whole`` outputs (B, C), or that of output ``target`` (B,).

    ``tolerance`` (B,): how large it may be.
    """

    def __init__(self, whole: Tensor, target: Tensor | None, tolerance: Tensor) -> None:
        self.whole, self.target, self.tolerance = whole, target, tolerance

    def _chosen(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        """(n, samples, outputs): those that count."""
        if self.target is None:
            return outputs
        target = self.target[list(samples)].to(outputs.device)
        return outputs.gather(-1, target.expand(outputs.shape[:2])[..., None])

    def _distances(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        whole = self.whole[list(samples)].to(outputs.device, outputs.dtype)
        return self._chosen(outputs - whole, samples).abs()

    def values(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return -self._distances(outputs, samples).amax(dim=-1)

    def thresholds(self, whole: Tensor, rel_tol: Tensor, abs_tol: Tensor | None, present: Tensor) -> Tensor:
        return -self.tolerance

    def score(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return self._chosen(outputs, samples).sum(dim=-1)

    def loss(self, outputs: Tensor, samples: Sequence[int]) -> Tensor:
        return self._distances(outputs, samples).square().sum(dim=-1)


def _first(wrong: Tensor) -> int | None:
    """The first number for which something holds."""
    return int(wrong.int().argmax()) if bool(wrong.any()) else None
