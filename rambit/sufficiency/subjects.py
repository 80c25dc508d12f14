"""Samples that can be evaluated: tensors and nested samples, through their games."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rambit.game import Coalitions, Game, Soft
from rambit.game.nested import NestedGame
from rambit.structure import Prepared, to_json

#: A sample's number, and masks (n, terms) of its terms: bool, or float in [0, 1] for outputs with gradients.
Question = tuple[int, Tensor]


class Subject(ABC):
    """A batch of samples. A term of a sample is what can be kept or removed; ``terms`` says how many each has."""

    game: Game | NestedGame
    terms: list[int]

    #: Whether outputs for float masks have gradients.
    differentiable = True

    @abstractmethod
    def outputs(self, questions: Sequence[Question]) -> Tensor:
        """Probabilities (rows, C), on the host, of one sample after the other."""

    @abstractmethod
    def levels(self, sample: int) -> Tensor:
        """(terms,) int64: how deep each term lies, 0 at the root."""

    @abstractmethod
    def participating(self, sample: int, masks: Tensor) -> Tensor:
        """(n, terms) bool for masks (n, terms): which terms are not inside something that is removed."""

    @abstractmethod
    def mask(self, sample: int, kept: Tensor) -> Tensor:
        """The mask (terms,) of a sample's terms as one of its cells, or of the terms of the batch."""

    @abstractmethod
    def scores(self, given: Tensor) -> list[Tensor]:
        """Given scores as (terms,) float64 for each sample. Raises ValueError for another shape."""

    @abstractmethod
    def documents(self, kept: Mapping[int, Tensor]) -> list[Any]:
        """The JSON documents of what is kept of each sample, masks (terms,); None where there are none."""


class TensorSubject(Subject):
    """Series, images or tables; ``group`` (B, cells) int64 is the term of each cell, counted from 0 in each sample.

    ``shape`` is that of the batch as it was given, ``grid`` that of one sample's mask.
    """

    game: Game

    def __init__(self, game: Game, group: Tensor, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
        self.game, self.group, self.shape, self.grid = game, group, shape, grid
        self.terms = [int(of.max()) + 1 for of in group]
        self.differentiable = game.counterfactuals.fixed and not game.sample.tokens

    def outputs(self, questions: Sequence[Question]) -> Tensor:
        masks = torch.cat([masks[:, self.group[sample]] for sample, masks in questions])
        counts = torch.tensor([len(masks) for _, masks in questions])
        series = torch.tensor([sample for sample, _ in questions]).repeat_interleave(counts).to(self.game.device)
        question = (Soft if masks.is_floating_point() else Coalitions)(masks, series=series)
        return self.game.to_host(torch.cat([outputs.mean(dim=(1, 2)) for outputs in self.game.evaluate(question)]))

    def levels(self, sample: int) -> Tensor:
        return torch.zeros(self.terms[sample], dtype=torch.int64)

    def participating(self, sample: int, masks: Tensor) -> Tensor:
        return torch.ones_like(masks)

    def mask(self, sample: int, kept: Tensor) -> Tensor:
        return kept[self.group[sample]].view(self.grid)

    def scores(self, given: Tensor) -> list[Tensor]:
        B, cells = self.group.shape
        each = given[None] if B == 1 and given.ndim > 0 and tuple(given.shape) in (self.shape[1:], self.grid) else given
        if tuple(each.shape) == self.shape:
            # All channels of an image's position are one cell.
            on_cells = each.reshape(B, -1, cells).sum(dim=1)
        elif tuple(each.shape) == (B, *self.grid):
            on_cells = each.reshape(B, cells)
        else:
            raise ValueError(
                f"heuristic must have the shape of the sample {self.shape} or of its masks {(B, *self.grid)}, "
                f"got {tuple(given.shape)}"
            )
        return [
            torch.zeros(count, dtype=torch.float64).index_add_(0, group, values)
            for count, group, values in zip(self.terms, self.group, on_cells.cpu().double(), strict=True)
        ]

    def documents(self, kept: Mapping[int, Tensor]) -> list[Any]:
        return [None] * len(kept)


class NestedSubject(Subject):
    """A batch of nested samples; ``places[b]`` says where sample b's terms are among those of the batch.

    Rows of different samples travel in one mask of the batch; a term that samples share has the same value in all.
    """

    game: NestedGame

    def __init__(self, game: NestedGame) -> None:
        self.game = game
        self.places = [of.nonzero()[:, 0] for of in game.sample.layout.belongs.cpu().T]
        self.terms = [len(places) for places in self.places]
        self.differentiable = isinstance(game.prepared, Prepared)

    def outputs(self, questions: Sequence[Question]) -> Tensor:
        joint = self._joint(questions)
        question = (Soft if joint.is_floating_point() else Coalitions)(joint)
        found = self.game.to_host(torch.cat(list(self.game.evaluate(question))))[:, 0]
        return torch.cat([found[: len(masks), sample] for sample, masks in questions])

    def _joint(self, questions: Sequence[Question]) -> Tensor:
        """Masks (n, terms of the batch): everything is kept of samples and rows that are not evaluated."""
        rows = max(len(masks) for _, masks in questions)
        joint = questions[0][1].new_ones(rows, self.game.sample.terms)
        for sample, masks in questions:
            joint[: len(masks), self.places[sample]] = masks
        return joint

    def levels(self, sample: int) -> Tensor:
        return self.game.sample.levels.cpu()[self.places[sample]]

    def participating(self, sample: int, masks: Tensor) -> Tensor:
        return self.game.sample.participation(self._joint([(sample, masks)])).cpu()[:, self.places[sample]]

    def mask(self, sample: int, kept: Tensor) -> Tensor:
        joint = torch.zeros(self.game.sample.terms, dtype=torch.bool)
        joint[self.places[sample]] = kept
        return joint

    def scores(self, given: Tensor) -> list[Tensor]:
        terms = self.game.sample.terms
        if tuple(given.shape) != (terms,):
            raise ValueError(f"heuristic must have a score for each term, ({terms},), got {tuple(given.shape)}")
        return [given.cpu().double()[places] for places in self.places]

    def documents(self, kept: Mapping[int, Tensor]) -> list[Any]:
        joint = self._joint([(sample, mask[None]) for sample, mask in kept.items()])
        return to_json(self.game.sample, joint[0].to(self.game.sample.device))
