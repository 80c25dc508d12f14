"""Which of a model's outputs a call explains: one of each series, several from the same rows, or a function of them."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rambit import arrays
from rambit.output_names import are_names, numbers_of
from rambit.predictors.identity import described

#: Outputs of one call that can be told apart.
MOST = 2**31 - 1
Index = tuple[int, ...]  # (c,) of outputs (N, C), (h, q) of forecasts (N, H, Q)


@dataclass(frozen=True)
class Targets:
    """What ``target=`` and ``targets=`` said.

    ``of`` (B, 1 or 2) names an output of each series; ``pair`` is a tuple of two, which means an output (h, q) of
    forecasts (N, H, Q), else a class of each of two series. ``each`` lists several for all series, None with
    ``many`` means all. ``function`` makes what is explained of the raw outputs. ``named``: how many names the outputs
    have, where they were given by name; numbers then count the outputs through, of forecasts (N, H, Q) too.
    """

    of: Tensor | None = None
    pair: Index | None = None
    each: tuple[Index, ...] | None = None
    many: bool = False
    function: Callable[[Tensor], Tensor] | None = None
    named: int | None = None

    @staticmethod
    def read(target: Any, targets: Any, B: int, names: Sequence[str] | None = None) -> Targets:
        """``names``: of the outputs, if they have any. Raises TypeError or ValueError naming the argument."""
        if target is not None and targets is not None:
            raise ValueError("target and targets were both given: targets explains several outputs, target one")
        if are_names(target):
            return Targets(of=_of_each_series(numbers_of("target", target, names), B), named=len(names or ()))
        if are_names(targets) and not (isinstance(targets, str) and (targets == "all" or not names)):
            wanted = [targets] if isinstance(targets, str) else targets
            return Targets(each=_several(numbers_of("targets", wanted, names)), many=True, named=len(names or ()))
        if callable(target) or callable(targets):
            return Targets(many=targets is not None, function=target or targets)
        if targets is not None:
            if isinstance(targets, str):
                if targets != "all":
                    raise ValueError(f"targets must be 'all' or a list of outputs, got {targets!r}")
                return Targets(many=True)
            return Targets(each=_several(targets), many=True)
        if target is None:
            return Targets()
        if isinstance(target, tuple) and len(target) == 2 and not any(np.ndim(one) for one in target):
            first, second = arrays.integers("target", target, 2, 0, MOST).tolist()
            return Targets(pair=(first, second))
        return Targets(of=_of_each_series(target, B))

    @property
    def given(self) -> bool:
        """Whether one output, or several, are explained, and not how far all of them together moved."""
        return self.many or any(named is not None for named in (self.of, self.pair, self.function))

    @property
    def reads_outputs(self) -> bool:
        """Whether what is explained cannot be told before the model's outputs are seen."""
        return self.function is not None or (self.many and self.each is None)

    @property
    def needs_outputs(self) -> bool:
        """Whether the model's outputs say what is explained, or whether the names are theirs."""
        return self.reads_outputs or self.named is not None

    def indices(self, series: Tensor, batch: int, axes: Index | None) -> Tensor:
        """(K, b) int64: which of the outputs, counted through, are explained of these series of a batch.

        ``axes``: the shape of a row's outputs; None where nothing was evaluated: then one output stands for all.
        """
        if axes is None:
            return torch.zeros(1, len(series), dtype=torch.int64)
        if self.named is not None and self.named != math.prod(axes):
            raise ValueError(f"target: there are {self.named} names, for {math.prod(axes)} outputs: give its number")
        if self.reads_outputs:
            count = math.prod(axes)
            if count > 1 and not self.many:
                raise ValueError(f"target returned {count} values for each row: targets= explains several")
            return torch.arange(count).view(-1, 1).expand(-1, len(series))
        if self.each is not None:
            return torch.tensor([self._counted(index, axes) for index in self.each]).view(-1, 1).expand(-1, len(series))
        of = self.of
        if self.pair is not None:
            if len(axes) == 2 or batch != 2:
                return torch.full((1, len(series)), _counted(self.pair, axes))
            of = torch.tensor(self.pair).view(-1, 1)  # a class of each of two series
        assert of is not None
        return torch.tensor([[self._counted(tuple(index), axes) for index in of[series].tolist()]])

    def _counted(self, index: Index, axes: Index) -> int:
        """The place of an output among all of a row. ValueError where it is none of them."""
        return _counted(index, axes) if self.named is None else index[0]

    def names(self, axes: Index | None, count: int) -> list[int | list[int]] | None:
        """The K outputs that are explained, as numbers or [h, q]; None where each series has one."""
        if not self.many:
            return None
        if self.each is not None:
            found: list[Index] = list(self.each)
            if self.named is not None and axes is not None and len(axes) == 2:
                found = [divmod(number, axes[1]) for (number,) in self.each]
        elif axes is not None and len(axes) == 2 and self.function is None:
            found = [(h, q) for h in range(axes[0]) for q in range(axes[1])]
        else:
            found = [(c,) for c in range(count)]
        return [index[0] if len(index) == 1 else list(index) for index in found]

    def describe(self) -> dict[str, Any]:
        """JSON-able values, for settings; what differs between series is left out."""
        if self.function is not None:
            name = f"{getattr(self.function, '__module__', '')}.{getattr(self.function, '__qualname__', '')}"
            return {"targets" if self.many else "target": name}
        if self.many:
            return {"targets": "all" if self.each is None else [list(index) for index in self.each]}
        if self.pair is not None:
            return {"target": list(self.pair)}
        if self.of is not None and bool((self.of == self.of[:1]).all()):
            return {"target": self.of[0].tolist()}
        return {}

    def identity(self) -> dict[str, Any]:
        """What a resumed run must find unchanged."""
        return {**self.describe(), "of": self.of, "function": self.function and described(self.function)}


