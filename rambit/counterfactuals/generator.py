"""Conditional models of the next steps of a series given its past, whose draws replace what is not kept.

Both serve every prefix of a series from one walk over it: entry p describes what follows X[:, :, :p]. Sources:
Tonekaboni et al., "What went wrong and when? Instance-wise feature importance for time-series black-box models", 2020;
Leung et al., "Temporal dependencies in feature importance for time series prediction", 2023. There the feature
generators are trained on squared errors and the joint one on one latent draw; here both on the exact likelihood.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rambit import arrays, ops
from rambit.checks import count as whole  # draws have a `count`
from rambit.checks import flag
from rambit.epochs import History, Training
from rambit.models.sequence_classifier import MOST, seeded
from rambit.store import fill, load_module, save_module

ArrayLike = Tensor | NDArray[Any]
Self = TypeVar("Self", bound="GeneratorModel")

FORMAT = "rambit generator 1"
FEATURES = 2**16  # at most: each has networks of its own
UNITS = 50  # between a recurrent state and what it says about the next steps
FLOOR = 1e-3  # the smallest deviation, in units of the feature's own, so that no likelihood is infinite


class GeneratorModel(nn.Module, ABC):
    """What the two generators share: training, files, and draws keyed by (seed, series id, draw, position).

    A generator works in the units of the data: `fit` stores each feature's mean and deviation. The weights are drawn
    from `seed`, and the global generator is left as it was. Outputs are float32 and stand on the generator's device.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, num_features: int, prediction_size: int) -> None:
        super().__init__()
        self.num_features = whole("num_features", num_features, 1, FEATURES)
        self.prediction_size = whole("prediction_size", prediction_size, 1, MOST)
        self.register_buffer("center", torch.zeros(self.num_features))
        self.register_buffer("scale", torch.ones(self.num_features))

    # -- what follows each prefix ---------------------------------------------------------------------------------

    @torch.no_grad()
    def parameters_for(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, D, T, P): [..., p, j] describes x[p + j] given X[:, :, :p], for X (B, D, T).

        P is `prediction_size`; p = 0 is the empty prefix. Raises TypeError or ValueError for another kind of X.
        """
        mean, std = self._marginals(self._standardized(X))
        scale, center = self.scale[:, None], self.center[:, None]
        return ((mean * scale + center).transpose(1, 2).contiguous(), (std * scale).transpose(1, 2).contiguous())

    @abstractmethod
    def draw(self, X: Tensor, ids: Tensor, count: int, seed: int, first: int = 0) -> Tensor:
        """Values (S, B, D, T, P): [..., p, j] is drawn for x[p + j] given X[:, :, :p]; draws `first`, `first + 1`, ...

        ids: (B,) int64, the series' names in the key of the random numbers. S is `count`.
        """

    @abstractmethod
    def _marginals(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation (B, T, D, P) of standardized z (B, D, T)."""

    @abstractmethod
    def _log_likelihood(self, z: Tensor, target: Tensor, known: Tensor, *, learning: bool) -> Tensor:
        """Of all of `target` (B, T, D, P), the next steps of each prefix of z (B, D, T), that is `known` (T, 1, P)."""

    def _normal(self, shape: Sequence[int], ids: Tensor, seed: int, first: int) -> Tensor:
        """Standard normal deviates (S, B, rows, steps), each a function of its key and position alone."""
        if ids.shape != (shape[1],) or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"ids must be integers of shape ({shape[1]},), got {ids.dtype} {tuple(ids.shape)}")
        out = torch.empty(*shape, device=self.scale.device)
        ids = ids.to(out.device, torch.int64)
        return ops.draw(out, ids, ops.Draw.GAUSSIAN, low=0.0, high=1.0, seed=seed, first_draw=first)

    def _standardized(self, X: ArrayLike, name: str = "X") -> Tensor:
        X = arrays.whole(name, X)
        if not X.is_floating_point():
            raise TypeError(f"{name} must be floating, got {X.dtype}")
        if X.dim() != 3 or X.shape[1] != self.num_features or 0 in X.shape:
            raise ValueError(f"{name} must have shape (B, {self.num_features}, T), none empty, got {tuple(X.shape)}")
        if not bool(X.isfinite().all()):
            raise ValueError(f"{name} holds NaN or infinite values")
        return (X.to(self.scale) - self.center[:, None]) / self.scale[:, None]

    # -- training -------------------------------------------------------------------------------------------------

    def nll(self, X: ArrayLike, *, batch_size: int = 100) -> float:
        """Mean negative log likelihood in nats of a value, over the next P steps of all prefixes of X (N, D, T).

        For features scaled to deviation 1 as `fit` found it. Errors are those of `parameters_for`.
        """
        return self._mean_nll(self._standardized(X), whole("batch_size", batch_size, 1, MOST))

    def fit(
        self,
        train: ArrayLike,
        valid: ArrayLike | None = None,
        *,
        epochs: int = 30,
        batch_size: int = 100,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        patience: int | None = 10,
        seed: int = 0,
        show_progress: bool = False,
    ) -> History:
        """Trains in place by maximum likelihood of the next P steps of all prefixes of train (N, D, T), T at least 2.

        The best epoch, on `valid` (M, D, T) or else on `train`, is kept; training stops after `patience` epochs
        without a better one. The history's losses are those of `nll`. The order of the series is drawn from `seed`;
        the optimiser is Adam (Kingma and Ba, 2015). An interrupted call, too, leaves the best weights so far.

        Raises TypeError or ValueError before any work for wrong arguments, and RuntimeError if the loss becomes NaN.
        """
        options = Training(epochs, batch_size, lr, weight_decay, patience, seed, show_progress)
        for name, series in (("train", train), ("valid", valid)):
            if series is not None and self._standardized(series, name).shape[2] < 2:
                raise ValueError(f"{name} must have at least 2 steps")
        self._learn_units(arrays.whole("train", train))
        data = self._standardized(train)
        held = None if valid is None else self._standardized(valid)

        optimiser, order = options.optimiser(self), torch.Generator().manual_seed(options.seed)

        return options.run(
            self,
            lambda: self._epoch(data, options.batch_size, optimiser, order),
            None if held is None else lambda: {"loss": self._mean_nll(held, options.batch_size)},
            "training the generator",
        )

    def _learn_units(self, train: Tensor) -> None:
        values = train.double()
        deviation = values.std(dim=(0, 2), correction=0)
        self.center.copy_(values.mean(dim=(0, 2)))
        self.scale.copy_(deviation.where(deviation > 0, 1.0))

    def _epoch(self, z: Tensor, batch_size: int, optimiser: torch.optim.Optimizer, order: torch.Generator) -> float:
        self.train()
        total, values = 0.0, 0
        for indices in torch.split(torch.randperm(len(z), generator=order), batch_size):
            log_likelihood, count = self._batch(z[indices.to(z.device)], learning=True)
            optimiser.zero_grad()
            (-log_likelihood / count).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimiser.step()
            total, values = total - float(log_likelihood.detach()), values + count
        return total / values

    @torch.no_grad()
    def _mean_nll(self, z: Tensor, batch_size: int) -> float:
        parts = [self._batch(part) for part in torch.split(z, batch_size)]
        return -sum(float(value) for value, _ in parts) / sum(count for _, count in parts)

    def _batch(self, z: Tensor, *, learning: bool = False) -> tuple[Tensor, int]:
        """Log likelihood of the next steps of all prefixes of z (B, D, T), and of how many values that is."""
        B, D, T = z.shape
        P = self.prediction_size
        target = functional.pad(z, (0, P)).unfold(2, P, 1)[:, :, :T].transpose(1, 2)  # (B, T, D, P)
        known = torch.arange(T)[:, None] + torch.arange(P) < T
        found = self._log_likelihood(z, target, known[:, None].to(z.device), learning=learning)
        return found, B * D * int(known.sum())

    # -- files ----------------------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON."""
        return {
            "generator": type(self).__name__,
            "num_features": self.num_features,
            "prediction_size": self.prediction_size,
        }

    def save(self, path: str | Path) -> None:
        """Writes one safetensors file: the weights and, as JSON in its metadata, the configuration.

        For people, the same JSON goes into a file beside it whose name ends in .json instead of .safetensors.
        Raises ValueError for another ending of `path`, OSError where it can't be written.
        """
        save_module(path, FORMAT, self, {"config": self.config()})

    @classmethod
    def load(cls: type[Self], path: str | Path) -> Self:
        """The generator of a file, on the CPU and in eval mode; `GeneratorModel.load` reads one of either kind.

        Runs no code from the file. Raises ValueError, naming the file, if it is damaged, holds something else, or its
        weights do not fit its configuration; OSError if there is none.
        """

        def build(weights: dict[str, Tensor], document: dict[str, Any]) -> Self:
            arguments = dict(document["config"])
            kind = _KINDS.get(arguments.pop("generator"))
            if kind is None or not issubclass(kind, cls):
                raise ValueError(f"it holds a {document['config']['generator']}, not a {cls.__name__}")
            recurrent = sum(name.endswith(".weight_hh_l0") for name in weights)
            if kind is FeatureGenerator and recurrent != arguments.get("num_features"):
                raise ValueError(f"it has the weights of {recurrent} features, not {arguments.get('num_features')}")
            if weights["scale"].dtype != torch.float32:
                raise ValueError(f"its weights should be torch.float32, the file has {weights['scale'].dtype}")
            if not all(bool(weight.isfinite().all()) for weight in weights.values()):
                raise ValueError("its weights are not finite")
            if not bool((weights["scale"] > 0).all()):
                raise ValueError("the deviations that its features are divided by must be above 0")
            return fill(lambda: kind(**arguments), weights)

        return load_module(path, FORMAT, "a rambit generator", build)


