"""Counterfactual series: what a model says when selected timestamps are changed or removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from rambit.checks import count, number, one_of
from rambit.counterfactuals import Zero
from rambit.game import Coalitions, Game, TensorSample
from rambit.models.sequence_classifier import MOST
from rambit.predictors.module import ModulePredictor
from rambit.selection.selection_checks import finite, mask_of, series

GenerationMethod = Literal["perturbation", "replacement", "removal"]
GENERATION_METHODS: tuple[GenerationMethod, ...] = get_args(GenerationMethod)
Intervention = Literal["modify_selected", "modify_unselected", "remove_selected", "remove_unselected"]
INTERVENTIONS: tuple[Intervention, ...] = get_args(Intervention)
Distance = Literal["l2", "l1", "cosine"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
_LEAST = 1e-8
#: Entries of the masks that are evaluated at a time.
_PIECE = 1 << 24


class CounterfactualGenerator(nn.Module):
    """Series (B, T, D) with some timestamps changed, by a small network on each step.

    ``generation_method``: ``perturbation`` adds tanh outputs times ``perturbation_scale``, ``replacement`` puts the
    network's outputs in their place, and ``removal``, which learns nothing, sets them to 0.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int = 128,
        generation_method: GenerationMethod = "perturbation",
        perturbation_scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.generation_method = one_of("generation_method", generation_method, GENERATION_METHODS)
        self.input_dim = count("input_dim", input_dim, 1, MOST)
        self.hidden_dim = count("hidden_dim", hidden_dim, 1, MOST)
        self.perturbation_scale = number("perturbation_scale", perturbation_scale, 0.0, above=True)
        if generation_method == "removal":
            return  # and draw no weights
        layers = [
            nn.Linear(input_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, input_dim),
        ]
        if generation_method == "perturbation":
            self.perturbation_net = nn.Sequential(*layers, nn.Tanh())
        else:
            self.replacement_net = nn.Sequential(*layers)

    def forward(self, x: Tensor, mask: Tensor, intervention_type: Intervention = "modify_selected") -> Tensor:
        """A counterfactual (B, T, D) of x (B, T, D), differentiable in x and the mask (B, T).

        ``modify_selected`` and ``modify_unselected`` change those steps as ``generation_method`` says;
        ``remove_selected`` and ``remove_unselected`` set them to 0. With a soft mask each step changes by its share.
        """
        one_of("intervention_type", intervention_type, INTERVENTIONS)
        kept = mask_of(mask, series("x", x, self.input_dim))[..., None]
        what, which = intervention_type.split("_")
        where = kept if which == "selected" else 1 - kept
        if what == "remove" or self.generation_method == "removal":
            return x * (1 - where)
        if self.generation_method == "perturbation":
            added: Tensor = self.perturbation_scale * self.perturbation_net(x)
            return x + where * added
        replaced: Tensor = self.replacement_net(x)
        return x * (1 - where) + where * replaced

    def generate_multiple_counterfactuals(
        self, x: Tensor, mask: Tensor, num_samples: int = 5, noise_scale: float = 0.1
    ) -> Tensor:
        """Counterfactuals (num_samples, B, T, D): the selected steps modified, plus normal noise on them alone.

        The noise, of deviation ``noise_scale``, comes from torch's generator.
        """
        count("num_samples", num_samples)
        number("noise_scale", noise_scale, 0.0)
        changed: Tensor = self(x, mask)
        noise = torch.randn(num_samples, *x.shape, dtype=x.dtype, device=x.device)
        return changed + noise_scale * noise * mask_of(mask, x)[..., None]

    def compute_counterfactual_distance(
        self, x: Tensor, counterfactual: Tensor, mask: Tensor, metric: Distance = "l2"
    ) -> Tensor:
        """How far a counterfactual is from x on the selected steps, (B,).

        ``l2`` and ``l1``: squared and absolute differences, summed over features, mean over steps with the mask as
        weights. ``cosine``: 1 - the cosine of the two series times the mask, 0 where both are 0 everywhere.
        """
        one_of("metric", metric, DISTANCES)
        kept = mask_of(mask, series("x", x))
        if finite("counterfactual", counterfactual).shape != x.shape:
            got = tuple(counterfactual.shape)
            raise ValueError(f"counterfactual must have the shape of x {tuple(x.shape)}, got {got}")
        if metric == "cosine":
            ours, theirs = (_scaled((part * kept[..., None]).flatten(1)) for part in (x, counterfactual))
            same = ~(ours.any(dim=1) | theirs.any(dim=1))  # of both nothing is left
            return torch.where(same, 0.0, 1 - functional.cosine_similarity(ours, theirs, dim=1))
        difference = x - counterfactual
        each = difference.square() if metric == "l2" else difference.abs()
        return (each.sum(dim=2) * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=_LEAST)


