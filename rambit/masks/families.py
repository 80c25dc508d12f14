"""The families of RaMbIT's study of coalitions. A new family is one class here."""

from __future__ import annotations

import functools
import inspect
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rambit import arrays, checks, ops
from rambit.registry import Registry


@dataclass(frozen=True)
class MaskSet:
    """Masks (L, D, T) bool of one grid, True = kept, with ``weights`` (L,) float64 and ``target_cells`` (L,) int32.

    ``target_cells`` names the one cell d * T + t that each mask is meant for; None: every mask serves all cells.
    """

    masks: Tensor
    weights: Tensor
    target_cells: Tensor | None = None
    exact: bool = False

    def __len__(self) -> int:
        return len(self.masks)

    def span(self) -> tuple[Tensor, Tensor]:
        """First replaced step (T if none) and t_end, one past the last replaced step (0 if none): two (L,) int32."""
        return span(self.masks)


def span(masks: Tensor) -> tuple[Tensor, Tensor]:
    """First replaced step (T if none) and one past the last (0 if none) of masks (L, D, T): two (L,) int32."""
    T = masks.shape[2]
    replaced = ~masks.all(dim=1)
    step = torch.arange(T, dtype=torch.int32, device=masks.device)
    first = torch.where(replaced, step, T).amin(dim=1)
    end = torch.where(replaced, step + 1, 0).amax(dim=1)
    return first.int(), end.int()


class Family(ABC):
    """A rule that gives masks for a (D, T) grid, the same for the same seed whatever the device or the chunking."""

    #: Masks depend on the target cell, so each cell needs a set of its own.
    per_cell = False
    #: The family says itself how many masks there are; L does not apply.
    sized = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        sample = vars(cls).get("sample")
        if sample is not None and "owners" in inspect.signature(sample).parameters:
            # The older name, in families of users.
            words = f"owners of {cls.__name__}.sample is called target_cells now"
            warnings.warn(words, DeprecationWarning, stacklevel=2)

            @functools.wraps(sample)
            def renamed(self: Family, *sizes: int, target_cells: Tensor | None = None, **options: Any) -> MaskSet:
                found: MaskSet = sample(self, *sizes, owners=target_cells, **options)
                return found

            cls.sample = renamed  # type: ignore[method-assign]

    @abstractmethod
    def sample(
        self,
        count: int,
        D: int,
        T: int,
        *,
        seed: int,
        first: int = 0,
        target_cells: Tensor | None = None,
        device: torch.device | None = None,
    ) -> MaskSet:
        """Masks ``first`` … ``first + count - 1`` of the stream; with ``target_cells`` (K,), that many for each."""

    def describe(self) -> dict[str, object]:
        """Name and parameters, for settings and result files."""
        return {"name": type(self).__name__, **{k: v for k, v in vars(self).items() if not isinstance(v, Tensor)}}


#: Mask families by name. ``Wt_min`` … ``Wd_max`` of a constructor are filled from RaMbIT's arguments.
FAMILIES: Registry[type[Family]] = Registry("family")