class FeatureGenerator(GeneratorModel):
    """For each feature on its own: a GRU over all features, a layer of tanh units, mean and deviation of each step.

    There is batch norm on the tanh units. The steps of a draw are independent given the past. conditional: what is
    said of feature d after X[:, :, :p] also knows the other features' values at p. hidden_size: of each GRU.
    """

    def __init__(
        self,
        num_features: int,
        hidden_size: int = 50,
        prediction_size: int = 10,
        conditional: bool = False,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(num_features, prediction_size)
        self.hidden_size = whole("hidden_size", hidden_size, 1, MOST)
        self.conditional = flag("conditional", conditional)
        with seeded(seed):
            D, H = self.num_features, self.hidden_size
            self.rnns = nn.ModuleList(nn.GRU(D, H, batch_first=True) for _ in range(D))
            self.head = _Head(D, H + (D if self.conditional else 0), 2 * self.prediction_size)

    def draw(self, X: Tensor, ids: Tensor, count: int, seed: int, first: int = 0) -> Tensor:
        """Values (S, B, D, T, P): [..., p, j] is drawn for x[p + j] given X[:, :, :p]; draws `first`, `first + 1`, ...

        ids: (B,) int64, the series' names in the key of the random numbers. S is `count`.
        """
        _check_draws(ids, count, seed, first)
        mean, std = self.parameters_for(X)
        B, D, T, P = mean.shape
        normal = self._normal((count, B, D, T * P), ids, seed, first)
        return torch.addcmul(mean, std, normal.view(-1, B, D, T, P))

    def _marginals(self, z: Tensor, *, learning: bool = False) -> tuple[Tensor, Tensor]:
        B, D, T = z.shape
        inputs = torch.stack([_prefix_states(cast(nn.GRU, rnn), z) for rnn in self.rnns], dim=2)  # (B, T, D, H)
        if self.conditional:
            others = z.transpose(1, 2)[:, :, None] * (1 - torch.eye(D, device=z.device))
            inputs = torch.cat((inputs, others), dim=3)
        mean, spread = self.head(inputs.flatten(0, 1), learning).view(B, T, D, 2, -1).unbind(3)
        return mean, _positive(spread)

    def _log_likelihood(self, z: Tensor, target: Tensor, known: Tensor, *, learning: bool) -> Tensor:
        mean, std = self._marginals(z, learning=learning)
        of_each = -0.5 * ((target - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        return (of_each * known).sum()

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON."""
        return super().config() | {"hidden_size": self.hidden_size, "conditional": self.conditional}


class JointGenerator(GeneratorModel):
    """All features and steps at once: x = A z + b + e, with z ~ N(m, diag s²) and e ~ N(0, diag r²), all normal.

    A GRU and a layer of tanh units with batch norm give m, s and r from the past; the decoder A (P D, K), b is linear.
    So the latent z integrates out: x is normal with mean A m + b and covariance A diag(s²) Aᵀ + diag(r²), its
    likelihood is exact, and so is what it says of some features given others. hidden_size: of the GRU, 3 D if None;
    latent_size: K, min(3 D, 30) if None.
    """

    def __init__(
        self,
        num_features: int,
        hidden_size: int | None = None,
        latent_size: int | None = None,
        prediction_size: int = 10,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(num_features, prediction_size)
        D = self.num_features
        self.hidden_size = whole("hidden_size", 3 * D if hidden_size is None else hidden_size, 1, MOST)
        self.latent_size = whole("latent_size", min(3 * D, 30) if latent_size is None else latent_size, 1, MOST)
        outputs = D * self.prediction_size
        with seeded(seed):
            self.rnn = nn.GRU(D, self.hidden_size, batch_first=True)
            self.head = _Head(1, self.hidden_size, 2 * self.latent_size + outputs)
            self.decoder = nn.Linear(self.latent_size, outputs)  # of the first step all features, then of the next

    @torch.no_grad()
    def draw(self, X: Tensor, ids: Tensor, count: int, seed: int, first: int = 0) -> Tensor:
        """Values (S, B, D, T, P): [..., p, j] is drawn for x[p + j] given X[:, :, :p]; draws `first`, `first + 1`, ...

        All features and steps of one p are drawn together. ids: (B,) int64, the series' names in the key of the random
        numbers. S is `count`.
        """
        _check_draws(ids, count, seed, first)
        drawn = self._drawn(self._parts(self._standardized(X)), ids, count, seed, first)
        drawn = drawn.view(*drawn.shape[:3], -1, self.num_features) * self.scale + self.center
        return drawn.permute(0, 1, 4, 2, 3).contiguous()

    @torch.no_grad()
    def draw_given(
        self, X: Tensor, observed: int | Sequence[int], ids: Tensor, count: int, seed: int, first: int = 0
    ) -> Tensor:
        """Values (S, B, D, T): at each t, all features given X[:, :, :t] and the values X[:, d, t] of those `observed`.

        These keep their values. An exact conditional draw: x + C (x_observed - its own drawn values), where x is drawn
        without them and C holds the covariances with them over their own (Matheron's rule; Hoffman and Ribak, 1991).
        The random numbers are those of `draw`. Raises ValueError for features that X does not have.
        """
        _check_draws(ids, count, seed, first)
        D = self.num_features
        several = observed if isinstance(observed, (Sequence, Tensor, np.ndarray)) else [observed]
        given = [whole("observed", d, -(2**63)) for d in several]
        if len(set(given)) != len(given) or not all(0 <= d < D for d in given):
            raise ValueError(f"observed must name different features in 0..{D - 1}, got {observed}")
        z = self._standardized(X)
        mean, latent, noise = self._parts(z)
        parts = mean[..., :D], latent, noise[..., :D]  # of the first step alone
        drawn = self._drawn(parts, ids, count, seed, first)
        weight = self.decoder.weight[:D] * latent[..., None, :]
        covariance = weight[..., given, :] @ weight.transpose(2, 3)  # (B, T, n, D)
        covariance += torch.diag_embed(parts[2].square())[..., given, :]
        gain: Tensor = torch.linalg.solve(covariance[..., given], covariance)
        missing = z.transpose(1, 2)[..., given] - drawn[..., given]
        drawn = (drawn + (missing[..., None, :] @ gain)[..., 0, :]) * self.scale + self.center
        drawn = drawn.transpose(2, 3).contiguous()
        drawn[:, :, given] = arrays.whole("X", X).to(drawn)[:, given]  # they are, but for rounding
        return drawn

    def _parts(self, z: Tensor, *, learning: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Mean (B, T, P D), deviations of the latents (B, T, K), and of the noise (B, T, P D), of z (B, D, T)."""
        out = self.head(_prefix_states(self.rnn, z).flatten(0, 1)[:, None], learning).view(len(z), z.shape[2], -1)
        sizes = [self.latent_size, self.latent_size, self.decoder.out_features]
        middle, latent, noise = torch.split(out, sizes, dim=2)
        mean: Tensor = self.decoder(middle)
        return mean, _positive(latent), _positive(noise)

    def _drawn(self, parts: tuple[Tensor, Tensor, Tensor], ids: Tensor, count: int, seed: int, first: int) -> Tensor:
        """(S, B, T, n), standardized, of the first n outputs: those that `parts` hold."""
        mean, latent, noise = parts
        (B, T, n), K = mean.shape, self.latent_size
        # The latents come first, so that fewer outputs leave every number where it was.
        normal = self._normal((count, B, K + n, T), ids, seed, first).transpose(2, 3)
        spread = functional.linear(latent * normal[..., :K], self.decoder.weight[:n])
        return mean + spread + noise * normal[..., K:]

    def _marginals(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, latent, noise = self._parts(z)
        std = (functional.linear(latent.square(), self.decoder.weight.square()) + noise.square()).sqrt()
        shape = (*mean.shape[:2], -1, self.num_features)
        return mean.view(shape).transpose(2, 3), std.view(shape).transpose(2, 3)

    def _log_likelihood(self, z: Tensor, target: Tensor, known: Tensor, *, learning: bool) -> Tensor:
        mean, latent, noise = self._parts(z, learning=learning)
        A, K = self.decoder.weight, self.latent_size
        known = known.expand(-1, self.num_features, -1).transpose(1, 2).flatten(1)  # (T, P D)
        off = target.transpose(2, 3).flatten(2) - mean
        precision = known / noise.square()
        # Woodbury: with M = I + S Aᵀ R⁻¹ A S, the inverse is R⁻¹ - R⁻¹ A S M⁻¹ S Aᵀ R⁻¹ and the determinant |M| |R|.
        # Aᵀ R⁻¹ A for all prefixes is one product with the outer squares of A's rows.
        inner = (precision @ (A[:, :, None] * A[:, None, :]).flatten(1)).view(*mean.shape[:2], K, K)
        M = torch.eye(K, device=z.device) + latent[..., None] * inner * latent[..., None, :]
        factor: Tensor = torch.linalg.cholesky(M)
        right = latent * ((precision * off) @ A)
        solved: Tensor = torch.linalg.solve_triangular(factor, right[..., None], upper=False)
        square = (precision * off.square()).sum() - solved.square().sum()
        log_determinant = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum() + 2 * (known * noise.log()).sum()
        return -0.5 * (square + log_determinant + len(z) * known.sum() * math.log(2 * math.pi))

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON."""
        return super().config() | {"hidden_size": self.hidden_size, "latent_size": self.latent_size}


_KINDS: dict[Any, type[GeneratorModel]] = {"FeatureGenerator": FeatureGenerator, "JointGenerator": JointGenerator}


class _Head(nn.Module):
    """(N, G, inputs) -> (N, G, outputs): for each group its own tanh units with batch norm and its own linear layer.

    Batch norm goes by what was learnt unless it is `learning`, whatever mode the module is in: a mode that was changed
    for a question would be changed for other threads too.
    """

    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight1, self.bias1 = _linear(groups, inputs, UNITS)
        self.weight2, self.bias2 = _linear(groups, UNITS, outputs)
        self.norm = nn.BatchNorm1d(groups * UNITS)

    def forward(self, x: Tensor, learning: bool) -> Tensor:
        units = (torch.einsum("ngi,giu->ngu", x, self.weight1) + self.bias1).tanh()
        flat, norm = units.flatten(1), self.norm
        flat = (
            norm(flat)
            if learning
            else functional.batch_norm(flat, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        )
        return torch.einsum("ngu,guo->ngo", flat.view_as(units), self.weight2) + self.bias2


def _linear(groups: int, inputs: int, outputs: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Weights and biases, drawn as `nn.Linear` draws them."""
    bound = 1 / math.sqrt(inputs)
    weight, bias = torch.empty(groups, inputs, outputs), torch.empty(groups, outputs)
    return nn.Parameter(weight.uniform_(-bound, bound)), nn.Parameter(bias.uniform_(-bound, bound))


def _prefix_states(rnn: nn.GRU, z: Tensor) -> Tensor:
    """(B, T, H): the state after the first p steps of z (B, D, T), for p = 0 ... T - 1; nothing seen is zero."""
    start = z.new_zeros(z.shape[0], 1, rnn.hidden_size)
    if z.shape[2] == 1:
        return start
    return torch.cat((start, rnn(z[:, :, :-1].transpose(1, 2))[0]), dim=1)


def _check_draws(ids: Any, count: Any, seed: Any, first: Any) -> None:
    if not isinstance(ids, Tensor):
        raise TypeError(f"ids must be a tensor of integers, got {type(ids).__name__}")
    whole("count", count, 1, MOST)
    whole("seed", seed, -(2**63))
    whole("first", first, 0)


def _positive(x: Tensor) -> Tensor:
    return functional.softplus(x) + FLOOR