class CounterfactualExplainer:
    """How the predictions of ``model``, any callable on (B, T, D), change with counterfactuals of ``generator``.

    The model is evaluated in evaluation mode and without gradients.
    """

    def __init__(self, generator: CounterfactualGenerator, model: Callable[[Tensor], Tensor]) -> None:
        self.generator, self.model = generator, model
        self._predictor = _Outputs(model)

    def explain_prediction(
        self, x: Tensor, mask: Tensor, intervention_types: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """What the model says of x (B, T, D), and of its counterfactuals under a mask (B, T).

        Returns {"original_prediction", "interventions": {name: {"counterfactual_prediction", "prediction_change"}}}:
        predictions as the model gives them, on the CPU, and the mean absolute change, a float. intervention_types:
        those of `CounterfactualGenerator.forward`; None: modify_selected and remove_selected.
        """
        names = ("modify_selected", "remove_selected") if intervention_types is None else tuple(intervention_types)
        for name in names:
            one_of("intervention_types", name, INTERVENTIONS)
        original = self._predict(x)
        found = {name: self._predict(self.generator(x, mask, intervention_type=name).detach()) for name in names}
        interventions = {
            name: {"counterfactual_prediction": changed, "prediction_change": float((changed - original).abs().mean())}
            for name, changed in found.items()
        }
        return {"original_prediction": original, "interventions": interventions}

    def compute_attribution_scores(self, x: Tensor, mask: Tensor) -> Tensor:
        """How far removing each step moves the model, (B, T): mean over outputs of ``|f(x) - f(x · mask without it)|``.

        x (B, T, D) in float32 or float64; the mask (B, T) may be soft. One game evaluates all steps in batches. A step
        that the mask has removed already changes nothing more: it costs no row.
        """
        kept = mask_of(mask, series("x", x)).detach()
        masked = x.detach() * kept[..., None]
        original, game = self._game(x.detach()).predict(), self._game(masked)
        unchanged = (game.predict() - original).abs().mean(dim=1)
        scores = unchanged.to(x.dtype)[:, None].repeat(1, x.shape[1])
        for indices, question in _removals(masked):
            outputs = torch.cat([part[:, 0, 0] for part in game.evaluate(question)])
            scores[indices] = (outputs - original[indices[0]]).abs().mean(dim=1).to(x.dtype)
        return scores

    def _game(self, x: Tensor) -> Game:
        sample = TensorSample(x.transpose(1, 2), torch.arange(len(x), device=x.device))
        return Game(self._predictor, sample, Zero(), evaluation="full")

    def _predict(self, x: Tensor) -> Tensor:
        with self._predictor.session():
            outputs: Tensor = self._predictor.model(x.clone())  # it may write into what it is given
        return outputs.cpu().clone()  # outside the session, so that it may take part in gradients


def _scaled(rows: Tensor) -> Tensor:
    """Rows (B, N) brought to a largest value of ±1 (all 0 stay), so that their squares neither overflow nor vanish."""
    most = rows.detach().abs().amax(dim=1, keepdim=True)
    return rows / torch.where(most > 0, most, 1.0)


class _Outputs(ModulePredictor):
    """A model of (B, T, D), whatever the shape of its outputs: (N, C) values."""

    def __init__(self, model: Any) -> None:
        super().__init__(model, output="regression", layout="BTD")
        self.modes, self.takes_lengths = frozenset(), False

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        output: Tensor = self.model(x)
        return output.reshape(len(x), -1)


def _removals(x: Tensor) -> Iterator[tuple[tuple[Tensor, Tensor], Coalitions]]:
    """Series b without step t, for all (b, t) where x (B, T, D) is not 0 already: their indices, and the question."""
    _, T, D = x.shape
    rows, steps = (x != 0).any(dim=2).nonzero().T
    size = max(1, _PIECE // (T * D))
    for begin in range(0, len(rows), size):
        b, t = rows[begin : begin + size], steps[begin : begin + size]
        masks = torch.ones(len(t), T, dtype=torch.bool, device=x.device).scatter_(1, t[:, None], False)
        yield (b, t), Coalitions(masks.repeat(1, D), series=b)
