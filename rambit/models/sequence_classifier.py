"""What the built-in models share: the protocol, inputs in raw units, and a configuration to rebuild a model from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rambit import arrays
from rambit.checks import count, flag, number


class Classifier(nn.Module, ABC):
    """A causal classifier of time series: (B, D, T) in raw units -> logits (B, C), or (B, C, T) with `return_all=True`.

    With `standardize=True` the model itself brings each feature to mean 0 and deviation 1, with the statistics that
    `rambit.training.fit(standardize=True)` stores in it. So a checkpoint is whole, and whoever calls the model speaks
    in the units of the data.
    """

    input_mean: Tensor | None
    input_scale: Tensor | None

    def __init__(self, num_features: int, num_classes: int, *, standardize: bool) -> None:
        super().__init__()
        self.num_features = count("num_features", num_features, 1, MOST)
        self.num_classes = count("num_classes", num_classes, 2, MOST)
        known = flag("standardize", standardize)
        self.register_buffer("input_mean", torch.zeros(self.num_features) if known else None)
        self.register_buffer("input_scale", torch.ones(self.num_features) if known else None)

    @abstractmethod
    def forward(self, x: Tensor, return_all: bool = False, lengths: Tensor | None = None) -> Tensor:
        """Logits (B, C) at the last step, or at `lengths - 1`; (B, C, T) at every step with `return_all=True`."""

    def predict(self, x: Tensor, return_all: bool = False, lengths: Tensor | None = None) -> Tensor:
        """Class probabilities, shaped like the logits of `forward`. Call `eval()` first where there is dropout."""
        return self(x, return_all=return_all, lengths=lengths).softmax(dim=1)  # type: ignore[no-any-return]

    def config(self) -> dict[str, Any]:
        """The class name and the constructor's arguments, ready for JSON; `rambit.models.build_model` reads it."""
        return {
            "model": type(self).__name__,
            "num_features": self.num_features,
            "num_classes": self.num_classes,
            "standardize": self.input_mean is not None,
        }

    def set_standardization(self, mean: Tensor, scale: Tensor) -> None:
        """From now on the model sees `(x - mean) / scale`; both have shape (D,), and `scale` is positive.

        Raises ValueError for another shape, or for values that are not finite or a scale that is not positive, in the
        model's own type.
        """
        like = next(self.parameters())
        mean, scale = (
            arrays.whole(name, value).to(like, copy=True) for name, value in (("mean", mean), ("scale", scale))
        )
        for name, value in (("mean", mean), ("scale", scale)):
            if value.shape != (self.num_features,):
                raise ValueError(f"{name} must have shape ({self.num_features},), got {tuple(value.shape)}")
        if not (mean.isfinite().all() and scale.isfinite().all() and (scale > 0).all()):
            raise ValueError("mean and scale must be finite, and scale positive")
        self.input_mean, self.input_scale = mean, scale

    def _standardized(self, x: Tensor) -> Tensor:
        """`x` (B, D, T), checked, as the network sees it."""
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor, got {type(x).__name__}{arrays.hint('x', x)}")
        if x.dim() != 3 or x.shape[1] != self.num_features or x.shape[2] == 0:
            raise ValueError(f"x must have shape (B, {self.num_features}, T) with T >= 1, got {tuple(x.shape)}")
        if self.input_mean is None or self.input_scale is None:
            return x
        return (x - self.input_mean[:, None]) / self.input_scale[:, None]


def at_lengths(steps: Tensor, lengths: Any) -> Tensor:
    """The last valid one of `steps` (B, T, H) for `lengths` (B,): (B, H)."""
    batch, count, size = steps.shape
    # Tensors as they are, so that a compiled graph has nothing to look at.
    lengths = lengths if isinstance(lengths, Tensor) else arrays.whole("lengths", lengths, holds="integers")
    kind = lengths.dtype
    if lengths.shape != (batch,) or kind.is_floating_point or kind.is_complex or kind == torch.bool:
        raise ValueError(f"lengths must be integers of shape ({batch},), got {kind} {tuple(lengths.shape)}")
    # Looking at values on a GPU would make the host wait for it, and break a compiled graph; there the gather refuses.
    if not lengths.is_cuda and not torch.compiler.is_compiling() and bool(((lengths < 1) | (lengths > count)).any()):
        raise ValueError(f"lengths must lie in 1..{count}, got {int(lengths.min())}..{int(lengths.max())}")
    last = (lengths.to(steps.device, torch.int64) - 1)[:, None, None].expand(batch, 1, size)
    return steps.gather(1, last).squeeze(1)


#: Layers of a network, at most: more only take time to make.
LAYERS = 1024
#: Any other size, at most.
MOST = 2**31 - 1


def seed_of(value: int) -> int:
    """What torch's generators take as a seed, as a plain int; TypeError or ValueError otherwise."""
    return count("seed", value, -(2**63), 2**64 - 1)


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """The generators of the host and of `device` start from `seed` inside and are restored after; errors: `seed_of`."""
    cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        # torch.manual_seed would also reseed devices that have not been forked.
        torch.default_generator.manual_seed(seed_of(seed))
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def dropout_rate(value: float) -> float:
    """`value` as a plain float; TypeError or ValueError outside [0, 1)."""
    rate = number("dropout", value)
    if not 0 <= rate < 1:
        raise ValueError(f"dropout must lie in [0, 1), got {value}")
    return rate
