"""Masks as the engine walks through them: without repeats, by the time of their first replaced step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rambit import ops
from rambit.game.horizons import HorizonRule
from rambit.masks import MaskSet
from rambit.masks.families import span

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DistinctMasks:
    """Distinct base masks (U, D, T) in the order of their first replaced step, each with its multiplicity and weight.

    The order is part of the result (sums run in it), so it depends on the masks alone.
    """

    masks: Tensor
    number: Int32  # place of the mask in its stream
    count: Float64  # how many equal masks it stands for
    weight: Float64  # their weights, summed
    first: Int32
    end: Int32
    target_cells: Int32 | None

    def __len__(self) -> int:
        return len(self.number)

    @staticmethod
    def of(masks: MaskSet, number: int, apart: bool, to_host: Callable[[Tensor], Tensor]) -> DistinctMasks:
        """``apart=False`` merges equal masks; masks with draws of their own stay apart."""
        flat = np.packbits(to_host(masks.masks).flatten(1).numpy(), axis=1)
        target_cells = None if masks.target_cells is None else to_host(masks.target_cells).numpy().astype(np.int32)
        weights = to_host(masks.weights).numpy()
        place: dict[tuple[bytes, int], int] = {}
        keep: list[int] = []
        count: list[float] = []
        weight: list[float] = []
        for i in range(len(flat)):
            key = (flat[i].tobytes(), -1 if target_cells is None else int(target_cells[i]))
            if apart or key not in place:
                place[key] = len(keep)
                keep.append(i)
                count.append(1.0)
                weight.append(float(weights[i]))
            else:
                count[place[key]] += 1.0
                weight[place[key]] += float(weights[i])
        kept = masks.masks[torch.tensor(keep, device=masks.masks.device)]
        first, end = (to_host(t).numpy() for t in span(kept))
        # By the first replaced step, so that a sweep passes each step once; then by number. Sums run in this order.
        order = np.lexsort((np.arange(len(keep)), first))
        return DistinctMasks(
            kept[torch.from_numpy(order).to(kept.device)],
            (np.array(keep, dtype=np.int32) + number)[order],
            np.array(count)[order],
            np.array(weight)[order],
            first[order],
            end[order],
            None if target_cells is None else target_cells[keep][order],
        )


@dataclass(frozen=True)
class Group:
    """Distinct masks begin … end-1 of a question, ready to be evaluated: window shifts written out, horizons known."""

    masks: Tensor  # (M, D, T)
    index: Int32  # (M,) which of the distinct masks
    start: Int32  # (M,) first replaced step of the distinct mask: from there on it differs from the original
    first: Int32  # (M,) first replaced step of the mask itself
    h0: Int32
    h1: Int32
    weight: Float64  # (M,) weight in the distinct mask
    target_cells: Int32 | None

    def __len__(self) -> int:
        return len(self.index)

    @staticmethod
    def of(distinct: DistinctMasks, begin: int, end: int, rule: HorizonRule) -> Group:
        """Distinct masks begin … end-1. With anchor ``end`` each becomes its window shifts, equal ones merged."""
        index = np.arange(begin, end, dtype=np.int32)
        masks, weight, shift = distinct.masks[begin:end], np.ones(end - begin), np.zeros(end - begin, dtype=np.int32)
        if rule.anchor == "end" and rule.window > 1:
            room = np.where(distinct.end[begin:end] > 0, rule.length - distinct.end[begin:end], 0).astype(np.int32)
            shifted = ops.shift_windows(masks.contiguous(), torch.from_numpy(room).to(masks.device), rule.window)
            last = np.minimum(room, rule.window - 1)
            which = np.repeat(index - begin, last + 1)
            shift = np.concatenate([np.arange(n + 1, dtype=np.int32) for n in last])
            # All shifts that the end of the series clips are the same mask: evaluated once, with their joint weight.
            weight = np.where(shift < last[which], 1.0, rule.window - last[which]) / rule.window
            masks = shifted.flatten(0, 1)[torch.from_numpy(which * rule.window + shift).to(masks.device)]
            index = index[which]
        h0, h1 = rule.of_masks(distinct.end[index] + shift)
        target_cells = None if distinct.target_cells is None else distinct.target_cells[index]
        start = distinct.first[index]
        return Group(masks.contiguous(), index, start, start + shift, h0, h1, weight, target_cells)
