"""WinIT's published explainer: generators trained on the data, attributions by window as numpy (B, D, T, W)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from rambit.attribution import BiWinIT, WinIT
from rambit.attribution.attributor import Distance
from rambit.compat.adapter import Explainer
from rambit.counterfactuals import FeatureGenerator, GeneratorModel, JointGenerator, declared, read_background


class WinITExplainer(Explainer):
    """Importance (B, D, T, W): entry l is observation t - W + l + 1 for the prediction at t.

    Replaced values come from a generator once ``train_generators`` or ``load_generators`` gave one (``joint``: one
    model for all features; ``conditional``: it sees the other features' values at the start of a run), else from
    ``train_loader``'s values, else they are zero. Generators live in ``path``.
    """

    def __init__(
        self,
        device: Any,
        num_features: int,
        data_name: str,
        path: str | Path,
        train_loader: Any = None,
        window_size: int = 10,
        num_samples: int = 3,
        conditional: bool = False,
        joint: bool = False,
        metric: Distance = "pd",
        random_state: int | None = None,
    ) -> None:
        super().__init__(num_features, device, train_loader, random_state)
        if conditional and joint:
            raise ValueError("joint=True draws all features together: it cannot be conditional too")
        self.data_name, self.path, self.conditional = data_name, Path(path), conditional
        self.window_size, self.num_samples, self.joint, self.metric = window_size, num_samples, joint, metric
        self.generator: GeneratorModel | None = None

    @property
    def generator_file(self) -> Path:
        """Where the generator is kept."""
        kind = "joint" if self.joint else "conditional" if self.conditional else "feature"
        return self.path / f"{self.data_name}_{kind}_generator.safetensors"

    def train_generators(self, train_loader: Any, valid_loader: Any = None, num_epochs: int = 300) -> Any:
        """Train on (N, D, T) series, keep the best epoch, save it; the history holds the losses of each epoch."""
        train, valid = read_background(train_loader), read_background(valid_loader)
        if train is None:
            raise ValueError("train_loader is needed to train generators")
        generator: GeneratorModel = (
            JointGenerator(self.num_features, prediction_size=self.window_size)
            if self.joint
            else FeatureGenerator(self.num_features, prediction_size=self.window_size, conditional=self.conditional)
        )
        history = generator.fit(train, valid, epochs=num_epochs, seed=self.seed)
        self.path.mkdir(parents=True, exist_ok=True)
        generator.save(self.generator_file)
        self.generator = generator
        return history

    def load_generators(self) -> None:
        """Load what ``train_generators`` saved."""
        self.generator = (JointGenerator if self.joint else FeatureGenerator).load(self.generator_file)

    def test_generators(self, test_loader: Any) -> float:
        """Mean negative log-likelihood a value on (N, D, T) series."""
        if self.generator is None:
            raise RuntimeError("train_generators or load_generators first")
        data = read_background(test_loader)
        if data is None:
            raise ValueError("test_loader is needed")
        return self.generator.nll(data)

    def _options(self) -> dict[str, Any]:
        values: Any = self.generator or ("zero" if self.background is None else "marginal")
        return {
            "window_size": self.window_size,
            "num_samples": 1 if values == "zero" else self.num_samples,
            "distance": self.metric,
            "counterfactuals": values,
            "background": declared(self.background) if values == "marginal" else None,
            "seed": self.seed,
            "device": self.device,
        }

    def _method(self) -> WinIT:
        return WinIT(self.model, **self._options())

    def attribute(self, x: Any) -> npt.NDArray[np.floating[Any]]:
        """Importance (B, D, T, W) of x (B, D, T)."""
        windows = self._method().explain(self._check(x)).windows
        assert isinstance(windows, Tensor)
        return windows.cpu().numpy()

    def get_name(self) -> str:
        """``winit`` with window and samples."""
        joint = "_joint" if self.joint else ""
        return f"winit{joint}_window_{self.window_size}_samples_{self.num_samples}"


class BiWinITExplainer(WinITExplainer):
    """The same over blocks of ``height`` neighbouring features."""

    def __init__(self, *args: Any, height: int = 2, **options: Any) -> None:
        super().__init__(*args, **options)
        self.height = height

    def _method(self) -> BiWinIT:
        return BiWinIT(self.model, height=self.height, **self._options())

    def get_name(self) -> str:
        """``biwinit`` with window, height and samples."""
        return f"bi{super().get_name()}_height_{self.height}"