def _counted(index: Index, axes: Index) -> int:
    """The place of an output among all of a row. ValueError where it is none of them."""
    if len(index) != len(axes):
        kind = "classes" if axes == (MOST,) else f"outputs {axes}"
        words = "one number" if len(axes) == 1 else "a pair (h, q)"
        raise ValueError(f"target must name one of the model's {kind} by {words}, got {index}")
    if any(i >= size for i, size in zip(index, axes, strict=True)):
        below = f"be below {axes[0]}, the number of outputs," if len(axes) == 1 else f"lie within the outputs {axes},"
        raise ValueError(f"target must {below} got {index[0] if len(index) == 1 else index}")
    return int(np.ravel_multi_index(index, axes))


def _several(targets: Any) -> tuple[Index, ...]:
    """A list of numbers, or of pairs of them."""
    if not isinstance(targets, (list, tuple, range)) and not arrays.is_array(targets):
        raise TypeError(f"targets must be 'all' or a list of outputs, got {targets!r}")
    given = arrays.whole("targets", targets, holds="integers") if arrays.is_array(targets) else None
    listed: list[Any] = list(targets) if given is None else given.tolist()
    if not listed:
        raise ValueError("targets is empty: name at least one output")
    return tuple(_index("targets", one) for one in listed)


def _index(name: str, one: Any) -> Index:
    parts = one if isinstance(one, (list, tuple)) else (one,)
    if len(parts) not in (1, 2):
        raise ValueError(f"{name} must name outputs by one number, or by two (h, q), got {one!r}")
    return tuple(arrays.integers(name, parts, len(parts), 0, MOST).tolist())


def _of_each_series(target: Any, B: int) -> Tensor:
    """(B, 1 or 2) int64, from one number for all, one for each series, or a pair for each."""
    if not isinstance(target, (list, tuple)) and np.ndim(target) == 0:
        if not arrays.is_array(target) and not isinstance(target, (int, float)):
            given = reprlib.repr(target)
            raise TypeError(
                f"target must hold integers, got {given}: an output is named by its number or a pair of them"
            )
        target = [target] * B
    read = arrays.whole("target", target, holds="integers")
    if read.ndim == 2 and read.shape[1] == 2 and len(read) == B:
        return arrays.integers("target", read.flatten(), math.prod(read.shape), 0, MOST).view(B, 2)
    return arrays.integers("target", target, B, 0, MOST).view(B, 1)
