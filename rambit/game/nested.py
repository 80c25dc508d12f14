"""The game of nested samples: masks over the terms of a batch in, the outputs of all samples of the batch out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rambit.game.batch_size import BATCH_CAP
from rambit.game.engine import Cost
from rambit.game.progress import Progress
from rambit.game.questions import Coalitions, Soft
from rambit.game.runner import Runner
from rambit.memory import DEFAULT_MEMORY
from rambit.predictors import PredictionError, Predictor
from rambit.structure import HierarchicalClassifier, Sample


class NestedPredictor(Predictor):
    """A classifier of nested samples; its inputs are masks of samples, not tensors."""

    def __init__(self, model: HierarchicalClassifier) -> None:
        super().__init__(device=next(model.parameters()).device)
        self.module: HierarchicalClassifier = model

    def call_whole(self, x: Tensor, lengths: Tensor | None, **extra: Tensor) -> Tensor:
        raise TypeError("a classifier of nested samples has no output for a tensor")


class NestedGame:
    """Binds a classifier and a batch of B nested samples; a removed value is missing, a removed instance absent.

    ``max_memory`` (bytes, default 1 GiB) bounds what is evaluated at once. Raises ValueError where the sample does not
    look like the model's schema.
    """

    def __init__(
        self,
        model: HierarchicalClassifier,
        sample: Sample,
        *,
        max_memory: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.predictor = NestedPredictor(model)
        self.sample = sample.to(self.predictor.device) if sample.device != self.predictor.device else sample
        self.max_memory = DEFAULT_MEMORY if max_memory is None else max_memory
        with self.predictor.session():
            self.prepared = model.prepare(self.sample)
        device = self.predictor.device
        batch = max(1, min(BATCH_CAP.get(device.type, 2048), self.max_memory // 4 // max(1, self.prepared.row_bytes)))
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
        outputs = self.predictor.finish(self.prepared.evaluate(masks).flatten(0, 1)[:, :, None])
        bad = self.predictor.check(outputs.detach())
        if bool(bad.any()):
            b = int(bad.int().argmax()) % B
            raise PredictionError(f"the model returned NaN or infinite values for nested sample {b}")
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
