"""The selector with its losses and counterfactuals, and a wrapper that trains it with any model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from rambit.checks import count, flag, one_of
from rambit.epochs import Training
from rambit.game import progress
from rambit.models.sequence_classifier import MOST, seeded
from rambit.selection.counterfactuals import CounterfactualGenerator, GenerationMethod
from rambit.selection.losses import CombinedLoss, TaskLoss
from rambit.selection.selection_checks import lengths_of, mask_of, series
from rambit.selection.selector import SelectionMethod, TimestampSelector

TASKS: dict[str, Callable[[], TaskLoss | None]] = {"regression": lambda: None, "classification": nn.CrossEntropyLoss}


class InfluenceFramework(nn.Module):
    """A selector, the loss that trains it and, with ``use_counterfactual``, a counterfactual generator.

    Its parts are ``selector``, ``loss_module`` and ``counterfactual_generator`` (or None). ``sigma``, ``mi_hidden_dim``
    (None: ``input_dim``) and ``diversity_epsilon`` are those of `CombinedLoss`, ``perturbation_scale`` is that of
    `CounterfactualGenerator`; ``selector_options`` are further arguments of `TimestampSelector`: temperature, dropout,
    threshold, positions.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 128,
        num_heads: int = 4,
        selection_method: SelectionMethod = "topk",
        k: int | None = None,
        task_loss_fn: TaskLoss | None = None,
        alpha_task: float = 1.0,
        alpha_diversity: float = 0.1,
        alpha_mi: float = 0.05,
        use_mi: bool = False,
        use_counterfactual: bool = True,
        generation_method: GenerationMethod = "perturbation",
        diversity_epsilon: float = 1e-6,
        sigma: float = 1.0,
        mi_hidden_dim: int | None = None,
        perturbation_scale: float = 0.1,
        **selector_options: Any,
    ) -> None:
        super().__init__()
        self.selector = TimestampSelector(input_dim, hidden_dim, num_heads, selection_method, k, **selector_options)
        self.loss_module = CombinedLoss(
            task_loss_fn,
            alpha_task,
            alpha_diversity,
            alpha_mi,
            use_mi,
            sigma,
            mi_hidden_dim=input_dim if mi_hidden_dim is None else mi_hidden_dim,  # what is pooled is x itself
            diversity_epsilon=diversity_epsilon,
        )
        self.use_counterfactual = flag("use_counterfactual", use_counterfactual)
        self.counterfactual_generator = (
            CounterfactualGenerator(input_dim, hidden_dim, generation_method, perturbation_scale)
            if self.use_counterfactual
            else None
        )

    def forward(
        self, x: Tensor, return_details: bool = False, key_padding_mask: Tensor | None = None
    ) -> dict[str, Any]:
        """Of x (B, T, D): mask (B, T) and selected (B, T, D), which is x times the mask.

        return_details adds scores (B, T), stats (floats) and, with a generator, counterfactual (B, T, D), where the
        selected steps are modified. key_padding_mask (B, T) bool: True where a step is padding.
        """
        mask, scores = self.selector(x, return_scores=True, key_padding_mask=key_padding_mask)
        outputs = {"mask": mask, "selected": self.selector.get_selected_timestamps(x, mask)}
        if return_details:
            outputs |= {"scores": scores, "stats": self.selector.compute_selection_stats(mask)}
            if self.use_counterfactual and self.counterfactual_generator is not None:
                outputs["counterfactual"] = self.counterfactual_generator(x, mask)
        return outputs

    def compute_loss(
        self,
        x: Tensor,
        predictions: Tensor,
        targets: Tensor,
        target_features: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The total and its parts, as `CombinedLoss` gives them with x (B, T, D) as features.

        mask (B, T): the one that the predictions were made with; None selects anew. target_features: (B, H), as
        `CombinedLoss.forward` has them.
        """
        mask = self.selector(x)[0] if mask is None else mask_of(mask, series("x", x))
        return cast(tuple[Tensor, dict[str, float]], self.loss_module(predictions, targets, x, mask, target_features))


def create_simple_framework(
    input_dim: int, k: int, hidden_dim: int = 128, task: str = "regression"
) -> InfluenceFramework:
    """A framework that keeps k timestamps for a task: ``regression`` (squared error) or ``classification``."""
    one_of("task", task, tuple(TASKS))
    return InfluenceFramework(input_dim, hidden_dim, k=k, task_loss_fn=TASKS[task]())


class ModelAgnosticWrapper(nn.Module):
    """Any model of (B, T, D) behind a selector: it sees the selected timestamps, zeros elsewhere.

    ``use_selected_only=False``: the model sees all of x. `parameters()` are those of both.
    """

    def __init__(
        self, base_model: Callable[[Tensor], Tensor], framework: InfluenceFramework, use_selected_only: bool = True
    ) -> None:
        super().__init__()
        if not callable(base_model):
            raise TypeError(f"base_model must be a model of (B, T, D), got {type(base_model).__name__}")
        if not isinstance(framework, InfluenceFramework):
            raise TypeError(f"framework must be an InfluenceFramework, got {type(framework).__name__}")
        self.base_model, self.framework = base_model, framework
        self.use_selected_only = flag("use_selected_only", use_selected_only)

    def forward(
        self, x: Tensor, return_selection: bool = False, key_padding_mask: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Predictions for x (B, T, D); with return_selection also the mask (B, T) and the selected steps (B, T, D)."""
        found = self.framework(x, key_padding_mask=key_padding_mask)
        predictions = self.base_model(found["selected"] if self.use_selected_only else x)
        return (predictions, found["mask"], found["selected"]) if return_selection else predictions

    def train_step(
        self,
        x: Tensor,
        targets: Tensor,
        optimizer: torch.optim.Optimizer,
        target_features: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
    ) -> dict[str, float]:
        """One step of the optimizer on series x (B, T, D); the parts of the loss as `CombinedLoss` names them.

        The mask that made the predictions is the mask that is scored. target_features (B, H) serve use_mi.
        Raises RuntimeError, and leaves the weights as they were, where the loss is NaN.
        """
        optimizer.zero_grad()
        predictions, mask, _ = self(x, return_selection=True, key_padding_mask=key_padding_mask)
        total, parts = self.framework.compute_loss(x, predictions, targets, target_features, mask)
        if not bool(total.isfinite()):
            raise RuntimeError(f"the loss became {float(total)}: {parts}; a smaller learning rate may help")
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return parts

    def fit(
        self,
        x: Tensor,
        targets: Tensor,
        *,
        epochs: int = 30,
        warmup: int = 0,
        batch_size: int = 100,
        lr: float = 1e-3,
        lengths: Tensor | None = None,
        seed: int = 0,
        show_progress: bool = False,
    ) -> list[dict[str, float]]:
        """Trains selector and model on x (N, T, D) and targets (N, ...) with Adam; the mean parts of the loss by epoch.

        ``warmup`` epochs before the others train the model alone on randomly masked series, so that it has learnt what
        each step is worth before the selector relies on it (as in REAL-X: Jethani et al., 2021). The weights after the
        epoch of the lowest mean total_loss are kept; what is selected may still jump late in training.

        lengths (N,): steps from there on are padding, which is never selected. Order, masks, dropout and noise are
        drawn from ``seed``; the global generators are left as they were. Afterwards the wrapper is in evaluation mode,
        with the best weights so far also where training was interrupted.
        """
        options = Training(epochs, batch_size, lr, seed=seed)
        warmup = count("warmup", warmup, 0, MOST)
        flag("show_progress", show_progress)
        if not isinstance(x, Tensor) or x.ndim != 3:
            series("x", x)  # tells what is wrong
        ends = lengths_of(lengths, len(x), x.shape[1])
        padding = None if ends is None else torch.arange(x.shape[1]) >= ends[:, None]
        x = series("x", x if padding is None else x.masked_fill(padding[..., None].to(x.device), 0.0))
        if not isinstance(targets, Tensor):
            raise TypeError(f"targets must be a tensor, got {type(targets).__name__}")
        if targets.shape[:1] != x.shape[:1]:
            raise ValueError(f"targets must hold one entry for each of {len(x)} series, got {tuple(targets.shape)}")
        device, optimiser = next(self.parameters()).device, options.optimiser(self)
        history: list[dict[str, float]] = []
        with (
            seeded(options.seed, device),
            progress(show_progress, lambda: (warmup + options.epochs) * x[..., 0].numel()) as bar,
        ):

            def batches() -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
                for rows in torch.split(torch.randperm(len(x)), options.batch_size):
                    hidden = None if padding is None else padding[rows].to(device)
                    yield x[rows].to(device), targets[rows].to(device), hidden
                    if bar is not None:
                        bar.update(len(rows) * x.shape[1])

            def epoch() -> float:
                steps = [
                    (len(batch), self.train_step(batch, wanted, optimiser, key_padding_mask=hidden))
                    for batch, wanted, hidden in batches()
                ]
                history.append({name: sum(n * part[name] for n, part in steps) / len(x) for name in steps[0][1]})
                return history[-1]["total_loss"]

            self.train()
            for _ in range(warmup):
                for batch, wanted, _ in batches():
                    self._random_step(batch, wanted, optimiser)
            options.run(self, epoch)
        return history

    def _random_step(self, x: Tensor, targets: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """One step of the model alone: a series keeps each of its steps with a chance of its own, drawn from (0, 1)."""
        chance = torch.rand(len(x), 1, device=x.device)
        kept = torch.rand(x.shape[:2], device=x.device) < chance
        optimizer.zero_grad()
        loss = self.framework.loss_module.task_loss(self.base_model(x * kept[..., None]), targets)
        loss.backward()
        optimizer.step()
