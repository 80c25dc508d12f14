"""What the drop-in explainers of WinIT's and RaMbIT's repositories share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rambit import arrays
from rambit.checks import flag
from rambit.counterfactuals import GeneratorModel, read_background

Array = npt.NDArray[np.floating[Any]]


class Explainer(ABC):
    """Set a model with ``predict(x, return_all=False)`` once, then get numpy attributions of batches (B, D, T).

    ``device``: where the model runs; None: where it is. ``num_features``: D, checked where it is given.
    ``random_state`` keys every draw, 0 where it is None: explanations repeat. It is no part of a name, as there.
    ``unused``: keywords that the explainer does not have, which are logged as warnings.
    """

    def __init__(
        self,
        device: Any = None,
        num_features: int | None = None,
        train_loader: Any = None,
        random_state: int | None = None,
        unused: Mapping[str, Any] | None = None,
    ) -> None:
        self.device = torch.device(device) if device is not None else None
        self.num_features = num_features
        self.background = read_background(train_loader)
        if self.background is not None and num_features is not None and self.background.shape[1] != num_features:
            got = self.background.shape[1]
            raise ValueError(f"train_loader has series of {got} features, but num_features={num_features}")
        self.seed = 0 if random_state is None else random_state
        self.model: Any = None
        if unused:
            logging.getLogger(type(self).__name__).warning("Keywords without effect: %s", dict(unused))

    def set_model(self, model: Any, set_eval: bool = True) -> None:
        """The model to explain: ``predict(x, return_all=False)`` -> (B, num_states) probabilities.

        A module is moved to ``device`` and, with ``set_eval``, left in evaluation mode. It is evaluated in that mode in
        any case, and has its own back afterwards.
        """
        if flag("set_eval", set_eval) and isinstance(model, nn.Module):
            model.eval()
        if isinstance(model, nn.Module) and self.device is not None:
            model.to(self.device)
        self.model = model

    @property
    def base_model(self) -> Any:
        """The model that was set, by the name that it has there."""
        return self.model

    @abstractmethod
    def attribute(self, x: Any) -> Any:
        """Importance of x (B, D, T), as numpy."""

    @abstractmethod
    def get_name(self) -> str:
        """The published name of these settings, which files of scores carry."""

    def train_generators(self, train_loader: Any, valid_loader: Any = None, num_epochs: int = 300) -> Any:
        """Nothing: no generator is needed."""
        return None

    def test_generators(self, test_loader: Any) -> float | None:
        """Nothing: no generator is needed."""
        return None

    def load_generators(self) -> None:  # noqa: B027  most explainers have none
        """Nothing: no generator is needed."""

    def _check(self, x: Any) -> Tensor:
        """x (B, D, T), where a model was set. Raises RuntimeError without one, ValueError for another shape."""
        if self.model is None:
            raise RuntimeError("call set_model(model) first")
        series = arrays.whole("x", x)
        D = "D" if self.num_features is None else self.num_features
        if series.ndim != 3 or (self.num_features is not None and series.shape[1] != self.num_features):
            raise ValueError(f"x must be (B, {D}, T), got {tuple(series.shape)}")
        return series


class GeneratedExplainer(Explainer):
    """An explainer that may draw from a generator, trained on the data and kept in a file under ``path``."""

    num_features: int

    def __init__(self, data_name: str, path: str | Path, **options: Any) -> None:
        super().__init__(**options)
        self.data_name, self.path = data_name, Path(path)
        self.generator: GeneratorModel | None = None

    @property
    @abstractmethod
    def generator_file(self) -> Path:
        """Where the generator is kept."""

    @abstractmethod
    def _new_generator(self) -> GeneratorModel:
        """One that was not trained yet."""

    def train_generators(self, train_loader: Any, valid_loader: Any = None, num_epochs: int = 300) -> Any:
        """Train on (N, D, T) series, keep the best epoch, save it; the history holds the losses of each epoch."""
        train, valid = read_background(train_loader), read_background(valid_loader)
        if train is None:
            raise ValueError("train_loader is needed to train generators")
        generator = self._new_generator()
        history = generator.fit(train, valid, epochs=num_epochs, seed=self.seed)
        self.path.mkdir(parents=True, exist_ok=True)
        generator.save(self.generator_file)
        self.generator = generator
        return history

    def load_generators(self) -> None:
        """Load what ``train_generators`` saved."""
        self.generator = type(self._new_generator()).load(self.generator_file)

    def test_generators(self, test_loader: Any) -> float:
        """Mean negative log-likelihood a value on (N, D, T) series."""
        if self.generator is None:
            raise RuntimeError("train_generators or load_generators first")
        data = read_background(test_loader)
        if data is None:
            raise ValueError("test_loader is needed")
        return self.generator.nll(data)


class MockExplainer(Explainer):
    """Zeros, for runs that test everything else."""

    def __init__(self) -> None:
        super().__init__()

    def attribute(self, x: Any, **unused: Any) -> Array:
        """Zeros like x (B, D, T)."""
        return np.zeros(tuple(x.shape))

    def get_name(self) -> str:
        """``mock``."""
        return "mock"
