"""rex-xai's object that holds a model, an input, and what is found step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rambit.compat.rex.causal_args import CausalArgs
from rambit.compat.rex.data import Data, DefaultPrediction, open_image, predict_target
from rambit.compat.rex.explanation import (
    Explanation,
    MultiExplanation,
    ResponsibilityMaps,
    calculate_responsibility,
)
from rambit.rex import Strategy

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ReX:
    """A model and one input of it: set the input, then the target, then calculate, then extract.

    model: returns logits (N, C). model_shape: of a batch, ["N", 3, 224, 224] say. mode: RGB, spectral, tabular or
    voxel. prediction_function: instead of the model's own, `f(mutants, target=None, raw=False)`. `args` holds the
    settings. A step before the one that it needs raises RuntimeError naming that one.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        model_shape: Sequence[int | str],
        device: str | torch.device,
        mode: str,
        prediction_function: Callable[..., Any] | None = None,
    ) -> None:
        self.args = CausalArgs()
        self.model, self.model_shape, self.device, self.mode = model, model_shape, device, mode
        self.prediction_function: Callable[..., Any] = prediction_function or DefaultPrediction(model)
        self.data: Data | None = None
        self.maps: ResponsibilityMaps | None = None
        self.stats: dict[str, int] | None = None
        self.explanation: Explanation | None = None

    # -- the input -----------------------------------------------------------------------------------------------------

    def set_rgb_image(self, path: str | Path) -> Any:
        """Open an image file, and return it in three channels; `set_transformed_data` says how the model reads it."""
        self._mode("RGB")
        self.args.path, self.args.mode = str(path), "RGB"
        image = open_image(path)
        self._set(Data(image, self.model_shape, self.device, mode="RGB"))
        return image

    def set_tabular_data(self, path: str | Path, data: Any = None) -> None:
        """A spectrum (1, T) or (1, 1, T), array or tensor; without one, the .npy file at the path."""
        self._mode("spectral")
        self.args.path, self.args.mode = str(path), "spectral"
        values = np.load(path) if data is None else data
        shape = (1, *values.shape) if values.ndim == 1 else values.shape
        self._set(Data(values, shape, self.device, mode="spectral", process=True))

    def set_input(self, input: Any) -> None:
        """The input as pictures show it."""
        self._data().input = input

    def set_transformed_data(self, transformed_data: Tensor) -> None:
        """The input (1, …) as the model reads it."""
        self._data().data = transformed_data

    def _mode(self, mode: str) -> None:
        if self.mode != mode:
            raise ValueError(f"mode must be {mode} for this input, got {self.mode}")

    def _set(self, data: Data) -> None:
        """A new input, about which nothing is known yet."""
        self.data, self.maps, self.stats, self.explanation = data, None, None, None

    def _data(self) -> Data:
        if self.data is None:
            raise RuntimeError("call set_rgb_image or set_tabular_data, or set data, first")
        return self.data

    # -- the steps -----------------------------------------------------------------------------------------------------

    def get_default_prediction_function(self) -> None:
        """Take the model's own."""
        self.prediction_function = DefaultPrediction(self.model)

    def set_prediction_function(self, function: Callable[..., Any]) -> None:
        """Another prediction function, `f(mutants, target=None, raw=False)`."""
        self.prediction_function = function

    def set_target(self) -> ReX:
        """Explain the class that the model gives to the input."""
        data = self._data()
        data.target = predict_target(data, self.args, self.prediction_function)
        return self

    def show_target(self) -> None:
        """Print the class that is explained."""
        target = None if self.data is None else self.data.target
        print("there is no target yet" if target is None else target)

    def calculate_responsibility(self, args: CausalArgs | None = None) -> ReX:
        """The maps, `maps`, and counts, `stats`. Raises as the function of that name."""
        data = self._data()
        if data.target is None:
            raise RuntimeError("call set_target first")
        self.maps, self.stats = calculate_responsibility(data, args or self.args, self.prediction_function)
        self.explanation = None
        return self

    def rerun_with(self, new_args: CausalArgs) -> None:
        """The maps by other settings, which hold for this call alone."""
        self.calculate_responsibility(new_args)

    def generate_explanation_object(self) -> ReX:
        """An `explanation` of these maps, of which nothing is extracted yet."""
        if self.maps is None or self.stats is None:
            raise RuntimeError("call calculate_responsibility first")
        several = self.args.options()["strategy"] is Strategy.MultiSpotlight
        kind = MultiExplanation if several else Explanation
        self.explanation = kind(self.maps, self.prediction_function, self._data(), self.args, self.stats)
        return self

    def extract_sufficient_explanation(self) -> None:
        """A part that suffices, by the strategy in `args`."""
        if self.explanation is None:
            self.generate_explanation_object()
        self._extracted()

    def extract_contrastive_explanation(self) -> None:
        """A part that suffices and without which the class changes."""
        self.args.strategy, self.args.complete = Strategy.Contrastive, False
        self.generate_explanation_object()
        self._extracted()

    def extract_complete_explanation(self) -> None:
        """That part, and what must be added for the whole input's confidence."""
        self.args.strategy, self.args.complete = Strategy.Contrastive, True
        self.generate_explanation_object()
        self._extracted()

    def _extracted(self) -> Explanation:
        if self.explanation is None:
            raise RuntimeError("call extract_sufficient_explanation first")
        if self.explanation.result is None:
            self.explanation.extract()
        return self.explanation

    def show(self) -> Figure | list[Figure]:
        """Draw the map and the parts that were extracted."""
        if self.explanation is None:
            raise RuntimeError("call extract_sufficient_explanation first")
        return self.explanation.show()
