"""A model's outputs for rows that differ from others whose activations are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rambit.predictors.incremental import Incremental
from rambit.predictors.incremental.reference import Reference
from rambit.predictors.predictor import Predictor
from rambit.predictors.trace import trace

Int64 = npt.NDArray[np.int64]


class Differing:
    """Evaluates a predictor incrementally, with the weights as they are when this is made, or ``forget`` is called."""

    def __init__(self, predictor: Predictor, incremental: Incremental) -> None:
        self.predictor, self.incremental = predictor, incremental

    @staticmethod
    def of(predictor: Predictor, x: Tensor) -> Differing | str:
        """For rows like x (N, D, T), or (N, C, H, W), of the model in evaluation mode; or why there can be none."""
        with predictor.session():
            found = trace(predictor, x)
        if isinstance(found, str):
            return found
        # Windows lie along the time of a series, or along height and width.
        axes = (2, 3) if x.ndim == 4 else (1,) if predictor.layout == "BTD" else (2,)
        incremental = Incremental(found, *axes)
        if found.output not in incremental.program.varying:
            return "its outputs do not depend on its inputs"
        return Differing(predictor, incremental)

    def gain(self, x: Tensor) -> float:
        """How many times fewer multiplications a window of one place takes than a whole row like x (N, D, T)."""
        with self.predictor.session():
            return self.incremental.gain(self.predictor._as_model_reads(x[:1]), *(1,) * len(self.incremental.axes))

    def forget(self) -> None:
        """Read the weights anew."""
        self.incremental.forget()

    @property
    def reference_bytes(self) -> int:
        """What the activations of one row take, with what is made of them."""
        return self.incremental.reference_bytes

    def reference(self, x: Tensor) -> Reference:
        """The activations of rows x (R, D, T), which they share memory with."""
        return self.incremental.reference(self.predictor._as_model_reads(x))[0]

    def outputs(
        self, reference: Reference, which: Tensor, windows: Tensor, starts: Int64 | tuple[Int64, ...]
    ) -> Tensor:
        """Outputs (n, C, 1) of rows that are row ``which`` (n,) of the reference but for ``windows`` (n, D, w).

        Windows begin at ``starts`` (n,); those of images, (n, C, h, w), at these lines and columns.
        """
        read = self.predictor._as_model_reads(windows)
        return self.predictor.finish_whole(self.incremental.outputs(reference, which, read, starts), len(windows))
