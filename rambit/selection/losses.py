"""Losses that train a selector: the task's, diversity of what is selected, and what it tells about the target."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.checks import count, flag, number, warn
from rambit.models.sequence_classifier import MOST
from rambit.selection.logdet import log_det, log_det_of_support, rbf_kernel
from rambit.selection.selection_checks import finite, mask_of, series

TaskLoss = Callable[[Tensor, Tensor], Tensor]
#: Stands for a mask's sum or mean of 0 in divisions.
_LEAST = 1e-8


class TaskConsistencyLoss(nn.Module):
    """The task's loss; divided by the mask's mean when a mask is given, so that few steps must not cost accuracy.

    ``task_loss_fn(predictions, targets)`` gives a scalar; None: the mean squared error of tensors of one shape.
    """

    def __init__(self, task_loss_fn: TaskLoss | None = None) -> None:
        super().__init__()
        self.task_loss_fn = squared_error if task_loss_fn is None else task_loss_fn

    def forward(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
        """A scalar. Raises ValueError for predictions that are NaN or infinite."""
        loss = self.task_loss_fn(finite("predictions", predictions), targets)
        return loss if mask is None else loss / mask.to(loss.dtype).mean().clamp(min=_LEAST)


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """The mean squared error. Raises ValueError for targets of another shape, which would be broadcast, or NaN."""
    if predictions.shape != targets.shape:
        raise ValueError(
            f"targets must have the shape of predictions {tuple(predictions.shape)}, got {tuple(targets.shape)}"
        )
    return functional.mse_loss(predictions, finite("targets", targets))


class DiversityLoss(nn.Module):
    """Minus the mean log-determinant of K ∘ (mask ⊗ mask) + εI, with the RBF kernel K of width ``sigma``.

    It is the lower the more the selected steps' features differ: a determinantal point process (Kulesza and Taskar,
    2012). Under a hard mask its gradient sees redundancy only if ε is not small, epsilon=1 gives log det(I + L), and
    only among the selected steps: on the others it is 0. Soft masks, such as soft Gumbel ones, have no such limit.

    ``normalise``: minus the log-likelihood of the selection, log det(L_S) - log det(L + I), under the L-ensemble with
    L = K + εI; over all subsets of the steps the likelihoods add up to 1.
    """

    def __init__(self, sigma: float = 1.0, normalise: bool = False) -> None:
        super().__init__()
        self.sigma, self.normalise = number("sigma", sigma, 0.0, above=True), flag("normalise", normalise)

    def compute_kernel_matrix(self, features: Tensor, mask: Tensor) -> Tensor:
        """K ∘ (mask ⊗ mask), (B, T, T), of features (B, T, D) and a mask (B, T)."""
        weights = mask_of(mask, series("features", features))
        return weights[:, :, None] * rbf_kernel(features, self.sigma) * weights[:, None, :]

    def forward(self, features: Tensor, mask: Tensor, epsilon: float = 1e-6) -> Tensor:
        """A scalar for features (B, T, D) and a mask (B, T). Steps of weight 0 cost nothing: only the others' block,
        k × k, is factorised."""
        weights = mask_of(mask, series("features", features))
        number("epsilon", epsilon, 0.0, above=True)
        selected, others = log_det_of_support(features, weights, epsilon, self.sigma)
        if self.normalise:
            ones = torch.ones_like(weights)
            return -(selected - log_det(features, ones, ones + epsilon, self.sigma)).mean()
        return -(selected + others * math.log(epsilon)).mean()


class MutualInformationLoss(nn.Module):
    """Minus an estimate, in nats, of the mutual information of what is selected and the target.

    A critic of [pooled selected features, target features], of size 2 · ``hidden_dim`` together, with ``critic_dim``
    units (None: ``hidden_dim``), gives the Donsker-Varadhan bound E[critic] - log E[exp critic] of pairs that belong
    together against shuffled ones (Belghazi et al., 2018). Trained with the loss, the bound becomes tight.
    """

    def __init__(self, hidden_dim: int = 64, critic_dim: int | None = None) -> None:
        super().__init__()
        self.hidden_dim = count("hidden_dim", hidden_dim, 1, MOST)
        units = hidden_dim if critic_dim is None else count("critic_dim", critic_dim, 1, MOST)
        self.mi_estimator = nn.Sequential(nn.Linear(2 * hidden_dim, units), nn.ReLU(), nn.Linear(units, 1))

    def forward(self, selected_features: Tensor, target_features: Tensor, mask: Tensor) -> Tensor:
        """A scalar for selected_features (B, T, D), target_features (B, 2 · hidden_dim - D) and a mask (B, T).

        Features are pooled by their mean with the mask as weights. The shuffle is drawn from torch's generator; no
        shuffled pair belongs together. A series alone has no other to be compared with: its estimate is 0.
        """
        weights = mask_of(mask, series("selected_features", selected_features))
        B, _, D = selected_features.shape
        wanted, both = (B, 2 * self.hidden_dim - D), f"2 * hidden_dim = {2 * self.hidden_dim}"
        if wanted[1] < 1:
            raise ValueError(f"selected_features must have fewer features than {both}, got {D}")
        if finite("target_features", target_features).shape != wanted:
            got = tuple(target_features.shape)
            raise ValueError(f"target_features must have shape {wanted}, {both} with selected_features, got {got}")
        total = (selected_features * weights[..., None]).sum(dim=1)
        pooled = total / weights.sum(dim=1, keepdim=True).clamp(min=_LEAST)
        order = torch.randperm(B, device=pooled.device)
        together = self._critic(pooled, target_features)
        apart = self._critic(pooled[order], target_features[order.roll(1)])
        return apart.logsumexp(dim=0) - math.log(B) - together.mean()

    def _critic(self, pooled: Tensor, target: Tensor) -> Tensor:
        return cast(Tensor, self.mi_estimator(torch.cat((pooled, target), dim=1))).squeeze(1)


class CombinedLoss(nn.Module):
    """alpha_task · task + alpha_diversity · diversity [+ alpha_mi · mutual information, if ``use_mi``].

    ``diversity_epsilon`` is the ε of the `DiversityLoss`; other arguments are those of the three losses.
    """

    def __init__(
        self,
        task_loss_fn: TaskLoss | None = None,
        alpha_task: float = 1.0,
        alpha_diversity: float = 0.1,
        alpha_mi: float = 0.05,
        use_mi: bool = False,
        sigma: float = 1.0,
        mi_hidden_dim: int = 64,
        diversity_epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.alpha_task = number("alpha_task", alpha_task)
        self.alpha_diversity, self.alpha_mi = number("alpha_diversity", alpha_diversity), number("alpha_mi", alpha_mi)
        self.diversity_epsilon = number("diversity_epsilon", diversity_epsilon, 0.0, above=True)
        self.use_mi, size = flag("use_mi", use_mi), count("mi_hidden_dim", mi_hidden_dim, 1, MOST)
        self.task_loss = TaskConsistencyLoss(task_loss_fn)
        self.diversity_loss = DiversityLoss(sigma)
        self.mi_loss = MutualInformationLoss(size) if use_mi else None

    def forward(
        self,
        predictions: Tensor,
        targets: Tensor,
        features: Tensor,
        mask: Tensor,
        target_features: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        """The total, a scalar, and floats: task_loss, diversity_loss, total_loss and, when used, mi_loss.

        ``features`` (B, T, D) are compared by the diversity loss and pooled by the mutual information's, ``mask`` is
        (B, T), ``target_features`` (B, 2 · mi_hidden_dim - D): without them the mutual information is left out, with a
        warning. A term of weight 0 is reported all the same.
        """
        # Without a weight there is no gradient to work out, which costs more than the value.
        compared = (features, mask) if self.alpha_diversity else (features.detach(), mask.detach())
        parts = {
            "task_loss": (self.alpha_task, self.task_loss(predictions, targets, mask)),
            "diversity_loss": (self.alpha_diversity, self.diversity_loss(*compared, self.diversity_epsilon)),
        }
        if self.mi_loss is not None and target_features is None:
            warn("use_mi=True is without effect in this loss: it was given no target_features")
        elif self.mi_loss is not None:
            parts["mi_loss"] = (self.alpha_mi, self.mi_loss(features, target_features, mask))
        total = cast(Tensor, sum(weight * loss for weight, loss in parts.values()))
        values = {name: float(loss.detach()) for name, (_, loss) in parts.items()}
        return total, {**values, "total_loss": float(total.detach())}
