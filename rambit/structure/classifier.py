"""A classifier of nested samples, with outputs for many masks at once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rambit.checks import count
from rambit.structure.encoders import encoder_of
from rambit.structure.question import Memory, Question
from rambit.structure.sample import Sample
from rambit.structure.schema import Schema, from_config, to_config


class HierarchicalClassifier(nn.Module):
    """A network in the shape of ``schema``: (B) nested samples -> logits (B, num_classes).

    A dense layer of ``width`` for each leaf, mean and maximum and a dense layer for each bag, concatenation and a dense
    layer for each product; a learned vector stands for what is missing. Source: Pevný and Somol, "Using neural network
    formalism to solve multiple-instance problems", 2017, and Mandlík et al., "JsonGrinder.jl", 2022. ``class_names``:
    what the classes are called, if they have names.
    """

    def __init__(self, schema: Schema, num_classes: int, *, width: int = 32, class_names: Sequence[str] = ()) -> None:
        super().__init__()
        self.schema = schema
        self.num_classes, self.width = count("num_classes", num_classes, 2), count("width", width)
        self.class_names = tuple(class_names)
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(f"class_names must be {self.num_classes} names, got {len(self.class_names)}")
        self.encoder = encoder_of(schema, self.width)
        self.head = nn.Linear(self.width, self.num_classes)

    def forward(self, sample: Sample) -> Tensor:
        """Logits (B, C) of whole samples."""
        return self.evaluate(sample, torch.ones(1, sample.terms, dtype=torch.bool, device=sample.device))[0]

    def evaluate(self, sample: Sample, masks: Tensor) -> Tensor:
        """Logits (N, B, C) of B samples under ``masks`` (N, terms) of their terms.

        Boolean masks give what pruned samples would give; floating ones in [0, 1] are differentiable, and agree at 0
        and 1. For several questions about one batch, ``prepare`` it. Raises ValueError for masks of another shape,
        type or range and for samples that look otherwise than the model's schema.
        """
        return self.prepare(sample).evaluate(masks)

    def answer(self, sample: Sample, masks: Tensor) -> Tensor:
        """The older name of ``evaluate``."""
        warnings.warn("answer is called evaluate now", DeprecationWarning, stacklevel=2)
        return self.evaluate(sample, masks)

    def prepare(self, sample: Sample) -> Prepared:
        """What can be computed of ``sample`` before any mask is known, once for many questions."""
        return Prepared(self, sample)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, ready for JSON."""
        return {
            "model": type(self).__name__,
            "schema": to_config(self.schema),
            "num_classes": self.num_classes,
            "width": self.width,
            "class_names": list(self.class_names),
        }

    @staticmethod
    def from_config(config: dict[str, Any]) -> HierarchicalClassifier:
        """A new model with the arguments of ``config()``."""
        names = config.get("class_names", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"class_names must be a list of names, got {names!r}")
        schema, classes = from_config(config["schema"]), config["num_classes"]
        return HierarchicalClassifier(schema, classes, width=config["width"], class_names=names)


class Prepared:
    """A classifier and a batch of samples, evaluated on masks; valid as long as the model's weights stay as they are.

    Leaves are embedded here, once. Without gradients, a subtree in which no mask differs is evaluated once for a
    question, and not at all if the last question left it in the same state.
    """

    def __init__(self, model: HierarchicalClassifier, sample: Sample) -> None:
        if sample.schema != model.schema:
            raise ValueError("sample must look like the model's schema; encode it with from_json(..., model.schema)")
        self.model, self.sample = model, sample
        leaves = model.encoder.leaves(sample.root)
        gradients = torch.is_grad_enabled()
        # Tensors of inference mode could not be used for gradients later on.
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            self._embedded = {path: leaf.embed(node) for leaf, node, path in leaves}
        self._memory: Memory = {}

    @property
    def row_bytes(self) -> int:
        """About how many bytes one more mask takes, at most."""
        weight = self.model.head.weight
        return self.model.encoder.numbers(self.sample.root) * weight.element_size()

    def evaluate(self, masks: Tensor) -> Tensor:
        """Logits (N, B, C) under ``masks`` (N, terms); see ``HierarchicalClassifier.evaluate``."""
        checked = self.sample.checked(masks)
        if not len(checked):
            return self.model.head.weight.new_zeros(0, len(self.sample), self.model.num_classes)
        if checked.dtype != torch.bool:
            checked = checked.to(self.model.head.weight.dtype)
        slots = self.sample.layout.over_slots(checked)
        memory = None if torch.is_grad_enabled() else self._memory
        question = Question(slots, self.sample.slots.spans, self._embedded, memory)
        encoded = self.model.encoder.encode(question, self.sample.root, ())
        logits: Tensor = self.model.head(encoded.values)
        return logits[encoded.row].expand(len(masks), -1, -1)
