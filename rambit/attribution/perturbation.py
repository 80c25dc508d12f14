"""Learned masks, Dynamask and ExtremalMask, by time_interpret, wrapped to the same call (extra ``baselines``)."""

from __future__ import annotations

import logging
import math
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rambit.attribution.attributor import METHODS
from rambit.attribution.external import Anchored, library
from rambit.game import Game
from rambit.options import option

Perturbation = Literal["fade_moving_average", "fade_moving_average_window", "gaussian_blur"]


class LearnedMask(Anchored):
    """A mask in [0, 1] for each series, fitted by gradient descent on the model's outputs; its values are the scores.

    The mask is to keep the output (that of the ``target`` alone, where one is given) at the last step for
    ``anchor="end"``, at all steps for ``"cell"``: by cross-entropy for classes, squared error for regression. As many
    series as fit ``batch_size`` are fitted together, and scores may depend on which. Missing values are passed through,
    and score 0. Only for ``nn.Module``; ImportError without time_interpret.
    """

    epochs: int = option(default=500, help="steps of gradient descent")
    lr: float = option(default=0.01, help="its learning rate")

    def __post_init__(self) -> None:
        self.lr = positive("lr", self.lr)
        super().__post_init__()
        self.methods = library("tint.attr", "time_interpret")
        self.networks = library("tint.attr.models", "time_interpret")
        self.lightning = library("pytorch_lightning", "pytorch-lightning")

    @property
    @abstractmethod
    def copies(self) -> int:
        """How many masked copies of each series the model is evaluated on at once."""

    @abstractmethod
    def network_options(self) -> dict[str, Any]:
        """The arguments of time_interpret's network, as JSON-able values."""

    @abstractmethod
    def _fit(self, evaluate: Callable[[Tensor], Tensor], x: Tensor, trainer: Any) -> Tensor:
        """Masks (n, T, D) of x (n, T, D) float32; ``evaluate`` is the model in that layout."""

    def _scores(self, game: Game, target: Tensor | None) -> Tensor:
        size = max(1, game.runner.batch // self.copies)
        groups = [slice(begin, begin + size) for begin in range(0, len(game.sample), size)]
        return torch.cat([self._group(game, series, target) for series in groups])

    def _group(self, game: Game, series: slice, target: Tensor | None) -> Tensor:
        sample = game.sample.take(series)
        chosen = None if target is None else target[series]

        def evaluate(x: Tensor) -> Tensor:
            """The model on (copies · n, T, D), in its own layout and precision: (copies · n, C), or (…, T, C)."""
            copies = len(x) // len(sample)
            x = x.transpose(1, 2).to(sample.x.dtype)
            if sample.observed is not None:
                x = x.where(sample.observed.repeat(copies, 1, 1), sample.x.repeat(copies, 1, 1))
            if not self.predictor.features_last:
                x = x.contiguous()
            outputs = self._evaluate(game, x, None if chosen is None else chosen.repeat(copies, 1, 1))
            if chosen is not None and self.predictor.output != "regression":
                outputs = torch.cat((outputs, 1 - outputs), dim=1)
            return outputs.transpose(1, 2) if self.anchor == "cell" else outputs[:, :, 0]

        with quiet(), frozen(self.predictor.module):
            trainer = make_trainer(self.lightning, self.epochs, game.device)
            masks = self._fit(evaluate, sample.x.nan_to_num().transpose(1, 2).float().contiguous(), trainer)
        return masks.clamp(0, 1).transpose(1, 2)  # Dynamask's last step may have left that range

    def _loss(self) -> nn.Module:
        return nn.MSELoss() if self.predictor.output == "regression" else CrossEntropy()


@METHODS.register("dynamask")
class Dynamask(LearnedMask):
    """Dynamic masks (Crabbé & van der Schaar, ICML 2021): a mask of given size that keeps the output.

    What the mask hides fades by ``perturbation`` (fade_moving_average: to the mean over time). ``keep_ratio``: the part
    of the cells that is kept; of several, that with the least error for all series together. The other options are
    time_interpret's. Errors: see LearnedMask; ValueError or TypeError for an option that does not fit.
    """

    perturbation: Perturbation = option(default="fade_moving_average", help="how what the mask hides fades")
    keep_ratio: float | Sequence[float] = option(default=0.1, help="the part of the cells that is kept, or several")
    size_reg_factor_init: float = option(default=0.1, help="weight of the mask's size, at first")
    size_reg_factor_dilation: float = option(default=100.0, help="by how much that grows")
    time_reg_factor: float = option(default=0.0, help="weight of the mask's changes in time")

    def __post_init__(self) -> None:
        given = self.keep_ratio
        ratios = [given] if isinstance(given, (int, float)) else list(given)
        self.keep_ratio = self.ratios = [positive("keep_ratio", ratio, 1.0) for ratio in ratios]
        if not ratios:
            raise ValueError("keep_ratio must name at least one ratio")
        self.size_reg_factor_init = positive("size_reg_factor_init", self.size_reg_factor_init)
        self.size_reg_factor_dilation = positive("size_reg_factor_dilation", self.size_reg_factor_dilation)
        self.time_reg_factor = positive("time_reg_factor", self.time_reg_factor, zero=True)
        super().__post_init__()

    @property
    def copies(self) -> int:
        """How many masked copies of each series the model is evaluated on at once."""
        return len(self.ratios)

    def network_options(self) -> dict[str, Any]:
        """The arguments of time_interpret's network, as JSON-able values."""
        names = ("perturbation", "keep_ratio", "size_reg_factor_init", "size_reg_factor_dilation")
        return {name: getattr(self, name) for name in (*names, "time_reg_factor", "lr")}

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return (self.epochs + 1) * (self.copies + 1)  # each time the original too, and once more at the end

    def _fit(self, evaluate: Callable[[Tensor], Tensor], x: Tensor, trainer: Any) -> Tensor:
        network = _with_size(self.networks.MaskNet)(evaluate, loss=self._loss(), **self.network_options())
        # In one batch: with several ratios, time_interpret loses track of which mask is whose across batches.
        masks: Tensor = self.methods.DynaMask(evaluate).attribute(
            x, trainer=trainer, mask_net=network, batch_size=len(x)
        )
        return masks


@METHODS.register("extremal-mask")
class ExtremalMask(LearnedMask):
    """Extremal masks (Enguehard, ICML 2023): the smallest mask that keeps the output, what replaces learned with it.

    A bidirectional GRU, shared by the series, learns values to stand where the mask hides. ``learned=False``: the mean
    of ``background`` stands there, zero without one. ``lambda_1`` weighs the mask's size, ``lambda_2`` that of the
    learned values. The options are time_interpret's, with its experiments' ``epochs`` and ``lr``. Errors: see
    LearnedMask; ValueError or TypeError for an option that does not fit.
    """

    learned: bool = option(default=True, help="learn what stands where the mask hides; else the background's mean")
    lambda_1: float = option(default=1.0, help="weight of the mask's size")
    lambda_2: float = option(default=1.0, help="weight of the learned values")

    def __post_init__(self) -> None:
        self.lambda_1 = positive("lambda_1", self.lambda_1, zero=True)
        self.lambda_2 = positive("lambda_2", self.lambda_2, zero=True)
        super().__post_init__()

    @property
    def copies(self) -> int:
        """How many masked copies of each series the model is evaluated on at once."""
        return 1

    def network_options(self) -> dict[str, Any]:
        """The arguments of time_interpret's network, as JSON-able values."""
        return {name: getattr(self, name) for name in ("lambda_1", "lambda_2", "lr")}

    def _rows(self, D: int, T: int, target_given: bool) -> int:
        return 4 * self.epochs  # kept, removed, the original and the baseline

    def _fit(self, evaluate: Callable[[Tensor], Tensor], x: Tensor, trainer: Any) -> Tensor:
        D = x.shape[2]
        layers = library("tint.models", "time_interpret")
        perturbation = None
        if self.learned:
            gru = layers.RNN(input_size=D, rnn="gru", hidden_size=D, bidirectional=True)
            perturbation = nn.Sequential(gru, layers.MLP([2 * D, D]))
        network = self.networks.ExtremalMaskNet(
            evaluate, model=perturbation, loss=self._loss(), **self.network_options()
        )
        baseline = self._background(x.transpose(1, 2)).mean(dim=0, keepdim=True).transpose(1, 2)
        masks: Tensor = self.methods.ExtremalMask(evaluate).attribute(
            x, baselines=baseline.expand_as(x), trainer=trainer, mask_net=network, batch_size=len(x)
        )
        return masks


class CrossEntropy(nn.Module):
    """-Σ p log p̂ over the classes (last) of outputs p̂ and original outputs p: the mean, or reduction ``none``."""

    reduction = "mean"  # time_interpret sets another

    def forward(self, outputs: Tensor, originals: Tensor) -> Tensor:
        losses = -(originals * outputs.clamp(min=1e-12).log()).sum(dim=-1)
        return losses.mean() if self.reduction == "mean" else losses


def positive(name: str, value: Any, high: float = math.inf, *, zero: bool = False) -> float:
    """A finite number above 0 (or 0, if ``zero``) and at most ``high``; TypeError or ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0)) and value <= high):
        limits = ("at least 0" if zero else "above 0") + ("" if high == math.inf else f" and at most {high:g}")
        raise ValueError(f"{name} must be finite, {limits}, got {value!r}")
    return float(value)


def _with_size(network: Any) -> Any:
    """time_interpret's Dynamask network with the penalty on the mask's size in its loss.

    It adds that in ``training_step_end``, which Lightning 2 no longer calls: the mask would be free to keep everything.
    """

    def training_step(self: Any, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = self.net.regularisation(network.training_step(self, batch, batch_idx))
        return loss

    def training_step_end(self: Any, step_output: Tensor) -> Tensor:
        return step_output  # not twice, where an older Lightning calls it

    return type("MaskNet", (network,), {"training_step": training_step, "training_step_end": training_step_end})


def make_trainer(lightning: Any, epochs: int, device: torch.device) -> Any:
    """Lightning's trainer, which writes and shows nothing."""
    return lightning.Trainer(
        max_epochs=epochs,
        accelerator={"cuda": "gpu"}.get(device.type, device.type),
        devices=[device.index or 0] if device.type == "cuda" else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Without Lightning's notes and warnings about how it was set up."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """The user's model keeps its gradients: fitting a mask would add to them."""
    weights = [] if module is None else [weight for weight in module.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
