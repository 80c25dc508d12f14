"""The game of nested samples: masks over the terms of a batch in, the outputs of all samples of the batch out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rambit.game.batch_size import BATCH_CAP
from rambit.game.engine import Cost
from rambit.game.progress import Progress
from rambit.game.questions import Coalitions, Soft
from rambit.game.runner import Runner
from rambit.memory import DEFAULT_MEMORY
from rambit.predictors import PredictionError, Predictor
from rambit.predictors.predictor import Output
from rambit.structure import HierarchicalClassifier, Prepared, Sample


class NestedPredictor(Predictor):
    """A model of nested samples; its inputs are masks of samples, not tensors.

    ``model``: a HierarchicalClassifier, or anything that is called with a Sample of B and returns (B, C).
    """

    def __init__(self, model: Any, output: Output = "auto") -> None:
        if isinstance(model, type) or not callable(model):
            raise TypeError(
                "model must be a HierarchicalClassifier for nested samples, or be called with a "
                f"rambit.structure.Sample, got {type(model).__name__}"
            )
        ours = isinstance(model, HierarchicalClassifier)
        weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
        super().__init__(
            output="logits" if ours and output == "auto" else output, device=None if weight is None else weight.device
        )
        self.model, self.follows_series = model, weight is None
        self.module = model if isinstance(model, nn.Module) else None

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        raise TypeError("a model of nested samples has no output for a tensor")

    def prepare(self, sample: Sample) -> Prepared | Pruned:
        """The model and a batch of samples, to be evaluated on masks."""
        return self.model.prepare(sample) if isinstance(self.model, HierarchicalClassifier) else Pruned(self, sample)


class Pruned:
    """A model that knows nothing of masks and a batch of samples: it is called with what masks leave of them."""

    def __init__(self, predictor: NestedPredictor, sample: Sample) -> None:
        self.predictor, self.sample = predictor, sample
        #: What one more mask takes of samples: some numbers for each slot.
        self.row_bytes = 64 * (len(sample.slots) + len(sample))

    def evaluate(self, masks: Tensor) -> Tensor:
        """Raw outputs (N, B, …) under ``masks`` (N, terms) bool."""
        rows = len(masks) * len(self.sample)
        raw = self.predictor.model(self.sample.under(masks))
        if isinstance(raw, np.ndarray):
            raw = torch.from_numpy(raw)
        if not isinstance(raw, Tensor) or not raw.ndim or len(raw) != rows:
            got = tuple(raw.shape) if isinstance(raw, Tensor) else type(raw).__name__
            raise PredictionError(f"the model returned {got} for {rows} nested samples, expected ({rows}, classes)")
        if raw.ndim == 2:
            self.predictor.decide(raw)
        return raw.reshape(len(masks), len(self.sample), *raw.shape[1:])


class NestedGame:
    """Binds a model and a batch of B nested samples; a removed value is missing, a removed instance absent.

    ``max_memory`` (bytes, default 1 GiB) bounds what is evaluated at once. Raises ValueError where the sample does not
    look like the model's schema.
    """

    def __init__(
        self,
        model: HierarchicalClassifier | NestedPredictor,
        sample: Sample,
        *,
        max_memory: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.predictor = model if isinstance(model, NestedPredictor) else NestedPredictor(model)
        device = sample.device if self.predictor.follows_series else self.predictor.device
        self.sample = sample.to(device) if sample.device != device else sample
        self.max_memory = DEFAULT_MEMORY if max_memory is None else max_memory
        with self.predictor.session():
            self.prepared = self.predictor.prepare(self.sample)
        cap = BATCH_CAP.get(device.type, 2048)
        if isinstance(self.prepared, Pruned):
            cap //= len(self.sample)  # each row is a batch of samples
        batch = max(1, min(cap, self.max_memory // 4 // max(1, self.prepared.row_bytes)))
        self.runner = Runner(self.predictor, device, batch, progress=progress)

    def evaluate(self, question: Coalitions | Soft) -> Iterator[Tensor]:
        """Probabilities (n, 1, B, C), in order, chunk by chunk; those of soft masks carry gradients."""
        B, soft = len(self.sample), isinstance(question, Soft)
        step = self.runner.batch  # the batch may halve on the way
        for begin in range(0, len(question.masks), step):
            masks = question.masks[begin : begin + step]
            found: list[Tensor] = []
            with self.predictor.session(gradients=soft):
                for piece in self.runner.pieces(len(masks), B):
                    with piece:
                        found.append(self._probabilities(masks[piece.rows]))
            yield torch.cat(found)[:, None]

    def _probabilities(self, masks: Tensor) -> Tensor:
        """(n, B, C) of these masks."""
        B = len(self.sample)
        outputs = self.predictor.finish_whole(self.prepared.evaluate(masks).flatten(0, 1), len(masks) * B)
        bad = self.predictor.check(outputs.detach())
        if bool(bad.any()):
            first = int(bad.int().argmax())
            row = outputs[first].detach()
            what, advice = self.predictor.complaint(float(row.min()), float(row.max()), float(row.sum()))
            raise PredictionError(f"the model returned {what} for nested sample {first % B}{advice}")
        return outputs[:, :, 0].view(len(masks), B, -1)

    @property
    def steps(self) -> int:
        """Row-steps of a row."""
        return 1

    def to_host(self, tensor: Tensor) -> Tensor:
        """A device tensor on the host; counted in ``runner.syncs``."""
        return self.runner.to_host(tensor)

    def cost(self) -> Cost:
        """What has been evaluated so far: a row is a mask of one sample, and one row-step."""
        B = len(self.sample)
        return Cost(self.runner.rows * B, self.runner.row_steps, self.max_memory, "nested")
