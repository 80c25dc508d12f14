"""What every training in this package does alike: its options, the best epoch and patience, and progress."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rambit.checks import count, flag, number
from rambit.models.sequence_classifier import MOST, seed_of


@dataclass
class History:
    """What `fit` saw: one entry an epoch, the epoch (from 0) whose weights were kept, and the seconds it took.

    The training loss is the mean over an epoch while the weights change; the lists on validation are empty without it.
    """

    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    valid_accuracy: list[float] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


@dataclass
class Training:
    """The options that all `fit` share, checked; TypeError or ValueError naming the first that is wrong."""

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    patience: int | None = None
    seed: int = 0
    show_progress: bool = False

    def __post_init__(self) -> None:
        self.epochs = count("epochs", self.epochs, 1, MOST)
        self.batch_size = count("batch_size", self.batch_size, 1, MOST)
        self.patience = None if self.patience is None else count("patience", self.patience, 1, MOST)
        self.lr = number("lr", self.lr, 0.0, above=True)
        self.weight_decay = number("weight_decay", self.weight_decay, 0.0)
        self.seed = seed_of(self.seed)
        self.show_progress = flag("show_progress", self.show_progress)

    def optimiser(self, model: nn.Module) -> torch.optim.Adam:
        """Adam (Kingma and Ba, 2015) for the model's parameters."""
        return torch.optim.Adam(model.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def run(
        self,
        model: nn.Module,
        train: Callable[[], float],
        validate: Callable[[], dict[str, float]] | None = None,
        title: str = "training",
    ) -> History:
        """Calls `train`, one epoch that returns its mean loss, until the epochs or the patience are over.

        The best epoch has the lowest loss, that of `validate` ("loss", perhaps "accuracy") if it is given. Its weights
        stand in the model afterwards, in eval mode, also after an interruption. Raises RuntimeError for a loss that is
        not finite.
        """
        history, started = History(), time.perf_counter()
        best, kept = math.inf, _weights(model)
        try:
            with tqdm(range(self.epochs), title, disable=not self.show_progress) as progress:
                for epoch in progress:
                    loss = train()
                    history.train_loss.append(loss)
                    if validate is not None:
                        scores = validate()
                        loss = scores["loss"]
                        history.valid_loss.append(loss)
                        if "accuracy" in scores:
                            history.valid_accuracy.append(scores["accuracy"])
                    if not math.isfinite(loss):
                        raise RuntimeError(
                            f"the loss became {loss} in epoch {epoch}; lr is {self.lr}, a smaller one may help"
                        )
                    progress.set_postfix(loss=f"{loss:.4f}")
                    if loss < best:
                        best, kept, history.best_epoch = loss, _weights(model), epoch
                    elif self.patience is not None and epoch - history.best_epoch >= self.patience:
                        break
        finally:
            model.load_state_dict(kept)
            model.eval()
        history.seconds = time.perf_counter() - started
        return history


def one_pass(optimiser: torch.optim.Optimizer, losses: Iterable[tuple[Tensor, int]]) -> float:
    """A step for each batch, given as its mean loss and the number of its labels; the mean loss over all labels.

    `losses` is read one by one, so that each is computed with the weights that the last step left.
    """
    found, sizes = [], []
    for loss, size in losses:
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        found.append(loss.detach())
        sizes.append(size)
    return float(np.average(torch.stack(found).double().cpu().numpy(), weights=sizes))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
