"""Many searches as one: each is a generator that yields questions; a round is one question for all."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


def run_together(
    searches: Sequence[Generator[Tensor, Tensor, Result]], evaluate: Callable[[Tensor, Tensor], Tensor]
) -> list[Result]:
    """The results of all searches, in their order.

    A search yields rows of a question (n, …), is sent the results (n, …) for them and returns its own. ``evaluate``
    gets the rows of a round and, for each, the number of its search, (n,) int64; it returns a result a row.
    """
    results: dict[int, Result] = {}
    wishes: dict[int, Tensor] = {}

    def advance(number: int, outputs: Tensor | None) -> None:
        try:
            wishes[number] = next(searches[number]) if outputs is None else searches[number].send(outputs)
        except StopIteration as stop:
            results[number] = stop.value

    for number in range(len(searches)):
        advance(number, None)
    while wishes:
        numbers, sizes = list(wishes), [len(wish) for wish in wishes.values()]
        owner = torch.tensor(numbers).repeat_interleave(torch.tensor(sizes))
        outputs = evaluate(torch.cat(list(wishes.values())), owner)
        wishes.clear()
        begin = 0
        for number, size in zip(numbers, sizes, strict=True):
            advance(number, outputs[begin : begin + size])
            begin += size
    return [results[number] for number in range(len(searches))]