class _Sampled(Family):
    """Sampled natively, mask by mask."""

    native = ops.Family.BLOCK

    def bounds(self, D: int, T: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return (1, 1), (1, 1)

    def sample(
        self,
        count: int,
        D: int,
        T: int,
        *,
        seed: int,
        first: int = 0,
        target_cells: Tensor | None = None,
        device: torch.device | None = None,
    ) -> MaskSet:
        index = torch.arange(first, first + count, dtype=torch.int64, device=device)
        if target_cells is not None:
            target_cells = target_cells.to(device=device, dtype=torch.int32)
            index, target_cells = index.repeat(len(target_cells)), target_cells.repeat_interleave(count)
        elif self.per_cell:
            raise ValueError(f"{type(self).__name__} masks are each for one target cell: use share_masks=False")
        wt, wd = self.bounds(D, T)
        masks = ops.sample_masks(
            index, D, T, self.native, wt=wt, wd=wd, p=getattr(self, "p", 0.5), seed=seed, target_cells=target_cells
        )
        return MaskSet(masks, torch.ones(len(masks), dtype=torch.float64, device=device), target_cells)


def _checked_bounds(name: str, low: int, high: int) -> tuple[int, int]:
    low, high = checks.count(f"{name}_min", low), checks.count(f"{name}_max", high)
    if low > high:
        raise ValueError(f"{name}_min must not exceed {name}_max, got {name}_min={low}, {name}_max={high}")
    return low, high


def _clip(low: int, high: int, size: int) -> tuple[int, int]:
    return min(low, size), min(high, size)


@FAMILIES.register("block")
class Block(_Sampled):
    """A random block of Wt steps × Wd features is replaced; its corner is uniform over all positions that fit."""

    def __init__(self, Wt_min: int = 1, Wt_max: int = 10, Wd_min: int = 1, Wd_max: int = 5) -> None:
        self.Wt_min, self.Wt_max = _checked_bounds("Wt", Wt_min, Wt_max)
        self.Wd_min, self.Wd_max = _checked_bounds("Wd", Wd_min, Wd_max)

    def bounds(self, D: int, T: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return _clip(self.Wt_min, self.Wt_max, T), _clip(self.Wd_min, self.Wd_max, D)


@FAMILIES.register("rows")
class Rows(Block):
    """Whole features are replaced: Wd neighbouring ones, over all time."""

    def __init__(self, Wd_min: int = 1, Wd_max: int = 5) -> None:
        super().__init__(1, 1, Wd_min, Wd_max)

    def bounds(self, D: int, T: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return (T, T), _clip(self.Wd_min, self.Wd_max, D)


@FAMILIES.register("columns")
class Columns(Block):
    """Whole time bands are replaced: Wt neighbouring steps of every feature."""

    def __init__(self, Wt_min: int = 1, Wt_max: int = 10) -> None:
        super().__init__(Wt_min, Wt_max, 1, 1)

    def bounds(self, D: int, T: int) -> tuple[tuple[int, int], tuple[int, int]]:
        return _clip(self.Wt_min, self.Wt_max, T), (D, D)


@FAMILIES.register("segments")
class Segments(Block):
    """Every feature loses a segment of its own, of Wt steps."""

    native = ops.Family.SEGMENTS

    def __init__(self, Wt_min: int = 1, Wt_max: int = 10) -> None:
        super().__init__(Wt_min, Wt_max, 1, 1)


@FAMILIES.register("upper_triangle")
class UpperTriangle(Block):
    """A staircase that starts at the target cell (d, t): feature d + i is replaced over [t + i, t + Wt)."""

    native = ops.Family.UPPER_TRIANGLE
    per_cell = True


@FAMILIES.register("bernoulli")
class Bernoulli(_Sampled):
    """Each cell is replaced with probability p, independently."""

    native = ops.Family.BERNOULLI

    def __init__(self, p: float = 0.5) -> None:
        if isinstance(p, bool) or not isinstance(p, (int, float)):
            raise TypeError(f"p must be a number, got {p!r}")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"p must be a probability, got {p}")
        self.p = float(p)


@FAMILIES.register("permutation")
class Permutation(_Sampled):
    """A prefix of random length of a random order of the cells is kept: the coalitions of Shapley sampling."""

    native = ops.Family.PERMUTATION


@FAMILIES.register("all_blocks")
class AllBlocks(Block):
    """Every block that fits, weighted 1 / (nWt · nWd · positions): the expectation of Block without sampling error."""

    sized = True

    def sample(
        self,
        count: int,
        D: int,
        T: int,
        *,
        seed: int,
        first: int = 0,
        target_cells: Tensor | None = None,
        device: torch.device | None = None,
    ) -> MaskSet:
        (wt_min, wt_max), (wd_min, wd_max) = self.bounds(D, T)
        sizes = [(wt, wd) for wt in range(wt_min, wt_max + 1) for wd in range(wd_min, wd_max + 1)]
        total = sum((T - wt + 1) * (D - wd + 1) for wt, wd in sizes)
        if total * D * T > 1 << 30:
            raise ValueError(
                f"masks: AllBlocks would need {total} masks of {D} × {T} cells; use Block for grids of this size"
            )
        masks = torch.ones(total, D, T, dtype=torch.bool)
        weights = torch.empty(total, dtype=torch.float64)
        i = 0
        for wt, wd in sizes:
            positions = (T - wt + 1) * (D - wd + 1)
            for t in range(T - wt + 1):
                for d in range(D - wd + 1):
                    masks[i, d : d + wd, t : t + wt] = False
                    weights[i] = 1.0 / (len(sizes) * positions)
                    i += 1
        return _whole(masks.to(device), weights.to(device), target_cells, exact=True)


@FAMILIES.register("none")
class Whole(Family):
    """One mask that keeps everything: each cell is replaced alone."""

    sized = True

    def sample(
        self,
        count: int,
        D: int,
        T: int,
        *,
        seed: int,
        first: int = 0,
        target_cells: Tensor | None = None,
        device: torch.device | None = None,
    ) -> MaskSet:
        masks = torch.ones(1, D, T, dtype=torch.bool, device=device)
        return _whole(masks, torch.ones(1, dtype=torch.float64, device=device), target_cells, exact=True)


class Explicit(Family):
    """Given masks (L, D, T) bool, True = kept: replayed as they are."""

    sized = True

    def __init__(self, masks: Any) -> None:
        if arrays.is_array(masks):
            masks = arrays.whole("masks", masks, holds="booleans")
        if not isinstance(masks, Tensor) or masks.dtype != torch.bool or masks.ndim != 3 or len(masks) == 0:
            got = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else repr(type(masks).__name__)
            raise ValueError(f"masks must be a non-empty bool tensor (L, D, T), True = kept; got {got}")
        self.masks = masks

    def sample(
        self,
        count: int,
        D: int,
        T: int,
        *,
        seed: int,
        first: int = 0,
        target_cells: Tensor | None = None,
        device: torch.device | None = None,
    ) -> MaskSet:
        if self.masks.shape[1] != D or self.masks.shape[2] < T:
            raise ValueError(f"masks must be (L, {D}, {T}) for these series, got {tuple(self.masks.shape)}")
        masks = self.masks[:, :, :T].to(device).contiguous()
        return _whole(masks, torch.ones(len(masks), dtype=torch.float64, device=device), target_cells)


def _whole(masks: Tensor, weights: Tensor, target_cells: Tensor | None, *, exact: bool = False) -> MaskSet:
    """All masks of a family, the same ones for each target cell."""
    if target_cells is None:
        return MaskSet(masks, weights, None, exact)
    target_cells, count = target_cells.to(device=masks.device, dtype=torch.int32), len(target_cells)
    repeated = target_cells.repeat_interleave(len(masks))
    return MaskSet(masks.repeat(count, 1, 1), weights.repeat(count), repeated, exact)


def resolve(masks: str | Tensor | Family, Wt: tuple[int, int], Wd: tuple[int, int]) -> Family:
    """The family that a user named, with those of the block sizes given beside the name that it reads."""
    if isinstance(masks, Family):
        return masks
    if isinstance(masks, Tensor):
        return Explicit(masks)
    if not isinstance(masks, str):
        raise TypeError(
            f"masks must be a family, its name or a bool tensor, got {type(masks).__name__}"
            + arrays.hint("masks", masks)
        )
    family: Family = FAMILIES.make_for("masks", masks, Wt_min=Wt[0], Wt_max=Wt[1], Wd_min=Wd[0], Wd_max=Wd[1])
    return family
