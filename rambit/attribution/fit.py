"""FIT: what an observation adds to the prediction at its own time."""

from __future__ import annotations

import torch
from torch import Tensor

from rambit import ops
from rambit.attribution.attributor import DRAWS, METHODS, Call, Distance, Part, RemovalAttributor
from rambit.counterfactuals import JointGenerator, Replay
from rambit.game import Game, Windows
from rambit.options import option


@METHODS.register("fit")
class FIT(RemovalAttributor):
    """Feature importance in time (Tonekaboni et al., NeurIPS 2020).

    E is the mean over draws of KL(p_t ‖ p_{t-1}) - KL(p_t ‖ p̂_t), where p̂_t sees the past, the observed value of
    feature d at t, and the other features at t drawn given both; the score is 2 / (1 + exp(-5 E)) - 1, 0 at t = 0.
    Only for models that give class probabilities.
    """

    generator: JointGenerator = option(help="a trained JointGenerator, which it draws from", recorded=False)
    num_samples: int = option(default=10, help=DRAWS)
    distance: Distance = option(default="kl", help="that of its definition, kl")
    anchor = "cell"

    def __post_init__(self) -> None:
        if not isinstance(self.generator, JointGenerator):
            raise TypeError(f"generator must be a JointGenerator, got {type(self.generator).__name__}")
        if self.distance != "kl" or self.counterfactuals is not None:
            raise ValueError(
                "FIT compares with distance='kl' and draws from its generator: leave distance and counterfactuals out"
            )
        self.counterfactuals = self.generator
        super().__post_init__()

    def _score(self, call: Call, game: Game, indices: Tensor) -> Part:
        x, ids = game.sample.x, game.sample.ids
        B, D, T = x.shape
        target = torch.zeros(1, B, dtype=torch.int64, device=game.device)
        scores = torch.zeros(B, D, T, dtype=torch.float64, device=game.device)
        others = ~torch.eye(D, dtype=torch.bool)
        for d in range(D):
            draws = self.generator.draw_given(x, d, ids, call.draws, self.seed).to(x.dtype)
            question = Windows(others[d : d + 1], window=1, counterfactual=Replay(draws))
            unexplained, reference = game.distances(question, ops.Metric.KL, target)
            if game.runner.dry:
                continue
            now, before = (
                reference[:, :, 1:].double().clamp(min=1e-12),
                reference[:, :, :-1].double().clamp(min=1e-12),
            )
            change = (now * (now / before).log()).sum(dim=1)  # KL(p_t ‖ p_{t-1}), (B, T - 1)
            scores[:, d, 1:] = change - unexplained[0, 0, :, 1:, 0]
        after_the_first = torch.arange(T, device=game.device) > 0
        return Part(2 * torch.sigmoid(5 * scores) - 1, None, evaluated=after_the_first)
