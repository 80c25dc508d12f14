"""FIT and Dynamask under their published names: what has to be trained, a generator or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rambit.attribution import FIT, Dynamask
from rambit.attribution.perturbation import Perturbation
from rambit.checks import count, flag, one_of
from rambit.compat.adapter import Array, Explainer, GeneratedExplainer
from rambit.counterfactuals import GeneratorModel, JointGenerator

#: What fades beneath a mask, by the published names.
BLURS: dict[str, Perturbation] = {"gaussian": "gaussian_blur", "fadema": "fade_moving_average"}
#: The published sizes of masks, as shares of the cells.
AREAS = tuple(np.arange(0.25, 0.35, 0.01).tolist())


class FITExplainer(GeneratedExplainer):
    """FIT: importance (B, D, T), from a joint generator that ``train_generators`` or ``load_generators`` gave."""

    def __init__(
        self,
        device: Any,
        feature_size: int,
        data_name: str,
        path: str | Path,
        num_samples: int = 10,
        *,
        random_state: int | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(
            data_name, path, device=device, num_features=feature_size, random_state=random_state, unused=unused
        )
        self.n_samples = num_samples

    @property
    def generator_file(self) -> Path:
        """Where the generator is kept."""
        return self.path / f"{self.data_name}_fit_generator.safetensors"

    def _new_generator(self) -> GeneratorModel:
        return JointGenerator(self.num_features, prediction_size=1)

    def attribute(self, x: Any) -> Array:
        """Importance (B, D, T) of x (B, D, T)."""
        series = self._check(x)
        if not isinstance(self.generator, JointGenerator):
            raise RuntimeError("train_generators or load_generators first")
        method = FIT(
            self.model, generator=self.generator, num_samples=self.n_samples, seed=self.seed, device=self.device
        )
        return method.attribute(series).cpu().numpy().astype(np.float64)

    def get_name(self) -> str:
        """The published name."""
        return "fit" if self.n_samples == 10 else f"fit_sample_{self.n_samples}"


class DynamaskExplainer(Explainer):
    """Dynamask by time_interpret (extra ``baselines``): masks (B, D, T), of the best of the sizes ``area_list``.

    ``blur_type``: gaussian or fadema. ``loss``: logloss and ce are both the cross-entropy with the model's own
    probabilities. ``deletion_mode`` is not offered (ValueError). Raises ImportError without time_interpret.
    """

    def __init__(
        self,
        device: Any = None,
        area_list: Sequence[float] | None = None,
        num_epoch: int = 200,
        num_class: int = 1,
        blur_type: Literal["gaussian", "fadema"] = "gaussian",
        deletion_mode: bool = False,
        size_reg_factor_dilation: float = 100,
        time_reg_factor: float = 1,
        loss: Literal["logloss", "ce"] = "logloss",
        use_last_timestep_only: bool = False,
        *,
        random_state: int | None = None,
        **unused: Any,
    ) -> None:
        super().__init__(device, random_state=random_state, unused=unused)
        self.area_list = list(AREAS if area_list is None else area_list)
        if not self.area_list:
            raise ValueError("area_list must name at least one share of the cells")
        self.num_epoch, self.num_class = count("num_epoch", num_epoch), count("num_class", num_class)
        self.blur_type = one_of("blur_type", blur_type, tuple(BLURS))
        if flag("deletion_mode", deletion_mode):
            raise ValueError("deletion_mode=True is not offered: masks keep what they select")
        self.size_reg_factor_dilation, self.time_reg_factor = size_reg_factor_dilation, time_reg_factor
        self.loss_str = one_of("loss", loss, ("logloss", "ce"))
        self.use_last_timestep_only = flag("use_last_timestep_only", use_last_timestep_only)

    def attribute(self, x: Any) -> Array:
        """Masks (B, D, T) in [0, 1] of x (B, D, T)."""
        series = self._check(x)
        method = Dynamask(
            self.model,
            anchor="end" if self.use_last_timestep_only else "cell",
            perturbation=BLURS[self.blur_type],
            keep_ratio=[float(area) for area in self.area_list],
            epochs=self.num_epoch,
            size_reg_factor_dilation=float(self.size_reg_factor_dilation),
            time_reg_factor=float(self.time_reg_factor),
            seed=self.seed,
            device=self.device,
        )
        return method.attribute(series).cpu().numpy()

    def get_name(self) -> str:
        """The published name, and the sizes between the first and the last where they are not the default."""
        areas = self.area_list
        area = str(areas[0]) if len(areas) == 1 else f"{areas[0]}-{areas[-1]}"
        parts = ["dynamask", self.blur_type] + ["celoss"] * (self.loss_str != "logloss")
        parts += ["timereg", str(self.time_reg_factor), "sizereg", str(self.size_reg_factor_dilation)]
        parts += ["area", area, "epoch", str(self.num_epoch)] + ["lastonly"] * self.use_last_timestep_only
        says_all = len(areas) < 3 and area != f"{AREAS[0]}-{AREAS[-1]}"
        if not says_all and tuple(areas) != AREAS:
            parts += ["between", *map(str, areas[1:-1])]
        return "_".join(parts)
